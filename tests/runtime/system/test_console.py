import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from lorair.runtime.system import console


def become_another_error() -> None:
    """As compiled libraries do with what happens during their import."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    except BaseException as error:
        raise ImportError("cannot be loaded") from error


def be_dropped() -> None:
    """As Python does with what is raised while it takes an object away."""

    class Taken:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    Taken()
    time.sleep(10)


@pytest.fixture
def restored_hooks() -> Iterator[None]:
    handler, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    yield
    signal.signal(signal.SIGTERM, handler)
    sys.unraisablehook = hook


@pytest.mark.usefixtures("restored_hooks")
@pytest.mark.parametrize("lose", [become_another_error, be_dropped])
def test_sigterm_is_not_lost(lose: Callable[[], None]) -> None:
    app = console.make_app("a command")
    app.command("command")(lose)
    with pytest.raises(SystemExit) as stop, mock.patch.object(sys, "argv", ["x", "command"]):
        console.run(app)
    assert stop.value.code == 143
