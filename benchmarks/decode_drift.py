"""What fast decoding changes: answers to phone-sized photographs, decoded whole and at a reduced scale.

`LOKMA_DATA=… python -m benchmarks.decode_drift [BUNDLE]`: the test pictures of `pizza_steak_sushi` (150) and
`food10` (500) enlarged to 12 megapixels and saved again as JPEG of quality 90. About ten minutes on two
cores; appends one record. At most 3 of 650 may change their best label.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.environment import host
from benchmarks.photographs import enlarged
from edge_runtime import load
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import LokmaError, Missing
from edge_runtime.measure import quantile, wilson
from edge_runtime.predictor import Predictor
from train.provenance import commit

log = logging.getLogger("benchmarks.decode_drift")  # its own name also where this is __main__
STUDY, SETS, ARTIFACT, MAX_CHANGED = "decode-drift", ("pizza_steak_sushi", "food10"), "xnnpack-fp32", 3
_ours: dict[str, Predictor] = {}  # of a worker process


def test_pictures(data: Path | None = None) -> list[Path]:
    """The test pictures of both sets under `$LOKMA_DATA`.

    Raises:
        Missing: one of them is not there.
    """
    data = data or Path(os.environ.get("LOKMA_DATA") or "data")
    found: list[Path] = []
    for name in SETS:
        here = sorted((data / name / "test").rglob("*.jpg"))
        if not here:
            raise Missing(f"the study needs {data / name / 'test'}; LOKMA_DATA names the folder that holds {name}")
        found += here
    return found


def answers(bundle: Path, paths: Sequence[Path], processes: int = 2) -> list[dict[str, list[float]]]:
    """For each picture its probabilities with `exact` and `fast` decoding."""
    fresh = multiprocessing.get_context("spawn")  # a fork would copy locks of an engine's threads, without the threads
    with ProcessPoolExecutor(processes, fresh, initializer=_start, initargs=(str(bundle),)) as pool:
        found = []
        for number, answer in enumerate(pool.map(_answer, map(str, paths), chunksize=4), start=1):
            found.append(answer)
            if number % 50 == 0:
                log.info("%d of %d", number, len(paths))
    return found


def record(bundle: Path, found: Sequence[dict[str, list[float]]]) -> dict[str, Any]:
    """The study's record: how many best labels changed, and how far probabilities moved."""
    best = {how: [max(range(len(a[how])), key=a[how].__getitem__) for a in found] for how in ("exact", "fast")}
    changed = sum(a != b for a, b in zip(best["exact"], best["fast"], strict=True))
    moved = [max(abs(x - y) for x, y in zip(a["exact"], a["fast"], strict=True)) for a in found]
    opened = open_bundle(bundle)
    artifact = opened.artifact(ARTIFACT)
    return results.record(
        kind="study",
        commit=commit(),
        bundle={"name": opened.name, "version": opened.version},
        artifact={
            "id": artifact.id,
            "engine": artifact.engine,
            "precision": artifact.precision,
            "sha256": artifact.sha256,
        },
        target="device",
        host=host(),
        scenario={"study": STUDY, "sets": list(SETS)},
        latency_ns=[],
        changed=changed,
        pictures=len(found),
        changed_interval=list(wilson(changed, len(found))),
        moved=moved,
        predictions=best,
        validity={"valid": True, "flags": []},
    )


def sentence(records: Sequence[Mapping[str, Any]]) -> str | None:
    """The newest study in one sentence, for RESULTS.md; None where none is on record."""
    studies = [entry for entry in records if entry["kind"] == "study" and entry["scenario"].get("study") == STUDY]
    if not studies:
        return None
    newest = studies[-1]
    (low, high), moved = newest["changed_interval"], newest["moved"]
    return (
        f"Decoding large JPEGs at a reduced scale changed the best label of {newest['changed']} of "
        f"{newest['pictures']} photographs enlarged to 12 megapixels ({low:.2%} to {high:.2%}; at most {MAX_CHANGED}); "
        f"the largest move of a probability was {max(moved):.3f}, the median {quantile(moved, 0.5):.4f} "
        f"({newest['bundle']['name']}, {newest['artifact']['id']}; `python -m benchmarks.decode_drift`)."
    )


def _start(bundle: str) -> None:
    for how in ("exact", "fast"):
        _ours[how] = load(bundle, ARTIFACT, 1, exact=how == "exact")


def _answer(path: str) -> dict[str, list[float]]:
    with tempfile.NamedTemporaryFile(suffix=".jpg") as handle:  # a path, as a user has it
        handle.write(enlarged(Path(path)))
        handle.flush()
        return {how: list(predictor.predict(handle.name).values) for how, predictor in _ours.items()}


def main(argv: list[str]) -> int:
    """Runs the study; exit code 1 where more answers change than may."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode_drift", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("bundles/foodvision-mini"))
    parser.add_argument("--json", action="store_true", help="the row as one object")
    parser.add_argument("--pictures", type=int, metavar="N", help="N pictures, evenly; nothing is recorded")
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO)
    try:
        paths = test_pictures()
        chosen = paths[:: max(1, len(paths) // args.pictures)][: args.pictures] if args.pictures else paths
        whole = record(args.bundle, answers(args.bundle, chosen))
        if not args.pictures:
            results.append([whole], results.folder() / f"{host()['fingerprint']}.jsonl")
    except LokmaError as error:
        sys.stderr.write(f"decode_drift: {error}\n")
        return error.exit_code
    holds = whole["changed"] <= MAX_CHANGED
    row = {
        "name": STUDY,
        "value": whole["changed"],
        "bound": MAX_CHANGED,
        "holds": holds,
        "n": whole["pictures"],
        "note": "",
    }
    sys.stdout.write(f"{json.dumps(row) if args.json else sentence([whole])}\n")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
