"""A bundle on the Hugging Face hub, with a model card that says what its manifest says."""

from typing import TYPE_CHECKING, Any

from lorair.exporter.graphs.metadata import license_of
from lorair.runtime.bundle.files import CARD, MANIFEST
from lorair.runtime.bundle.manifest import Bundle, Source
from lorair.runtime.errors import LorairError, OutputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def upload(bundle: Bundle, repo: str, *, private: bool = False) -> str:
    """Put a bundle into a repository of the hub's, in one commit; return that.

    The repository is made if there is none. A bundle that is in it is replaced. Engines and
    plugins, which are one machine's, stay here.

    Raises:
        BundleError: a file differs from what the manifest says.
        OutputError: the hub refuses, or the repository holds other things.
    """
    from huggingface_hub import HfApi

    bundle.verify()
    try:
        return _commit(HfApi(), bundle, repo, private=private)
    except LorairError:
        raise
    except Exception as error:  # a lost connection is one of its HTTP library, which has changed
        raise _refused(repo, " ".join(str(error).split())[:200]) from error


def _commit(api: "HfApi", bundle: Bundle, repo: str, *, private: bool) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api.create_repo(repo, private=private, exist_ok=True)
    there = {name for name in api.list_repo_files(repo) if not name.startswith(".")} - {CARD}
    if there and MANIFEST not in there:
        raise _refused(repo, f"other things in it ({min(there)})")
    names = {*bundle.manifest.files, MANIFEST}
    operations: list[Any] = [CommitOperationDelete(name) for name in sorted(there - names)]
    operations += [CommitOperationAdd(name, bundle.path / name) for name in sorted(names)]
    operations.append(CommitOperationAdd(CARD, card(bundle, repo).encode()))
    commit = api.create_commit(repo, operations, commit_message="A bundle of lorair")
    return commit.oid


def card(bundle: Bundle, repo: str) -> str:
    """Return a bundle's model card: YAML that the hub reads, then Markdown."""
    manifest, source = bundle.manifest, bundle.manifest.source
    known = license_of(source)
    head = {
        "license": known and known.lower(),
        "base_model": source.repo,
        "library_name": "lorair",
        "pipeline_tag": "image-to-image",
        "tags": "[image-restoration, lora, mixture-of-experts, onnx]",
    }
    yaml = "\n".join(f"{key}: {value}" for key, value in head.items() if value is not None)
    facts = {
        "Classes": ", ".join(manifest.model.classes),
        "Experts a picture gets": manifest.model.top_k,
        "Precision": manifest.precisions,
        "Weights": _origin(source),
        "Made by": manifest.created_by,
        "Digest": f"`{manifest.digest}`",
    }
    if manifest.certificate is not None:
        found = manifest.certificate
        facts["Checked"] = (
            f"{found.backend} against {found.reference} on {len(found.pictures)} photographs: "
            f"largest error {found.max_error:.1e}, PSNR {found.psnr_db:.1f} dB, "
            f"{found.route_changes} route changes"
        )
    listed = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    return f"""---
{yaml}
---

# {repo.rpartition("/")[2]}

A bundle of lorair: a LoRA-IR network for image restoration as two ONNX graphs, which run without \
PyTorch. *LoRA-IR: Taming Low-Rank Experts for Efficient All-in-One Image Restoration*, \
[arXiv 2410.15385](https://arxiv.org/abs/2410.15385).

{listed}

```
hf download {repo} --local-dir bundle
lorair-run infer photo.jpg --bundle bundle
```
"""


def _origin(source: Source) -> str:
    files = [f"{w.name} (sha256 `{w.sha256}`)" for w in (source.ir, source.router) if w is not None]
    return "; ".join([source.detail, *files])


def _refused(repo: str, found: str) -> OutputError:
    return OutputError(
        f"cannot upload to the hub's {repo}",
        wanted="a new repository, or one with a bundle to replace, and a token that may write",
        found=found,
        hint="check the name and `hf auth whoami`, or choose another repository",
    )
