"""`lorair-run tune`: which backend is the fastest on this machine."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lorair.runtime.commands.options import DEFAULT_BUNDLE, BundleArgument
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.runtime.tune import Timing


def tune(bundle: BundleArgument = DEFAULT_BUNDLE, as_json: console.JsonOption = False) -> None:
    """Time every backend with a bundle on this machine; `--backend auto` then takes the fastest.

    Takes about a minute. Upgrading a library makes it forget.
    """
    from lorair.runtime.bundle.manifest import Bundle
    from lorair.runtime.system import cache
    from lorair.runtime.tune import time_all

    opened = Bundle.open(bundle)
    with console.progress(f"time the backends with {opened.path}") as report:
        timings = time_all(opened, report)
    if as_json:
        console.print_json([_entry(one) for one in timings])
    else:
        _show(timings)
    if cache.folder() is None:
        console.note(f"nothing is kept: the cache is off ({cache.VARIABLE})")


def _entry(timing: "Timing") -> dict[str, Any]:
    if timing.lacks is not None:
        return {"name": timing.name, "lacks": timing.lacks}
    return {**asdict(timing), "seconds": timing.seconds}


def _show(timings: "list[Timing]") -> None:
    from lorair.runtime.tune import SIDES

    sizes = (f">{side}x{side}" for side in SIDES)
    table = console.table("ms", ">router", *sizes, ">all", "not timed, because")
    for one in timings:
        values = (one.router, *one.restorer, one.seconds)
        cells = ("",) * (len(SIDES) + 2) if one.lacks else (f"{v * 1000:.0f}" for v in values)
        table.add_row(one.name, *cells, one.lacks or "")
    console.stdout().print(table)
