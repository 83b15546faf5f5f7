"""The command `lorair-export upload`."""

from pathlib import Path
from typing import Annotated

import typer

from lorair.exporter.commands.options import bundle_argument, require
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.system import console


def upload(
    path: Annotated[Path, bundle_argument("Bundle to upload.")],
    to_hub: Annotated[
        str, typer.Option(metavar="REPO", help="Repository on the hub, as owner/name.")
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the model card, and upload nothing.")
    ] = False,
) -> None:
    """Put a bundle on the Hugging Face hub, with a model card made from its manifest."""
    from lorair.exporter.publish import card

    bundle = Bundle.open(path)
    if dry_run:
        print(card(bundle, to_hub))
    else:
        publish(bundle, to_hub, private=private)


def publish(bundle: Bundle, repo: str, *, private: bool = False) -> None:
    """Upload it and say which commit that made."""
    require("huggingface_hub")
    from lorair.exporter.publish import upload as put

    with console.step(f"upload to {repo}"):
        commit = put(bundle, repo, private=private)
    console.note(f"{repo} has it at {commit}")
