"""The course's way, as the baseline: eager torch and torchvision transforms, one picture after another.

A child of `edge_runtime.worker.Worker`: `python -m benchmarks.eager RUN THREADS [DEVICE [MODE]]`. The target `gpu` is
the same on `cuda`, with the mode `eager` or `compiled` (`torch.compile`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_runtime import worker
from edge_runtime.errors import LokmaError

# task: what makes probabilities of the model's raw output
ACTIVATIONS = {"binary": "sigmoid", "multiclass": "softmax", "multilabel": "sigmoid"}
Predict = Callable[[Any], tuple[Sequence[float], Mapping[str, int]]]


def start(run: Path, threads: int, device: str = "cpu", mode: str = "eager") -> worker.Worker:
    """The parent's side: a worker that runs the trained model by torch."""
    return worker.Worker([sys.executable, "-m", "benchmarks.eager", str(run), str(threads), device, mode])


def main(argv: list[str]) -> int:
    """Imports torch, loads the run, and answers as the course's `pred_and_store` does."""
    began = time.monotonic_ns()
    import torch

    from train.run import load_run

    versions = {"torch": torch.__version__}
    if json.loads((Path(argv[0]) / "spec.json").read_text(encoding="utf-8")).get("image"):
        import torchvision  # the course's transforms: they count for pictures, and for nothing else

        versions["torchvision"] = torchvision.__version__

    imported = time.monotonic_ns()
    try:
        torch.set_num_threads(int(argv[1]))
        run = load_run(Path(argv[0]))
        device, mode = argv[2:4] if len(argv) > 3 else ("cpu", "eager")
        network = run.model.to(device)
        model = torch.compile(network) if mode == "compiled" else network
        predict = _pictures(run, model, device) if run.spec.image is not None else _rows(run, model, device)
        loaded = time.monotonic_ns()
        worker.serve(imported - began, loaded - imported, versions, predict)
    except LokmaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def activated(values: Any, task: str) -> Any:
    """Raw outputs (n, outputs) as what the spec's unit says."""
    name = ACTIVATIONS.get(task)
    return values if name is None else values.softmax(1) if name == "softmax" else values.sigmoid()


def _pictures(run: Any, model: Any, device: str) -> Predict:
    import torch
    from PIL import Image
    from torchvision import transforms

    image, normalise = run.spec.image, run.spec.normalise
    transform = transforms.Compose(
        [
            transforms.Resize(image.resize, interpolation=transforms.InterpolationMode(image.filter)),
            transforms.CenterCrop(image.crop),
            transforms.ToTensor(),
            transforms.Normalize([m / 255 for m in normalise.mean], [s / 255 for s in normalise.std]),
        ]
    )

    def predict(path: Any) -> tuple[Sequence[float], Mapping[str, int]]:
        clock = [time.perf_counter_ns()]
        picture = Image.open(path).convert("RGB")
        clock.append(time.perf_counter_ns())
        tensor = transform(picture).unsqueeze(0)
        clock.append(time.perf_counter_ns())
        with torch.inference_mode():
            logits = model(tensor.to(device)).cpu()  # back here: until then a GPU may still be at work
        clock.append(time.perf_counter_ns())
        values = activated(logits, run.spec.task)[0].tolist()
        clock.append(time.perf_counter_ns())
        return values, {stage: clock[i + 1] - clock[i] for i, stage in enumerate(worker.STAGES)}

    return predict


def _rows(run: Any, model: Any, device: str) -> Predict:
    import torch

    mean, std = torch.tensor(run.spec.normalise.mean), torch.tensor(run.spec.normalise.std)

    def predict(row: Any) -> tuple[Sequence[float], Mapping[str, int]]:
        clock = [time.perf_counter_ns()]
        tensor = ((torch.tensor(row, dtype=torch.float32) - mean) / std).unsqueeze(0)
        clock.append(time.perf_counter_ns())
        with torch.inference_mode():
            values = model(tensor.to(device)).cpu()
        clock.append(time.perf_counter_ns())
        listed = activated(values, run.spec.task)[0].tolist()
        clock.append(time.perf_counter_ns())
        return listed, {stage: clock[i + 1] - clock[i] for i, stage in enumerate(worker.STAGES[1:])}

    return predict


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
