"""What all three commands share: results to stdout, progress to stderr, errors in one place."""

import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from lorair.runtime.errors import LorairError, OutputError, printable
from lorair.runtime.system import termination
from lorair.runtime.system.atomic import atomic_file, check_writable_file

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

DEBUG_VARIABLE = "LORAIR_DEBUG"

_SPEED_SECONDS = 600.0
"""A bar's time left is by the speed of the last minutes: a step may take half a minute."""

T = TypeVar("T")

_settings: dict[str, Any] = {"debug": False, "bar": None}


class _Command(TyperCommand):
    """A command whose flags show no `<bool>` in its help."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for parameter in self.params:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""


class _App(typer.Typer):
    """An application of such commands."""

    def command(self, *arguments: Any, **options: Any) -> Any:
        return super().command(*arguments, **{"cls": _Command, **options})


def make_app(text: str) -> typer.Typer:
    """Make a command-line application with `--version` and `--debug`."""
    app = _App(
        help=text,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        show_version: Annotated[
            bool,
            typer.Option(
                "--version", help="Print the version.", callback=_print_version, is_eager=True
            ),
        ] = False,
        debug: Annotated[
            bool, typer.Option("--debug", envvar=DEBUG_VARIABLE, help="Show tracebacks of errors.")
        ] = False,
    ) -> None:
        _settings["debug"] = debug
        if not debug:
            # Libraries' warnings (damaged EXIF, say) are no message to a user.
            warnings.simplefilter("ignore")

    return app


def make_group(app: typer.Typer, name: str, text: str) -> typer.Typer:
    """Add a command to an application that has commands of its own."""
    group = _App(help=text, no_args_is_help=True)
    app.add_typer(group, name=name)
    return group


def run(app: typer.Typer) -> None:
    """Run the application; turn its errors into one line on stderr and an exit code."""
    _settings["debug"] = False
    with termination.raised():
        try:
            app()
        except LorairError as error:
            _fail(f"error: {error.line()}", error.exit_code)
        except OSError as error:  # stdout closed or full; files have errors of their own
            _fail(f"error: {error}", 1)
        except Exception as error:  # the one place where an unknown error becomes an exit code
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            hint = "run again with --debug before the command and report what it shows"
            _fail(f"error: {what}; this is a bug in lorair, {hint}", 1)


def _fail(message: str, code: int) -> None:
    termination.check()  # a library took our exit for a failure of its own
    if _settings["debug"]:
        traceback.print_exc()
    print(printable(message), file=sys.stderr)
    sys.exit(code)


def lorair_version() -> str:
    """The installed version, or `unknown` in a bare source tree."""
    try:
        return version("lorair")
    except PackageNotFoundError:
        return "unknown"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"lorair {lorair_version()}")
        raise typer.Exit


def stdout() -> "Console":
    """Rich on stdout, for results; see `_console`."""
    return _console(stderr=False)


def stderr() -> "Console":
    """Rich on stderr, for progress and notes; see `_console`."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> "Console":
    """Rich without markup: names may hold brackets. What would control a terminal is escaped."""
    from rich.console import Console
    from rich.segment import Segment

    class Safe(Console):
        def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
            for text, style, control in super().render(*arguments, **options):
                yield Segment(text if control else printable(text), style, control)

    return Safe(stderr=stderr, highlight=False, markup=False)


def status(text: str) -> AbstractContextManager[object]:
    """A spinner on stderr while something runs; nothing if stderr is no terminal."""
    from rich.text import Text

    return stderr().status(Text(f"{text} …")) if sys.stderr.isatty() else nullcontext()


@contextmanager
def bar(text: str) -> Iterator[Callable[[float, str], None]]:
    """A bar on stderr while something runs, with the time left, if stderr is a terminal.

    What it yields takes the fraction done and what is being done; until then it only moves.
    It raises SystemExit if SIGTERM has come, as `step` and `counter` do.
    """
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[detail]}", style="dim", markup=False),
    )
    shown = progress.Progress(
        *columns, console=stderr(), transient=True, disable=not sys.stderr.isatty(),
        speed_estimate_period=_SPEED_SECONDS,
    )  # fmt: skip
    with shown:
        task = shown.add_task(text, total=None, detail="")

        def report(done: float, detail: str) -> None:
            termination.check()
            shown.update(task, total=1.0, completed=done, detail=detail)

        yield report


