"""`training` is no installed package; here it is loaded by its file.

The repository's root must not be on the path: it would make the other folders importable
bare, as a second copy.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def _load(name: str) -> None:
    folder = Path(__file__).parents[2] / name
    spec = spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


if "training" not in sys.modules:
    _load("training")
