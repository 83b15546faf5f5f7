"""What the fuzzers of models share: seeds from `hostile_models`, and a file for each input.

What they find goes into `hostile_models.FILES` (the bytes after the first, which is the kind).
"""

import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import hostile_models


def fuzz(kinds: tuple[str, ...]) -> None:
    """Fuzz `hostile_models.answer` with files of these kinds until libFuzzer ends."""
    warnings.simplefilter("ignore")
    for argument in sys.argv[1:]:
        if not argument.startswith("-") and not Path(argument).is_file():
            corpus = Path(argument)
            corpus.mkdir(parents=True, exist_ok=True)
            for name, content in hostile_models.seeds(kinds):
                (corpus / name).write_bytes(content)
    with tempfile.TemporaryDirectory() as folder:
        hostile_models.warm_up(Path(folder))

        def once(content: bytes) -> None:
            if content:
                path = Path(folder, f"input.{kinds[content[0] % len(kinds)]}")
                path.write_bytes(content[1:])
                hostile_models.answer(path)

        atheris.Setup(sys.argv, once)
        atheris.Fuzz()
