"""XNNPACK's partitioner, with one more kind of layer: linear ones that hold int8 weights and work in float.

XNNPACK has kernels for them (`f32_qc8w`), as fast here as those of float32 weights, and a quarter of the size; the
partitioner of ExecuTorch 1.5.1 leaves such a layer out, unless what it is given is quantized too.
"""

from __future__ import annotations

from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
from executorch.backends.xnnpack.partition.config.gemm_configs import LinearConfig
from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.utils.quant_utils import is_dequant
from executorch.backends.xnnpack.utils.utils import get_input_node
from torch import fx
from torch.export import ExportedProgram


class Linear(LinearConfig):
    """A layer without a bias, as the serializer wants it, whose weights alone come from integers counts as float."""

    def _detect_precision(self, node: fx.Node) -> ConfigPrecisionType:
        found = super()._detect_precision(node)
        weights_alone = found is ConfigPrecisionType.STATIC_QUANT and not is_dequant(get_input_node(node, 0))
        return ConfigPrecisionType.FP32 if weights_alone else found

    def _get_weight_deps(
        self, node: fx.Node, ep: ExportedProgram, precision: ConfigPrecisionType
    ) -> tuple[bool, list[fx.Node]]:
        if precision is ConfigPrecisionType.FP32 and is_dequant(get_input_node(node, 1)):
            precision = ConfigPrecisionType.DYNAMIC_QUANT  # with the weights go their integers and scales
        found: tuple[bool, list[fx.Node]] = super()._get_weight_deps(node, ep, precision)
        return found


def partitioner() -> XnnpackPartitioner:
    """What hands to XNNPACK all that it can run."""
    return XnnpackPartitioner([Linear if row is LinearConfig else row for row in ALL_PARTITIONER_CONFIGS])
