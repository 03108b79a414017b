import dataclasses
import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edge_runtime import store
from export import boards, culprit, to_executorch, to_onnx
from export.ladder import EQUAL, FP32, Hop, climb, sentence
from export.lowering import entry, lower
from export.recipes import Job
from tests.export.tiny import normed, of_side, samples, wide

HOME = store.home()  # before a test has one of its own: the boards are made once a machine
NOT_HERE = boards.missing() or ("" if (HOME / "arm/lokma").is_dir() else "the boards are not made yet: make test-arm")
RECIPES = ("xnnpack-fp32", "onnx-fp32", "xnnpack-int8", "onnx-int8")


def made(names, folder, spec=None, model=None):
    """What `climb` is given."""
    spec, model = spec or of_side(16), model or normed()
    folder.mkdir(exist_ok=True)
    inputs = samples(spec, 16)
    jobs = {name: Job(model, spec, inputs, inputs[:8]) for name in names}
    lowered = {name: lower(name, job) for name, job in jobs.items()}
    manifest = {"artifacts": [entry(name, found, folder) for name, found in lowered.items()]}
    return folder, manifest, jobs, lowered


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return made(RECIPES, tmp_path_factory.mktemp("whole"))


def climbed(given, **options):
    climb(*given, **options)
    return {artifact["id"]: artifact for artifact in given[1]["artifacts"]}


def bad(artifact):
    return artifact["first_bad_hop"]["hop"], artifact["first_bad_hop"]["layer"]


def test_every_hop_says_what_is_compared_with_what_and_a_sound_model_has_no_bad_one(whole):
    found = climbed(whole)
    hops = {name: [(row["against"], row["hop"], row["ok"]) for row in a["ladder"]] for name, a in found.items()}
    exported = ("eager", "exported program", True)
    assert hops == {
        "xnnpack-fp32": [exported, ("exported program", "session here", True)],
        "onnx-fp32": [exported, ("exported program", "graph", True), ("graph", "session here", True)],
        "xnnpack-int8": [
            exported,
            ("exported program", "quantized program", None),
            ("quantized program", "session here", True),
        ],
        "onnx-int8": [
            exported,
            ("exported program", "graph", True),
            ("graph", "quantized graph", None),
            ("quantized graph", "session here", True),
        ],
    }
    assert all(row["n"] == 8 and row["same_top1"] <= 8 for a in found.values() for row in a["ladder"])
    quantizing = next(row for row in found["xnnpack-int8"]["ladder"] if row["ok"] is None)
    assert quantizing["max_abs"] > 1e-4 and quantizing["bound"] is None
    assert not any("first_bad_hop" in artifact or sentence(artifact) for artifact in found.values())
    json.dumps(whole[1])


def test_a_broken_decomposition_is_the_first_bad_hop_and_its_layer_is_named(tmp_path, monkeypatch):
    pooling, (_, fits) = next(item for item in to_executorch._REPLACED.items() if "pool" in str(item[0]))
    monkeypatch.setitem(to_executorch._REPLACED, pooling, (lambda x, size: x.sum((2, 3), keepdim=True), fits))
    (artifact,) = climbed(made(["xnnpack-fp32"], tmp_path)).values()
    assert bad(artifact) == ("exported program", "5")
    assert "exported program against eager" in sentence(artifact) and "from the layer 5 on" in sentence(artifact)


def miscomputed(monkeypatch, kind, change):
    """Lets the backend compute nodes of a kind as a change of them says."""
    sound = to_executorch.to_edge_transform_and_lower

    def wrong(program, **options):
        module = program.module(check_guards=False)
        for node in module.graph.nodes:
            if kind in str(node.target):
                change(node)
        module.recompile()
        return sound(culprit.torch.export.export(module, program.example_inputs[0], strict=False), **options)

    for room in (to_executorch, culprit):
        monkeypatch.setattr(room, "to_edge_transform_and_lower", wrong)


def test_a_backend_that_computes_a_layer_wrongly_is_found_by_lowering_prefixes(tmp_path, monkeypatch):
    def clamp_high(node):
        node.args = (node.args[0], 5.0, 6.0)

    miscomputed(monkeypatch, "hardtanh", clamp_high)
    (artifact,) = climbed(made(["xnnpack-int8"], tmp_path)).values()
    assert bad(artifact) == ("session here", "2")


def test_in_dynamic_int8_too(tmp_path, monkeypatch):
    def cut_off(node):
        node.target, node.kwargs = torch.ops.aten.relu.default, {}

    miscomputed(monkeypatch, "gelu", cut_off)
    (artifact,) = climbed(made(["xnnpack-int8-dynamic"], tmp_path, of_side(32), wide())).values()
    assert bad(artifact) == ("session here", "blocks.0.mlp.1")


def test_a_weight_that_changed_on_the_way_into_the_graph_is_named(tmp_path, monkeypatch):
    described = to_onnx._described

    def altered(model, spec):
        for tensor in model.graph.initializer:
            if tensor.name == "model.3.weight":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1.5, tensor.name))
        return described(model, spec)

    monkeypatch.setattr(to_onnx, "_described", altered)
    (artifact,) = climbed(made(["onnx-fp32"], tmp_path)).values()
    assert bad(artifact) == ("graph", "3")


def test_a_file_that_is_not_what_was_lowered_is_bad_at_the_session(whole, tmp_path):
    _, manifest, jobs, lowered = whole
    (artifact,) = [dict(a) for a in manifest["artifacts"] if a["id"] == "onnx-fp32"]
    model = onnx.load_from_string(lowered["onnx-fp32"].data)
    for tensor in model.graph.initializer:
        if tensor.name == "model.7.weight":
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    (tmp_path / artifact["file"]).write_bytes(model.SerializeToString())
    changed = {"onnx-fp32": dataclasses.replace(lowered["onnx-fp32"], data=model.SerializeToString())}
    climb(tmp_path, {"artifacts": [artifact]}, jobs, changed)
    assert bad(artifact) == ("session here", "7")


def test_an_output_that_is_no_number_stays_within_no_bound():
    broken, sound = np.array([[np.nan, 0.1]]), np.array([[0.9, 0.1]])
    assert Hop("b", "a", FP32).of(sound, broken)["ok"] is False
    assert Hop("b", "a", EQUAL).of(sound, sound)["ok"] is True


@pytest.mark.skipif(bool(NOT_HERE), reason=NOT_HERE)
def test_emulated_boards_repeat_the_integers_of_this_machine(whole, monkeypatch):
    monkeypatch.setenv("LOKMA_HOME", str(HOME))
    found = climbed(whole, boards=True)
    emulated = {name: [row for row in a["ladder"] if "emulated" in row["hop"]] for name, a in found.items()}
    assert [row["hop"] for row in emulated["xnnpack-fp32"]] == [boards.label_of(board) for board in boards.BOARDS]
    assert all(row["ok"] for rows in emulated.values() for row in rows), emulated
    assert [row["n"] for row in emulated["xnnpack-fp32"]] == [4, 4, 4]
    integers = [row for row in emulated["xnnpack-int8"] if "dequantize" in row["hop"]]
    assert [row["max_abs"] for row in integers] == [0.0, 0.0, 0.0]
