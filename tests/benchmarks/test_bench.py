import os
import subprocess
import sys

import pytest

from benchmarks import bench, report, results, runtime_budget
from benchmarks.environment import host
from benchmarks.targets import Asked, systems
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import BadInput, BadRequest, Missing


def entry(name, target, latency, right=147, run="one", bundle="foodvision-mini", cold=1_000, rss=100):
    """A record of two passes over 30 inputs in blocks of 2."""
    latencies = [latency + (i % 3) for i in range(60)]
    predictions = [0] * right + [1] * (150 - right)
    accuracy = {"metric": "top-1", "value": right / 150, "correct": right, "n": 150, "interval": [0.9, 1.0]}
    if bundle == "cartpole":
        accuracy = {"metric": "episodic return", "value": 500.0, "n": 100, "interval": [500.0, 500.0]}
    return results.record(
        kind="bench",
        bundle={"name": bundle, "version": 1, "task": "multiclass", "sha256": "0"},
        artifact={"id": name, "engine": "e", "precision": "fp32", "sha256": "0", "size_bytes": 10},
        target=target,
        host=host(),
        scenario={"run": run, "block": 2, "inputs_a_pass": 30, "threads": 2},
        latency_ns=latencies,
        cold_start_ns=[{"total": cold + i} for i in range(7)],
        cold_start_p50_ns={"total": cold},
        peak_rss_bytes=rss,
        accuracy={**accuracy, "predictions": predictions, "data": {"name": "food", "split": "test"}},
        validity={"valid": True, "flags": []},
    )


def group(**changes):
    device = {
        "name": "xnnpack-fp32",
        "target": "device",
        "latency": 30_000,
        "cold": 100,
        "rss": 30,
        **changes,
    }
    int8 = {**device, "name": "xnnpack-int8", "right": 146}
    return [entry(**device), entry(**int8), entry("eager", "eager", 100_000)]


def policy_records():
    return [entry(name, name, 1000, bundle="cartpole", run="two") for name in ("device", "eager")]


def test_ratios_pair_the_blocks_of_one_run_and_the_same_system_against_itself_gives_one():
    device, _, eager = group()
    ratio, low, high = report.ratios(device, eager)["time to answer"]
    assert low <= ratio <= high
    assert ratio == pytest.approx(0.3, abs=1e-3)
    assert report.ratios(device, eager)["peak memory"] == (0.3,)
    assert report.same_against_itself(eager) == (1.0, 1.0, 1.0)
    assert len(report.block_medians(eager)) == 30


def test_the_budget_holds_fails_and_names_what_was_not_measured():
    good = runtime_budget.rows([*group(), *policy_records()])
    assert all(row["holds"] for row in good) and len(good) == 2 * 3 + 4 + 2
    slow = runtime_budget.rows([*group(latency=60_000), *policy_records()])
    assert [row["name"] for row in slow if not row["holds"]] == [
        "xnnpack-fp32: time to answer against eager",
        "xnnpack-int8: time to answer against eager",
    ]
    worse = runtime_budget.rows([*group(right=143), *policy_records()])
    assert "xnnpack-fp32: right of 150" in [row["name"] for row in worse if not row["holds"]]
    with pytest.raises(Missing, match="lokma bench bundles/cartpole"):
        runtime_budget.rows(group())


def test_dynamic_int8_is_held_to_the_same_engines_fp32():
    dynamic = entry("xnnpack-int8-dynamic", "device", 30_000, right=143)
    found = {row["name"]: row for row in runtime_budget.rows([*group(), dynamic, *policy_records()])}
    assert found["xnnpack-int8-dynamic: lost against its fp32"]["value"] == 147 - 143


def test_a_machine_that_varies_too_much_makes_a_latency_row_neither_hold_nor_fail():
    records = [*group(), *policy_records()]
    noisy = dict(records[2])
    noisy["latency_ns"] = noisy["latency_ns"][:30] + [
        value * (1 + index % 4) for index, value in enumerate(noisy["latency_ns"][30:])
    ]
    rows = runtime_budget.rows([*records[:2], noisy, *records[3:]])
    assert {row["holds"] for row in rows if "time to answer" in row["name"]} == {None}


