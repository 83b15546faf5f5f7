"""Triton's interpreter, without a third of its time that changes nothing.

It gives the language's functions its own meaning at every launch, and again at each call of a
function of the language within a kernel, of which there are thousands. Within a launch the
second time finds everything done: here a module's functions get it once a launch.
"""

from functools import cache
from typing import Any


@cache
def patch_once() -> None:
    """Call it before kernels run."""
    from triton.runtime import interpreter

    patch, launch, done = interpreter._patch_lang, interpreter.GridExecutor.__call__, set()

    def launched(executor: Any, *arguments: Any, **options: Any) -> Any:
        done.clear()
        return launch(executor, *arguments, **options)

    def once(function: Any) -> Any:
        module = id(function.__globals__)
        if module in done:
            return None  # only a launch looks at it
        done.add(module)
        return patch(function)

    interpreter.GridExecutor.__call__ = launched
    interpreter._patch_lang = once
