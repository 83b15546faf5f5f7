"""The released weights from the Hugging Face hub."""

from pathlib import Path
from typing import Final

from lorair.runtime.errors import CheckpointError

IR_NAME: Final = "setting1_ir.pth"
ROUTER_NAME: Final = "setting1_router.pth"


def download_pair(repo: str, revision: str | None = None) -> tuple[Path, Path]:
    """Fetch the restoration and the router checkpoint, or find them in the hub's local cache.

    `repo` is `owner/name` on the hub; `revision` a branch, tag or commit, None for the newest.

    Raises CheckpointError: the repository cannot be reached or has no such pair.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    offline = _why_offline(repo, revision)
    try:
        ir, router = (
            hf_hub_download(repo, name, revision=revision, local_files_only=offline is not None)
            for name in (IR_NAME, ROUTER_NAME)
        )
    # The hub's own errors and a lost connection are OSErrors.
    except (OSError, HFValidationError) as error:
        found = " ".join(str(error if offline is None else offline).split())[:200]
        raise CheckpointError(
            f"cannot download from the hub's {repo}",
            wanted=f"{IR_NAME} and {ROUTER_NAME}",
            found=found if offline is None else f"neither a connection ({found}) nor a local copy",
            hint="check the name and the connection, or give --ir-weights and --router-weights",
        ) from error
    return Path(ir), Path(router)


def _why_offline(repo: str, revision: str | None) -> str | None:
    """Why the hub does not answer; None if it does. One try: the download itself makes six."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        get_hf_file_metadata(hf_hub_url(repo, IR_NAME, revision=revision))
    except (HfHubHTTPError, HFValidationError):
        return None
    except Exception as error:  # of its HTTP library, which has changed
        return str(error)
    return None
