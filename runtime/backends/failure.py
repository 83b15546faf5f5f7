"""Whether a library failed because memory ran out: none has an exception of its own for it."""

from typing import Final

from lorair.runtime.errors import InternalError, OutOfMemoryError

_PHRASES: Final = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "could not allocate",
    "cannot allocate",
    "can't allocate",
    "out of memory",
)


def run_failure(library: str, what: str, error: Exception) -> InternalError:
    """The error that says what a library failed on: an OutOfMemoryError if it was memory."""
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError) or any(phrase in text.lower() for phrase in _PHRASES):
        return OutOfMemoryError(
            f"memory ran out in {library} on {what}",
            found=text,
            hint="try smaller tiles, such as --tile 512",
        )
    return InternalError(f"{library} failed on {what}", found=text)
