"""Each of pytest-xdist's workers on cores of its own. Imported before what starts threads.

Libraries start a thread a core; two workers whose threads wait for each other's cores would
be slower than one.
"""

import os

_WORKER = os.environ.get("PYTEST_XDIST_WORKER")

if _WORKER is not None and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    _count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    if len(_cores) >= _count:
        # A worker in the place of one that died has the next number, beyond the count.
        os.sched_setaffinity(0, _cores[int(_WORKER.removeprefix("gw")) % _count :: _count])
