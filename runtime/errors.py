"""The one error tree.

LorairError                something failed; exit code 1
├── VerificationError      a result is outside its limits
├── EngineError            an engine that could not be built
├── BusyError              a server that cannot take or end a request now; later it may
├── InternalError          a library failed in a way that is not the user's doing
│   └── OutOfMemoryError   memory of the machine or the GPU ran out
└── UserError              the user can put it right; exit code 2
    ├── OptionError        an option or argument
    ├── DependencyError    a package that is not installed
    ├── CheckpointError    a weights file
    ├── ConfigError        a configuration that contradicts itself or the weights
    ├── BundleError        a bundle folder
    ├── PictureError       a picture, as a file or as an array
    ├── RouteError         a saved route
    ├── RequestError       a request that a server refuses
    ├── OutputError        a place to write to
    │   └── DiskFullError  no space is left there
    ├── ResultError        a result file of lorair-bench
    └── BackendError       a backend that cannot run here

Every error says what failed, what was wanted and found, and what to do next, in one line.
"""

_LONGEST = 1000
"""Characters of what was wanted or found: names in foreign files may have any length."""


class LorairError(Exception):
    """Something failed.

    Args:
        what: what failed, naming the file or option.
        wanted: what would have been right.
        found: what was there instead.
        hint: what to do next.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        wanted: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.wanted, self.found, self.hint = what, wanted, found, hint
        super().__init__(self.line())

    def line(self) -> str:
        """The whole message as one line of text that a terminal shows and does not obey."""
        expectation = ", ".join(
            f"{label} {value[:_LONGEST]}{' …' * (len(value) > _LONGEST)}"
            for label, value in (("wanted", self.wanted), ("found", self.found))
            if value is not None
        )
        message = f"{self.what}: {expectation}" if expectation else self.what
        if self.hint is not None:
            message = f"{message}; {self.hint}"
        return printable(" ".join(message.split()))


def printable(text: str) -> str:
    """Replace what would control a terminal, or cannot be encoded, by its escape; keep newlines."""
    if text.isprintable():
        return text
    shown = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return "".join(shown)


def as_lorair_error(error: Exception, what: str) -> LorairError:
    """The error itself if it is one of ours, or an InternalError that says `what` failed."""
    if isinstance(error, LorairError):
        return error
    bug = InternalError(what, found=f"{type(error).__name__}: {error}", hint="this is a bug")
    bug.__cause__ = error  # for --debug
    return bug


class VerificationError(LorairError):
    """A result is outside its limits."""


class EngineError(LorairError):
    """An engine that could not be built, or is not in the precision it should be."""


class BusyError(LorairError):
    """A server that cannot take a request now, or did not end it in time.

    `retry_after` is the seconds after which another try is worth it.
    """

    def __init__(self, what: str, *, retry_after: int, **words: str | None) -> None:
        super().__init__(what, **words)
        self.retry_after = retry_after


class InternalError(LorairError):
    """A library failed in a way that is not the user's doing."""


class OutOfMemoryError(InternalError):
    """Memory of the machine or the GPU ran out; a smaller picture or tile may do."""


class UserError(LorairError):
    """The user can put it right."""

    exit_code = 2


class OptionError(UserError):
    """An option or argument that cannot be."""


class DependencyError(UserError):
    """A package that this command needs is not installed."""


class CheckpointError(UserError):
    """A weights file that cannot be used."""


class ConfigError(UserError):
    """A configuration that contradicts itself or the weights."""


class BundleError(UserError):
    """A bundle that is missing, damaged or of another version."""


class PictureError(UserError):
    """A picture that cannot be read, or is not what the network takes."""


class RouteError(UserError):
    """A saved route that cannot be read, or is another model's."""


class RequestError(UserError):
    """A request that a server refuses; `status` is HTTP's number for it, 400 to 499."""

    def __init__(self, status: int, what: str, **words: str | None) -> None:
        super().__init__(what, **words)
        self.status = status


class OutputError(UserError):
    """A place that cannot be written to."""


class DiskFullError(OutputError):
    """No space is left; whatever is written there next would fail as well."""


class ResultError(UserError):
    """A result file that cannot be read, or compared with another."""


class BackendError(UserError):
    """A backend that is unknown or cannot run here."""
