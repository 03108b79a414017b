"""What the runtime's budget measures itself: one function a group of rows, listed in `GROUPS`.

The model is EfficientNet-B2 at 288 px (`benchmarks.efficientnet_b2`) where no other is named; the scripts
that the runtime is compared with stand in `benchmarks/rivals/`, and run on the same files and threads.
"""

from __future__ import annotations

import contextlib
import functools
import math
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import efficientnet_b2, rivals
from benchmarks.efficientnet_b2 import SIDE
from benchmarks.environment import busy
from benchmarks.paired import MIN_PAIRS, Row, Samples, ratio_row, rounds, row
from benchmarks.photographs import enlarged
from edge_runtime import engines, examples, load, worker
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import EngineError
from edge_runtime.measure import interleaved, quantile, quantile_interval

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numpy", "onnxruntime", "torch")
REPEATS, TUNED_BLOCKS = 20, 5


@dataclass(frozen=True)
class Setting:
    """What all groups share.

    Attributes:
        b2: the bundle of EfficientNet-B2.
        lite: the bundle of EfficientNet-Lite0, `foodvision-mini`.
        photos: JPEGs of 512 px.
        scratch: an empty folder.
        rounds: 0 as the budget asks; else this many, which proves the code and no bound.
    """

    b2: Path
    lite: Path
    photos: tuple[Path, ...]
    scratch: Path
    rounds: int = 0

    def measure(self, systems: Mapping[str, Callable[[], float]], at_least: int, seconds: float) -> Samples:
        """See `paired.rounds`."""
        return rounds(systems, self.rounds or at_least, 0 if self.rounds else seconds)

    def bare(self, bundle: Path) -> tuple[Any, ...]:
        """The arguments of the onnxruntime script on a bundle's fp32 model."""
        image = open_bundle(bundle).spec.image
        assert image is not None
        return (bundle / "onnx-fp32.onnx", engines.default_threads(), image.resize, image.crop)


Found = tuple[list[Row], Samples]


def imports(setting: Setting) -> Found:
    """A process that only imports, start to end of the import, and what the import brings along."""
    lazy, whole, pillow = "import edge_runtime", "from edge_runtime import load", "import PIL.Image"

    def took(statement: str) -> float:
        return rivals.first_line(["-c", f"{statement}; print(1, flush=True)"])[0]

    flags = busy()
    systems = {name: functools.partial(took, name) for name in (lazy, whole, pillow)}
    samples = setting.measure(systems, 60, 40)
    listed = f"import sys; {whole}; print(*[name for name in {HEAVY!r} if name in sys.modules], '.')"
    heavy = rivals.first_line(["-c", listed])[1].split()[:-1]
    what = f"{whole}: how many of {', '.join(HEAVY)} it imports"
    return [
        ratio_row(f"a process with {lazy}, against {pillow}", 1.3, samples[lazy], samples[pillow], flags),
        ratio_row(f"a process with {whole}, against {pillow}", None, samples[whole], samples[pillow], flags),
        row(what, len(heavy), 0, not heavy, 1, ", ".join(heavy)),
    ], samples


def cold_start(setting: Setting) -> Found:
    """Process start to the first answer, against the bare onnxruntime script."""
    ours, first, bare = "xnnpack-fp32", "xnnpack-fp32, first load after a copy", "bare onnxruntime"
    photo, flags = setting.photos[0], busy()
    script = rivals.script("lokma_bundle", photo, setting.b2, ours, engines.default_threads())

    def forgotten() -> float:
        with tempfile.TemporaryDirectory(dir=setting.scratch) as home:  # no hash is remembered there
            return rivals.first_line(script, {"LOKMA_HOME": home})[0]

    systems: dict[str, Callable[[], float]] = {
        ours: lambda: rivals.first_line(script)[0],
        first: forgotten,
        bare: lambda: rivals.first_line(rivals.script("bare_onnxruntime", photo, *setting.bare(setting.b2)))[0],
    }
    samples = setting.measure(systems, 40, 100)
    return [
        ratio_row(f"{ours}: process start to first answer, against {bare}", 0.5, samples[ours], samples[bare], flags),
        ratio_row(f"{first} (hashes it), against {bare}", None, samples[first], samples[bare], flags),
    ], samples


