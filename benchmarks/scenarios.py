"""How load is offered, by MLPerf LoadGen's definitions, and when a run of it counts. Standard library only.

SingleStream asks the next query when the last is answered. In Server queries arrive as a Poisson process whether
the ones before are answered or not, and a latency counts from the arrival. Offline asks everything at once. A run
lasts at least so long and has at least so many queries, as MLPerf Mobile's presets say; one that did not is invalid.

tests/benchmarks/test_loadgen.py holds all this against LoadGen. What differs: a run lasts to its last answer (LoadGen
counts Server to the last arrival, SingleStream to the last question). Throughput is answers over that time (LoadGen
leaves one of Server's out). Offline takes its inputs in their order (LoadGen shuffles them once), and where no rate is
expected, the one that was just measured (LoadGen: 1 a second). p99 is a rank lower where 1 % of the queries is a whole
number, which changes no verdict. A SingleStream of under 64 queries is invalid to LoadGen; here no preset has fewer.

>>> settings = Scenario.preset("quick")
>>> settings.name, settings.min_duration_s, settings.min_queries
('SingleStream', 10.0, 128)
>>> settings.doubts([9_000_000] * 64, 0.6)
['it lasted 0.6 s, of 10 s at least', 'it had 64 queries, of 128 at least']
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge_runtime.errors import BadRequest
from edge_runtime.measure import drop_bound, quantile

NAMES = ("SingleStream", "Server", "Offline")
# seconds and queries: https://github.com/mlcommons/mobile_app_open, flutter/assets/tasks.pbtxt
PRESETS = {"rapid": (6.0, 64), "quick": (10.0, 128), "normal": (60.0, 1024)}
BOUND_NS = 100_000_000  # LoadGen's server_target_latency_ns, unless told otherwise
SHARE = SURE = 0.99  # of the queries of Server that must stay within it, and how sure that must be
SPARE = 1.1  # Offline asks for so much more than the rate that is expected, so that it lasts long enough


@dataclass(frozen=True)
class Scenario:
    """What is offered. `qps` is Server's arrival rate, or what Offline expects; `seed` draws samples and times.

    Raises:
        BadRequest: no such scenario, a number is not above 0, or Server has no rate.
    """

    name: str = "SingleStream"
    min_duration_s: float = 0.0
    min_queries: int = 1
    qps: float | None = None
    bound_ns: int = BOUND_NS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise BadRequest(f"there is no scenario {self.name!r}; there are {', '.join(NAMES)}")
        if not 0 <= self.min_duration_s < math.inf or self.min_queries < 1 or self.bound_ns < 1:
            raise BadRequest("a scenario's duration, queries and bound cannot be below 0, 1 and 1 ns")
        if self.qps is not None and not 0 < self.qps < math.inf:
            raise BadRequest(f"queries a second must be above 0; got {self.qps:g}")
        if self.name == "Server" and self.qps is None:
            raise BadRequest("the scenario Server needs the rate at which queries arrive: --qps 20")

    @classmethod
    def preset(cls, preset: str, name: str = "SingleStream", **changes: Any) -> Scenario:
        """One of MLPerf Mobile's for SingleStream: `rapid`, `quick`, `normal`; for every scenario here.

        Its Offline has no duration and 64, 2,457 or 24,576 samples; it has no Server.

        Raises:
            BadRequest: there is no such preset.
        """
        if preset not in PRESETS:
            raise BadRequest(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
        seconds, queries = PRESETS[preset]
        return cls(name, seconds, queries, **changes)

    def is_met(self, seconds: float, queries: int) -> bool:
        """Whether so much is enough."""
        return seconds >= self.min_duration_s and queries >= self.min_queries

    def arrivals_ns(self, usual_ns: float) -> list[int]:
        """When each query of Server or Offline arrives, from the start on.

        Args:
            usual_ns: what one takes alone, from which Offline expects its rate where `qps` says none.
        """
        if self.name == "Offline":
            rate = self.qps or 1e9 / usual_ns
            return [0] * max(self.min_queries, int(SPARE * self.min_duration_s * rate))
        assert self.qps is not None
        draw, found = random.Random(self.seed), [0]
        while len(found) < self.min_queries or found[-1] < self.min_duration_s * 1e9:
            found.append(found[-1] + round(draw.expovariate(self.qps) * 1e9))
        return found

    def samples(self, inputs: int, count: int) -> list[int]:
        """Which inputs are asked: Server draws with replacement, as LoadGen does; Offline takes all in turn."""
        if self.name == "Offline":
            return [number % inputs for number in range(count)]
        return random.Random(self.seed + 1).choices(range(inputs), k=count)

    def doubts(self, latencies_ns: Sequence[int], seconds: float) -> list[str]:
        """Why a run does not count by LoadGen's rules; empty where it does."""
        found = []
        if seconds < self.min_duration_s:
            found.append(f"it lasted {seconds:.1f} s, of {self.min_duration_s:g} s at least")
        if len(latencies_ns) < self.min_queries:
            found.append(f"it had {len(latencies_ns)} queries, of {self.min_queries} at least")
        if self.name == "Server" and latencies_ns:
            found += self._lateness(latencies_ns)
        return found

    def _lateness(self, latencies_ns: Sequence[int]) -> list[str]:
        """Whether Server's bound was kept, and by enough queries to be sure of it: LoadGen's early stopping."""
        n, late = len(latencies_ns), sum(ns > self.bound_ns for ns in latencies_ns)
        bound = f"Server's bound of {self.bound_ns / 1e6:g} ms"
        if (p99 := quantile(latencies_ns, SHARE)) > self.bound_ns:
            return [f"p99 is {p99 / 1e6:.1f} ms, above {bound}"]
        if drop_bound(late, n, SURE) <= 1 - SHARE:
            return []
        # without a late one 459 are enough, and each late one takes at most as many again
        most = (late + 1) * math.ceil(math.log(1 - SURE, SHARE))
        needed = bisect.bisect_left(range(most), True, n, key=lambda m: drop_bound(late, m, SURE) <= 1 - SHARE)
        return [f"{late} of {n} queries were above {bound}: p99 is sure from {needed} queries on"]

    def to_dict(self) -> dict[str, Any]:
        """As in a record: what has no meaning for the scenario is left out."""
        fields = asdict(self)
        if self.name != "Server":
            del fields["bound_ns"]
        return {key: value for key, value in fields.items() if value is not None}
