"""There is no CUDA device here: the rows say so, and the children's code runs on the processor in its place."""

import pytest

from benchmarks import eager, gpu, passes, targets
from benchmarks.evaluation import Work
from benchmarks.scenarios import Scenario
from benchmarks.targets import Asked, System, systems
from edge_runtime import load
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import EngineError


def test_without_a_cuda_device_the_row_says_that_nothing_was_measured(policy, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_ASK", "print('')")
    found, [(target, error)] = systems(["gpu"], Asked(open_bundle(policy.folder), tmp_path, 1))
    assert (found, target, str(error)) == ([], "gpu", "not measured: no CUDA device")


def test_with_one_torch_eager_compiled_and_each_onnx_are_systems(policy, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_ASK", "print('NVIDIA H100')")
    monkeypatch.setattr(targets, "trained", lambda asked, target: {"id": target, "engine": "torch"})
    found, failed = systems(["gpu"], Asked(open_bundle(policy.folder), tmp_path, 1))
    assert [one.name for one in found] == ["gpu torch-eager", "gpu torch-compiled", "gpu onnx-fp32"] and not failed
    assert {one.notes for one in found} == {("on NVIDIA H100",)}


def test_the_gpus_onnx_child_answers_as_the_runtime_where_its_provider_is_the_processors(policy):
    rows = policy.inputs.tolist()[:3]
    with gpu.start(policy.folder, "onnx-fp32", 1, "CPUExecutionProvider") as child:
        answers = child.ask(rows)
        assert child.versions["provider"] == "CPUExecutionProvider"
    here = load(policy.folder, "onnx-fp32", 1)
    for row, answer in zip(rows, answers, strict=True):
        assert answer["values"] == pytest.approx(here.predict(row).values, rel=1e-6)


def test_an_onnxruntime_without_cuda_is_a_row_that_says_so(policy):
    def start():
        return gpu.start(policy.folder, "onnx-fp32", 1)

    system = System("gpu onnx-fp32", "gpu", {"id": "onnx-fp32"}, start)
    rows = tuple(policy.inputs.tolist()[:3])
    found = passes.measure([system], Work({"name": "few"}, rows, ()), Scenario(), 1)["gpu onnx-fp32"]
    assert found.failure == {"what": "NotMeasured", "detail": gpu.NO_PROVIDER}


def test_a_provider_that_onnxruntime_would_replace_is_an_error(policy, monkeypatch):
    monkeypatch.setattr(gpu, "has_provider", lambda: True)
    with gpu.start(policy.folder, "onnx-fp32", 1) as child, pytest.raises(EngineError, match="stopped"):
        child.ask(policy.inputs.tolist()[:1])


def test_raw_outputs_become_what_the_task_says():
    import torch

    raw = torch.tensor([[0.0, 0.0]])
    assert eager.activated(raw, "multiclass").tolist() == [[0.5, 0.5]]
    assert eager.activated(raw, "multilabel").tolist() == [[0.5, 0.5]]
    assert eager.activated(raw, "policy").tolist() == eager.activated(raw, "regression").tolist() == [[0.0, 0.0]]
