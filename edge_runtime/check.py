"""Proves that a bundle answers here as it did where it was exported: hashes, then every golden case at two levels.

From raw input to answer (decode, resize, crop, engine) and from tensor to tensor (the engine alone, given the
stored pixels), so that a failure says which half it is in; for rows of numbers the two are the same. An engine
that this processor cannot run ends a process of its own, not this one, and is a finding. An fp32
artifact must repeat its stored output within 1e-4 of the largest value, an int8 one within 0.02 (the last float
steps differ by processor), and both must give the same best label.

>>> from edge_runtime import examples
>>> check(examples.path("cartpole.zip"))["ok"]
True
"""

from __future__ import annotations

import contextlib
import functools
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
from edge_runtime.inputs import PICTURES, table
from edge_runtime.measure import wilson
from edge_runtime.predictor import Predictor, is_bare, open_artifact
from edge_runtime.preprocess import open_picture

log = logging.getLogger(__name__)
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 2e-2}
ROUNDING = 1e-6  # float32 sums in another order: Q-values near 0 have no relative precision
MAX_INFERENCES = 25
MAX_UNREADABLE = 0.05  # of the pictures to measure on
RAW, TENSOR = "raw input to answer", "tensor to tensor"


def check(path: str | Path, data: str | Path | None = None) -> dict[str, Any]:
    """Checks every file of a bundle, and every artifact that an engine here can run.

    Args:
        path: a bundle folder or its `.zip`.
        data: measures the accuracy too, on a folder of pictures in folders named by label ids, or on a `.csv`
            with a header (the spec's columns, in any order, where it names some), a number a column and a last
            column `label` (or `target`) that holds label ids.

    Returns:
        `{"ok": bool, "checks": [{"name", "ok", "detail"}]}`; `ok` is False if one failed or none could run.

    Raises:
        BadInput: nothing is at `path`, or a bare artifact; or `data` cannot be read.
        BadRequest: the bundle's answers have no labels that `data` could be compared with.
        BadBundle: the bundle cannot even be opened.
    """
    bundle = open_whole(path)
    examples = None if data is None else _examples(bundle, Path(data))
    findings = [_hashes(bundle), _signature(bundle)]
    try:
        goldens = bundle.golden()
    except BadBundle as error:
        return report([*findings, Finding("golden cases", False, str(error))])
    lacks = {artifact.engine: _lack(artifact.engine) for artifact in bundle.artifacts}
    here = [artifact for artifact in bundle.artifacts if not lacks[artifact.engine]]
    cases = _cases(goldens, here)
    for artifact in bundle.artifacts:
        if artifact not in here:
            findings.append(Finding(artifact.id, None, f"not run: {lacks[artifact.engine]}"))
            continue
        findings.append(_artifact(bundle, artifact, goldens, cases.get(artifact.id)))
        if examples is not None and findings[-1].ok:
            findings.append(_accuracy(bundle, artifact, examples))
    if not here:  # one that is not here or does not run is no failure while another answers
        why = "; ".join(lacks.values())
        findings.append(Finding("engines", False, f"no engine here can run any of its artifacts: {why}"))
    return report(findings)


def open_whole(path: str | Path) -> Bundle:
    """Opens a bundle, as `open_bundle` does, to be checked, tuned or installed.

    Raises:
        BadInput: nothing is at `path`, or an artifact without its bundle's hashes and golden cases.
    """
    if is_bare(Path(path)):
        raise BadInput(f"{path} is a bare artifact; give its bundle")
    return open_bundle(path)


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
    """What each artifact is asked, up to `MAX_INFERENCES`: every golden case's raw input, then the tensors."""
    chosen: dict[str, list[tuple[Golden, str]]] = {}
    asked = product((RAW, TENSOR), goldens, artifacts)
    useful = (case for case in asked if case[0] == RAW or case[1].tensor is not None)
    for level, golden, artifact in islice(useful, MAX_INFERENCES):
        chosen.setdefault(artifact.id, []).append((golden, level))
    return chosen


def _lack(engine: str) -> str:
    """Why an engine cannot run here; empty where it can."""
    if not engines.available(engine):
        return f"{engine} is not installed here"
    found = None if engines.ENGINES[engine][1] is None else _tried(engine)  # the compiled one came with this lokma
    return "" if found is None or found.ok else f"{engine} {found.detail}"


@functools.cache
def _tried(engine: str) -> Finding:
    from edge_runtime.doctor import tried

    return tried(engine)


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


