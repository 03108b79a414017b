"""The driver on tiny bundles: what fails is a row, what was interrupted is kept, what is done is not done again."""

import json
import shutil
import sys

import pytest

from benchmarks import bench, figures, passes, report, results, sustained
from benchmarks import cli as bench_cli
from benchmarks.bench import Plan, grid
from benchmarks.evaluation import Work, work_of
from benchmarks.passes import Measured
from benchmarks.scenarios import Scenario
from benchmarks.targets import Asked, System, parsed, systems
from edge_runtime import worker
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import BadBundle, BadData, BadInput, BadRequest, GateFailed

SERVE = """
import os, sys, time
from edge_runtime import worker
from edge_runtime.errors import NoAnswer
def predict(given):
    {body}
    return [1.0, 0.0], {{"inference": 5}}
worker.serve(1, 1, {{"fake": "1"}}, predict)
"""
ARTIFACT = {"id": "fake", "engine": "none", "precision": "fp32", "sha256": "0", "size_bytes": 1}


def fake(name, body="pass"):
    command = [sys.executable, "-c", SERVE.format(body=body)]
    return System(name, "device", {**ARTIFACT, "id": name}, lambda: worker.Worker(command))


def work(count=30):
    return Work(
        {"name": "fake", "sha256": "0", "split": "test"}, tuple([n] for n in range(count)), (0, 1) * (count // 2)
    )


@pytest.fixture
def folder(pictures, tmp_path, draw, monkeypatch):
    """A user's own folder of pictures, and a bundle that says it was judged on data of its maker's own."""
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path / "results"))
    for label in ("circle", "cross", "star"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for number in range(8):
            draw(30, 30, seed=number + 10 * len(label)).save(tmp_path / "mine" / label / f"{number}.png")
    shutil.copytree(pictures.folder, tmp_path / "tiny-shapes")
    manifest = json.loads((tmp_path / "tiny-shapes" / "manifest.json").read_text())
    manifest["provenance"]["data"] = {"name": "her-own", "sha256": "0", "skipped": 0}
    (tmp_path / "tiny-shapes" / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_a_bundle_judged_on_its_makers_own_data_takes_data_and_says_so_without(folder):
    bundle = open_bundle(folder / "tiny-shapes")
    with pytest.raises(BadRequest, match="judged on 'her-own', a folder of its maker's own: name it with --data"):
        work_of(bundle)
    found = work_of(bundle, folder / "mine")
    assert len(found.inputs) == 24 and found.data["split"] == "all" and found.names[0] == "circle/0.png"


def test_the_folder_that_it_was_exported_with_is_judged_on_its_test_side_alone(folder):
    from train.user_data import user_data

    data = user_data(folder / "mine")
    manifest = json.loads((folder / "tiny-shapes" / "manifest.json").read_text())
    manifest["provenance"]["data"]["sha256"] = data.sha256
    (folder / "tiny-shapes" / "manifest.json").write_text(json.dumps(manifest))
    found = work_of(open_bundle(folder / "tiny-shapes"), folder / "mine")
    assert found.data["split"] == "test" and sorted(found.inputs) == sorted(given for given, _ in data.test)


def test_unreadable_pictures_are_left_out_counted_and_too_many_are_refused(folder):
    (folder / "mine" / "star" / "0.png").write_bytes(b"no picture")
    found = work_of(open_bundle(folder / "tiny-shapes"), folder / "mine")
    assert len(found.inputs) == 23 and found.data["skipped"] == 1
    (folder / "mine" / "star" / "1.png").write_bytes(b"nor this")
    with pytest.raises(BadData, match=r"2 of 24 pictures cannot be read, more than 5 %; the first: .*0.png"):
        work_of(open_bundle(folder / "tiny-shapes"), folder / "mine")


def test_a_label_that_the_model_does_not_know_is_refused(folder):
    (folder / "mine" / "star").rename(folder / "mine" / "moon")
    with pytest.raises(BadData, match="has the label 'moon'; tiny-shapes knows circle, cross, star"):
        work_of(open_bundle(folder / "tiny-shapes"), folder / "mine")


def test_the_grid_goes_on_after_a_failure_and_is_resumed_without_what_is_done(folder):
    plan = Plan(on=("device", "gpu", "phone"), artifacts=("onnx-fp32", "xnnpack-fp32"), threads=1, cold_starts=1,
                data=folder / "mine", anyway=True)  # fmt: skip
    bundles = [folder / "nowhere", folder / "tiny-shapes"]
    found = list(grid(bundles, plan))
    assert [(e["target"], "failure" in e) for e in found] == [
        ("-", True), ("device", False), ("device", False), ("gpu", True), ("phone", True)
    ]  # fmt: skip
    assert found[3]["failure"] == {"what": "NotMeasured", "detail": "not measured: no CUDA device"}
    kept = results.read().records
    assert {e["id"] for e in kept} == {e["id"] for e in found}
    one = found[1]
    assert one["accuracy"]["n"] == 24 and set(one["accuracy"]["per_class"]) == {"circle", "cross", "star"}
    assert one["n"] == 96 and one["p99_ns"] is None and "needs 299" in one["null_reasons"]["p99_ns"]
    assert one["cpu"]["ns_a_query"] > 0 and one["throughput_a_second"] > 0 and one["scenario"]["passes"] == 4
    text = report.whole(found)
    assert "| gpu (gpu)" in text and "not measured: no CUDA device" in text and "nowhere" in text
    again = list(grid(bundles, plan, resume=True))
    assert [e["target"] for e in again] == ["-", "gpu", "phone"]


def test_a_failure_exits_one_and_what_is_not_here_to_be_measured_does_not():
    done, absent, failed = {}, {"failure": {"what": "NotMeasured"}}, {"failure": {"what": "NoAnswer"}}
    cases = {0: [done, absent], 1: [done, absent, failed], 3: [absent, absent]}
    assert {code: bench_cli.outcome(records) for code, records in cases.items()} == {0: 0, 1: 1, 3: 3}
    assert bench_cli.outcome([]) == 0  # resumed, and all was measured before


def test_one_bundle_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(bench.LokmaError, match="nowhere"):
        list(grid([tmp_path / "nowhere"], Plan(anyway=True)))


def test_an_unfit_machine_is_refused_before_anything_starts(policy, monkeypatch):
    monkeypatch.setattr(bench, "refuse_unfit", lambda anyway: (_ for _ in ()).throw(GateFailed("busy")))
    with pytest.raises(GateFailed, match="busy"):
        list(grid([policy.folder], Plan()))


def test_a_system_that_stops_is_left_out_and_the_others_go_on():
    dies = fake("dies", "os.environ.get('never') or (given[0] == 20 and os._exit(3))")
    found = passes.measure([dies, fake("lives")], work(), Scenario(), 1)
    assert found["dies"].failure["what"] == "EngineError" and len(found["dies"].passes) == 1
    assert found["lives"].failure is None and len(found["lives"].passes) == passes.PASSES


def test_passes_go_on_until_the_scenario_is_met():
    found = passes.measure([fake("one")], work(), Scenario(min_queries=200), 1)
    assert len(found["one"].passes) == 8  # 7 would do; the later half answers what the earlier did


def test_ctrl_c_keeps_the_whole_passes_and_marks_them_partial(monkeypatch):
    asked = []

    class Stopping(passes.Child):
        def ask(self, inputs, at_ns=None):
            asked.append(inputs)
            if len(asked) > 40:
                raise KeyboardInterrupt
            return super().ask(inputs, at_ns)

    monkeypatch.setattr(passes, "Child", Stopping)
    found = passes.measure([fake("one")], work(), Scenario(), 1)["one"]
    latencies, a_pass = figures.latencies_of(found, 30)
    assert found.partial and a_pass == 30 and len(latencies) == 60  # of two and a half passes


def test_answers_that_failed_are_counted_and_never_latencies():
    body = "time.sleep(0.001)\n    if given[0] % 10 == 3: raise NoAnswer('the server answered 429')"
    found = passes.measure([fake("one", body)], work(), Scenario(), 1)["one"]
    latencies, a_pass = figures.latencies_of(found, 30)
    assert a_pass == 27 and len(latencies) == 108
    assert figures.unanswered(found) == {"n": 12, "of": 120, "kinds": {"the server answered 429": 12}}


@pytest.mark.parametrize(("name", "qps"), [("Server", 500.0), ("Offline", None)])
def test_server_and_offline_count_from_the_arrival_and_are_judged_too(name, qps):
    scenario = Scenario(name, min_queries=60, qps=qps)
    found = passes.measure([fake("one", "time.sleep(0.001)")], work(), scenario, 1)["one"]
    latencies, _ = figures.latencies_of(found, 30)
    assert len(latencies) >= 60 and "queue" in figures.stages_of(found, 30)
    assert found.answered == len(latencies) and len(found.passes[0]) == 30
    if name == "Offline":
        assert latencies == sorted(latencies) and latencies[-1] >= 59e6  # all arrived at the start


def test_threads_that_spin_or_are_too_many_are_named():
    found = Measured(cpu_ns=4_000, wall_ns=1_000, idle_cpu_ns=800_000_000, idle_ns=1_000_000_000, answered=10)
    _, _, flags = figures.spent_of(found, 1)
    assert flags == ["oversubscribed: it used 4.0 cores with 1 threads",
                     "spinning: it used 80% of a core while it was asked nothing"]  # fmt: skip
    assert "threads on" in figures.spent_of(Measured(cpu_ns=1, wall_ns=1, answered=1), 10_000)[2][0]


def test_p99_is_given_from_299_latencies_on_and_its_interval_from_368_on():
    assert figures.latency_figures(list(range(1, 299)), 298)[0]["p99_ns"] is None
    assert figures.latency_figures(list(range(1, 300)), 299)[0]["p99_ns"] == 297
    figure, reasons = figures.latency_figures(list(range(1, 369)), 368)
    assert figure["p99_interval_ns"] == [360, 368] and reasons == {}


def test_targets_are_parsed_with_their_addresses_and_unknown_ones_are_named(policy, tmp_path):
    typed = ["device", "cloud=https://a:1/x", "ssh://me@there:22", "device"]
    assert parsed(typed) == [("device", ""), ("cloud", "https://a:1/x"), ("ssh", "me@there:22")]
    asked = Asked(open_bundle(policy.folder), tmp_path, 1)
    for wrong in ("device=x", "moon", "moon://x"):
        with pytest.raises(BadRequest):
            systems([wrong], asked)
    with pytest.raises(BadRequest, match="add cloud to --on"):
        Plan(on=("device",), networks=("lan",))


def test_an_artifact_that_the_bundle_lacks_is_refused_and_one_without_an_engine_is_a_failure(
    policy, tmp_path, monkeypatch
):
    with pytest.raises(BadRequest, match="moon"):
        systems(["device"], Asked(open_bundle(policy.folder), tmp_path, 1, ("moon",)))
    monkeypatch.setattr("benchmarks.targets.engines.available", lambda engine: False)
    found, [(target, error)] = systems(["device"], Asked(open_bundle(policy.folder), tmp_path, 1))
    assert found == [] and target == "device" and "nothing here can run xnnpack-fp32, onnx-fp32" in str(error)


def test_our_own_server_is_measured_like_any_cloud_and_its_time_is_taken_apart(folder):
    pytest.importorskip("tritonclient.http", reason="asks through tritonclient: pip install 'tritonclient[http]'")
    plan = Plan(on=("cloud",), artifacts=("onnx-fp32",), threads=1, cold_starts=1, data=folder / "mine", anyway=True)
    (found,) = grid([folder / "tiny-shapes"], plan)
    assert "failure" not in found, found
    assert {"network", "queue", "inference"} <= set(found["stages_ns"]) and found["network"]["profile"] == "loopback"
    assert found["accuracy"]["n"] == 24 and "unanswered" not in found
    here = bench.bench(folder / "tiny-shapes", ("device",), artifacts=("onnx-fp32",), threads=1, cold_starts=1,
                       data=folder / "mine", anyway=True)  # fmt: skip
    assert here[0]["accuracy"]["predictions"] == found["accuracy"]["predictions"]


def test_a_cloud_that_cannot_be_reached_is_a_row(folder):
    plan = Plan(on=("cloud=http://127.0.0.1:9",), threads=1, data=folder / "mine", anyway=True)
    (found,) = grid([folder / "tiny-shapes"], plan)
    assert found["failure"]["what"] == "NoAnswer" and found["latency_ns"] == [] and not found["validity"]["valid"]


def test_minute_one_is_set_against_the_last(folder):
    plan = Plan(on=("device",), artifacts=("onnx-fp32",), threads=1, sustained_s=1.0, data=folder / "mine", anyway=True)
    (found,) = grid([folder / "tiny-shapes"], plan)
    said = found["sustained"]
    assert len(said["minutes"]) == 2 and said["last_against_first"][1] <= said["last_against_first"][2]
    assert "minute 2 against minute 1" in report.whole([found])


class Stops(passes.Child):
    """Ctrl-C comes while the question of this number is answered."""

    number, asked = 0, 0

    def ask(self, inputs, at_ns=None):
        Stops.asked += 1
        if Stops.asked == self.number or (self.number == 0 and at_ns is not None):
            raise KeyboardInterrupt
        return super().ask(inputs, at_ns)


def test_ctrl_c_in_the_sustained_mode_keeps_its_minutes_and_systems_that_were_done_are_whole(folder, monkeypatch):
    monkeypatch.setattr(Stops, "number", 8)
    monkeypatch.setattr("benchmarks.sustained.Child", Stops)
    found = sustained.sustained([fake("one", "time.sleep(0.01)"), fake("two", "time.sleep(0.01)")], work(), 0.1)
    assert not found["one"].partial and found["two"].partial and 0 < Stops.asked == 8
    kept, _ = figures.latencies_of(found["two"], 30)
    assert len(kept) == sum(map(len, found["two"].minutes)) > 0


@pytest.mark.parametrize(("name", "qps"), [("Server", 200.0), ("Offline", None)])
def test_a_scenario_that_was_stopped_does_not_lend_its_name_to_the_times_before(folder, monkeypatch, name, qps):
    monkeypatch.setattr(passes, "Child", Stops)
    plan = Plan(on=("device",), artifacts=("onnx-fp32",), threads=1, cold_starts=1, data=folder / "mine", anyway=True,
                scenario=Scenario(name, qps=qps))  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        list(grid([folder / "tiny-shapes"], plan))
    (kept,) = results.read().records
    assert kept["scenario"]["name"] == "SingleStream" and "qps" not in kept["scenario"] and kept["n"] == 96
    said = f"partial: it stopped before {name} was measured; these are SingleStream's times"
    assert said in kept["validity"]["flags"]
    assert kept["cpu"]["ns_a_query"] > 0 and kept["throughput_a_second"] > 0


def test_times_that_grow_because_all_came_at_once_are_not_the_machines_noise(folder):
    plan = Plan(on=("device",), artifacts=("onnx-fp32",), threads=1, cold_starts=1, data=folder / "mine", anyway=True,
                scenario=Scenario("Offline", min_queries=60))  # fmt: skip
    (found,) = grid([folder / "tiny-shapes"], plan)
    assert found["scenario"]["name"] == "Offline" and report.is_noisy(found)
    assert not any(flag.startswith("noisy") for flag in found["validity"]["flags"])


def test_what_cannot_be_is_said_before_the_machine_is_watched(folder, monkeypatch):
    monkeypatch.setattr(bench, "refuse_unfit", lambda anyway: (_ for _ in ()).throw(GateFailed("busy")))
    with pytest.raises(BadInput, match="nowhere does not exist"):
        list(grid([folder / "nowhere"], Plan()))
    with pytest.raises(BadRequest, match="no artifact 'moon'; it has"):
        list(grid([folder / "tiny-shapes"], Plan(artifacts=("moon",))))
    with pytest.raises(BadRequest, match="--sustained asks one query after another: it cannot be Offline too"):
        Plan(sustained_s=60.0, scenario=Scenario("Offline"))


def test_the_bundle_of_a_manifest_without_data_says_what_to_do(pictures):
    with pytest.raises(BadBundle, match="does not say what data it is judged on; export it again, or give --data"):
        work_of(open_bundle(pictures.folder))


def test_ctrl_c_appends_what_was_measured_then_ends_and_a_resumed_grid_measures_it_again(folder, monkeypatch):
    asked = []

    class Stopping(passes.Child):
        def ask(self, inputs, at_ns=None):
            asked.append(inputs)
            if len(asked) == 60:  # in the third pass over 24 pictures
                raise KeyboardInterrupt
            return super().ask(inputs, at_ns)

    monkeypatch.setattr(passes, "Child", Stopping)
    plan = Plan(on=("device",), artifacts=("onnx-fp32",), threads=1, cold_starts=1, data=folder / "mine", anyway=True)
    found = []
    with pytest.raises(KeyboardInterrupt):
        found += grid([folder / "tiny-shapes"], plan)
    (kept,) = results.read().records
    assert kept["n"] == 48 and "partial: stopped by Ctrl-C" in kept["validity"]["flags"]
    (again,) = grid([folder / "tiny-shapes"], plan, resume=True)
    assert again["n"] == 96 and not any(flag.startswith("partial") for flag in again["validity"]["flags"])