def cold_start_eager(setting: Setting) -> Found:
    """The same against eager torch and torchvision."""
    ours, eager, threads = "xnnpack-fp32", "torch eager", engines.default_threads()
    photo, flags = setting.photos[0], busy()
    arguments = (setting.b2 / efficientnet_b2.WEIGHTS, threads, len(efficientnet_b2.LABELS))
    systems: dict[str, Callable[[], float]] = {
        ours: lambda: rivals.first_line(rivals.script("lokma_bundle", photo, setting.b2, ours, threads))[0],
        eager: lambda: rivals.first_line(rivals.script("torch_eager", photo, *arguments))[0],
    }
    samples = setting.measure(systems, MIN_PAIRS, 200)
    name = f"{ours}: process start to first answer, against {eager} + torchvision"
    return [ratio_row(name, 0.04, samples[ours], samples[eager], flags)], samples


def memory(setting: Setting) -> Found:
    """The peak of a process that answers ten pictures; it hardly varies, so five processes are enough."""
    threads, bare = engines.default_threads(), "bare onnxruntime"
    official = {name: f"executorch.runtime {name}" for name in ("fp32", "int8")}
    systems = {
        **{f"xnnpack-{p}": ("lokma_bundle", setting.b2, f"xnnpack-{p}", threads) for p in official},
        bare: ("bare_onnxruntime", *setting.bare(setting.b2)),
        **{official[p]: ("executorch_runtime", setting.b2 / f"xnnpack-{p}.pte", SIDE, SIDE) for p in official},
    }

    def peak(name: str) -> float:
        with rivals.served(*systems[name]) as child:
            child.ask([str(path) for path in setting.photos[:10]])
            return float(child.peak_rss_bytes or math.nan)

    count = setting.rounds or 5
    samples = {name: [peak(name) for _ in range(count)] for name in systems}
    middle = {name: quantile(values, 0.5) for name, values in samples.items()}
    pairs = [
        ("fp32", bare, 0.65),
        ("int8", bare, 0.45),
        ("fp32", official["fp32"], 0.15),
        ("int8", official["int8"], 0.15),
    ]
    found = []
    for precision, other, bound in pairs:
        mine = middle[f"xnnpack-{precision}"]
        said = f"{mine / 1e6:.0f} MB against {middle[other] / 1e6:.0f} MB"
        ratio = None if math.isnan(mine + middle[other]) else mine / middle[other]
        holds = None if ratio is None else ratio <= bound
        found.append(row(f"xnnpack-{precision}: peak memory against {other}", ratio, bound, holds, count, said))
    return found, samples


def size(setting: Setting) -> Found:
    """What pip puts on the disk, without bytecode: the base wheel and Pillow, against the script's packages."""
    wanted = {"lokma": [str(ROOT)], "onnxruntime + numpy + Pillow": ["onnxruntime", "numpy", "pillow"]}
    samples: Samples = {}
    for name, packages in wanted.items():
        target = setting.scratch / "installed" / name.split()[0]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(target)]
        command += ["--constraint", str(ROOT / "constraints.txt"), "--no-input", *packages]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            return [row("installed size", None, 0.3, None, 0, f"pip could not install {name}: {said}")], {}
        samples[name] = [float(sum(path.stat().st_size for path in target.rglob("*") if path.is_file()))]
    (mine,), (other,) = samples.values()
    said = f"{mine / 1e6:.1f} MB against {other / 1e6:.1f} MB"
    return [
        row(
            "installed: base wheel + Pillow against onnxruntime + numpy + Pillow",
            mine / other,
            0.3,
            mine / other <= 0.3,
            1,
            said,
        )
    ], samples


def overhead(setting: Setting) -> Found:
    """What `predict` adds to the engine's own call, on the example policy, whose network is nearly none."""
    calls, flags = 100, busy()
    predictor = load(examples.path("cartpole.zip"), "xnnpack-fp32")
    given = array("f", [0.1, 0.0, -0.02, 0.3])
    named = {predictor.spec.inputs[0].name: given}

    def a_call(call: Callable[[], Any]) -> float:
        began = time.perf_counter_ns()
        for _ in range(calls):
            call()
        return (time.perf_counter_ns() - began) / calls

    systems: dict[str, Callable[[], float]] = {
        "predict": lambda: a_call(lambda: predictor.predict(given)),
        "engine": lambda: a_call(lambda: predictor.session.run(named)),
    }
    samples = setting.measure(systems, 200, 20)
    predictor.close()
    added = [(a - b) / 1e3 for a, b in zip(samples["predict"], samples["engine"], strict=True)]
    interval = quantile_interval(added, 0.5)
    low, high = interval or (math.nan, math.nan)
    middle = quantile(added, 0.5)
    engine = quantile(samples["engine"], 0.5) / 1e3
    said = "; ".join(
        [*flags, f"95 %: {low:.1f} to {high:.1f}; the engine alone {engine:.1f} µs, blocks of {calls} calls"]
    )
    holds = None if flags or interval is None else high <= 150
    name = "predict on a tensor: µs added to the bare engine call (cartpole.zip, xnnpack-fp32)"
    return [row(name, middle, 150, holds, len(added), said)], samples


