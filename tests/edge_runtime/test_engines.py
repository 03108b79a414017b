import array
import ctypes
import dataclasses
import gc
import json
import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime import engines
from edge_runtime.engines import MAX_THREADS, available, by_name, default_threads, executorch, open_session
from edge_runtime.errors import BadBundle, BadInput, BadRequest, EngineError, Missing
from edge_runtime.spec import TensorSpec

ENGINE = {"xnnpack-fp32": "executorch", "onnx-fp32": "onnxruntime"}
FP32 = sorted(ENGINE)
# Exported apart: Python's own quantized kernels and lokma's cannot live in one process.
QUANTIZED = """
from pathlib import Path
import torch, executorch.kernels.quantized
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from executorch.exir import to_edge
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
row = (torch.ones(1, 4),)
def write(model, name):
    Path(name).write_bytes(to_edge(torch.export.export(model, row)).to_executorch().buffer)
plain = torch.export.export(torch.nn.Linear(4, 2), row).module()
write(torch.nn.Linear(4, 2), "plain.pte")
prepared = prepare_pt2e(plain, XNNPACKQuantizer().set_global(get_symmetric_quantization_config()))
prepared(*row)
write(convert_pt2e(prepared), "quantized.pte")
"""
MAPPED = """
import sys
from pathlib import Path
from edge_runtime.engines import open_session
from edge_runtime.spec import TensorSpec
x, y = TensorSpec("x", "float32", ("batch", 4)), TensorSpec("y", "float32", ("batch", 2))
session = open_session("executorch", Path(sys.argv[1]), None, (x,), (y,))
assert len(session.run({"x": bytes(16)})["y"].tobytes()) == 8
print("libexecutorch_kernels_quantized" in Path("/proc/self/maps").read_text())
"""
NUMBERS = TensorSpec("x", "float32", ("batch", 4))


def opened(tiny, name="xnnpack-fp32", **spec):
    inputs = spec.get("inputs", tiny.spec.inputs)
    outputs = spec.get("outputs", tiny.spec.outputs)
    engine = "executorch" if name.startswith("xnnpack") else "onnxruntime"
    return open_session(engine, tiny.artifacts[name], None, inputs, outputs)


def answers(tiny, session):
    names = tiny.spec.inputs[0].name, tiny.spec.outputs[0].name
    samples = tiny.inputs.numpy()
    return np.stack([np.asarray(session.run({names[0]: sample[None]})[names[1]])[0] for sample in samples])


@pytest.mark.parametrize("kind", ["pictures", "policy"])
@pytest.mark.parametrize("name", FP32)
def test_fp32_answers_are_eager_torchs(request, kind, name):
    tiny = request.getfixturevalue(kind)
    expected = tiny.answers()
    assert np.abs(answers(tiny, opened(tiny, name)) - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["xnnpack-int8", "onnx-int8"])
def test_int8_answers_are_close_to_eager_torchs(pictures, name):
    found, expected = answers(pictures, opened(pictures, name)), pictures.answers()
    assert np.abs(found - expected).max() < 0.05  # of probabilities; 0.02 was measured
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", FP32)
def test_a_file_and_its_bytes_are_the_same_model(policy, name):
    path = policy.folder / (name + engines.ENGINES[ENGINE[name]][2])
    session = open_session(ENGINE[name], path, None, policy.spec.inputs, policy.spec.outputs)
    assert (answers(policy, session) == answers(policy, opened(policy, name))).all()
    assert session.threads == default_threads() and list(session.versions) == [ENGINE[name]]


@pytest.mark.parametrize("name", FP32)
def test_the_spec_inside_the_file_is_the_models(policy, name):
    session = open_session(ENGINE[name], policy.artifacts[name])
    assert session.embedded_spec() == policy.spec.to_dict()


