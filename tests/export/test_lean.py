import importlib

import pytest
import torch
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule

from export.lean import lean
from export.lowering import lower
from export.recipes import RECIPES, Job
from tests.export.tiny import attentive, normed, of_side, samples


@pytest.mark.parametrize("name", ["xnnpack-fp32", "xnnpack-int8", "onnx-fp32"])
@pytest.mark.parametrize("model, side", [(normed, 16), (attentive, 32)])
def test_a_file_is_the_same_to_the_byte_as_one_that_was_lowered_the_long_way(name, model, side):
    module, function = RECIPES[name].lower.split(":")
    made, inputs = getattr(importlib.import_module(module), function), samples(of_side(side))
    job = Job(model(), of_side(side), inputs, inputs)
    assert made(job).data == lower(name, job).data


def test_a_graph_that_was_changed_inside_answers_by_its_newest_form_inside_and_after():
    with lean():
        module = torch.export.export(torch.nn.ReLU(), (torch.ones(2),)).module()
        assert module(torch.tensor([-1.0, 1.0])).tolist() == [0, 1]
        node = next(node for node in module.graph.nodes if node.op == "call_function")
        node.target = torch.ops.aten.neg.default
        module.recompile()
        assert module(torch.tensor([-1.0, 1.0])).tolist() == [1, -1]
        node.target = torch.ops.aten.abs.default
        module.recompile()
    assert module(torch.tensor([-1.0, 1.0])).tolist() == [1, 1]
    assert "abs" in module.code


def test_a_program_is_traced_again_only_where_the_table_has_an_operator_of_it():
    model = torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Hardtanh(inplace=True))
    program = torch.export.export(model, (torch.ones(2),))
    other, own = (
        {operator: lambda x, *_: x + 1} for operator in (torch.ops.aten.sin.default, torch.ops.aten.hardtanh.default)
    )
    with lean():
        first = program.run_decompositions({})
        assert first is not program  # what writes into another tensor is gone
        assert first.run_decompositions(other) is first
        assert first.run_decompositions(own).module()(torch.zeros(2)).tolist() == [1, 1]


def test_torch_is_itself_again_after_a_failure():
    before = GraphModule.recompile, Graph.lint, ExportedProgram.run_decompositions, GraphModule.__str__
    with pytest.raises(ValueError, match="no"), lean():
        assert Graph.lint is not before[1]
        raise ValueError("no")
    assert (GraphModule.recompile, Graph.lint, ExportedProgram.run_decompositions, GraphModule.__str__) == before
