import json
import random
import shutil
import time

import pytest

from edge_runtime import load, tuned
from edge_runtime import tune as tuning
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import BadRequest, EngineError, GateFailed, Missing
from edge_runtime.host import host
from edge_runtime.store import home
from edge_runtime.tune import tune
from edge_runtime.tuned import Choice, remembered

MS = 1_000_000


@pytest.fixture
def copied(policy, tmp_path):
    return shutil.copytree(policy.folder, tmp_path / "policy")


@pytest.fixture
def device(monkeypatch):
    """A device of four cores whose times are given; `made` counts what was started and lived together."""

    class Child:
        alive, most, started = 0, 0, []

        def __init__(self, bundle, candidate):
            self.key = (candidate.artifact.id, candidate.threads)
            self.outputs = [golden.outputs[candidate.artifact.id] for golden in bundle.golden()]
            self.inputs = [golden.input for golden in bundle.golden()]
            self.draw = random.Random(str(self.key))
            Child.started.append(self.key)
            Child.alive += 1
            Child.most = max(Child.most, Child.alive)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.close()

        def close(self):
            Child.alive -= not getattr(self, "closed", False)
            self.closed = True

        def ask(self, inputs):
            usual = times[self.key]
            if usual is None:
                raise EngineError("the measured process stopped: it was ended by SIGILL")
            clock.now += 0.1  # a block
            return [
                {
                    "values": wrong.get(self.key) or self.outputs[self.inputs.index(given)],
                    "ns": {"inference": usual * self.draw.gauss(1, 0.05) * MS},
                }
                for given in inputs
            ]

    class Clock:
        now = 0.0

    clock, times, wrong = Clock(), {}, {}
    monkeypatch.setattr(tuning, "_start", Child)
    monkeypatch.setattr(tuning.host, "usable_cores", lambda: 4)
    monkeypatch.setattr(tuned, "usable_cores", lambda: 4)
    monkeypatch.setattr(tuning.engines, "default_threads", lambda: 4)
    monkeypatch.setattr(tuning.host, "busy", lambda seconds: ["cpu governor is powersave"])
    monkeypatch.setattr(tuning.time, "monotonic", lambda: clock.now)
    Child.times, Child.wrong, Child.clock = times, wrong, clock
    return Child


def set_times(device, **by_name):
    """`xnnpack_fp32=(a, b, c)`: milliseconds with 1, 2 and 4 threads."""
    for name, values in by_name.items():
        for threads, value in zip((1, 2, 4), values, strict=True):
            device.times[name.replace("_", "-"), threads] = value


def why_not(found):
    return {(one["artifact"], one["threads"]): one["why_not"] for one in found.evidence["candidates"]}


