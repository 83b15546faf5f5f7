"""The released weights from the Hugging Face hub."""

from pathlib import Path
from typing import Final

from lorair.runtime.errors import CheckpointError

IR_NAME: Final = "setting1_ir.pth"
ROUTER_NAME: Final = "setting1_router.pth"


def download_pair(repo: str, revision: str | None = None) -> tuple[Path, Path]:
    """Fetch the restoration and the router checkpoint, or find them in the hub's local cache.

    `repo` is `owner/name` on the hub; `revision` a branch, tag or commit, None for the newest.

    Raises:
        CheckpointError: the repository cannot be reached or has no such pair.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    try:
        ir, router = (hf_hub_download(repo, n, revision=revision) for n in (IR_NAME, ROUTER_NAME))
    # The hub's own errors and a lost connection are OSErrors.
    except (OSError, HFValidationError) as error:
        raise CheckpointError(
            f"cannot download from the hub's {repo}",
            wanted=f"{IR_NAME} and {ROUTER_NAME}",
            found=" ".join(str(error).split())[:200],
            hint="check the name and the connection, or give --ir-weights and --router-weights",
        ) from error
    return Path(ir), Path(router)
