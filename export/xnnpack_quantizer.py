"""XNNPACK's quantizer, with more to it: a clamp belongs to the layer before it, layers may stay in float, and the
ranges of a convolution's input may be taken picture by picture.

ExecuTorch 1.5.1 knows a convolution with a ReLU as one step, and not one with a ReLU6, which MobileNet and
EfficientNet-Lite are made of. It then takes the range before the clamp, several times as wide as what is left after
it, and shares it with what follows: of 256 steps a few dozen are used. XNNPACK's kernels clamp in any case.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import QuantizationConfig, XNNPACKQuantizer
from torch import Tensor, fx
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

aten, integers = torch.ops.aten, torch.ops.quantized_decomposed
CLAMPS = {aten.hardtanh.default, aten.hardtanh_.default, aten.relu6.default, aten.relu6_.default}
MAX_HEAD = 0.02  # of the weights
RELUS = {aten.relu.default, aten.relu_.default}
CONVOLUTIONS = {aten.conv1d.default, aten.conv2d.default}
WEIGHTED = {*CONVOLUTIONS, aten.linear.default}
PADS: dict[Any, tuple[str, ...]] = {aten.pad.default: ("constant",), aten.constant_pad_nd.default: ()}
NEXT_TO_NOTHING = 1e-30  # beside any number that a layer adds up it rounds away


def layer_of(node: fx.Node) -> str:
    """The innermost module that a node comes from, as `named_modules` calls it; the node's name where there is none."""
    stack = [name for name, _ in node.meta.get("nn_module_stack", {}).values()]
    return stack[-1].removeprefix("L['self'].") if stack and stack[-1] else node.name


class Quantizer(XNNPACKQuantizer):
    """Quantizes all that XNNPACK can by `config`, but for the layers named in `in_float`."""

    def __init__(self, config: QuantizationConfig, in_float: Collection[str] = ()) -> None:
        super().__init__()
        self.set_global(config)
        self.set_filter_function(lambda node: layer_of(node) not in in_float)

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Marks what is quantized: first layers with their clamps, then the rest as XNNPACK's own does."""
        for node in model.graph.nodes:
            if node.target in CLAMPS and _is_layer(node.args[0]) and self.filter_fn(node.args[0]):
                self._annotate_clamped(node.args[0], node)
        return super().annotate(model)

    def _annotate_clamped(self, layer: fx.Node, clamp: fx.Node) -> None:
        config = self.global_config
        given: dict[Any, Any] = {layer.args[0]: config.input_activation, layer.args[1]: config.weight}
        if len(layer.args) > 2 and isinstance(layer.args[2], fx.Node):
            given[layer.args[2]] = config.bias
        layer.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(input_qspec_map=given, _annotated=True)
        if clamp is layer:
            layer.meta[Q_ANNOTATION_KEY].output_qspec = config.output_activation
        else:
            annotation = QuantizationAnnotation(output_qspec=config.output_activation, _annotated=True)
            clamp.meta[Q_ANNOTATION_KEY] = annotation


