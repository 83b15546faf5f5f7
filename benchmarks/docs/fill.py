"""The numbers in the documents come from result files, by this.

A document marks a table or a number, and what it is made of:

    <!-- results: latency latency-setting1-int8-cpu2 512x512 -->
    ... replaced ...
    <!-- /results -->

The first word is a function of `renderings`, the others are its arguments. `python -m
lorair.benchmarks.docs.fill` puts the present results in; a test fails where they differ.
"""

import re
import shlex
from pathlib import Path
from typing import Final

from lorair.benchmarks.docs import renderings
from lorair.runtime.errors import ResultError
from lorair.runtime.system.atomic import atomic_file

ROOT: Final = Path(__file__).resolve().parents[2]
MARK: Final = re.compile(r"(<!-- results: (.+?) -->)(.*?)(<!-- /results -->)", re.DOTALL)


def documents() -> list[Path]:
    """Every Markdown document of the project."""
    places = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("exporter/demo/*.md")]
    return sorted(places)


def rendered(text: str, results: Path = ROOT / "benchmarks" / "results") -> str:
    """A document with what its marks say.

    Raises ResultError: a mark names no function, or a result that does not have what it wants.
    """

    def replaced(match: re.Match[str]) -> str:
        begin, words, _, end = match.groups()
        made = _render(words, results)
        around = "\n" if "\n" in made else ""
        return f"{begin}{around}{made}{around}{end}"

    return MARK.sub(replaced, text)


def _render(words: str, results: Path) -> str:
    name, *arguments = shlex.split(words)
    functions, what = renderings.FUNCTIONS, f"cannot make the numbers of {words!r}"
    if name not in functions:
        raise ResultError(what, wanted=" or ".join(functions), found=name)
    try:
        return functions[name](results, *arguments)
    except (TypeError, LookupError, ValueError) as error:
        wanted = "arguments that fit its results"
        raise ResultError(what, wanted=wanted, found=str(error)) from error


def main() -> None:
    """Put the present results into every document."""
    for path in documents():
        text = path.read_text("utf-8")
        new = rendered(text)
        if new != text:
            with atomic_file(path) as partial:
                partial.write_text(new, "utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
