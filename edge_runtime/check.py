"""Proves that a bundle answers here as it did where it was exported: hashes, then every golden case at two levels.

From raw input to answer (decode, resize, crop, engine) and from tensor to tensor (the engine alone, given the
stored pixels), so that a failure says which half it is in; for rows of numbers the two are the same. An fp32
artifact must repeat its stored output within 1e-4 of the largest value, an int8 one within 0.02 (the last float
steps differ by processor), and both must give the same best label.

>>> from edge_runtime import examples
>>> check(examples.path("cartpole.zip"))["ok"]
True
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

from edge_runtime import engines, signature
from edge_runtime.bundle import Artifact, Bundle, Golden, open_bundle
from edge_runtime.errors import BadBundle, BadInput, BadRequest, EngineError, LokmaError
from edge_runtime.findings import Finding, report
from edge_runtime.measure import wilson
from edge_runtime.predictor import Predictor, open_artifact
from edge_runtime.preprocess import open_picture

log = logging.getLogger(__name__)
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 2e-2}
ROUNDING = 1e-6  # float32 sums in another order: Q-values near 0 have no relative precision
MAX_INFERENCES = 25
RAW, TENSOR = "raw input to answer", "tensor to tensor"


def check(path: str | Path, data: str | Path | None = None) -> dict[str, Any]:
    """Checks every file of a bundle, and every artifact that an engine here can run.

    Args:
        path: a bundle folder or its `.zip`.
        data: measures the accuracy too, on a folder of pictures in folders named by label ids, or on a `.csv`
            with a header, a number a column and a last column `label` (or `target`) that holds label ids.

    Returns:
        `{"ok": bool, "checks": [{"name", "ok", "detail"}]}`; `ok` is False if one failed or none could run.

    Raises:
        BadInput: nothing is at `path`, or `data` cannot be read.
        BadRequest: the bundle's answers have no labels that `data` could be compared with.
        BadBundle: the bundle cannot even be opened.
    """
    bundle = open_bundle(path)
    goldens = bundle.golden()
    examples = None if data is None else _examples(bundle, Path(data))
    here = [artifact for artifact in bundle.artifacts if engines.available(artifact.engine)]
    cases = _cases(goldens, here)
    findings = [_hashes(bundle), _signature(bundle)]
    for artifact in bundle.artifacts:
        findings.append(_artifact(bundle, artifact, cases.get(artifact.id)))
        if examples is not None and findings[-1].ok:
            findings.append(_accuracy(bundle, artifact, examples))
    return report(findings, enough=bool(here))


def difference(artifact: Artifact, golden: Golden, got: Sequence[float], level: str = RAW) -> float:
    """The largest difference from the stored output of a golden case, relative to its largest value.

    Raises:
        EngineError: it is above what the artifact's precision allows, or the best label is another.
    """
    stored = golden.outputs.get(artifact.id)
    if stored is None or len(stored) != len(got):
        raise EngineError(f"the golden case {golden.id} has no output of {artifact.id} to compare with")
    if artifact.precision not in TOLERANCE:
        raise EngineError(f"nothing says how exactly {artifact.precision!r} must agree; update lokma")
    if not all(map(math.isfinite, stored)):
        raise EngineError(f"the golden case {golden.id} stores something that is not a finite number")
    case = f"golden case {golden.id} ({level})"
    if not all(map(math.isfinite, got)):
        raise EngineError(f"{case} gives something that is not a finite number")
    allowed = TOLERANCE[artifact.precision]
    largest = max(map(abs, stored))
    worst = max(abs(x - y) for x, y in zip(got, stored, strict=True))
    drift = max(0.0, worst - ROUNDING) / (largest or 1.0)
    if drift > allowed:
        raise EngineError(f"{case} differs by {drift:.1e}; at most {allowed:.0e} is allowed")
    best, was = max(range(len(got)), key=got.__getitem__), max(range(len(stored)), key=stored.__getitem__)
    if stored[was] - stored[best] > allowed * largest + ROUNDING:  # else the two were as good as equal there too
        raise EngineError(f"{case} gets another label than where it was exported")
    return drift


def _cases(goldens: Sequence[Golden], artifacts: Sequence[Artifact]) -> dict[str, list[tuple[Golden, str]]]:
    """What each artifact is asked: one golden case after another for all of them, up to `MAX_INFERENCES`."""
    chosen: dict[str, list[tuple[Golden, str]]] = {}
    asked = product(goldens, (RAW, TENSOR), artifacts)
    useful = (case for case in asked if case[1] == RAW or case[0].tensor is not None)
    for golden, level, artifact in islice(useful, MAX_INFERENCES):
        chosen.setdefault(artifact.id, []).append((golden, level))
    return chosen


def _hashes(bundle: Bundle) -> Finding:
    """Every artifact's file, also of those that cannot run here; opening the golden cases has hashed theirs."""
    try:
        for artifact in bundle.artifacts:
            bundle.content(artifact, verify=True)
    except LokmaError as error:
        return Finding("hashes", False, str(error))
    return Finding("hashes", True, f"{len(bundle.artifacts)} artifacts are the files that the manifest names")