def _artifact(
    bundle: Bundle, artifact: Artifact, goldens: Sequence[Golden], cases: Sequence[tuple[Golden, str]] | None
) -> Finding:
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
    raw, tensors = ([golden for golden, at in cases if at == level] for level in (RAW, TENSOR))
    count = f"{len(raw)} of {len(goldens)}" if len(raw) < len(goldens) else len(raw)
    levels = " and ".join(f"{level} {drift:.1e}" for level, drift in worst.items())
    if not bundle.spec.image:
        levels += f", which is {TENSOR} too"
    elif not any(golden.tensor for golden in goldens):  # only what an older lokma exported
        levels += " (no tensors are stored: export it again)"
    elif len(tensors) < len(raw):
        levels += f" ({len(tensors) or 'no'} tensors: at most {MAX_INFERENCES} inferences are spent)"
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
    unreadable: list[str] = []
    with contextlib.closing(_opened(bundle, artifact)) as predictor:
        for number, (given, label) in enumerate(examples, start=1):
            try:
                right += predictor.predict(given).label == label
            except BadInput as error:
                unreadable.append(str(error))
            log.info("%s: %d of %d", name, number, len(examples))
    skipped = f"{len(unreadable)} of {len(examples)} cannot be read" if unreadable else ""
    if len(unreadable) > MAX_UNREADABLE * len(examples):
        return Finding(name, False, f"{skipped}, more than {MAX_UNREADABLE:.0%}; the first: {unreadable[0]}")
    count = len(examples) - len(unreadable)
    low, high = wilson(right, count)
    left_out = f"; {skipped} and are left out" if unreadable else ""
    said = f"{right / count:.1%} ({right} of {count}; {low:.1%} to {high:.1%}{left_out})"
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
    found = _pictures(data) if bundle.spec.image else _rows(data, bundle.spec.columns)
    if not found:
        raise BadInput(f"{data} holds nothing to measure on")
    unknown = sorted({label for _, label in found} - known)
    if unknown:
        raise BadInput(f"{data} has the label {unknown[0]!r}; the bundle's are {', '.join(sorted(known))}")
    return found


def _pictures(folder: Path) -> list[tuple[Any, str]]:
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder of pictures in folders named by label ids")
    if not any(folder.glob("*/*.*")) and (folder / "test").is_dir():
        folder = folder / "test"  # the folder that was trained and exported with: train|test/LABEL/…
    # a desktop leaves files of its own beside the pictures
    files = sorted(path for path in folder.glob("*/*") if path.is_file() and path.suffix.lower() in PICTURES)
    hidden = [path for path in files if path.name.startswith(".") or path.parent.name.startswith(".")]
    return [(path, path.parent.name) for path in files if path not in hidden]


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[Any, str]]:
    """The rows as `lokma run` reads a table's, which is this one without the label's column."""
    import csv
    import io

    rest, labels = io.StringIO(), []
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.reader(handle, strict=True)
            header: list[str] = next(filter(None, reader), [])
            at = _label(header, columns)
            if at is None:
                own = f", or beside {', '.join(columns)} one more column alone" if columns else ""
                raise BadInput(f"{path} needs a header whose last column is label or target{own}")
            names = header[:at] + header[at + 1 :] if columns else list(map(str, range(1, len(header))))
            writer = csv.writer(rest)
            writer.writerows([[]] * (reader.line_num - 1))  # so that the lines keep their numbers
            writer.writerow(names)
            for row in reader:
                if row and len(row) != len(header):
                    place = f"{path}:{reader.line_num}"
                    raise BadInput(f"{place} has {len(row)} cells; the first line names {len(header)} columns")
                writer.writerow(row[:at] + row[at + 1 :])
                labels += [cell.strip() for cell in row[at : at + 1]]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not a CSV in UTF-8 after line {reader.line_num}: {error}") from error
    rest.seek(0)
    rows = [row for _, row in table(rest, str(path), columns or tuple(names))]
    for row in rows:
        if isinstance(row, BadInput):
            raise row
    return list(zip(rows, labels, strict=True))


def _label(header: list[str], columns: tuple[str, ...]) -> int | None:
    """Where the label stands: the one column that the model does not take, or the last, where it is called so."""
    others = [at for at, name in enumerate(header) if name.strip() not in columns]
    if columns and len(others) == 1:
        return others[0]
    return len(header) - 1 if len(header) > 1 and header[-1].strip() in ("label", "target") else None
