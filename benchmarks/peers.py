"""The peers that lokma is measured beside: a row each of how a network becomes its file, and how that is run.

Each is used as its documents show it, in fp32. A peer gets the normalised tensor ready made; lokma's files take the
pixels and normalise by themselves, and are measured with that. `python -m benchmarks.peers NAME FOLDER SPEC
THREADS` runs one, in a process of its own that speaks `edge_runtime.worker`'s lines; an input is a file's name without
its ending: `.pixels` holds uint8 (side, side, 3), `.tensor` the same normalised, float32 (3, side, side).

>>> list(PEERS)[:4]
['lokma onnx-fp32', 'lokma xnnpack-fp32', 'onnxruntime', 'executorch.runtime']

To add one, add a row and its two functions, which import what they need inside: what one peer brings is in no other's
memory.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime import engines, worker
from edge_runtime.spec import ModelSpec

Predict = Callable[[Path], Sequence[float]]


@dataclass(frozen=True, eq=False)
class Job:
    """What an export is given.

    Attributes:
        model: takes `example` and gives logits, in eval mode.
        spec: what lokma's file takes and gives: pixels in, probabilities out.
        example: float32 (1, 3, side, side), normalised.
        pixels: uint8 (n, side, side, 3).
        folder: where the files go; what lies there afterwards is the size on disk.
        lower: lowers by a recipe, from the export room.
    """

    model: Any
    spec: ModelSpec
    example: Any
    pixels: Any
    folder: Path
    lower: Callable[[str, Job], bytes]


@dataclass(frozen=True)
class Peer:
    """A row: the distributions that it needs, what writes its files, and what loads them.

    `load` takes the folder, the spec and the threads, and gives what answers one input.
    """

    needs: tuple[str, ...]
    export: Callable[[Job], None]
    load: Callable[[Path, ModelSpec, int], Predict]


def _lokma_export(recipe: str, job: Job) -> None:
    (job.folder / recipe).write_bytes(job.lower(recipe, job))


def _lokma_load(recipe: str, engine: str, folder: Path, spec: ModelSpec, threads: int) -> Predict:
    session = engines.open_session(engine, folder / recipe, threads, spec.inputs, spec.outputs)
    read = functools.cache(lambda path: path.with_suffix(".pixels").read_bytes())
    return lambda path: session.run({"pixels": read(path)})["probabilities"].cast("B").cast("f").tolist()


def _onnxruntime_export(job: Job) -> None:
    import torch

    program = torch.onnx.export(job.model, (job.example,), dynamo=True, external_data=False)
    program.save(job.folder / "model.onnx")  # type: ignore[union-attr]  # None is for other options


def _onnxruntime_load(folder: Path, spec: ModelSpec, threads: int) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    name, read = session.get_inputs()[0].name, array_reader(spec)
    return lambda path: session.run(None, {name: read(path)})[0][0].tolist()


def _executorch_export(job: Job) -> None:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(job.model, (job.example,))
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (job.folder / "model.pte").write_bytes(edge.to_executorch().buffer)


def _executorch_load(folder: Path, spec: ModelSpec, threads: int) -> Predict:
    import torch
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
    from executorch.runtime import Runtime

    _unsafe_reset_threadpool(threads)  # the one setting there is; before anything is loaded it is safe
    method = Runtime.get().load_program(folder / "model.pte").load_method("forward")
    assert method is not None
    read = array_reader(spec)
    return lambda path: method.execute([torch.from_numpy(read(path))])[0][0].tolist()


def _eager_export(job: Job) -> None:
    import torch

    torch.save(job.model, job.folder / "model.pt")


def _eager_load(folder: Path, spec: ModelSpec, threads: int) -> Predict:
    import torch

    torch.set_num_threads(threads)
    model = torch.load(folder / "model.pt", weights_only=False)  # written by this command, a minute ago
    read = array_reader(spec)

    def predict(path: Path) -> Sequence[float]:
        with torch.inference_mode():
            answer: list[float] = model(torch.from_numpy(read(path)))[0].tolist()
            return answer

    return predict


def _openvino_export(job: Job) -> None:
    import openvino

    openvino.save_model(
        openvino.convert_model(job.model, example_input=job.example, input=tuple(job.example.shape)),
        job.folder / "model.xml",
        compress_to_fp16=False,
    )


def _openvino_load(folder: Path, spec: ModelSpec, threads: int) -> Predict:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", settings)
    read = array_reader(spec)
    return lambda path: compiled(read(path))[0][0].tolist()


def _ncnn_export(job: Job) -> None:
    import tempfile

    import pnnx

    with tempfile.TemporaryDirectory(prefix="lokma-pnnx-") as scratch:  # it writes a dozen files
        pnnx.export(
            job.model,
            str(Path(scratch) / "model.pt"),
            (job.example,),
            fp16=False,
            ncnnparam=str(job.folder / "model.param"),
            ncnnbin=str(job.folder / "model.bin"),
        )


def _ncnn_load(folder: Path, spec: ModelSpec, threads: int) -> Predict:
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = threads
    network.opt.use_vulkan_compute = False
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(network.opt, name, False)
    if network.load_param(str(folder / "model.param")) or network.load_model(str(folder / "model.bin")):
        raise SystemExit("ncnn cannot load what pnnx wrote")
    read = array_reader(spec)

    def predict(path: Path) -> Sequence[float]:
        run = network.create_extractor()
        run.input("in0", ncnn.Mat(read(path)[0]))
        failed, answer = run.extract("out0")
        if failed:
            raise SystemExit(f"ncnn failed while running: {failed}")
        found: list[float] = answer.numpy().reshape(-1).tolist()
        return found

    return predict


def _litert_export(job: Job) -> None:
    import litert_torch

    litert_torch.convert(job.model, (job.example,)).export(str(job.folder / "model.tflite"))


def _litert_load(folder: Path, spec: ModelSpec, threads: int) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_path=str(folder / "model.tflite"), num_threads=threads)
    network.allocate_tensors()
    given, gives = network.get_input_details()[0]["index"], network.get_output_details()[0]["index"]
    read = array_reader(spec)

    def predict(path: Path) -> Sequence[float]:
        network.set_tensor(given, read(path))
        network.invoke()
        answer: list[float] = network.get_tensor(gives)[0].tolist()
        return answer

    return predict


PEERS: dict[str, Peer] = {
    "lokma onnx-fp32": Peer(
        ("onnxruntime",),
        functools.partial(_lokma_export, "onnx-fp32"),
        functools.partial(_lokma_load, "onnx-fp32", "onnxruntime"),
    ),
    "lokma xnnpack-fp32": Peer(
        ("executorch",),
        functools.partial(_lokma_export, "xnnpack-fp32"),
        functools.partial(_lokma_load, "xnnpack-fp32", "executorch"),
    ),
    "onnxruntime": Peer(("onnxruntime", "onnxscript"), _onnxruntime_export, _onnxruntime_load),
    "executorch.runtime": Peer(("executorch", "torch"), _executorch_export, _executorch_load),
    "torch eager": Peer(("torch", "torchvision"), _eager_export, _eager_load),
    "OpenVINO": Peer(("openvino",), _openvino_export, _openvino_load),
    "ncnn": Peer(("ncnn", "pnnx"), _ncnn_export, _ncnn_load),
    "LiteRT": Peer(("litert-torch", "ai-edge-litert"), _litert_export, _litert_load),
}
PROBABILITIES = tuple(name for name in PEERS if name.startswith("lokma"))  # the others give logits


def array_reader(spec: ModelSpec) -> Callable[[Path], Any]:
    """Reads an input's tensor once, float32 (1, 3, side, side)."""
    import numpy as np

    height, width, channels = spec.inputs[0].sample_shape
    shape = (1, channels, height, width)
    return functools.cache(lambda path: np.fromfile(path.with_suffix(".tensor"), np.float32).reshape(shape))


def main(argv: Sequence[str]) -> int:
    """Loads a peer's file and answers lines from stdin."""
    name, folder, spec, threads = argv
    began = time.monotonic_ns()
    predict = PEERS[name].load(Path(folder), ModelSpec.from_dict(json.loads(Path(spec).read_text())), int(threads))

    def answer(given: Any) -> tuple[Sequence[float], Mapping[str, int]]:
        return predict(Path(given)), {}

    worker.serve(0, time.monotonic_ns() - began, {}, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