@pytest.mark.parametrize("name", FP32)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "the inputs are observation; got none"),
        ({"pixels": bytes(16)}, "the inputs are observation; got pixels"),
        ({"observation": bytes(16), "more": 1}, "the inputs are observation; got observation, more"),
        ([bytes(16)], r"the inputs go in by name \(observation\), not as list"),
        ({"observation": [1.0, 2.0, 3.0, 4.0]}, r"must be a buffer \(bytes, array, numpy\), not list"),
        ({"observation": np.zeros((1, 4))}, "must be float32, not a buffer of format 'd'"),
        ({"observation": np.zeros((1, 4), np.int32)}, "must be float32, not a buffer of format 'i'"),
        ({"observation": np.zeros((1, 4), ">f4")}, "must be float32, not a buffer of format '>f'"),
        ({"observation": np.zeros((1, 1), "M8[s]")}, "must be a buffer"),
        ({"observation": np.zeros((1, 8), np.float32)[:, ::2]}, "is not contiguous in memory"),
        (
            {"observation": np.zeros((2, 2), np.float32)},
            r"the shape \('batch', 4\) in float32; got the shape \(2, 2\)",
        ),
        ({"observation": np.zeros((1, 1, 4), np.float32)}, r"got the shape \(1, 1, 4\)"),
        ({"observation": np.float32(1)}, r"got the shape \(\)"),
        ({"observation": bytes(15)}, "got 15 bytes"),
        ({"observation": b""}, "got 0 bytes"),
    ],
)
def test_what_does_not_fit_the_input_is_refused_and_the_session_goes_on(policy, name, given, says):
    session = opened(policy, name)
    with pytest.raises(BadInput, match=says):
        session.run(given)
    assert answers(policy, session).shape == (12, 2)


@pytest.mark.parametrize(
    "value",
    [
        array.array("f", [1, 2, 3, 4]),
        array.array("f", [1, 2, 3, 4]).tobytes(),
        bytearray(np.float32([1, 2, 3, 4]).tobytes()),
        np.float32([1, 2, 3, 4]),
        np.float32([[1, 2, 3, 4]]),
        memoryview(np.float32([1, 2, 3, 4])),
    ],
)
def test_any_buffer_of_the_right_type_goes_in(value):
    data, shape = engines.as_buffer(value, NUMBERS)
    assert data.tobytes() == np.float32([1, 2, 3, 4]).tobytes() and shape == (1, 4)


def test_numpys_int64_is_int64_whatever_its_format_letter():
    spec = TensorSpec("x", "int64", ("batch", 2))
    assert engines.as_buffer(np.int64([[1, 2]]), spec)[1] == (1, 2)
    assert engines.as_buffer(array.array("q", [1, 2, 3, 4]), spec)[1] == (2, 2)
    with pytest.raises(BadInput, match="must be int64, not a buffer of format 'i'"):
        engines.as_buffer(np.int32([[1, 2]]), spec)


def test_a_buffer_in_foreign_notation_is_refused():
    with pytest.raises(BadInput, match="not a buffer of format '<f'"):
        engines.as_buffer((ctypes.c_float * 4)(), NUMBERS)


def test_inputs_are_paired_by_name():
    assert by_name({"x": 1}, (NUMBERS,)) == [(NUMBERS, 1)]


def test_a_batch_runs_on_onnx_and_is_refused_by_a_pte(pictures):
    batch = pictures.inputs.numpy()[:3]
    found = np.asarray(opened(pictures, "onnx-fp32").run({"pixels": batch})["probabilities"])
    assert found.shape == (3, 3) and np.abs(found - pictures.answers()[:3]).max() < 1e-5
    with pytest.raises(BadInput, match=r"a \.pte runs one sample at a time; got a batch of 3"):
        opened(pictures).run({"pixels": batch})


@pytest.mark.parametrize("name", FP32)
def test_answers_stay_valid_when_the_session_runs_again_and_closes(policy, name):
    session = opened(policy, name)
    rows = policy.inputs.numpy()
    first = session.run({"observation": rows[:1]})["q_values"]
    kept = first.tobytes()
    session.run({"observation": rows[1:2]})
    session.close()
    del session
    gc.collect()
    junk = [bytearray(64) for _ in range(1000)]
    assert first.tobytes() == kept and first.shape == (1, 2) and junk


