"""Records as `benchmarks.bench` makes them, with realistic numbers, and a page's folders."""

import hashlib
import json
import random
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import results
from edge_runtime.measure import mean_interval, quantile, quantile_interval, wilson

HOST = {
    "fingerprint": "0123456789ab",
    "cpu": "AMD EPYC 7B13",
    "cores": 2,
    "usable_cores": 2,
    "machine": "x86_64",
    "system": "Linux 6.1.0",
    "memory_bytes": 16_766_959_616,
    "python": "3.11.7",
}
LABELS = [("pizza", "pizza", "pizza"), ("steak", "steak", "biftek"), ("sushi", "sushi", "suşi")]
SHARES = {"decode": 0.22, "preprocess": 0.13, "inference": 0.645, "postprocess": 0.005}
# system: (target, engine, precision, p50 ms, right of 150, cold start s, peak MB, size MB)
FOOD = {
    "xnnpack-int8": ("device", "executorch", "int8", 12.4, 146, 0.19, 53.1, 4.4),
    "xnnpack-fp32": ("device", "executorch", "fp32", 19.8, 147, 0.21, 92.4, 13.5),
    "onnx-int8": ("device", "onnxruntime", "int8", 15.9, 138, 0.58, 121.8, 3.9),
    "onnx-fp32": ("device", "onnxruntime", "fp32", 22.7, 147, 0.61, 142.6, 13.6),
    "eager": ("eager", "torch", "fp32", 40.1, 147, 6.92, 768.3, 13.6),
}


def make_record(name, row, scenario, draw, noise=0.02, **changed):
    """One system's record: 150 pictures twice, medians near the row's; noise by block and by picture."""
    target, engine, precision, ms, right, cold_s, memory, size = row
    blocks = [draw.lognormvariate(0, noise) for _ in range(30)]
    latencies = [round(ms * 1e6 * block * draw.lognormvariate(0, 0.06)) for block in blocks for _ in range(10)]
    cold = [
        {
            "process": 9_000_000,
            "import": round(share * 6e8),
            "load": round(share * 2e8),
            "first": round(share * 1e8),
        }
        | {"total": round(share * 1e9)}
        for share in (cold_s * draw.lognormvariate(0, 0.03) for _ in range(7))
    ]
    labels = [i % 3 for i in range(150)]
    fields = {
        "kind": "bench",
        "bundle": {"name": "foodvision-mini", "version": 3, "task": "multiclass", "sha256": "0" * 64},
        "artifact": {
            "id": name,
            "engine": engine,
            "precision": precision,
            "sha256": "1" * 64,
            "size_bytes": round(size * 1e6),
        },
        "target": target,
        "host": HOST,
        "versions": {engine: "1.0"},
        "scenario": scenario,
        "latency_ns": latencies,
        "p50_interval_ns": quantile_interval(latencies, 0.5),
        "stages_ns": {stage: round(quantile(latencies, 0.5) * share) for stage, share in SHARES.items()},
        "cold_start_ns": cold,
        "cold_start_p50_ns": {key: quantile([entry[key] for entry in cold], 0.5) for key in cold[0]},
        "peak_rss_bytes": round(memory * 1e6),
        "energy_joules": None,
        "accuracy": {
            "metric": "top-1",
            "value": right / 150,
            "correct": right,
            "n": 150,
            "interval": list(wilson(right, 150)),
            "data": {"name": "food", "sha256": "2" * 64, "split": "test"},
            "predictions": [label if i < right else (label + 1) % 3 for i, label in enumerate(labels)],
        },
        "validity": {"valid": True, "flags": []},
        "null_reasons": {"energy_joules": "not measured by this version"},
        "notes": [],
    }
    return results.record(**{**fields, **changed})


def make_run(rows=None, noise=0.02, seed=0, **changed):
    """The records of one run, in the order in which `bench` writes them."""
    draw = random.Random(seed)
    scenario = {
        "name": "SingleStream",
        "run": uuid.UUID(int=draw.getrandbits(128)).hex,
        "threads": 2,
        "passes": 2,
        "inputs_a_pass": 150,
        "block": 10,
        "warm_up": 5,
    }
    rows = FOOD if rows is None else rows
    return [make_record(name, row, scenario, draw, noise, **changed) for name, row in rows.items()]


def make_phone():
    """What the phone page posts: one artifact, no accuracy, no blocks, one cold start."""
    draw = random.Random(5)
    latencies = [round(draw.lognormvariate(18.2, 0.1)) for _ in range(64)]
    return results.record(
        kind="bench",
        bundle={"name": "foodvision-mini", "version": 3, "task": "multiclass", "sha256": "0" * 64},
        artifact={"id": "onnx-int8", "engine": "onnxruntime-web", "precision": "int8", "sha256": "1" * 64},
        target="phone",
        host={"fingerprint": "abcdef012345", "cpu": "Pixel 8", "cores": 8, "memory_bytes": None, "system": "Android"},
        versions={"onnxruntime-web": "1.30.0"},
        scenario={"name": "SingleStream", "run": "phone-run", "threads": 1},
        latency_ns=latencies,
        stages_ns={"decode": 9_000_000, "inference": 70_000_000},
        cold_start_ns=[4_000_000_000],
        accuracy=None,
        validity={"valid": True, "flags": []},
        null_reasons={"accuracy": "not measured on a phone"},
        notes=[],
    )


