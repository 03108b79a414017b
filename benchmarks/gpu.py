"""A bundle's `.onnx` by onnxruntime's CUDA provider, through the runtime's own preprocess and answer.

A child of `edge_runtime.worker.Worker`: `python -m benchmarks.gpu BUNDLE ARTIFACT THREADS [PROVIDER]`. A provider
that onnxruntime would quietly replace by the processor is an error here: a label on work that ran elsewhere lies.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_runtime import worker
from edge_runtime.errors import EngineError, LokmaError, NotMeasured

CUDA = "CUDAExecutionProvider"
NO_DEVICE = "not measured: no CUDA device"
NO_PROVIDER = "not measured: the onnxruntime that is installed has no CUDA provider; onnxruntime-gpu has"
_ASK = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"


def cuda_device() -> str:
    """The name of the first CUDA device, as torch sees it from a process of its own.

    Raises:
        NotMeasured: there is none.
    """
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=120)
    if done.returncode or not done.stdout.strip():
        raise NotMeasured(NO_DEVICE)
    return done.stdout.strip()


def has_provider() -> bool:
    """Whether the onnxruntime that is installed was built for CUDA."""
    try:
        import onnxruntime
    except ImportError:
        return False
    return CUDA in onnxruntime.get_available_providers()


def start(bundle: Path, artifact: str, threads: int, provider: str = CUDA) -> worker.Worker:
    """The parent's side.

    Raises:
        NotMeasured: the onnxruntime that is installed cannot use a CUDA device.
    """
    if provider == CUDA and not has_provider():
        raise NotMeasured(NO_PROVIDER)
    command = [sys.executable, "-m", "benchmarks.gpu", str(bundle.absolute()), artifact, str(threads), provider]
    return worker.Worker(command)


class GpuSession:
    """An `edge_runtime.engines.Session` by another provider."""

    def __init__(self, content: Path | bytes, provider: str, threads: int, spec: Any) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 4
        source = content if isinstance(content, bytes) else str(content)
        self._session = onnxruntime.InferenceSession(source, options, providers=[provider])
        if self._session.get_providers()[0] != provider:
            raise EngineError(
                f"onnxruntime did not take {provider}: it would run on {self._session.get_providers()[0]}"
            )
        self._spec, self.threads = spec, threads
        self.versions: Mapping[str, str] = {"onnxruntime": onnxruntime.__version__, "provider": provider}

    def run(self, inputs: Mapping[str, Any]) -> dict[str, memoryview]:
        """Runs once; the answer is copied back, so that nothing is still under way."""
        import numpy as np

        takes, gives = self._spec.inputs[0], self._spec.outputs[0]
        tensor = np.frombuffer(inputs[takes.name], takes.dtype).reshape(1, *takes.sample_shape)
        return {gives.name: self._session.run([gives.name], {takes.name: tensor})[0].data}

    def close(self) -> None:
        """onnxruntime frees the model with its last reference."""


def main(argv: Sequence[str]) -> int:
    """Answers the parent's lines."""
    began = time.monotonic_ns()
    import onnxruntime  # noqa: F401

    from edge_runtime.bundle import open_bundle
    from edge_runtime.predictor import Predictor

    imported = time.monotonic_ns()
    try:
        bundle = open_bundle(argv[0])
        artifact = bundle.artifact(argv[1])
        session = GpuSession(bundle.content(artifact), argv[3] if len(argv) > 3 else CUDA, int(argv[2]), bundle.spec)
        predictor = Predictor(bundle.spec, artifact, session)  # type: ignore[arg-type]
        loaded = time.monotonic_ns()

        def predict(given: Any) -> tuple[Sequence[float], Mapping[str, int]]:
            answer = predictor.predict(given)
            return answer.values, {stage: round(ms * 1e6) for stage, ms in answer.ms.items()}

        worker.serve(imported - began, loaded - imported, session.versions, predict)
    except LokmaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
