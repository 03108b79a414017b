"""What Prometheus may read of a server at /metrics."""

from __future__ import annotations

import functools

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from benchmarks.cloud.batching import Answer
from benchmarks.cloud.models import Model, Models

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = {"GET", "POST"}  # a stranger's own method must not become a new series


class Metrics:
    """The counters of one server."""

    def __init__(self, models: Models) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "lokma_requests", "answered requests", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "lokma_request_seconds", "head to answer", ("route",), registry=self._registry, buckets=_SECONDS
        )
        self._stages = Histogram(
            "lokma_stage_seconds",
            "a request's stages",
            ("model", "version", "stage"),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._rows = Histogram(
            "lokma_batch_rows",
            "rows that ran together, by request",
            ("model", "version"),
            registry=self._registry,
            buckets=(1, 2, 4, 8, 16, 32, 64),
        )
        waiting = Gauge("lokma_waiting", "requests in the queue", ("model", "version"), registry=self._registry)
        for model in models.all():
            waiting.labels(model.name, model.version).set_function(model.queue.waiting)

        self._series = functools.cache(lambda metric, *labels: metric.labels(*labels))  # looked up for each request

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        self._series(self._requests, method if method in _METHODS else "other", route, status).inc()
        self._series(self._seconds, route).observe(seconds)

    def ran(self, model: Model, answer: Answer) -> None:
        """Counts one inference."""
        self._series(self._stages, model.name, model.version, "queue").observe(answer.queue_ns / 1e9)
        self._series(self._stages, model.name, model.version, "inference").observe(answer.inference_ns / 1e9)
        self._series(self._rows, model.name, model.version).observe(answer.batch)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)