class PictureByPicture(Quantizer):
    """Takes the ranges of convolutions and linear layers at each run, those of grouped convolutions beforehand.

    XNNPACK has no kernel for a grouped convolution with ranges of the run. What lies between layers stays in float.
    """

    def __init__(
        self, at_run: QuantizationConfig, beforehand: QuantizationConfig, in_float: Collection[str] = ()
    ) -> None:
        super().__init__(beforehand, in_float)
        self.at_run = at_run

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Marks what is quantized."""
        for node in model.graph.nodes:
            if node.target not in WEIGHTED or not self.filter_fn(node):
                continue
            if node.target not in CONVOLUTIONS or groups_of(node) == 1:
                given = {node.args[0]: self.at_run.input_activation, node.args[1]: self.at_run.weight}
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(input_qspec_map=given, _annotated=True)
            else:
                users = list(node.users)
                clamped = len(users) == 1 and users[0].target in CLAMPS | RELUS
                self._annotate_clamped(node, users[0] if clamped else node)
        return model


def keep_float_pads(quantized: fx.GraphModule) -> None:
    """Pads with next to nothing instead of nothing what goes from integers into a layer in float, in place.

    ExecuTorch 1.5.1 takes every pad by zeros behind a dequantizer for one of a quantized layer and quantizes it
    (`InsertPadQDQPass`); the float layer after it is then refused: "Weight and Input should both be quantized".
    """
    for node in quantized.graph.nodes:
        zeros = node.target in PADS and set(node.args[2:]) <= {"constant", None, 0.0}
        if zeros and all(user.target in WEIGHTED and user.args[1].op == "get_attr" for user in node.users):
            node.args = (*node.args[:2], *PADS[node.target], NEXT_TO_NOTHING)
    quantized.recompile()


def ranges_by_row(quantized: fx.GraphModule) -> fx.GraphModule:
    """Takes ranges of the run as XNNPACK's kernels do, in place: torch's own are of a whole tensor everywhere.

    A linear layer, and a convolution that is one at each pixel, has a range for each row that it multiplies.
    """
    node: Any  # what its arguments are, no annotation says
    for node in list(quantized.graph.nodes):
        if node.target is not integers.dequantize_per_tensor.tensor:
            continue
        dims = {_row_of(user) for user in node.users}
        if len(dims) == 1 and (dim := dims.pop()) is not None:
            with quantized.graph.inserting_after(node):
                node.replace_all_uses_with(quantized.graph.call_function(_by_row, (node.args[0].args[0], dim)))
    quantized.graph.eliminate_dead_code()
    quantized.recompile()
    return quantized


def _row_of(layer: Any) -> int | None:
    """The dimension that a layer adds up over; None where it is not the only one."""
    if layer.target is aten.linear.default:
        return -1
    if layer.target is not aten.conv2d.default:
        return None
    stride, padding = _argument(layer, 3, "stride", [1]), _argument(layer, 4, "padding", [0])
    kernel = layer.args[1].meta["val"].shape[2:]
    return 1 if {*stride, *kernel} == {1} and {*padding} == {0} and groups_of(layer) == 1 else None


def _by_row(x: Tensor, dim: int) -> Tensor:
    rows, kind = x.movedim(dim, -1), (-128, 127, torch.int8)
    scale, zero = integers.choose_qparams_per_token_asymmetric(rows, torch.int8)
    whole = integers.quantize_per_token(rows, scale, zero, *kind)
    return integers.dequantize_per_token(whole, scale, zero, *kind, torch.float32).movedim(-1, dim)


def groups_of(layer: fx.Node) -> int:
    """Of a convolution."""
    return int(_argument(layer, 6, "groups", 1))


def _argument(layer: fx.Node, at: int, name: str, default: Any) -> Any:
    return layer.args[at] if len(layer.args) > at else layer.kwargs.get(name, default)


def smallest(program: fx.GraphModule, share: float) -> set[str]:
    """The layers with the fewest weights, as many as hold at most `share` of all together."""
    layers = [node for node in program.graph.nodes if node.target in WEIGHTED]
    sizes = {node: _numel(program, node.args[1]) for node in layers}
    room, found = share * sum(sizes.values()), set()
    for node in sorted(layers, key=lambda one: sizes[one]):
        room -= sizes[node]
        if room < 0:
            break
        found.add(layer_of(node))
    return found


def first_layer(program: fx.GraphModule) -> set[str]:
    """The layer that sees the pictures.

    ExecuTorch 1.5.1 cannot take the range at each run of what comes straight from the change of layout in front of it:
    the file then stops with "Propagating input shapes failed".
    """
    return {layer_of(next(node for node in program.graph.nodes if node.target in WEIGHTED))}


def tokens_in(program: fx.GraphModule) -> bool:
    """Whether a linear layer is given more than one row a sample.

    ExecuTorch 1.5.1 fails on such a file, where convolutions with ranges of the run stand beside it.
    """
    return any(
        node.target is aten.linear.default and node.args[0].meta["val"].dim() > 2 for node in program.graph.nodes
    )


def small_head(program: fx.GraphModule) -> set[str]:
    """The last layer, where it holds so few of the weights that it costs nothing to leave it in float.

    Its outputs decide the answer: in int8 they are steps of a hundredth of the widest one, and close calls fall.
    """
    layers = [node for node in program.graph.nodes if node.target in WEIGHTED]
    sizes = [_numel(program, node.args[1]) for node in layers]
    return {layer_of(layers[-1])} if layers and sizes[-1] <= MAX_HEAD * sum(sizes) else set()


def _numel(program: fx.GraphModule, weight: Any) -> int:
    """Of a parameter or a buffer, or of what was computed from one."""
    found = operator.attrgetter(weight.target)(program) if weight.op == "get_attr" else weight.meta["val"]
    return int(found.numel())


def _is_layer(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.target in WEIGHTED and len(node.users) == 1
