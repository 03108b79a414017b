"""Lowers EfficientNet-B2 as the documents of ExecuTorch and of onnxruntime show it: one script a kind of file.

`python plain_export.py KIND FOLDER` takes `weights.safetensors` and `calibration.npy` (n, 3, 288, 288), normalised,
from the folder and writes KIND's file there; `onnx-int8` starts from the file that `onnx-fp32` wrote.
"""

import sys
from pathlib import Path

import numpy as np


def network(folder):
    from safetensors.torch import load_file
    from torchvision.models import efficientnet_b2

    weights = load_file(folder / "weights.safetensors")
    model = efficientnet_b2(num_classes=len(weights["classifier.1.bias"]))
    model.load_state_dict(weights)
    return model.eval()


def calibration(folder):
    import torch

    return list(torch.from_numpy(np.load(folder / "calibration.npy")).split(1))


def xnnpack_fp32(folder):
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(network(folder), (calibration(folder)[0],))
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (folder / "xnnpack-fp32.pte").write_bytes(edge.to_executorch().buffer)


def xnnpack_int8(folder):
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    inputs = calibration(folder)
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(network(folder), (inputs[0],)).module(), quantizer)
    for sample in inputs:
        prepared(sample)
    program = torch.export.export(convert_pt2e(prepared), (inputs[0],))
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (folder / "xnnpack-int8.pte").write_bytes(edge.to_executorch().buffer)


def onnx_fp32(folder):
    import torch

    batch = torch.cat(calibration(folder)[:2])
    program = torch.onnx.export(
        network(folder), (batch,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False
    )
    program.save(folder / "onnx-fp32.onnx")  # type: ignore[union-attr]  # None is for other options


def onnx_int8(folder):
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, name):
            self.rest = iter([{name: sample[None]} for sample in np.load(folder / "calibration.npy")])

        def get_next(self):
            return next(self.rest, None)

    import onnx

    name = onnx.load(folder / "onnx-fp32.onnx").graph.input[0].name
    quant_pre_process(folder / "onnx-fp32.onnx", folder / "ready.onnx")
    # as onnxruntime advises for processors without VNNI
    quantize_static(
        folder / "ready.onnx",
        folder / "onnx-int8.onnx",
        Reader(name),
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


KINDS = {
    "xnnpack-fp32": xnnpack_fp32,
    "onnx-fp32": onnx_fp32,
    "xnnpack-int8": xnnpack_int8,
    "onnx-int8": onnx_int8,
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](Path(sys.argv[2]))
