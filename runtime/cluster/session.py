"""Ray, begun on this machine or joined at an address: quiet, and without telling anybody."""

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from lorair.runtime.errors import BackendError
from lorair.runtime.system.extras import require

AddressOption = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        help="The address of a running Ray cluster, or `auto`. Default: start Ray for this "
        "command.",
    ),
]

_LOCAL: Final = "local"
_STORE_BYTES: Final = 256 * 2**20
"""For objects of a Ray of our own: names and results go through it, never pixels."""

_STDERR: Final = 2
_TRIES: Final = 3
_PAUSE: Final = 2.0

_SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # of every Ray Data pool it logs an error that is none
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or Ray warns that its default will be 0
}


@dataclass(frozen=True)
class Resources:
    """What a cluster has now, in use or not.

    memory: in bytes. address: under which others join it.
    """

    cpus: float
    gpus: float
    memory: float
    nodes: int
    address: str


def require_ray(what: str, *packages: str) -> None:
    """Raise DependencyError if Ray or another package of the `ray` extra is not installed."""
    require(f"{what} on Ray", "cpu,ray", "ray", *packages)


@contextmanager
def session(address: str | None, cpus: int | None = None) -> Iterator[Resources]:
    """Join the cluster at an address, or start Ray on this machine for the time of the block.

    A Ray of our own counts as many CPUs as it is told; None for its cores.

    Raises BackendError: there is no cluster at the address, or Ray does not start.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    on_sigterm = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        options |= {"num_cpus": cpus, "object_store_memory": _STORE_BYTES}
        options |= {"include_dashboard": False}
    try:
        _init(ray, address or _LOCAL, options)
    except Exception as error:  # Ray raises whatever it meets on the way
        here = address is None
        raise BackendError(
            "cannot start Ray" if here else f"cannot join Ray at {address}",
            found=str(error) or type(error).__name__,
            hint="look into /tmp/ray/session_latest/logs"
            if here
            else "`ray status` shows whether a cluster runs",
        ) from error
    try:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own in the place
        yield _resources(ray)
    finally:
        ray.shutdown()


def _init(ray: Any, address: str, options: dict[str, Any]) -> None:
    """Ray's own limit to a connection is short on a machine that is busy."""
    for left in range(_TRIES - 1, -1, -1):
        try:
            with _no_stderr():
                ray.init(address, **options)
        except ConnectionError:
            if not left:
                raise
            time.sleep(_PAUSE)
        else:
            return


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Ray's C++ tells which log level it was given; its errors are exceptions."""
    kept = os.dup(_STDERR)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  (no Path: a device)
            os.dup2(nowhere.fileno(), _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)


def _resources(ray: Any) -> Resources:
    found = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    return Resources(
        cpus=found.get("CPU", 0),
        gpus=found.get("GPU", 0),
        memory=found.get("memory", 0),
        nodes=nodes,
        address=ray.get_runtime_context().gcs_address,
    )
