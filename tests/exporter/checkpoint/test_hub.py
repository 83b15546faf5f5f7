"""The real hub client on a local stand-in of the hub's cache layout."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from processes import console_script

REPO = "someone/LoRA-IR"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tiny_files: tuple[Path, Path], tmp_path: Path) -> Path:
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
    return tmp_path


def build(cache: Path, output: Path, repo: str, *more: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client reads its environment when it is imported."""
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    arguments = ["build", "--from-hub", repo, "-o", str(output), "--json", *more]
    return subprocess.run(
        [*console_script("exporter"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_build_from_the_hub(hub_cache: Path, tmp_path: Path) -> None:
    assert build(hub_cache, tmp_path / "bundle", REPO).returncode == 2, "there is no main"
    done = build(hub_cache, tmp_path / "bundle", REPO, "--revision", "v1")
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    assert manifest["source"]["kind"] == "hub"
    assert manifest["source"]["detail"] == f"{REPO} at {COMMIT}"
    assert manifest["source"]["ir"]["name"] == "setting1_ir.pth"


def test_a_repository_that_cannot_be_reached(hub_cache: Path, tmp_path: Path) -> None:
    done = build(hub_cache, tmp_path / "bundle", "nobody/nothing")
    assert done.returncode == 2
    assert "cannot download from the hub's nobody/nothing: wanted setting1_ir.pth" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bundle").exists()
