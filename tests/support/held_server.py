"""`lorair-run serve` over a stub whose first picture waits for a line on stdin."""

import sys
import threading
from typing import Any

from stub_restorer import StubRestorer

from lorair.runtime import restorer
from lorair.runtime.commands import main as cli

stub = StubRestorer()
stub.open.clear()


def announce() -> None:
    stub.began.acquire()
    print("began", flush=True)
    sys.stdin.readline()
    stub.open.set()


def opened(*_: Any) -> StubRestorer:
    return stub


restorer.Restorer.open = opened  # type: ignore[assignment,method-assign]
threading.Thread(target=announce, daemon=True).start()
cli.main()
