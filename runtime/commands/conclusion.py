"""How a command over many pictures ends."""

from collections.abc import Mapping, Sequence

from lorair.runtime.errors import LorairError
from lorair.runtime.system import console


def conclude(counts: Mapping[str, int], errors: Sequence[LorairError], seconds: float) -> None:
    """What became of the pictures, and every error, on stderr.

    Args:
        counts: pictures by the name of their `batch.Status`.
        errors: of those that failed.
        seconds: that the run took.
    """
    from lorair.runtime.folders.run import Status

    done = counts[Status.RESTORED]
    parts = (f"{n} {status}" for status, n in counts.items() if n or status == Status.RESTORED)
    console.note(f"{', '.join(parts)}; {seconds:.1f} s, {done / seconds:.2f} a second")
    if counts[Status.SKIPPED]:
        console.note("skipped ones have a result already; --overwrite does them again")
    for error in errors:
        console.stderr().print(f"error: {error.line()}", soft_wrap=True)


def exit_code(errors: Sequence[LorairError], pictures: int) -> int:
    """0 if none failed, 1 if some did, the first error's own if all did."""
    if not errors:
        return 0
    return errors[0].exit_code if len(errors) == pictures else 1