@pytest.mark.parametrize("name", FP32)
def test_a_closed_session_says_so(policy, name):
    session = opened(policy, name)
    session.close()
    session.close()
    with pytest.raises(EngineError, match="this session was closed; load the bundle again"):
        session.run({"observation": bytes(16)})
    if name == "xnnpack-fp32":
        with pytest.raises(EngineError, match="this session was closed"):
            session.embedded_spec()


@pytest.mark.parametrize("name", FP32)
def test_eight_threads_on_one_session_get_the_answers_of_one(pictures, name):
    session, expected = opened(pictures, name), None
    expected = answers(pictures, session)
    found = []
    threads = [threading.Thread(target=lambda: found.append(answers(pictures, session))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all((one == expected).all() for one in found)


@pytest.mark.parametrize("name", FP32)
@pytest.mark.parametrize("damage", ["empty", "garbage", "half", "head"])
def test_a_damaged_file_is_a_named_error(policy, name, damage, tmp_path):
    whole = policy.artifacts[name]
    data = {
        "empty": b"",
        "garbage": bytes(range(256)) * 8,
        "half": whole[: len(whole) // 2],
        "head": whole[:20],
    }[damage]
    path = tmp_path / "damaged"
    path.write_bytes(data)
    says = r"cannot load this \.pte: \w+, |this \.(pte|onnx) cannot be read: |cannot load this \.onnx: |has the inputs"
    for content in (data, path):
        with pytest.raises(EngineError, match=says):
            open_session(ENGINE[name], content, None, policy.spec.inputs, policy.spec.outputs)


@pytest.mark.parametrize("name", FP32)
def test_a_file_that_is_not_there_is_a_named_error(policy, name, tmp_path):
    with pytest.raises(
        EngineError, match=r"cannot be read: No such file|cannot load this \.onnx: .*File doesn't exist"
    ):
        open_session(ENGINE[name], tmp_path / "gone", None, policy.spec.inputs, policy.spec.outputs)


@pytest.mark.parametrize("name", FP32)
@pytest.mark.parametrize(
    ("side", "shape", "dtype", "says"),
    [
        ("inputs", ("batch", 5), "float32", "observation of this .* its spec says float32"),
        ("inputs", ("batch", 2, 2), "float32", "observation of this .* its spec says float32"),
        ("inputs", ("batch", 4), "uint8", "observation of this .* its spec says uint8"),
        ("outputs", ("batch", 3), "float32", "q_values of this .* its spec says float32"),
    ],
)
def test_a_file_whose_tensors_are_not_the_specs_is_refused(policy, name, side, shape, dtype, says):
    tensor = dataclasses.replace(getattr(policy.spec, side)[0], shape=shape, dtype=dtype)
    with pytest.raises(EngineError, match=says):
        opened(policy, name, **{side: (tensor,)})


def test_an_onnx_whose_names_are_not_the_specs_is_refused(policy):
    other = (dataclasses.replace(policy.spec.outputs[0], name="other"),)
    with pytest.raises(EngineError, match=r"this \.onnx has the outputs q_values; its spec says other"):
        opened(policy, "onnx-fp32", outputs=other)


def test_a_pte_with_another_count_of_tensors_is_refused(policy):
    with pytest.raises(EngineError, match=r"this \.pte has 1 inputs; its spec says 2"):
        opened(policy, inputs=policy.spec.inputs * 2)


@pytest.mark.parametrize("threads", [0, -1, MAX_THREADS + 1, True, 1.5])
def test_a_thread_count_that_cannot_be_is_refused(policy, threads):
    with pytest.raises(BadRequest, match=f"threads must be a whole number between 1 and {MAX_THREADS}; got {threads}"):
        open_session("executorch", policy.artifacts["xnnpack-fp32"], threads)


def test_the_thread_count_of_pte_files_is_fixed_for_a_process(policy):
    opened(policy)
    has, asked = default_threads(), default_threads() + 1
    with pytest.raises(EngineError, match=f"with {has} threads and cannot change to {asked}; pass threads={has}, or"):
        open_session("executorch", policy.artifacts["xnnpack-fp32"], asked)


def test_an_unknown_or_missing_engine_says_what_brings_it(monkeypatch, policy):
    assert not available("tensorrt")
    with pytest.raises(Missing, match="has no engine 'tensorrt'; it has executorch, onnxruntime"):
        open_session("tensorrt", b"")
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert not available("onnxruntime")
    with pytest.raises(Missing, match=r"not installed here: pip install 'lokma\[onnx\]'"):
        open_session("onnxruntime", b"")


def test_an_engine_that_cannot_be_imported_is_missing(monkeypatch):
    def broken(name):
        raise ImportError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(engines.importlib, "import_module", broken)
    with pytest.raises(Missing, match=r"onnxruntime is installed here but cannot be imported: libgomp"):
        open_session("onnxruntime", b"")


def test_a_library_that_cannot_be_loaded_is_missing(monkeypatch, tmp_path):
    (tmp_path / "liblokma.so").write_bytes(b"not a library")
    monkeypatch.setattr(executorch, "NATIVE", tmp_path)
    monkeypatch.setattr(executorch, "_library", None)
    with pytest.raises(Missing, match=r"the compiled ExecuTorch engine cannot be loaded here: .*liblokma\.so"):
        open_session("executorch", b"")


def onnx_model(op="Add", domain="", metadata=None, output=(2,)):
    value = helper.make_tensor_value_info
    node = helper.make_node(op, ["x", "x"], ["y"], domain=domain)
    graph = helper.make_graph(
        [node],
        "g",
        [value("x", TensorProto.FLOAT, ["batch", 2])],
        [value("y", TensorProto.FLOAT, ["batch", *output])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("custom", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    if metadata is not None:
        model.metadata_props.add(key="lokma.spec", value=metadata)
    return model.SerializeToString()


def test_an_operator_that_this_runtime_lacks_is_named():
    with pytest.raises(EngineError, match=r"onnxruntime [\d.]+ cannot load this \.onnx: .*Dream"):
        open_session("onnxruntime", onnx_model("Dream", "custom"))


@pytest.mark.parametrize("metadata", ["", "[]", "{" * 500, '{"a":' * 50 + "1" + "}" * 50])
def test_a_spec_inside_an_onnx_that_cannot_be_read_is_refused(metadata):
    with pytest.raises(BadBundle, match=r"the spec inside this \.onnx (is not JSON|must hold one|is nested deeper)"):
        open_session("onnxruntime", onnx_model(metadata=metadata)).embedded_spec()


def test_an_onnx_that_lokma_did_not_export_says_so():
    with pytest.raises(EngineError, match=r"carries no lokma\.spec: it was not exported by lokma; export it first"):
        open_session("onnxruntime", onnx_model()).embedded_spec()


def test_an_answer_of_another_shape_than_the_specs_is_refused():
    inputs, outputs = (TensorSpec("x", "float32", ("batch", 2)),), (TensorSpec("y", "float32", ("batch", 2)),)
    graph = onnx.load_from_string(onnx_model(output=("free",))).graph
    graph.node[0].CopyFrom(helper.make_node("Compress", ["x", "kept"], ["y"], axis=1))
    graph.initializer.append(helper.make_tensor("kept", TensorProto.BOOL, [2], [True, False]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = open_session("onnxruntime", model.SerializeToString(), None, inputs, outputs)
    with pytest.raises(EngineError, match=r"y came out as \(1, 1\); its spec says \('batch', 2\)"):
        session.run({"x": bytes(8)})


def altered_pte(data, change):
    """A `.pte` with another plan: what a damaged exporter or a stranger could write."""
    from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary

    file = deserialize_pte_binary(data)
    change(file.program)
    return bytes(serialize_pte_binary(file))


@pytest.mark.parametrize("size", [1 << 50, 1 << 62, -1])
def test_a_pte_that_asks_for_more_memory_than_there_is_is_refused(policy, size):
    def greedy(program):
        forward = next(plan for plan in program.execution_plan if plan.name == "forward")
        forward.non_const_buffer_sizes[1] = size

    data = altered_pte(policy.artifacts["xnnpack-fp32"], greedy)
    with pytest.raises(EngineError, match=r"cannot prepare this \.pte: \w+, "):
        open_session("executorch", data, None, policy.spec.inputs, policy.spec.outputs)


def test_a_pte_of_a_newer_executorch_is_refused(policy):
    data = policy.artifacts["xnnpack-fp32"]
    assert data[4:8] == b"ET12"
    newer = data[:4] + b"ET13" + data[8:]
    with pytest.raises(EngineError, match=r"InvalidProgram, this is not a \.pte, .* or written for a newer") as caught:
        open_session("executorch", newer)
    assert caught.value.code == "InvalidProgram"


@pytest.mark.parametrize("code", [*executorch._MEANINGS, 0x7F])
def test_every_error_code_of_executorch_is_named_and_explained(policy, code):
    name, meaning = executorch._MEANINGS.get(code, ("error 0x7f", "an error that this version has no words for"))
    with pytest.raises(EngineError, match=f"ExecuTorch 1.5.1 failed: {name}, {meaning}") as caught:
        opened(policy)._refuse(code, "failed")
    assert caught.value.code == name and EngineError("closed").code is None


def test_the_quantized_kernels_are_loaded_for_a_pte_that_lists_them_and_for_no_other(tmp_path):
    done = subprocess.run([sys.executable, "-c", QUANTIZED], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, mapped in (("plain.pte", "False"), ("quantized.pte", "True")):
        done = subprocess.run([sys.executable, "-c", MAPPED, name], cwd=tmp_path, capture_output=True, text=True)
        assert (done.stdout.split(), done.returncode) == ([mapped], 0), done.stderr


def test_a_pte_that_names_an_operator_that_this_build_lacks_is_refused(pictures):
    def foreign(program):
        for plan in program.execution_plan:
            for operator in plan.operators:
                operator.name = "aten::dream"

    data = altered_pte(pictures.artifacts["xnnpack-fp32"], foreign)
    with pytest.raises(EngineError, match=r"OperatorMissing, the file needs an operator .*aten::dream") as caught:
        open_session("executorch", data, None, pictures.spec.inputs, pictures.spec.outputs)
    assert caught.value.code == "OperatorMissing"


def test_a_pte_without_a_spec_or_without_forward_is_refused(policy):
    def rename(program):
        for plan in program.execution_plan:
            plan.name = "other_" + plan.name

    data = altered_pte(policy.artifacts["xnnpack-fp32"], rename)
    with pytest.raises(EngineError, match=r"carries no lokma_spec: it was not exported by lokma"):
        open_session("executorch", data).embedded_spec()
    with pytest.raises(EngineError, match=r"cannot prepare this \.pte: InvalidArgument"):
        open_session("executorch", data, None, policy.spec.inputs, policy.spec.outputs)


def test_the_embedded_spec_is_plain_json(pictures):
    assert json.dumps(open_session("executorch", pictures.artifacts["xnnpack-int8"]).embedded_spec())


def test_an_onnx_whose_weights_lie_in_another_file_is_refused(policy, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(policy.artifacts["onnx-fp32"])
    onnx.save_model(model, tmp_path / "net.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    for content in (tmp_path / "net.onnx", (tmp_path / "net.onnx").read_bytes()):
        with pytest.raises(EngineError, match="keeps weights in another file"):
            open_session("onnxruntime", content)
