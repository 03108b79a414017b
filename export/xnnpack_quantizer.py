"""XNNPACK's quantizer, with two things more: a clamp belongs to the layer before it, and layers may stay in float.

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
from torch import fx
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

aten = torch.ops.aten
CLAMPS = {aten.hardtanh.default, aten.hardtanh_.default, aten.relu6.default, aten.relu6_.default}
MAX_HEAD = 0.02  # of the weights
WEIGHTED = {aten.conv1d.default, aten.conv2d.default, aten.linear.default}


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
        clamp.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(output_qspec=config.output_activation, _annotated=True)


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
