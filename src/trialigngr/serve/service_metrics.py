"""`ServiceMetrics`: what Prometheus asks. Labels are runs, routes and statuses, of which there are few; never ids."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from trialigngr.serve.engine import BatchEngine

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServiceMetrics:
    """Counters of one service."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "trialigngr_requests", "Requests by outcome.", ["route", "method", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "trialigngr_request_seconds", "Time to answer.", ["route"], registry=self._registry, buckets=SECONDS
        )
        self._sizes = Histogram(
            "trialigngr_batch_requests", "Requests decoded together.", ["run"], registry=self._registry, buckets=SIZES
        )
        self._decoded = Histogram(
            "trialigngr_batch_seconds", "Time to decode a batch.", ["run"], registry=self._registry, buckets=SECONDS
        )
        self._waiting = Gauge("trialigngr_waiting_requests", "Requests that wait.", ["run"], registry=self._registry)
        self._reloads = Counter(
            "trialigngr_catalogue_reloads", "Catalogues that were taken up.", ["run"], registry=self._registry
        )

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request by the template of its path."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_reload(self, run: str) -> None:
        """Count a catalogue that was taken up."""
        self._reloads.labels(run).inc()

    def watch_batches(self, run: str) -> Callable[[int, float], None]:
        """Return what is told of each batch of a run."""
        sizes, decoded = self._sizes.labels(run), self._decoded.labels(run)

        def watch_batch(size: int, seconds: float) -> None:
            sizes.observe(size)
            decoded.observe(seconds)

        return watch_batch

    def watch_queue(self, run: str, engine: BatchEngine) -> None:
        """Ask an engine how many requests wait whenever that is wanted."""
        self._waiting.labels(run).set_function(lambda: engine.num_waiting)

    def write_text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        return generate_latest(self._registry)
