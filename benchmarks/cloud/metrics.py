"""What Prometheus may read of a server at /metrics.

Each request is counted in plain numbers, by the one thread that answers; they become Prometheus's when it asks. Its own
counters take a lock for each, which was a sixth of what this server does for an answer beside its inference.

>>> seconds = Counts((0.1, 1))
>>> for one in (0.05, 0.1, 5):
...     seconds.add(one)
>>> seconds.buckets()
[('0.1', 2.0), ('1', 2.0), ('+Inf', 3.0)]
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from benchmarks.cloud.batching import Answer
from benchmarks.cloud.models import Model, Models

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64)
_METHODS = {"GET", "POST"}  # a stranger's own method must not become a new series


class Counts:
    """How many values fell below each bound, and their sum: a histogram of one thread."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.sum = bounds, 0.0
        self._counts = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        """Counts one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Each bound and how many values were at most that, as Prometheus has them."""
        names = (*map(str, self.bounds), "+Inf")
        return list(zip(names, map(float, itertools.accumulate(self._counts)), strict=True))


class Metrics(Collector):
    """The counters of one server."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._seconds: dict[str, Counts] = defaultdict(lambda: Counts(_SECONDS))
        self._queue, self._inference = ({_series(one): Counts(_SECONDS) for one in models.all()} for _ in range(2))
        self._rows = {_series(one): Counts(_ROWS) for one in models.all()}
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        self._requests[method if method in _METHODS else "other", route, str(status)] += 1
        self._seconds[route].add(seconds)

    def ran(self, model: Model, answer: Answer) -> None:
        """Counts one inference."""
        series = _series(model)
        self._queue[series].add(answer.queue_ns / 1e9)
        self._inference[series].add(answer.inference_ns / 1e9)
        self._rows[series].add(answer.batch)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks for."""
        requests = CounterMetricFamily("lokma_requests", "answered requests", labels=("method", "route", "status"))
        for labels, count in self._requests.items():
            requests.add_metric(labels, count)
        yield requests
        yield _histogram(
            "lokma_request_seconds", "head to answer", ("route",), {(k,): v for k, v in self._seconds.items()}
        )
        stages = {(*series, "queue"): one for series, one in self._queue.items()}
        stages |= {(*series, "inference"): one for series, one in self._inference.items()}
        yield _histogram("lokma_stage_seconds", "a request's stages", ("model", "version", "stage"), stages)
        yield _histogram("lokma_batch_rows", "rows that ran together, by request", ("model", "version"), self._rows)
        waiting = GaugeMetricFamily("lokma_waiting", "requests in the queue", labels=("model", "version"))
        for model in self._models.all():
            waiting.add_metric(_series(model), model.queue.waiting())
        yield waiting

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)


def _series(model: Model) -> tuple[str, str]:
    return model.name, str(model.version)


def _histogram(name: str, about: str, labels: tuple[str, ...], series: Mapping[Any, Counts]) -> Metric:
    found = HistogramMetricFamily(name, about, labels=labels)
    for values, counts in series.items():
        found.add_metric(values, counts.buckets(), counts.sum)
    return found
