"""The real hub client on a local stand-in of the hub's cache layout."""

import json
import os
import socket
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
from command import Command

from lorair.exporter.checkpoint.hub import download_pair

REPO = "someone/LoRA-IR"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def hub(tiny_files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "hub" / f"models--{REPO.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs").mkdir()
    snapshot.mkdir(parents=True)
    (folder / "refs" / "v1").write_text(COMMIT)
    for name, source in zip(("setting1_ir.pth", "setting1_router.pth"), tiny_files, strict=True):
        blob = folder / "blobs" / name
        blob.write_bytes(source.read_bytes())
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder.parent))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def test_build_from_the_hub(lorair_export: Command, tmp_path: Path) -> None:
    command = ("build", "--from-hub", REPO, "-o", tmp_path / "bundle", "--json")
    assert lorair_export(*command).code == 2, "there is no main"
    done = lorair_export(*command, "--revision", "v1")
    assert done.code == 0, done.err
    source = json.loads(done.out)["source"]
    assert source["kind"] == "hub"
    assert source["detail"] == f"{REPO} at {COMMIT}"
    assert (source["repo"], source["revision"]) == (REPO, COMMIT), "not v1, which may move"
    assert source["ir"]["name"] == "setting1_ir.pth"


def test_a_repository_that_cannot_be_reached(lorair_export: Command, tmp_path: Path) -> None:
    done = lorair_export("build", "--from-hub", "nobody/nothing", "-o", tmp_path / "bundle")
    assert done.code == 2
    assert "cannot download from the hub's nobody/nothing: wanted setting1_ir.pth" in done.error
    assert not (tmp_path / "bundle").exists()


def test_without_a_connection_it_says_so_at_once(
    lorair_export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    def waits(seconds: float) -> None:
        raise AssertionError("a retry")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", lost)
    monkeypatch.setattr(time, "sleep", waits)
    done = lorair_export("build", "--from-hub", "nobody/nothing", "-o", tmp_path / "bundle")
    assert done.code == 2
    assert "found neither a connection ([Errno -2] Name or service not known) nor a local" in (
        done.error
    )
    assert all(path.is_file() for path in download_pair(REPO, "v1")), "what is there is taken"