def edited(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_fastest_is_chosen_and_every_other_says_why_not(policy, device):
    set_times(device, xnnpack_fp32=(1.0, 0.8, 2.0), onnx_fp32=(0.9, 0.95, 5.0))
    found = tune(policy.folder)
    assert (found.artifact, found.threads) == ("xnnpack-fp32", 2)
    why = why_not(found)
    assert why["xnnpack-fp32", 2] == "" and len(why) == 6
    assert why["onnx-fp32", 4].endswith("x the time of the fastest in the qualifying round")
    assert why["onnx-fp32", 1].startswith("1.1") and "x the time of the choice (1." in why["onnx-fp32", 1]
    assert device.clock.now < 20 and device.most == 4 and device.alive == 0


def test_no_more_than_four_processes_live_together(policy, device):
    set_times(device, xnnpack_fp32=(1.0, 1.1, 1.2), onnx_fp32=(1.05, 1.15, 1.2))
    assert tune(policy.folder).artifact == "xnnpack-fp32"
    assert device.most == 4 and len(device.started) == 6 + 4


def test_what_is_told_apart_leaves_the_race_at_once(policy, device):
    set_times(device, xnnpack_fp32=(1.0, 1.2, 9.0), onnx_fp32=(1.005, 9.0, 9.0))
    found = tune(policy.folder)
    rounds = {(one["artifact"], one["threads"]): len(one["blocks_ns"]) for one in found.evidence["candidates"]}
    assert rounds["xnnpack-fp32", 2] == tuning.FIRST_LOOK and found.threads == 1


def test_of_two_that_are_the_same_within_two_percent_the_one_with_fewer_threads_is_chosen(policy, device):
    set_times(device, xnnpack_fp32=(1.0, 0.999, 9.0), onnx_fp32=(9.0, 9.0, 9.0))
    assert tune(policy.folder).threads == 1
    assert device.clock.now < 30  # being told to be the same ends it too


def test_what_is_not_told_apart_when_the_time_is_up_is_said(policy, device):
    set_times(device, xnnpack_fp32=(1.0, 9.0, 9.0), onnx_fp32=(1.001, 9.0, 9.0))
    found = tune(policy.folder, seconds=4.0)
    assert any("not told apart" in why for why in why_not(found).values())


def test_the_time_is_kept_and_each_artifact_gets_its_turn_first(policy, device):
    set_times(device, xnnpack_fp32=(1.0, 1.0, 1.0), onnx_fp32=(1.0, 1.0, 1.0))
    found = tune(policy.folder, seconds=1.5)  # a candidate takes 0.4 s, so two are tried in the half
    assert [(name, threads) for name, threads in device.started[:2]] == [("xnnpack-fp32", 4), ("onnx-fp32", 4)]
    assert why_not(found)["xnnpack-fp32", 1] == "the time was up"
    assert device.clock.now < 1.5 + 1.0


def test_what_does_not_repeat_its_golden_cases_here_is_shown_and_not_chosen(policy, device):
    set_times(device, xnnpack_fp32=(0.1, 0.1, 0.1), onnx_fp32=(1.0, 2.0, 3.0))
    device.wrong.update({("xnnpack-fp32", threads): [5.0, 1.0] for threads in (1, 2, 4)})
    found = tune(policy.folder)
    assert (found.artifact, found.threads) == ("onnx-fp32", 1)
    assert why_not(found)["xnnpack-fp32", 1].startswith("golden case golden-0 (raw input to answer) differs by ")
    assert [one["ok"] for one in found.evidence["candidates"] if one["artifact"] == "xnnpack-fp32"] == [False] * 3


def test_an_engine_that_dies_is_shown_and_not_chosen(policy, device):
    set_times(device, xnnpack_fp32=(1.0, 1.5, 2.0), onnx_fp32=(None, None, None))
    assert why_not(tune(policy.folder))["onnx-fp32", 1] == "the measured process stopped: it was ended by SIGILL"


@pytest.mark.parametrize(
    ("verdict", "may"),
    [
        (None, True),
        ({"accuracy": {"answer": "pass"}}, True),
        ({"accuracy": {"answer": "fail"}}, False),
        ({"accuracy": {"answer": "inconclusive"}}, False),
        ({}, False),
        ("a stranger's", False),
    ],
)
def test_only_what_kept_its_accuracy_may_be_chosen(copied, device, verdict, may):
    set_times(device, xnnpack_fp32=(0.1, 0.1, 0.1), onnx_fp32=(1.0, 2.0, 3.0))
    edited(copied, lambda m: m["artifacts"][0].update(verdict=verdict))
    found = tune(copied)
    assert found.artifact == ("xnnpack-fp32" if may else "onnx-fp32")
    if not may:
        assert why_not(found)["xnnpack-fp32", 1].startswith("its accuracy verdict is ")
        assert found.evidence["candidates"][0]["p50_ns"] is not None  # shown with its time all the same


def test_where_none_may_be_chosen_nothing_is_written(copied, device):
    set_times(device, xnnpack_fp32=(None,) * 3, onnx_fp32=(None,) * 3)
    with pytest.raises(GateFailed, match=r"no artifact of .* may be chosen here: xnnpack-fp32 with 4 threads: the mea"):
        tune(copied)
    with pytest.raises(GateFailed, match="has no golden case, so nothing can be proved or measured"):
        tune(edited(copied, lambda m: m["golden"].clear()))
    assert not (home() / "tuned").exists()


def test_a_request_that_cannot_be_met_is_refused(policy, monkeypatch, tmp_path):
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BadRequest, match="takes a number of seconds above 0"):
            tune(policy.folder, seconds)
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "file"))
    with pytest.raises(BadRequest, match="cannot remember the choice in"):
        tuned.remember(open_bundle(policy.folder), {})
    monkeypatch.setattr(tuning.engines, "available", lambda engine: False)
    with pytest.raises(Missing, match="`lokma doctor` says what to install"):
        tune(policy.folder)


