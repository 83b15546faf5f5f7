"""Commands of other people's tools, as they are installed with this Python."""

import os
import sys
from pathlib import Path

_MODULES = {"polygraphy": "polygraphy.tools", "onnxslim": "onnxslim.cli", "onnxsim": "onnxsim"}


def environment_with_tools(folder: Path, **variables: str) -> dict[str, str]:
    """An environment in which they are found in `folder`, and in which PyTorch does not exist.

    Polygraphy looks for PyTorch and would load it for nothing, two seconds each time; and with
    it lorair, so that what is written for these tools is seen to need neither.
    """
    for name, module in _MODULES.items():
        start = f"import sys; sys.modules.update(torch=None, lorair=None); sys.argv[0] = '{name}'"
        code = f"{start}; from {module} import main; sys.exit(main())"
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
        (folder / name).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **variables}
