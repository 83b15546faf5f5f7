import os
import signal
import sys
import time
from unittest import mock

import pytest

from lorair.runtime import console


def test_a_library_that_swallows_the_exit_of_sigterm() -> None:
    """Some turn every exception of an import into one of their own."""
    app = console.make_app("a command")

    @app.command()
    def command() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except BaseException as error:
            raise ImportError("cannot be loaded") from error

    before = signal.getsignal(signal.SIGTERM)
    try:
        with (
            pytest.raises(SystemExit) as stop,
            mock.patch.object(sys, "argv", ["lorair", "command"]),
        ):
            console.run(app)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stop.value.code == 143
