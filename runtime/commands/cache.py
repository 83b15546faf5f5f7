"""`lorair-run cache`: what is kept from one run to the next."""

from typing import Annotated

import typer

from lorair.runtime.system import console


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all that is kept.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Show where compiled graphs are kept and how much room they take, or remove them.

    What `tune` measured is kept there as well. Graphs are compiled again when they are needed.
    LORAIR_CACHE names another folder, or `off`.
    """
    from lorair.runtime.system import cache as kept

    root = kept.folder()
    if clear and root is not None:
        kept.clear(root)
    entries = [] if root is None else kept.entries(root)
    taken = sum(map(kept.size, entries))
    if as_json:
        console.print_json(
            {
                "folder": None if root is None else str(root),
                "entries": len(entries),
                "bytes": taken,
                "limit_bytes": kept.LIMIT,
            }
        )
    elif root is None:
        console.say(f"nothing is kept: {kept.VARIABLE} is off")
    else:
        limit = kept.LIMIT / 2**30
        console.say(
            f"{root}: {len(entries)} entries, {taken / 1e6:.0f} MB of at most {limit:g} GiB"
        )
