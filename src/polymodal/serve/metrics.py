"""Counters of a service in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from polymodal.serve.messages import Answer

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)


class Metrics:
    """What a service counts; each service has its own, so that several can live in one process.

    Args:
        in_flight, waiting: tell how many requests there are now, and how many of them wait for a worker.
    """

    def __init__(self, in_flight: Callable[[], float], waiting: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "polymodal_requests",
            "Requests to /predict by HTTP status; 499: the client went away",
            ["status"],
            registry=self.registry,
        )
        self._took = Histogram(
            "polymodal_request_seconds",
            "From the end of an upload to its answer",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._work = Counter(
            "polymodal_stage_seconds", "Seconds of work per stage of prediction", ["stage"], registry=self.registry
        )
        self._media = Counter("polymodal_media_seconds", "Seconds of media answered", registry=self.registry)
        flying = Gauge("polymodal_requests_in_flight", "Requests being received or answered", registry=self.registry)
        flying.set_function(in_flight)
        queue = Gauge("polymodal_queue_length", "Requests waiting for a worker", registry=self.registry)
        queue.set_function(waiting)

    def answered(self, answer: Answer, took: float) -> None:
        """Count a prediction."""
        self._took.observe(took)
        self._media.inc(answer.duration)
        for stage, seconds in answer.seconds.items():
            self._work.labels(stage).inc(seconds)

    def count(self, status: int) -> None:
        """Count a request by its status."""
        self._requests.labels(str(status)).inc()

    @property
    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)
