"""What the server counts, for Prometheus."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class ServerMetrics:
    """Counters of one server.

    The model of requests that name an unknown one is "", so that what clients make up does not become labels.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"
    """Of `text`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        requests = Counter(
            "torchestimator_requests", "Requests answered.", ["model", "status"], registry=self._registry
        )
        seconds = Histogram(
            "torchestimator_request_seconds",
            "From the head of a request to its answer.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        rows = Histogram(
            "torchestimator_batch_rows",
            "Rows computed together.",
            ["model"],
            buckets=_ROWS,
            registry=self._registry,
        )
        queue = Gauge(
            "torchestimator_queue_requests", "Requests that wait or are being computed.", registry=self._registry
        )
        self._version = Gauge(
            "torchestimator_loaded_version", "The version that is served.", ["model"], registry=self._registry
        )
        # A lookup of labels costs more than what is then done with them.
        self._requests = cache(requests.labels)
        self._seconds = cache(seconds.labels)
        self._rows = cache(rows.labels)
        self._queue = queue

    def answered(self, model: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._requests(model, status).inc()
        self._seconds(model).observe(seconds)

    def computed(self, model: str, rows: int) -> None:
        """Counts a batch."""
        self._rows(model).observe(rows)

    def queue_is(self, requests: int) -> None:
        """Sets the length of the queue."""
        self._queue.set(requests)

    def version_is(self, model: str, version: int) -> None:
        """Sets the version."""
        self._version.labels(model).set(version)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
