"""What LoadGen defines, held without it; tests/benchmarks/test_loadgen.py holds it against LoadGen itself."""

import statistics
import subprocess
import sys

import pytest

from benchmarks.scenarios import PRESETS, Scenario
from edge_runtime.errors import BadRequest


def test_the_presets_are_mlperf_mobiles():
    assert PRESETS == {"rapid": (6.0, 64), "quick": (10.0, 128), "normal": (60.0, 1024)}
    with pytest.raises(BadRequest, match="no preset 'fast'; there are rapid, quick, normal"):
        Scenario.preset("fast")


def test_a_run_counts_when_it_had_both_the_time_and_the_queries():
    rapid = Scenario.preset("rapid")
    assert rapid.is_met(6.0, 64) and not rapid.is_met(5.9, 1000) and not rapid.is_met(100, 63)
    assert rapid.doubts([1] * 64, 6.0) == []
    assert rapid.doubts([1] * 63, 6.0) == ["it had 63 queries, of 64 at least"]


def test_servers_queries_arrive_as_a_poisson_process_of_its_rate_by_its_seed():
    server = Scenario.preset("normal", "Server", qps=50.0)
    at = server.arrivals_ns(1e6)
    gaps = [b - a for a, b in zip([0, *at], at, strict=False)]
    assert len(at) >= 1024 and at[-1] >= 60e9 and at == sorted(at)
    assert statistics.fmean(gaps) == pytest.approx(1e9 / 50, rel=0.05)
    assert statistics.pstdev(gaps) == pytest.approx(1e9 / 50, rel=0.07)  # an exponential's is its mean
    assert at == server.arrivals_ns(5) and at != Scenario.preset("normal", "Server", qps=50.0, seed=1).arrivals_ns(1e6)


def test_a_server_whose_p99_leaves_its_bound_is_not_valid():
    server = Scenario("Server", qps=10.0, bound_ns=5_000_000)
    assert server.doubts([4_000_000] * 459, 10.0) == server.doubts([4_000_000] * 661 + [9_000_000], 10.0) == []
    assert server.doubts([4_000_000] * 98 + [9_000_000] * 2, 10.0) == ["p99 is 9.0 ms, above Server's bound of 5 ms"]
    said = "1 of 100 queries were above Server's bound of 5 ms: p99 is sure from 662 queries on"
    assert server.doubts([4_000_000] * 99 + [9_000_000], 10.0) == [said]


def test_offline_asks_everything_at_once_and_enough_to_last():
    offline = Scenario.preset("rapid", "Offline")
    at = offline.arrivals_ns(usual_ns=10e6)  # 100 a second for 6 s, and a tenth more
    assert at == [0] * 660 and offline.samples(150, 660)[:151] == [*range(150), 0]


def test_server_draws_its_samples_by_the_seed():
    server = Scenario("Server", qps=1.0)
    assert server.samples(10, 50) == server.samples(10, 50)
    assert set(server.samples(10, 500)) == set(range(10))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "MultiStream"}, "no scenario 'MultiStream'; there are SingleStream, Server, Offline"),
        ({"name": "Server"}, "needs the rate at which queries arrive: --qps"),
        ({"name": "Server", "qps": 0.0}, "must be above 0"),
        ({"min_queries": 0}, "cannot be below"),
        ({"min_duration_s": float("inf")}, "cannot be below"),
    ],
)
def test_what_cannot_be_offered_is_refused(given, says):
    with pytest.raises(BadRequest, match=says):
        Scenario(**given)


def test_it_is_imported_on_a_bare_pi_without_numpy_and_torch():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['numpy', 'torch', 'onnxruntime', 'PIL']));"
        "from benchmarks.scenarios import Scenario; print(Scenario.preset('rapid').min_queries)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "64\n", done.stderr