@contextmanager
def step(text: str) -> Iterator[None]:
    """A spinner on stderr while a long step runs, then a line with its time."""
    termination.check()
    with _timed(text), status(text):
        yield


@contextmanager
def progress(text: str) -> Iterator[Callable[[float, str], None]]:
    """`step` with a `bar`."""
    with _timed(text), bar(text) as report:
        yield report


@contextmanager
def counted(text: str, items: Sequence[T]) -> Iterator[Iterator[T]]:
    """`progress` with the items, which it counts as they are taken."""
    with progress(text) as report:

        def each() -> Iterator[T]:
            for done, item in enumerate(items):
                report(done / len(items), f"{done + 1} of {len(items)}")
                yield item

        yield each()


@contextmanager
def counter(total: int) -> Iterator[Callable[..., None]]:
    """A bar on stderr with rate and time left, if that is a terminal.

    What it yields is called for each one done, or with the share of one that is. `say` prints
    above the bar.
    """
    from rich import progress
    from rich.text import Text

    class Rate(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            return Text(f"{task.speed:.2f}/s" if task.speed else "")

    shown = total > 1 and sys.stderr.isatty()
    columns = (progress.BarColumn(), progress.MofNCompleteColumn(), Rate())
    left = progress.TimeRemainingColumn(elapsed_when_finished=True)
    # Redirected, results would go to stderr as well, also where stdout is a file.
    bar = progress.Progress(
        *columns, left, console=stderr(), transient=True, disable=not shown,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=total)
        _settings["bar"] = bar.console if shown else None

        def advance(share: float = 1.0) -> None:
            termination.check()
            bar.advance(task, share)

        try:
            yield advance
        finally:
            _settings["bar"] = None


def say(text: str) -> None:
    """A result's line on stdout; above the bar if there is one on the same terminal."""
    bar = _settings["bar"] if sys.stdout.isatty() else None
    (bar or stdout()).print(text, soft_wrap=True)


@contextmanager
def _timed(text: str) -> Iterator[None]:
    """A line with the block's time, if it ends well."""
    import time

    from rich.text import Text

    start = time.perf_counter()
    yield
    seconds = f"{time.perf_counter() - start:.1f} s"
    stderr().print(Text.assemble(("✓ ", "green"), f"{text} ", (seconds, "dim")), soft_wrap=True)


def note(text: str) -> None:
    """A line on stderr that is neither result nor error."""
    (_settings["bar"] or stderr()).print(f"note: {text}", soft_wrap=True)


def table(*columns: str, title: str | None = None) -> "Table":
    """A plain table; columns that start with `>` are right-aligned."""
    from rich import box
    from rich.table import Table

    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        out.add_column(column.lstrip(">"), justify="right" if right else "left")
    return out


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    import json

    print(json.dumps(value, indent=2))


def check_outputs(outputs: Iterable[Path | None], used: Iterable[Path]) -> None:
    """Raise OutputError if an output cannot be written, or is a used file or another output.

    An output of None, which is not wanted, passes.
    """
    taken = {path.resolve() for path in used}
    for path in filter(None, outputs):
        check_writable_file(path)
        if path.resolve() in taken:
            raise OutputError(
                f"cannot write {path}",
                wanted="a file of its own",
                found="an input or output of this run",
                hint="choose another name",
            )
        taken.add(path.resolve())


def check_report(report: Path | None, used: Iterable[Path]) -> None:
    """Raise OutputError if a report cannot be written; no folder is made for it."""
    if report is not None and not report.parent.exists():
        raise OutputError(
            f"cannot write {report}",
            wanted="a folder that is there",
            found=f"no folder {report.parent}",
            hint="check the path, or make the folder",
        )
    check_outputs([report], used)


def write_json(path: Path, value: Any) -> None:
    """One JSON document into a file, atomically."""
    import json

    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
