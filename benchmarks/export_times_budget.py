"""How long lowering EfficientNet-B2 to the four main artifacts takes, against scripts as the documents show them.

`python -m benchmarks.export_times_budget` lowers by lokma, then runs `benchmarks/rivals/plain_export.py` for each
kind of file, each in a process of its own, one after another, on the same weights, calibration inputs and cores;
last it lowers by lokma again under a profiler, which slows it down. That takes too long for `make bench-check`: it
leaves one record a finished cell, a run that was cut off goes on where it stopped, and `benchmarks.export_budget`
reads the newest one.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import efficientnet_b2, results, rivals
from benchmarks.environment import busy, host
from benchmarks.report import Record
from edge_runtime.errors import EngineError, LokmaError
from train.provenance import commit

KIND = "export-times"
PLAIN = ("xnnpack-fp32", "onnx-fp32", "xnnpack-int8", "onnx-int8")  # the last starts from the second's file
CELLS = ("lokma", *(f"plain {name}" for name in PLAIN), "profile")
CALIBRATION = 128
# step: the function whose time it is, with all that it calls, other steps too; in the order of the work
STEPS = {
    "fold batch norms": ("export/fold.py", "folded"),
    "torch.export": ("torch/export/__init__.py", "export"),
    "torch.onnx.export": ("torch/onnx/__init__.py", "export"),
    "round weights": ("export/rounding.py", "rounded"),
    "run exported programs (calibration and probe)": ("torch/fx/graph_module.py", "call_wrapped"),
    "prepare (PT2E)": ("quantize_pt2e.py", "prepare_pt2e"),
    "convert (PT2E)": ("quantize_pt2e.py", "convert_pt2e"),
    "to_edge_transform_and_lower": ("executorch/exir/program/_program.py", "to_edge_transform_and_lower"),
    "to_executorch": ("executorch/exir/program/_program.py", "to_executorch"),
    "preprocess .onnx": ("shape_inference.py", "quant_pre_process"),
    "calibrate int8 .onnx": ("onnxruntime/quantization/calibrate.py", "collect_data"),
    "quantize .onnx": ("onnxruntime/quantization/quantize.py", "quantize_static"),
    "outputs on the probe": ("export/contract.py", "output_of"),
    "profile a session (.onnx)": ("export/onnx_profile.py", "operators"),
    "profile a session (.pte)": ("edge_runtime/profile.py", "measured"),
}


def newest(records: Sequence[Record]) -> dict[str, Record]:
    """The cells of the newest run that has one, by name; a run that was cut off lacks some."""
    runs: dict[str, dict[str, Record]] = {}
    for entry in records:
        if entry["kind"] == KIND:
            runs.setdefault(entry["scenario"]["run"], {})[entry["scenario"]["cell"]] = entry
    return list(runs.values())[-1] if runs else {}


def ratio(cells: Mapping[str, Record]) -> float | None:
    """Lokma's seconds against the sum of the plain scripts'; None where a cell is missing."""
    if not set(CELLS[:-1]) <= set(cells):
        return None
    return cells["lokma"]["latency_ns"][0] / sum(cells[f"plain {name}"]["latency_ns"][0] for name in PLAIN)


def measure(folder: Path) -> None:
    """Measures the cells that the run of this commit still lacks, and appends a record of each.

    Raises:
        EngineError: a script failed; the message is its own.
    """
    path = results.folder() / f"{host()['fingerprint']}.jsonl"
    before = newest(results.read(path).records if path.is_file() else ())
    first = next(iter(before.values()), None)
    goes_on = first is not None and set(before) != set(CELLS) and first["commit"] == commit()
    run = first["scenario"]["run"] if first is not None and goes_on else uuid.uuid4().hex
    prepare(folder)
    for cell in CELLS:
        if goes_on and cell in before and cell != "plain onnx-fp32":  # onnx-int8 needs its file again
            continue
        flags = busy()
        command = [sys.executable, "-m", "benchmarks.export_times_budget", "--lower", str(folder)]
        if cell == "profile":
            command.append("--profile")
        elif cell != "lokma":
            command = [sys.executable, *rivals.script("plain_export", cell.removeprefix("plain "), folder)]
        took = seconds(command)
        print(f"{cell:<20} {took:7.1f} s", flush=True)
        profile = json.loads((folder / "profile.json").read_text()) if cell == "profile" else None
        results.append([_record(run, cell, took, flags, profile)], path)


def _record(run: str, cell: str, took: float, flags: Sequence[str], profile: Any) -> dict[str, Any]:
    return results.record(
        kind=KIND,
        commit=commit(),
        bundle={"name": efficientnet_b2.NAME},
        artifact={},
        target="device",
        host=host(),
        scenario={"run": run, "cell": cell, "calibration": CALIBRATION, "cores": os.cpu_count()},
        latency_ns=[round(took * 1e9)],
        profile=profile,
        validity={"valid": not flags, "flags": list(flags)},
    )


def prepare(folder: Path) -> None:
    """Writes what both sides start from: weights, pixels, and the pixels normalised."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from export.contract import InGraph

    pictures = [torch.frombuffer(bytearray(one), dtype=torch.uint8) for one in efficientnet_b2._pictures()]
    pixels = torch.stack(pictures).reshape(-1, efficientnet_b2.SIDE, efficientnet_b2.SIDE, 3)
    save_file(efficientnet_b2.network(pixels).state_dict(), folder / "weights.safetensors")
    pixels = pixels[torch.arange(CALIBRATION) % len(pixels)]  # a calibration picture costs the same when it comes again
    np.save(folder / "pixels.npy", pixels.numpy())
    contract = InGraph(torch.nn.Identity(), efficientnet_b2.SPEC)
    np.save(folder / "calibration.npy", contract.normalise(pixels).numpy())


