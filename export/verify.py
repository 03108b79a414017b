"""`lokma export --verify BUNDLE --data PATH`: the part of the parity ladder that a bundle alone allows, at any time.

The golden references stand for the eager model, the fp32 artifacts for it on all other inputs. Every artifact is
compared here and, with `boards`, on emulated Raspberry Pis; with labels, its accuracy with what the manifest records.

>>> from edge_runtime import examples
>>> report = verify(examples.path("digits.zip"))
>>> report["ok"], [check["name"] for check in report["checks"]][:3]
(True, ['hashes', 'xnnpack-fp32, against golden references', 'onnx-fp32, against golden references'])
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.bundle import Artifact, Bundle
from edge_runtime.check import open_whole
from edge_runtime.errors import BadBundle, BadData, BadInput, BadRequest
from edge_runtime.findings import Finding, report
from edge_runtime.measure import wilson
from edge_runtime.spec import ModelSpec
from export import boards as pis
from export.ladder import FP32, HERE, Bound, Hop, board_questions, bound_of, outputs_here
from export.samples import MAX_UNREADABLE, tensors
from train.user_data import user_data

log = logging.getLogger(__name__)
REFERENCES = "golden references"
PROBES = 32  # inputs that the ladder runs on; accuracy takes all


def verify(
    bundle: str | Path, data: str | Path | None = None, boards: bool = False, target: str | None = None
) -> dict[str, Any]:
    """Compares a bundle's artifacts with its golden references, with each other, and here with the boards.

    Args:
        bundle: the folder or its `.zip`.
        data: a folder `LABEL/…` or `train|test/LABEL/…` of pictures, of which the test side counts, or a `.csv`;
            of the data that the bundle was exported with only what judged it. None takes the golden cases.
        boards: asks the emulated Raspberry Pis too: minutes for pictures of 224 px.
        target: the column of the `.csv` that holds the label.

    Returns:
        `{"ok": bool, "checks": [{"name", "ok", "detail"}]}`; where a hop is bad, a last check `first bad hop` names it.

    Raises:
        BadInput: nothing is at `bundle` or `data`.
        BadBundle: the bundle is damaged, or has no golden cases.
        BadData: more than 5 % of the pictures cannot be read, or the labels are not the bundle's.
        Missing: an engine or, with `boards`, what emulates one is not here.
    """
    if boards:
        pis.require()
    opened = open_whole(bundle)
    spec = opened.spec
    opened.verify()
    references, golden = _references(opened)
    inputs, labels = (golden, None) if data is None else _inputs(opened, Path(data), target)
    probe = inputs[:PROBES]
    findings = [Finding("hashes", True, f"{len(opened.artifacts)} artifacts and their golden cases are unaltered")]
    contents = {artifact.id: _bytes(opened, artifact) for artifact in opened.artifacts}
    tops: dict[str, np.ndarray] = {}
    for artifact in opened.artifacts:
        entry, data_bytes = _entry(artifact), contents[artifact.id]
        said = outputs_here(entry, data_bytes, spec, golden)
        findings.append(_finding(artifact.id, Hop(HERE, REFERENCES, _only_fp32(artifact)), references, said, spec))
        tops[artifact.id] = said if data is None else outputs_here(entry, data_bytes, spec, inputs)
    findings += _against_fp32(opened, tops)
    if boards:
        findings += _on_boards(opened, contents, probe, tops)
    if labels is not None:
        findings += [_accuracy(artifact, tops[artifact.id], labels) for artifact in opened.artifacts]
    bad = next((finding for finding in findings if finding.ok is False), None)
    if bad is not None:
        findings.append(Finding("first bad hop", False, f"{bad.name}: {bad.detail}"))
    return report(findings)


def _against_fp32(opened: Bundle, tops: Mapping[str, np.ndarray]) -> list[Finding]:
    """Each artifact against the fp32 one of its engine, and the fp32 ones of two engines against each other."""
    exact = [artifact for artifact in opened.artifacts if artifact.precision == "fp32"]
    findings = []
    for artifact in opened.artifacts:
        same = [one for one in exact if one.engine == artifact.engine] if artifact.precision != "fp32" else []
        base = next(iter([*same, *exact]), None)
        if base is not None and base is not artifact:
            hop = Hop(HERE, base.id, _only_fp32(artifact))
            findings.append(_finding(artifact.id, hop, tops[base.id], tops[artifact.id], opened.spec))
    return findings


def _on_boards(
    opened: Bundle, contents: Mapping[str, bytes], probe: np.ndarray, tops: Mapping[str, np.ndarray]
) -> list[Finding]:
    rows = [(artifact, _entry(artifact)) for artifact in opened.artifacts]
    questions = [one for a, entry in rows for one in board_questions(entry, contents[a.id], opened.spec, probe)]
    said, findings = pis.answers(questions), []
    for artifact, entry in rows:
        for board, found in said.items():
            outputs = found[artifact.id]
            bound = bound_of(entry, pis.label_of(board))
            hop = Hop(pis.label_of(board), HERE, bound)
            findings.append(_finding(artifact.id, hop, tops[artifact.id][: len(outputs)], outputs, opened.spec))
    return findings


def _finding(name: str, hop: Hop, before: np.ndarray, after: np.ndarray, spec: ModelSpec) -> Finding:
    row = hop.of(before, after, spec.task)
    allowed = f" (allowed: {row['bound']})" if row["bound"] else ""
    detail = (
        f"{row['max_abs']:.1e} absolute, {row['max_relative']:.1e} relative, "
        f"the same best label on {row['same_top1']} of {row['n']}{allowed}"
    )
    what = f"against {hop.against}" if hop.step == HERE else f"{hop.step} against {hop.against}"
    return Finding(f"{name}, {what}", row["ok"], detail)


def _only_fp32(artifact: Artifact) -> Bound | None:
    return FP32 if artifact.precision == "fp32" else None  # what quantizing changed is judged by accuracy


def _entry(artifact: Artifact) -> dict[str, Any]:
    """What the ladder asks of an artifact's entry; an older export, or another's, may say no recipe."""
    plain = {"id": artifact.id, "engine": artifact.engine, "precision": artifact.precision, "recipe": artifact.id}
    return plain | {key: artifact.details[key] for key in ("recipe", "quantization") if key in artifact.details}


def _bytes(opened: Bundle, artifact: Artifact) -> bytes:
    found = opened.content(artifact)
    return found if isinstance(found, bytes) else found.read_bytes()


def _references(opened: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """What eager answered to the golden cases (n, k), and their tensors (n, …)."""
    goldens = opened.golden()
    if not goldens:
        raise BadBundle(f"{opened.source.path} has no golden case, so nothing stands for the eager model")
    return np.array([case.reference for case in goldens], np.float32), tensors(opened.spec, [c.input for c in goldens])


def _inputs(opened: Bundle, path: Path, target: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The tensors of the data (n, …), and the numbers of their labels where the spec's task has such."""
    spec, found = opened.spec, user_data(path, target)
    if bool(found.columns) is (spec.image is not None):
        raise BadRequest(f"--data {path} does not fit {spec.name}, which takes {spec.inputs[0].unit or 'rows'}")
    provenance = opened.manifest.get("provenance")
    used = provenance.get("data") if isinstance(provenance, Mapping) else None
    # what calibrated the bundle, and may have trained its model, would flatter it
    same = isinstance(used, Mapping) and used.get("sha256") == found.sha256
    sides = not found.columns and (path / "test").is_dir()
    rows = found.test if same or sides else (*found.train, *found.test)
    index = {label.id: number for number, label in enumerate(spec.labels)}
    labelled = spec.task in ("binary", "multiclass")
    unknown = sorted({label for _, label in rows} - set(index))
    if labelled and unknown:
        raise BadData(f"{path} has the label {unknown[0]!r}; the bundle's are {', '.join(index)}")
    read = [(tensor, label) for given, label in rows if (tensor := _tensor(spec, given)) is not None]
    if not read or len(rows) - len(read) > MAX_UNREADABLE * len(rows):
        raise BadData(f"{len(rows) - len(read)} of {len(rows)} inputs of {path} cannot be read")
    numbers = np.array([index[label] for _, label in read]) if labelled else None
    return np.stack([tensor for tensor, _ in read]), numbers


def _tensor(spec: ModelSpec, given: Any) -> np.ndarray | None:
    try:
        return tensors(spec, [given])[0]
    except BadInput as error:
        log.warning("left out: %s", error)
        return None


def _accuracy(artifact: Artifact, outputs: np.ndarray, labels: Sequence[int] | np.ndarray) -> Finding:
    """Fails, as `lokma check` does, where the interval measured here lies wholly below the recorded one."""
    # a binary model's one number is its second label's probability
    best = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] >= 0.5).astype(int)
    right, n = int((best == labels).sum()), len(labels)
    low, high = wilson(right, n)
    said = f"{right / n:.1%} ({right} of {n}; {low:.1%} to {high:.1%})"
    recorded = artifact.details.get("accuracy")
    interval = recorded.get("interval") if isinstance(recorded, dict) and recorded.get("metric") == "top-1" else None
    if not isinstance(interval, list) or not interval:
        return Finding(f"{artifact.id}, accuracy", None, f"{said}; the manifest records none to compare with")
    words = f"the manifest records {interval[0]:.1%} and more"
    return Finding(f"{artifact.id}, accuracy", high >= interval[0], f"{said}; {words}")
