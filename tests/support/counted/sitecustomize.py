"""On the path of a test's processes: every picture that is written leaves a line in a log."""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LOG = os.environ.get("COUNTED_LOG", "")
MODULE = "lorair.runtime.images"


class _Counting(MetaPathFinder):
    """Wraps `images.write` as soon as something imports it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            write = module.write

            def counted(path: Path, *what: Any) -> Any:
                if path.name == os.environ.get("COUNTED_DEADLY"):
                    os._exit(1)  # as if memory had run out
                result = write(path, *what)
                with open(LOG, "a") as log:  # noqa: PTH123
                    log.write(f"{os.getpid()} {path.name}\n")
                return result

            module.write = counted

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if LOG:
    sys.meta_path.insert(0, _Counting())
