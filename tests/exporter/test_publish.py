"""Bundles on the hub: the real client, on a stand-in of the hub's server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import yaml
from command import Command
from local_hub import Hub, local_hub

from lorair import Restorer
from lorair.exporter.checkpoint.hub import download_pair
from lorair.exporter.publish import card
from lorair.runtime.bundle import SHIPPED_BUNDLE
from lorair.runtime.bundle.manifest import Bundle

REPO = "someone/weather"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with local_hub(monkeypatch) as hub:
        yield hub


def test_a_bundle_goes_to_the_hub_and_comes_back(
    hub: Hub, lorair_export: Command, photo: np.ndarray, tmp_path: Path
) -> None:
    done = lorair_export("upload", "default", "--to-hub", REPO)
    assert done.code == 0, done.err
    assert f"{REPO} has it at {hub.commit(REPO)}" in done.err
    hub.repositories[REPO]["README.md"] += b"\nThe photographs are of Lisbon.\n"
    hub.repositories[REPO][".gitattributes"] = b"*.data filter=lfs\n"
    path = tmp_path / "bundle"
    huggingface_hub.snapshot_download(REPO, local_dir=path)
    Bundle.open(path).verify()
    assert "Lisbon" in (path / "README.md").read_text()
    found, wanted = (Restorer.open(p).restore(photo[:48, :64]).image for p in (path, "default"))
    np.testing.assert_array_equal(found, wanted)


def test_another_bundle_takes_its_place(
    hub: Hub, lorair_export: Command, tiny_bundle_fp16: Path, tmp_path: Path
) -> None:
    """And nothing is left of the one before, which a reader would refuse."""
    hub.repositories[REPO] = {"manifest.json": b"{}", "kernels/index.json": b"{}", ".git": b""}
    assert lorair_export("upload", tiny_bundle_fp16, "--to-hub", REPO, "--private").code == 0
    listed = Bundle.open(tiny_bundle_fp16).manifest.files
    assert hub.repositories[REPO].keys() == {*listed, "manifest.json", "README.md", ".git"}


def test_the_card_says_what_the_manifest_says(lorair_export: Command, hub: Hub) -> None:
    done = lorair_export("upload", "default", "--to-hub", REPO, "--dry-run")
    assert done.code == 0
    assert not hub.repositories
    _, head, text = done.out.split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["license"] == "apache-2.0"
    assert said["library_name"] == "lorair"
    assert "base_model" not in said
    manifest = Bundle.open("default").manifest
    assert manifest.certificate is not None
    assert f"PSNR {manifest.certificate.psnr_db:.1f} dB" in text
    assert manifest.digest in text
    assert "snow, rain, raindrop, clean" in text


def test_weights_of_the_hub_are_named(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert "license" not in yaml.safe_load(card(bundle, REPO).split("---\n")[1])
    released = {"repo": "shallowdream204/LoRA-IR", "revision": "0" * 40}
    source = bundle.manifest.source.model_copy(update=released)
    named = Bundle(bundle.path, bundle.manifest.model_copy(update={"source": source}))
    said = yaml.safe_load(card(named, REPO).split("---\n")[1])
    assert (said["base_model"], said["license"]) == ("shallowdream204/LoRA-IR", "apache-2.0")


def test_refusals(hub: Hub, lorair_export: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("upload", "default", "--to-hub", REPO)
    hub.repositories[REPO] = {"setting1_ir.pth": b"theirs"}
    done = lorair_export(*command)
    assert done.code == 2
    assert f"cannot upload to the hub's {REPO}: wanted a new repository" in done.error
    assert "found other things in it (setting1_ir.pth)" in done.error
    assert hub.repositories[REPO] == {"setting1_ir.pth": b"theirs"}
    hub.refused, hub.repositories[REPO] = 403, {}
    done = lorair_export(*command)
    assert done.code == 2
    assert "403" in done.error
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    done = lorair_export(*command)
    assert done.code == 2
    assert f"cannot upload to the hub's {REPO}" in done.error


def test_weights_are_pinned_to_a_commit(
    hub: Hub, tiny_files: tuple[Path, Path], tmp_path: Path
) -> None:
    names = ("setting1_ir.pth", "setting1_router.pth")
    hub.repositories[REPO] = {n: f.read_bytes() for n, f in zip(names, tiny_files, strict=True)}
    ir, router = download_pair(REPO)
    assert ir.parent.name == router.parent.name == hub.commit(REPO)
    assert ir.read_bytes() == tiny_files[0].read_bytes()


def test_a_card_of_any_content_may_lie_in_a_bundle(tmp_path: Path) -> None:
    """But nothing else, and no link."""
    path = shutil.copytree(SHIPPED_BUNDLE, tmp_path / "bundle")
    (path / "README.md").write_text("anything")
    Bundle.open(path).verify()
    (path / "README.md").unlink()
    (path / "README.md").symlink_to(SHIPPED_BUNDLE / "manifest.json")
    with pytest.raises(Exception, match=r"README\.md, a link"):
        Bundle.open(path)
