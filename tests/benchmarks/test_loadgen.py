"""MLPerf's LoadGen is our oracle: it offers each scenario, and what it asked and judged is held against ours.

Nothing here is timed against a limit: LoadGen's schedule is drawn from a fixed seed, and its verdicts and ours are of
the same latencies, however busy the machine was. How near the clocks are is a row of the budget.
"""

import time
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from statistics import fmean

import pytest

from benchmarks import figures
from benchmarks.loadgen import both_clocks, complete, observed
from benchmarks.passes import Measured
from benchmarks.scenarios import Scenario

pytest.importorskip("mlperf_loadgen", reason="the oracle is MLPerf's: pip install mlcommons-loadgen")
INPUTS = 10
RATE = 10_000.0  # so many gaps tell a rate that is 4 % off


def at_once(queries):
    for query, _ in queries:
        complete(query)


def test_loadgen_and_we_time_the_same_queries_and_it_keeps_the_same_minima():
    def predict(given):
        time.sleep(0.001)
        return [given], {}

    found = both_clocks(predict, [1.0, 2.0], min_duration_s=0.2, min_queries=20)
    assert Scenario(min_duration_s=0.2, min_queries=20).is_met(0.2, found["n"])
    assert found["ours"]["p50"] >= 1e6 and found["loadgen"]["p50"] >= found["ours"]["p50"]
    assert found["loadgen"]["p90"] >= found["loadgen"]["p50"]


def test_a_single_stream_of_fewer_queries_than_any_preset_has_is_too_short_for_loadgen():
    met = [observed(Scenario(min_queries=n), INPUTS, at_once).said["early_stopping_met"] for n in (63, 64)]
    assert met == [False, True] and Scenario.preset("rapid").min_queries == 64


def test_servers_gaps_are_loadgens_exponential_ones_and_its_schedule_ends_by_the_same_rule():
    server = Scenario("Server", min_duration_s=1.0, min_queries=100, qps=RATE)
    schedules = observed(server, INPUTS, at_once).at_ns, server.arrivals_ns(usual_ns=1e6)
    for at in schedules:
        assert at[0] == 0 and at[-2] < 1e9 <= at[-1]  # the first at once, the last when the time is over
    theirs, ours = ([b - a for a, b in pairwise(at)] for at in schedules)
    each = (1 / len(theirs) + 1 / len(ours)) ** 0.5
    assert abs(fmean(theirs) - fmean(ours)) < 3 * each * 1e9 / RATE  # an exponential's deviation is its mean
    theirs, ours = sorted(theirs), sorted(ours)
    apart = max(
        abs(bisect_right(theirs, gap) / len(theirs) - bisect_right(ours, gap) / len(ours)) for gap in theirs + ours
    )
    assert apart < 1.63 * each  # Kolmogorov and Smirnov's two samples, at 1 %


def test_server_asks_as_many_as_it_must_where_the_time_is_over_before():
    server = Scenario("Server", min_duration_s=0.01, min_queries=200, qps=2000.0)
    found = observed(server, INPUTS, at_once)
    assert len(found.at_ns) == found.said["result_query_count"] == len(server.arrivals_ns(1e6)) == 200
    assert set(found.samples) == set(server.samples(INPUTS, 200)) == set(range(INPUTS))  # drawn with replacement


@pytest.mark.parametrize(
    ("n", "late"), [(458, 0), (459, 0), (661, 1), (662, 1), (837, 2), (838, 2), (100, 1), (200, 9)]
)
def test_servers_verdict_and_how_many_queries_it_takes_are_loadgens(n, late):
    server, held = Scenario("Server", min_queries=n, qps=4000.0), []

    def issue(queries):
        held.extend(queries) if len(held) < late else at_once(queries)

    def flush():
        time.sleep(server.bound_ns / 1e9 if held else 0)
        at_once(held)

    found = observed(server, INPUTS, issue, flush)
    doubts, said = server.doubts(found.latencies_ns, found.at_ns[-1] / 1e9), found.said
    assert said["result_overlatency_query_count"] == sum(ns > server.bound_ns for ns in found.latencies_ns) >= late
    assert said["result_validity"] == ("INVALID" if doubts else "VALID")
    if doubts and said["result_perf_constraints_met"]:
        more = int(said["early_stopping_result"].split("at least ")[1].split()[0])
        assert doubts[0].endswith(f"p99 is sure from {n + more} queries on")


@pytest.mark.parametrize(
    ("seconds", "least", "qps"), [(1.0, 100, 500.0), (6.0, 64, 33.0), (6.0, 64, 7.7), (0.6, 64, 50.0)]
)
def test_offline_sends_as_many_samples_as_loadgen_and_all_of_them_at_once(seconds, least, qps):
    offline, calls = Scenario("Offline", seconds, least, qps), []

    def issue(queries):
        calls.append(len(queries))
        at_once(queries)

    found = observed(offline, INPUTS, issue)
    assert found.at_ns == offline.arrivals_ns(usual_ns=1e6) and calls == [len(found.at_ns)]
    ours = Counter(offline.samples(INPUTS, calls[0]))
    assert sorted(Counter(found.samples).values()) == sorted(ours.values())  # each in turn, theirs shuffled


@pytest.mark.parametrize("sleeps", [0.0, 0.25])
def test_offlines_throughput_and_whether_it_lasted_are_loadgens(sleeps):
    def issue(queries):
        time.sleep(sleeps)
        at_once(queries)

    offline = Scenario("Offline", min_duration_s=0.2, min_queries=64, qps=500.0)
    found = observed(offline, INPUTS, issue)
    longest = max(found.latencies_ns)
    doubts = offline.doubts(found.latencies_ns, longest / 1e9)
    assert found.said["result_validity"] == ("INVALID" if doubts else "VALID")
    assert found.said["result_min_duration_met"] == (longest >= 0.2e9) and found.said["result_min_queries_met"]
    spent, _, _ = figures.spent_of(Measured(answered=len(found.latencies_ns), wall_ns=longest), threads=1)
    assert spent["throughput_a_second"] == pytest.approx(found.said["result_samples_per_second"], rel=1e-4)
