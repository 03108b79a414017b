import json

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from edge_runtime.engines import open_session
from edge_runtime.engines.onnxruntime import SPEC_KEY
from export.contract import InGraph, example_input
from export.recipes import Job


def test_the_contract_puts_normalisation_layout_and_softmax_inside(pictures):
    spec = pictures.spec
    module = InGraph(torch.nn.Identity(), spec)
    white = torch.full((1, 16, 16, 3), 255, dtype=torch.uint8)
    inner = module.normalise(white)
    assert inner.shape == (1, 3, 16, 16)
    assert torch.allclose(inner[0, :, 0, 0], torch.tensor([(255 - 124) / 58, (255 - 116) / 57, (255 - 104) / 57.5]))
    answer = pictures.eager(example_input(spec, batch=2))
    assert torch.allclose(answer.sum(dim=1), torch.ones(2))


def test_an_onnx_is_one_file_with_a_free_batch_size_its_spec_and_no_path_of_this_machine(pictures):
    for name in ("onnx-fp32", "onnx-int8"):
        data = pictures.artifacts[name]
        model = onnx.load_from_string(data)
        assert json.loads({p.key: p.value for p in model.metadata_props}[SPEC_KEY]) == pictures.spec.to_dict()
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
        assert all(t.data_location == onnx.TensorProto.DEFAULT for t in model.graph.initializer)
        assert b"site-packages" not in data and b"graph_signature" not in data


def test_int8_onnx_has_u8_activations_seven_bit_weights_and_float_normalisation(pictures):
    graph = onnx.load_from_string(pictures.artifacts["onnx-int8"]).graph
    weights = [numpy_helper.to_array(t) for t in graph.initializer if t.data_type == onnx.TensorProto.INT8 and t.dims]
    kernels = [w for w in weights if w.ndim == 4]
    assert len(kernels) == 2
    assert all(-64 <= w.min() and w.max() <= 64 for w in kernels)  # reduce_range: x86 without VNNI cannot saturate
    kinds = [node.op_type for node in graph.node]
    assert kinds.index("QuantizeLinear") > kinds.index("Mul")  # the first one comes after the normalisation
    assert kinds[-1] == "Softmax"


def test_a_pte_hands_everything_but_cast_and_layout_to_xnnpack(pictures):
    from export.to_executorch import fp32

    found = fp32(Job(pictures.eager.model, pictures.spec, pictures.inputs, pictures.inputs)).details["delegation"]
    assert set(found["outside"]) <= {"as_strided_copy"}  # the pooling's, of eight numbers
    assert found["operators"] - found["delegated"] == len(found["outside"]) and found["delegated"] >= 8
    assert abs(found["time_share"] + sum(found["outside"].values()) - 1) < 1e-3


def test_every_artifact_agrees_with_eager_torch_as_its_kind_allows(pictures):
    reference = pictures.answers()
    for name, data in pictures.artifacts.items():
        engine = "executorch" if name.startswith("xnnpack") else "onnxruntime"
        session = open_session(engine, data, None, pictures.spec.inputs, pictures.spec.outputs)
        rows = [np.asarray(session.run({"pixels": x[None].numpy()})["probabilities"])[0] for x in pictures.inputs]
        drift = np.abs(np.stack(rows) - reference).max()
        assert drift < (1e-5 if "fp32" in name else 0.15), (name, drift)
        assert drift > 0 or "fp32" in name  # an int8 that equals fp32 exactly was not quantized
