"""Lowers to ExecuTorch with XNNPACK: `.pte` in fp32, and int8 by PT2E with static ranges, per channel."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    QuantizationConfig,
    get_symmetric_quantization_config,
)
from executorch.devtools.backend_debug import get_delegation_info
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.operator.util import _QUANT_PRIMITIVES
from executorch.exir.passes.constant_prop_pass import constant_prop_pass
from torch import Tensor, nn
from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver, move_exported_model_to_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edge_runtime.engines import open_session
from edge_runtime.engines.executorch import SPEC_METHOD, ExecuTorchSession
from edge_runtime.profile import measured
from export.contract import InGraph, example_input, output_of
from export.fold import folded, program_of
from export.recipes import Job, Lowered
from export.rounding import rounded
from export.xnnpack_partitioner import partitioner
from export.xnnpack_quantizer import (
    Quantizer,
    keep_float_pads,
    ranges_by_row,
    small_head,
)
from train.fit import one_thread

Details = dict[str, Any]
LEVELS = 127  # the largest weight


def fp32(job: Job) -> Lowered:
    """The model as it is."""
    return lower_program(folded(job.model, job.spec), job, None)


def int8(job: Job) -> Lowered:
    """The model between normalisation and last activation in int8, ranges from the calibration inputs.

    Weights are symmetric per channel, activations per tensor, as XNNPACK's kernels take them.
    """
    model, spec = job.model, job.spec
    contract = InGraph(model, spec)
    exported = program_of(folded(model, spec), spec).module()
    in_float = job.in_float | small_head(exported)
    on_grid = copy.deepcopy(exported)
    weights = rounded(model, spec, job.calibration, LEVELS, in_float)
    on_grid.load_state_dict({**on_grid.state_dict(), **weights})
    prepared = prepare_pt2e(on_grid, Quantizer(per_channel(), in_float))
    with torch.no_grad(), one_thread():  # many small steps: two threads wait for each other beside any other work
        for sample in job.calibration:
            prepared(contract.normalise(sample[None]))
    quantized = convert_pt2e(prepared)
    move_exported_model_to_eval(quantized)
    keep_float_pads(quantized)
    quantization = {
        "scheme": "PT2E static, s8 activations per tensor, s8 weights per channel",
        "calibration_inputs": len(job.calibration),
        "in_float": ["normalisation", "last activation", *sorted(in_float)],
    }
    return lower_program(quantized, job, quantization, exported)


def per_channel() -> QuantizationConfig:
    """XNNPACK's own, but with activation ranges from the smallest to the largest value that calibration shows.

    Its histogram takes several times as long. Moving averages of each picture's ends cut the largest outputs off,
    and moved answers of training-side pictures that calibration had not seen three times as far.
    """
    config = get_symmetric_quantization_config(is_per_channel=True)
    assert config.input_activation is not None and config.weight is not None
    whole = MinMaxObserver.with_args(eps=2**-12)
    activation = dataclasses.replace(config.input_activation, observer_or_fake_quant_ctr=whole)
    # XNNPACK's own has no step below 2**-12, and leaves channels of small weights a handful of them
    fine = PerChannelMinMaxObserver.with_args(eps=2**-24)
    weight = dataclasses.replace(config.weight, observer_or_fake_quant_ctr=fine)
    return dataclasses.replace(config, input_activation=activation, output_activation=activation, weight=weight)


def lower_program(
    model: nn.Module, job: Job, quantization: Details | None, exported: nn.Module | None = None
) -> Lowered:
    """Exports the contract around `model` with batch size 1 and hands what it can to XNNPACK.

    Args:
        model: what is lowered, quantized where `quantization` says how.
        job: what the recipe was given.
        quantization: for the manifest.
        exported: the model's program before it was quantized.
    """
    spec = job.spec
    program = _plain(torch.export.export(InGraph(model, spec), (example_input(spec),), strict=False))
    stages: dict[str, nn.Module] = {"exported program": InGraph(exported, spec)} if exported else {}
    stages["quantized program" if exported else "exported program"] = ranges_by_row(program.module())
    outputs = {name: output_of(stage, job.probe).numpy() for name, stage in stages.items()}
    description = torch.frombuffer(bytearray(json.dumps(spec.to_dict()).encode()), dtype=torch.uint8)
    edge = to_edge_transform_and_lower(
        program, partitioner=[partitioner()], constant_methods={SPEC_METHOD: description}
    )
    inside = get_delegation_info(edge.exported_program().graph_module).num_delegated_nodes
    data = bytes(edge.to_executorch().buffer)
    session = cast(ExecuTorchSession, open_session("executorch", data, None, spec.inputs, spec.outputs))
    timed = measured(session)
    session.close()
    outside = timed.operators - timed.delegated  # in the profile a whole delegate is one operator
    delegation = dataclasses.replace(timed, operators=inside + outside, delegated=inside).to_dict()
    return Lowered(data, {"quantization": quantization, "delegation": delegation}, outputs)


def _plain(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Attention and some pooling in steps that XNNPACK takes, so that it does not break up around them.

    Torch's own attention also guards rows that a mask hides whole: eight operators a layer that XNNPACK does not
    know, and its products of matrices copy both sides to the shape that they have. Its pooling ends in a change of
    strides where pictures come in with their channels last, or counts the zeros around a picture, which left
    Inception v3 half of its time in one operator's plain loops. And what follows from weights alone is computed here,
    once: XNNPACK takes no bias that is made at each run, and torchvision's Swin v2 makes all of its own so, which
    left it 18 times as slow as onnxruntime.
    """
    table = {}
    for operator, (replacement, fits) in _REPLACED.items():
        nodes = [node for node in program.graph.nodes if node.target is operator]
        if nodes and all(map(fits, nodes)):
            table[operator] = replacement
    if not table and not _computes_weights(program):
        return program
    plain = constant_prop_pass(program.run_decompositions(table), set(_QUANT_PRIMITIVES))
    # a weight expanded to the shape it has is no parameter any more, and torch warns of each that wants a gradient
    plain.constants.update({name: x.detach() for name, x in plain.constants.items() if isinstance(x, Tensor)})
    return plain


