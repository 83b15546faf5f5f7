"""The server on Ray Serve: replicas of the same app, each with a restorer of its own."""

import logging
from dataclasses import dataclass
from typing import Any, Final

from lorair.runtime.cluster.pool import Pool
from lorair.runtime.errors import BackendError
from lorair.runtime.serve.settings import Settings

NAME: Final = "lorair"
"""Of the application and its deployment: who deploys it again updates it."""

_QUESTIONS: Final = 64
"""Requests beside pictures that a replica may have at once: health, metrics, progress."""


@dataclass(frozen=True)
class Replica:
    """What every replica is told; as for `Restorer.open`."""

    bundle: str
    backend: str
    threads: int
    jobs: int
    settings: Settings


def start(host: str, port: int) -> None:
    """Let Ray Serve listen on every node that has a replica; a running one stays as it is."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options={"host": host, "port": port}, logging_config=_logs())


def deploy(replica: Replica, most: int, pool: Pool, grace: float) -> None:
    """Deploy the app, or roll what is running over to it; returns when it takes requests.

    Args:
        replica: what each of them is told.
        most: replicas under load; above `pool.actors` they come and go with it.
        pool: how many there are, with `cpus` and `gpus` of each.
        grace: seconds that a replica which goes may take for what it has taken.

    Raises:
        BackendError: the replicas do not start.
    """
    from ray import serve
    from ray.serve.exceptions import RayServeException

    room = replica.jobs + replica.settings.queue
    many = {"num_replicas": most} if most == pool.actors else {
        "autoscaling_config": {
            "min_replicas": pool.actors,
            "max_replicas": most,
            "target_ongoing_requests": replica.jobs,
        }
    }  # fmt: skip
    deployment = serve.deployment(
        name=NAME,
        max_ongoing_requests=room + _QUESTIONS,
        max_queued_requests=room,
        graceful_shutdown_timeout_s=grace,
        ray_actor_options={"num_cpus": pool.cpus, "num_gpus": pool.gpus},
        **many,
    )(serve.ingress(_builder(replica))())
    try:
        serve.run(deployment.bind(), name=NAME, logging_config=_logs())
    except (RayServeException, RuntimeError) as error:
        raise BackendError(
            "the replicas do not start",
            found=" ".join(str(error).split())[-300:],
            hint="`serve status` and its logs have more",
        ) from error


def end() -> None:
    """Take what is served away; a Ray of our own ends with it."""
    from ray import serve

    serve.shutdown()


def _builder(replica: Replica) -> Any:
    def build() -> Any:
        from lorair.runtime.restorer import Restorer
        from lorair.runtime.serve.app import create_app
        from lorair.runtime.serve.service import Service

        restorer = Restorer.open(replica.bundle, replica.backend, replica.threads, replica.jobs)
        service = Service(restorer, replica.settings)
        return create_app(service, replica.settings)

    return build


def _logs() -> dict[str, Any]:
    """Ray Serve's own access log would be a second one."""
    return {"log_level": "WARNING", "enable_access_log": False}
