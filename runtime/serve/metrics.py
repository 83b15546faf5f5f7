"""What Prometheus reads."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from lorair.runtime.serve.service import Service

MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS: Final = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)


class Metrics:
    """Of one app, in a registry of its own.

    Args:
        service: whose queue is looked at.
    """

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "lorair_requests", "Answered requests.", ("path", "code"), registry=self._registry
        )
        self.stages = Histogram(
            "lorair_stage_seconds",
            "Time of each stage of a picture, the queue and the whole included.",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.pixels = Counter("lorair_pixels", "Pixels restored.", registry=self._registry)
        queue = service.queue
        for name, text, value in (
            ("queue_length", "Pictures that wait.", lambda: queue.waiting),
            ("queue_limit", "Pictures that may wait.", lambda: queue.limit),
            ("in_flight", "Pictures in work.", lambda: queue.running),
            ("ready", "1 while new pictures are taken.", lambda: not queue.is_closing),
        ):
            Gauge(f"lorair_{name}", text, registry=self._registry).set_function(value)

    def restored(self, seconds: dict[str, float], pixels: int) -> None:
        """Count a restored picture."""
        for stage, time in seconds.items():
            self.stages.labels(stage).observe(time)
        self.pixels.inc(pixels)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