def make_field(right=True, seed=0, artifact="onnx-int8"):
    """An answer to *was it right?*."""
    return results.record(
        id=f"phone-{seed:032x}",
        kind="field",
        bundle={"name": "foodvision-mini", "version": 3},
        artifact={"id": artifact, "precision": "int8"},
        target="phone",
        host={"fingerprint": f"{seed % 3:012x}", "cpu": "Pixel 8"},
        scenario={},
        latency_ns=[],
        answer={"predicted": "pizza", "actual": "pizza" if right else "steak", "right": right, "probability": 0.9},
        validity={"valid": True, "flags": []},
    )


def make_policy_run(mean=500.0, seed=1):
    """A run of the CartPole bundle: microseconds, and returns for accuracy."""
    draw = random.Random(seed + 10)
    returns = [mean if mean == 500.0 else mean + draw.gauss(0, 20) for _ in range(100)]
    low, high = mean_interval(returns)
    rows = {
        "xnnpack-fp32": ("device", "executorch", "fp32", 0.011, 0, 0.09, 31.0, 0.02),
        "onnx-fp32": ("device", "onnxruntime", "fp32", 0.034, 0, 0.35, 70.0, 0.02),
        "eager": ("eager", "torch", "fp32", 0.121, 0, 4.1, 410.0, 0.02),
    }
    accuracy = {
        "metric": "episodic return",
        "value": sum(returns) / 100,
        "n": 100,
        "interval": [low, high],
        "data": {"name": "CartPole-v1"},
        "returns": returns,
    }
    bundle = {"name": "cartpole", "version": 1, "task": "policy", "sha256": "3" * 64}
    run = make_run(rows, seed=seed, bundle=bundle, accuracy=accuracy)
    for record in run:
        record["stages_ns"]["decode"] = 0
    return run


def make_bundle(folder: Path, name="foodvision-mini", policy=False) -> Path:
    """A tiny bundle of two `.onnx` files (a mean colour and a linear layer) and a `.pte` that is not one."""
    import onnx
    from onnx import TensorProto, helper

    shape = ["batch", 4] if policy else ["batch", 16, 16, 3]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT if policy else TensorProto.UINT8, shape)
    outputs = 2 if policy else 3
    answer = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", outputs])
    width = 4 if policy else 3
    weights = [((i * 7) % 5 - 2) / (1 if policy else 60) for i in range(width * outputs)]
    initial = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("weights", TensorProto.FLOAT, [width, outputs], weights),
    ]
    nodes = [helper.make_node("MatMul", ["input" if policy else "mean", "weights"], ["output" if policy else "logits"])]
    if not policy:
        nodes = [
            helper.make_node("Cast", ["input"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
            *nodes,
            helper.make_node("Softmax", ["logits"], ["output"], axis=1),
        ]
    graph = helper.make_graph(nodes, name, [given], [answer], initial[1:] if policy else initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    labels = [("left", "push left", "sola it"), ("right", "push right", "sağa it")] if policy else LABELS
    spec = {
        "name": name,
        "task": "policy" if policy else "multiclass",
        "inputs": [
            {
                "name": "input",
                "dtype": "float32" if policy else "uint8",
                "shape": shape,
                "unit": "position in m, velocity in m/s, angle in rad, angular velocity in rad/s",
            }
        ],
        "outputs": [{"name": "output", "dtype": "float32", "shape": ["batch", outputs], "unit": "probability"}],
        "labels": [{"id": key, "en": english, "tr": turkish} for key, english, turkish in labels],
        "image": None if policy else {"resize": 16, "crop": 16, "filter": "bicubic"},
    }
    helper.set_model_props(model, {"lokma.spec": json.dumps(spec)})
    target = folder / name
    target.mkdir(parents=True)
    files = {"onnx-fp32.onnx": model.SerializeToString(), "onnx-int8.onnx": model.SerializeToString()}
    files["xnnpack-int8.pte"] = b"not a program" * 10
    engines = {".onnx": "onnxruntime", ".pte": "executorch"}
    for file, content in files.items():
        (target / file).write_bytes(content)
    onnx.checker.check_model(model)
    manifest = {
        "schema_version": 1,
        "name": name,
        "version": 3,
        "needs_runtime": "0.1.0",
        "spec": spec,
        "artifacts": [
            {
                "id": Path(file).stem,
                "file": file,
                "engine": engines[Path(file).suffix],
                "precision": Path(file).stem.split("-")[1],
                "sha256": hashlib.sha256(content).hexdigest(),
                "size_bytes": len(content),
            }
            for file, content in files.items()
        ],
        "golden": [{"id": "0", "input": [0.1, 0.0, -0.02, 0.3], "reference": [1, 2], "outputs": {}}] if policy else [],
    }
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def write(folder: Path, records) -> Path:
    """Records in a results folder, as `bench` appends them."""
    results.append(records, folder / "0123456789ab.jsonl")
    return folder


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Empty results and bundles folders, named in the environment as `lokma dashboard` does."""
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LOKMA_BUNDLES", str(tmp_path / "bundles"))
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture(scope="session")
def made():
    """The makers above, since test folders are not importable."""
    return SimpleNamespace(
        run=make_run,
        policy_run=make_policy_run,
        phone=make_phone,
        field=make_field,
        bundle=make_bundle,
        write=write,
        food=FOOD,
    )


@pytest.fixture(scope="session")
def barriers():
    """Asks axe-core for the serious and critical findings on a page of the browser."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed (extra test)")

    def found(page):
        seen = axe.Axe().run(page).response["violations"]
        serious = [one for one in seen if one["impact"] in ("serious", "critical")]
        return [(one["id"], node["target"]) for one in serious for node in one["nodes"]]

    return found