def test_a_busy_machine_makes_times_unknown_but_not_memory_and_accuracy():
    records = [*group(), *policy_records()]
    for entry in records:
        entry["validity"] = {"valid": False, "flags": ["other work: 62% of the processors busy before the run"]}
    unknown = {row["name"] for row in runtime_budget.rows(records) if row["holds"] is None}
    assert len(unknown) == 4 and all("time to answer" in name or "cold start" in name for name in unknown)


def test_a_run_that_the_bundle_was_not_made_from_is_refused_as_its_baseline(policy, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"another model")
    found, [(target, error)] = systems(["eager"], Asked(open_bundle(policy.folder), tmp_path, 1))
    assert found == [] and target == "eager" and isinstance(error, BadInput)
    assert "was not made from" in str(error) and "as it is now; export it again" in str(error)


def test_results_md_says_every_system_once_with_its_interval():
    text = report.document([*group(), *policy_records()])
    assert "| xnnpack-int8 (device) | 97.3% (146 of 150; 90.0% to 100.0%) |" in text
    assert "xnnpack-fp32 against eager: time to answer 0.30x (0.30 to 0.30)" in text
    assert "## cartpole, version 1" in text


def test_an_unknown_target_and_a_missing_run_are_named(pictures, tmp_path):
    asked = Asked(open_bundle(pictures.folder), tmp_path, 1)
    with pytest.raises(BadRequest, match="no target 'moon'; the targets are device, eager"):
        systems(["device", "moon"], asked)
    found, [(target, error)] = systems(["eager", "device"], asked)
    assert target == "eager" and "model.safetensors does not exist (--run)" in str(error)
    assert [one.name for one in found] == ["xnnpack-fp32", "onnx-fp32", "xnnpack-int8", "onnx-int8"]


def test_a_policy_is_measured_on_the_device_and_eagerly_and_its_episodes_are_kept(tmp_path, monkeypatch):
    from export import export
    from train import train

    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path / "results"))
    run = train("cartpole-dqn", out=tmp_path / "runs", total_steps=400, learning_starts=100, check_every=200).path
    bundle = export(run, "xnnpack-fp32", tmp_path / "bundles").path
    records = bench.bench(bundle, run=run, threads=1, cold_starts=1, anyway=True)
    assert [(r["artifact"]["id"], r["target"]) for r in records] == [
        ("xnnpack-fp32", "device"),
        ("eager", "eager"),
    ]
    for found in records:
        assert found["n"] == len(found["latency_ns"]) == 4 * found["scenario"]["inputs_a_pass"]
        assert len(found["accuracy"]["returns"]) == found["accuracy"]["n"] == 100
        assert found["peak_rss_bytes"] > 10e6
        cold = found["cold_start_ns"][0]
        assert cold["total"] >= cold["process"] + cold["import"] + cold["load"] + cold["first"]
    device, eager = records
    assert device["accuracy"]["returns"] == eager["accuracy"]["returns"]  # the same policy, step for step
    assert device["peak_rss_bytes"] < eager["peak_rss_bytes"]
    assert results.read().records == tuple(records)


def test_threads_and_cold_starts_below_one_are_refused_before_anything_starts(policy):
    for wrong in ({"threads": 0}, {"threads": -1}, {"cold_starts": 0}):
        with pytest.raises(BadRequest, match="must be at least 1"):
            bench.bench(policy.folder, **wrong)


def test_records_of_another_machine_do_not_hold_this_machines_budget(tmp_path):
    records = [
        {**entry, "host": {**entry["host"], "fingerprint": "another"}} for entry in [*group(), *policy_records()]
    ]
    results.append(records, tmp_path / "a.jsonl")
    here = [sys.executable, "-m", "benchmarks.runtime_budget"]
    environment = {**os.environ, "LOKMA_RESULTS": str(tmp_path)}
    assert subprocess.run(here, env=environment, capture_output=True).returncode == 3
    assert subprocess.run([*here, str(tmp_path / "a.jsonl")], env=environment, capture_output=True).returncode == 0


def test_the_budget_without_records_exits_three_and_says_what_to_run(tmp_path):
    command = [sys.executable, "-m", "benchmarks.runtime_budget", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert "no run of foodvision-mini" in done.stderr