def test_a_choice_counts_until_the_processor_an_engine_or_an_artifact_changes(policy, copied, device, monkeypatch):
    set_times(device, xnnpack_fp32=(9.0, 9.0, 9.0), onnx_fp32=(1.0, 0.5, 3.0))
    bundle = open_bundle(policy.folder)
    assert remembered(bundle) is None and tuned.evidence(bundle) is None
    tune(bundle)
    choice = Choice("onnx-fp32", 2)
    assert remembered(bundle) == remembered(open_bundle(policy.zip)) == remembered(open_bundle(copied)) == choice
    edited(copied, lambda m: m["artifacts"][0].update(sha256="0" * 64))
    assert remembered(open_bundle(copied)) is None
    with monkeypatch.context() as changed:
        changed.setattr(tuned, "host", lambda: {**host(), "cpu": "another"})
        assert remembered(bundle) is None
    with monkeypatch.context() as changed:  # an update of the system is another fingerprint
        changed.setattr(
            tuned, "host", lambda: {**host(), "fingerprint": "another", "system": "Linux 9.9", "memory_bytes": 9}
        )
        assert remembered(bundle) == choice
    with monkeypatch.context() as changed:
        changed.setattr(tuned, "engine_version", lambda engine: "9.9.9")
        assert remembered(bundle) is None
    with monkeypatch.context() as changed:  # taskset, or a container
        changed.setattr(tuned, "usable_cores", lambda: 1)
        assert remembered(bundle) is None
    assert remembered(bundle) == choice


def test_a_damaged_memory_is_no_memory(policy, device):
    set_times(device, xnnpack_fp32=(1.0, 2.0, 2.0), onnx_fp32=(2.0, 2.0, 3.0))
    bundle = open_bundle(policy.folder)
    tune(bundle)
    (path,) = (home() / "tuned").iterdir()
    whole = json.loads(path.read_text())
    for text in (
        "",
        "{",
        "[]",
        "[" * 100_000,
        json.dumps({**whole, "choice": 5}),
        json.dumps({**whole, "choice": {"artifact": "x", "threads": 1}}),
        json.dumps({**whole, "choice": {"artifact": ["x"], "threads": 1}}),
        json.dumps({**whole, "choice": {"artifact": "onnx-fp32", "threads": 1e9}}),
        json.dumps({**whole, "choice": {"artifact": "onnx-fp32", "threads": True}}),
    ):
        path.write_text(text)
        assert remembered(bundle) is None


def test_the_engines_versions_are_read_without_importing_them():
    import importlib.metadata

    assert tuned.engine_version("onnxruntime") == importlib.metadata.version("onnxruntime")
    assert tuned.engine_version("executorch") == "1.5.1"
    assert tuned.engine_version("another") is None


def test_looking_for_a_choice_costs_a_load_little(policy):
    bundle, times = open_bundle(policy.folder), []
    for _ in range(9):
        start = time.perf_counter()
        remembered(bundle)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.001  # there is no folder of choices yet
    (home() / "tuned").mkdir(parents=True)
    times.clear()
    for _ in range(9):
        start = time.perf_counter()
        remembered(bundle)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.01


def test_the_command_tunes_here_and_load_takes_the_choice(lokma, pictures):
    done = lokma("tune", pictures.zip, "--explain")
    assert done.returncode == 3 and "nothing is remembered for" in done.stderr
    done = lokma("tune", pictures.zip, "--seconds", "4", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] and {"name", "ok", "detail"} == set(found["checks"][0])
    assert sum(one["detail"].endswith("; chosen") for one in found["checks"]) == 1
    assert {one["artifact"] for one in found["candidates"]} == set(pictures.artifacts)
    assert found["versions"]["executorch"] == "1.5.1" and len(found["host"]["fingerprint"]) == 12
    assert "trying 1 of" in done.stderr and "\r" not in done.stderr
    choice = remembered(open_bundle(pictures.folder))
    predictor = load(pictures.folder, threads=None)
    assert (predictor.artifact.id, choice.artifact) == (found["choice"]["artifact"],) * 2
    said = lokma("tune", pictures.folder, "--explain")
    assert said.returncode == 0 and f"`load` takes {choice.artifact} with threads={choice.threads} here" in said.stdout


def test_the_explanation_says_that_load_takes_the_choice_only_where_it_does(policy, device, monkeypatch, capsys):
    from edge_runtime import cli

    set_times(device, xnnpack_fp32=(9.0, 9.0, 9.0), onnx_fp32=(1.0, 0.5, 3.0))
    tune(policy.folder)
    assert cli.main(["tune", str(policy.folder), "--explain"]) == 0
    assert "`load` takes onnx-fp32 with threads=2 here" in capsys.readouterr().out
    for module in (tuned, tuning.host):  # taskset, or a container
        monkeypatch.setattr(module, "usable_cores", lambda: 1)
    assert cli.main(["tune", str(policy.folder), "--explain"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("`load` does not take onnx-fp32 with threads=2 (measured ")
    assert said.endswith(f"): only 1 of the cores may be used now; lokma tune {policy.folder}")
    assert cli.main(["tune", str(policy.folder), "--explain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["void"] == "only 1 of the cores may be used now"