def _signature(bundle: Bundle) -> Finding:
    """Who signed it; where nobody trusted did, `open_bundle` has refused it."""
    name = signature.signer(bundle.source)
    if name is None:
        return Finding("signature", None, f"not asked for; {signature.VARIABLE} would")
    return Finding("signature", True, f"by {name}, whom {signature.VARIABLE} names")


def _artifact(bundle: Bundle, artifact: Artifact, cases: Sequence[tuple[Golden, str]] | None) -> Finding:
    if not engines.available(artifact.engine):
        return Finding(artifact.id, None, f"not run: {artifact.engine} is not installed here")
    if not cases:
        return Finding(artifact.id, False, "the bundle has no golden case for it, so nothing can be proved")
    worst = dict.fromkeys((level for _, level in cases), 0.0)
    try:
        with contextlib.closing(_opened(bundle, artifact)) as predictor:
            for golden, level in cases:
                got = _answer(predictor, golden, level)
                worst[level] = max(worst[level], difference(artifact, golden, got, level))
    except LokmaError as error:
        return Finding(artifact.id, False, str(error))
    count = len({golden.id for golden, _ in cases})
    levels = " and ".join(f"{level} {drift:.1e}" for level, drift in worst.items())
    if TENSOR not in worst:
        # rows are the tensor; a picture's pixels are missing only from what an older lokma exported
        levels += " (no tensors are stored: export it again)" if bundle.spec.image else f", which is {TENSOR} too"
    return Finding(artifact.id, True, f"{count} golden cases, largest difference from {levels}")


def _opened(bundle: Bundle, artifact: Artifact) -> Predictor:
    return Predictor(bundle.spec, artifact, open_artifact(bundle, artifact), exact=True)


def _answer(predictor: Predictor, golden: Golden, level: str) -> Sequence[float]:
    if level == RAW:
        return predictor.predict(golden.input).values
    spec = predictor.spec
    if spec.image is None or golden.tensor is None:
        raise BadBundle(f"the golden case {golden.id} stores pixels for a model that takes none")
    picture = open_picture(golden.tensor, spec.image, exact=True)
    if picture.size != (spec.image.crop, spec.image.crop):
        takes = f"{spec.image.crop} x {spec.image.crop}"
        raise BadBundle(f"the tensor of the golden case {golden.id} has {picture.size} pixels; the model takes {takes}")
    output = predictor.session.run({spec.inputs[0].name: picture.tobytes()})[spec.outputs[0].name]
    return tuple(output.cast("B").cast("f"))


def _accuracy(bundle: Bundle, artifact: Artifact, examples: Sequence[tuple[Any, str]]) -> Finding:
    """Fails where the interval measured here lies wholly below the one in the manifest."""
    name, right = f"{artifact.id} accuracy", 0
    with contextlib.closing(_opened(bundle, artifact)) as predictor:
        for number, (given, label) in enumerate(examples, start=1):
            right += predictor.predict(given).label == label
            log.info("%s: %d of %d", name, number, len(examples))
    low, high = wilson(right, len(examples))
    said = f"{right / len(examples):.1%} ({right} of {len(examples)}; {low:.1%} to {high:.1%})"
    recorded = artifact.details.get("accuracy")
    interval = recorded.get("interval") if isinstance(recorded, dict) and recorded.get("metric") == "top-1" else None
    if not isinstance(interval, list) or not interval or not isinstance(interval[0], (int, float)):
        return Finding(name, True, f"{said}; the manifest records none to compare with")
    if high < interval[0]:
        return Finding(name, False, f"{said} lies below what the manifest records, {interval[0]:.1%} and more")
    return Finding(name, True, f"{said}; the manifest records {interval[0]:.1%} and more")


def _examples(bundle: Bundle, data: Path) -> list[tuple[Any, str]]:
    """Raw inputs with their label ids."""
    known = {label.id for label in bundle.spec.labels}
    if bundle.spec.task not in ("binary", "multiclass"):
        raise BadRequest(f"{bundle.name} is a {bundle.spec.task} model; --data measures binary and multiclass ones")
    found = _pictures(data) if bundle.spec.image else _rows(data)
    if not found:
        raise BadInput(f"{data} holds nothing to measure on")
    unknown = sorted({label for _, label in found} - known)
    if unknown:
        raise BadInput(f"{data} has the label {unknown[0]!r}; the bundle's are {', '.join(sorted(known))}")
    return found


def _pictures(folder: Path) -> list[tuple[Any, str]]:
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder of pictures in folders named by label ids")
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    hidden = [path for path in files if path.name.startswith(".") or path.parent.name.startswith(".")]
    return [(path, path.parent.name) for path in files if path not in hidden]


def _rows(path: Path) -> list[tuple[Any, str]]:
    import csv

    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            header, *rows = [row for row in csv.reader(handle) if row] or [[]]
        if not header or header[-1].strip() not in ("label", "target"):
            raise BadInput(f"{path} needs a header whose last column is label or target")
        return [([float(value) for value in row[:-1]], row[-1].strip()) for row in rows]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, csv.Error) as error:
        raise BadInput(f"{path} is not a table of numbers with a label column: {error}") from error