def pictures(setting: Setting) -> Found:
    """A JPEG to its answer by EfficientNet-Lite0, both sides warm, at 512 px and at 12 megapixels."""
    threads, bare = engines.default_threads(), "Pillow + numpy + onnxruntime"
    large = []
    for number, path in enumerate(setting.photos[:3]):
        large.append(setting.scratch / f"12mp-{number}.jpg")
        large[-1].write_bytes(enlarged(path))
    found: list[Row] = []
    samples: Samples = {}
    for title, paths, bound in (("512 px", setting.photos[:8], 1.0), ("12 MP", large, 0.35)):
        flags = busy()
        with contextlib.ExitStack() as stack:
            children = {
                name: stack.enter_context(rivals.served(*command))
                for name, command in {
                    "xnnpack-fp32": ("lokma_bundle", setting.lite, "xnnpack-fp32", threads),
                    "onnx-fp32": ("lokma_bundle", setting.lite, "onnx-fp32", threads),
                    bare: ("bare_onnxruntime", *setting.bare(setting.lite)),
                }.items()
            }
            systems = {name: _asking(child, paths) for name, child in children.items()}
            taken = setting.measure(systems, 40, 50)
        for ours in ("xnnpack-fp32", "onnx-fp32"):
            name = f"{ours}: JPEG of {title} to answer, EfficientNet-Lite0, against {bare}"
            found.append(ratio_row(name, bound, taken[ours], taken[bare], flags))
        samples |= {f"{title}: {name}": values for name, values in taken.items()}
    return found, samples


def tuned(setting: Setting) -> Found:
    """What `lokma tune` chose, measured again in fresh processes against each artifact on its own."""
    flags = busy()
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime.cli", "tune", str(setting.b2)], capture_output=True, text=True
    )
    if done.returncode:
        raise EngineError(f"lokma tune failed: {(done.stderr.strip() or 'it said nothing').splitlines()[-1]}")
    chosen = "import sys; from edge_runtime import load; p = load(sys.argv[1]); print(p.artifact.id, p.session.threads)"
    choice = rivals.first_line(["-c", chosen, setting.b2])[1]
    threads, names = engines.default_threads(), ["tuned", *(a.id for a in open_bundle(setting.b2).artifacts)]
    samples: Samples = {name: [] for name in names}
    for repeat in range(setting.rounds or REPEATS):
        with contextlib.ExitStack() as stack:
            ask = {}
            for name in names:
                single = () if name == "tuned" else (name, threads)
                child = stack.enter_context(rivals.served("lokma_bundle", setting.b2, *single))
                ask[name] = _asking(child, setting.photos[:3])
                ask[name]()
            blocks: Samples = {name: [] for name in names}
            for name in interleaved(names, TUNED_BLOCKS, seed=repeat):
                blocks[name].append(ask[name]())
        for name in names:
            samples[name].append(quantile(blocks[name], 0.5))
    ratios = [mine / min(others) for mine, *others in zip(*samples.values(), strict=True)]
    value, good = quantile(ratios, 19 / 20), sum(ratio <= 1.05 for ratio in ratios)
    said = "; ".join([*flags, f"{good} of {len(ratios)} at most 1.05; the choice was {choice} threads"])
    holds = None if flags or len(ratios) < REPEATS else value <= 1.05
    return [
        row("tuned choice against the best single artifact, 19th of 20", value, 1.05, holds, len(ratios), said)
    ], samples


def _asking(child: worker.Worker, paths: Sequence[Path]) -> Callable[[], float]:
    """What measures a running child once: the median of one block, always of the same pictures."""
    given = [str(path) for path in paths]
    return lambda: quantile([answer["total_ns"] for answer in child.ask(given)], 0.5)


# name: what measures its rows; in the order of the printed table
GROUPS: dict[str, Callable[[Setting], Found]] = {
    "imports": imports,
    "cold-start": cold_start,
    "cold-start-eager": cold_start_eager,
    "memory": memory,
    "size": size,
    "overhead": overhead,
    "pictures": pictures,
    "tuned": tuned,
}