def seconds(command: Sequence[str]) -> float:
    """A process from its start to its end.

    Raises:
        EngineError: it failed.
    """
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        done = subprocess.run(command, stdout=said, stderr=said)
        took = time.monotonic() - began
        if done.returncode:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()
            raise EngineError(f"{' '.join(command[1:4])} failed: {words[-1] if words else 'it said nothing'}")
    return took


def lower_here(folder: Path, profile: bool) -> None:
    """Lowers by the four main recipes as `export` does, and writes the files; or writes where the time went."""
    import numpy as np
    import torch
    from safetensors.torch import load_file
    from torchvision.models import efficientnet_b2 as architecture

    from export import lowering
    from export.recipes import MAIN, Job

    model = architecture(num_classes=len(efficientnet_b2.LABELS)).eval().requires_grad_(False)
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    pixels = torch.from_numpy(np.load(folder / "pixels.npy"))
    job = Job(model, efficientnet_b2.SPEC, pixels, pixels[:32])
    if profile:
        steps = {name: _steps(name, job) for name in MAIN}
        (folder / "profile.json").write_text(json.dumps(steps))
        return
    for name, lowered in lowering.lower_all(dict.fromkeys(MAIN, job), fresh=True).items():
        lowering.entry(name, lowered, folder)


def _steps(name: str, job: Any) -> dict[str, float]:
    """Seconds by step, in one process; what recipes share falls on the first of them."""
    from export.lowering import lower

    profile = cProfile.Profile()
    profile.runcall(lower, name, job)
    stats = pstats.Stats(profile)
    found: Any = vars(stats)["stats"]  # place: calls, primitive calls, seconds without and with what it calls, callers
    steps = {"whole": float(vars(stats)["total_tt"])}
    for step, (file, function) in STEPS.items():
        steps[step] = sum(one[3] for place, one in found.items() if place[0].endswith(file) and place[2] == function)
    return {step: round(value, 2) for step, value in steps.items() if value}


def main(argv: list[str]) -> int:
    """Measures what is still missing."""
    title = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export_times_budget", description=title)
    parser.add_argument("--lower", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    try:
        if args.lower is not None:
            lower_here(args.lower, args.profile)
            return 0
        with tempfile.TemporaryDirectory(prefix="lokma-export-times-") as folder:
            measure(Path(folder))
    except LokmaError as error:
        print(f"export_times_budget: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
