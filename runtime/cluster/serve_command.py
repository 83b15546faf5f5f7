"""`lorair-run serve --ray`."""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from lorair.runtime.cluster.pool import Pool
from lorair.runtime.cluster.session import Resources, require_ray, session
from lorair.runtime.errors import OptionError
from lorair.runtime.serve.settings import Settings
from lorair.runtime.system import console, termination

_AUTH: Final = "RAY_AUTH_MODE"


def serve_on_ray(
    bundle: Path,
    backend: str,
    threads: int,
    jobs: int,
    settings: Settings,
    *,
    host: str,
    port: int,
    grace: float,
    address: str | None,
    replicas: int | None,
    most: int | None,
    gpus: float,
) -> None:
    """Serve until SIGTERM or Ctrl-C; on a cluster: deploy, or update what runs there.

    `backend`, `threads`, `jobs`, `settings` and `gpus` are each replica's: `threads` are for all
    of its pictures, and `queue` pictures may wait in each. `grace` is in seconds. Without an
    `address` Ray is started here. `replicas` is None for as many as fit, and `most`, if it is
    not None, how many there may be under load.

    Raises OptionError: port 0, or fewer replicas under load than without.
    """
    require_ray("serve", "fastapi")
    from lorair.runtime.bundle.manifest import Bundle
    from lorair.runtime.cluster import serving
    from lorair.runtime.system.machine import default_threads

    opened = Bundle.open(bundle)
    _check(port, replicas, most)
    cpus = max(default_threads(), (most or replicas or 1) * threads)
    with session(address, cpus) as found:
        pool = Pool.fitting(found, replicas, threads, gpus, opened)
        replica = serving.Replica(str(bundle.resolve()), backend, threads, jobs, settings)
        serving.start(host, port)
        serving.deploy(replica, most or pool.actors, pool, grace)
        _announce(host, port, found, pool)
        if address is None:
            with suppress(KeyboardInterrupt, SystemExit):  # what was taken is answered
                threading.Event().wait()
            termination.answer()
            serving.end()


def _check(port: int, replicas: int | None, most: int | None) -> None:
    if port == 0:
        raise OptionError("--port", wanted="1 to 65535 with --ray", found="0")
    if most is not None and most < (replicas or 1):
        raise OptionError(
            "--max-replicas", wanted=f"at least {replicas}", found=str(most), hint="or leave it out"
        )


def _announce(host: str, port: int, found: Resources, pool: Pool) -> None:
    console.say(f"lorair serves at http://{host}:{port} with {pool.actors} replicas on Ray")
    # Ray asks for a token: of its own user's if it has begun by itself (~/.ray/auth_token).
    mode = os.environ.get(_AUTH)
    prefix = "" if mode is None else f"{_AUTH}={mode} "
    console.say(f"update it with {prefix}lorair-run serve --ray --address {found.address}")
    sys.stdout.flush()