def _computes_weights(program: torch.export.ExportedProgram) -> bool:
    given = set(program.graph_signature.user_inputs)
    weights = {node for node in program.graph.find_nodes(op="placeholder") if node.name not in given}
    return any(
        node.op == "call_function"
        and node.target not in _QUANT_PRIMITIVES
        and node.all_input_nodes
        and weights.issuperset(node.all_input_nodes)
        for node in program.graph.nodes
    )


def _zeros(x: Tensor, size: list[int], **_: Any) -> Tensor:
    return torch.zeros(size, dtype=x.dtype)


def _attention(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None) -> Tensor:
    factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    return _product(torch.softmax(_product(query * factor, key.transpose(-2, -1)), dim=-1), value)


def _product(a: Tensor, b: Tensor) -> Tensor:
    if b.dim() == 2:  # not of the program, where all fit: torch asks a linear layer for the shape that it gives
        return torch.tensordot(a, b, dims=1)
    return torch.bmm(a.flatten(0, -3), b.flatten(0, -3)).unflatten(0, a.shape[:-2])


def _same_batch(node: Any) -> bool:
    a, b = (given.meta["val"].shape for given in node.args)
    return len(a) > 3 and a[:-2] == b[:-2]


def _pooled(x: Tensor, size: list[int]) -> Tensor:
    del size
    return x.mean((2, 3), keepdim=True)


def _averaged(x: Tensor, size: list[int], stride: list[int], padding: list[int]) -> Tensor:
    """Pooling that counts zeros around a picture, which XNNPACK does not; a depthwise convolution does."""
    channels, (height, width) = x.shape[1], size
    weight = torch.full((channels, 1, height, width), 1 / (height * width), dtype=x.dtype)
    return nn.functional.conv2d(x, weight, None, stride, padding, groups=channels)


_REPLACED: dict[Any, tuple[Callable[..., Tensor], Callable[[Any], bool]]] = {
    torch.ops.aten.new_zeros.default: (_zeros, lambda node: not set(node.kwargs) - {"pin_memory"}),  # of a mask
    torch.ops.aten.scaled_dot_product_attention.default: (
        _attention,
        lambda node: len(node.args) == 3 and not set(node.kwargs) - {"scale"},  # no mask
    ),
    torch.ops.aten.matmul.default: (_product, _same_batch),
    torch.ops.aten.adaptive_avg_pool2d.default: (
        _pooled,
        lambda node: list(node.args[1]) == [1, 1] and node.args[0].meta["val"].dim() == 4,
    ),
    torch.ops.aten.avg_pool2d.default: (
        _averaged,
        lambda node: len(node.args) == 4 and any(node.args[3]) and node.args[0].meta["val"].dim() == 4,
    ),
}
