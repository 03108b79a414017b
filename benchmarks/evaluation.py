"""What every system is asked, the same bytes for all, and the right answers.

A bundle is judged on the test side of its own data, or on `--data`: a folder of pictures in folders named by label
ids, or a table. Where that is the folder that the bundle was exported with, its test side alone is taken: the other
pictures set the ranges of the int8 files.

>>> from edge_runtime import examples
>>> from edge_runtime.bundle import open_bundle
>>> work = work_of(open_bundle(examples.path("cartpole.zip")))
>>> work.data["name"], len(work.inputs) >= ROWS
('CartPole-v1', True)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.bundle import Bundle
from edge_runtime.errors import BadBundle, BadData, BadInput, BadRequest

log = logging.getLogger(__name__)
ROWS = 1500  # a pass over rows, which take microseconds: enough that a block's median is steady
MAX_UNREADABLE = 0.05  # of the pictures


@dataclass(frozen=True)
class Work:
    """`labels` are class numbers, or rows of numbers; empty for a policy, and where only time is measured."""

    data: dict[str, Any]
    inputs: tuple[Any, ...]
    labels: tuple[Any, ...]

    @property
    def names(self) -> list[str]:
        """What a record calls the inputs: where pictures lie here is nobody's business."""
        if not self.inputs or not isinstance(self.inputs[0], str):
            return []
        return ["/".join(Path(given).parts[-2:]) for given in self.inputs]


def work_of(bundle: Bundle, data: Path | None = None) -> Work:
    """The inputs and right answers for a bundle.

    Args:
        bundle: what is measured.
        data: a folder or table of the user's own; None takes the bundle's own data.

    Raises:
        BadBundle: it does not say what data it is judged on, or has nothing to be timed on.
        BadData: the data is not what it was judged on, has other labels, or more than 5 % cannot be read.
        BadInput, BadRequest, Missing: the data is not here.
    """
    if bundle.spec.task == "policy":
        if data is not None:
            raise BadRequest(f"{bundle.name} is a policy: it is judged by playing, not on --data")
        return _policy(bundle)
    work = _own(bundle) if data is None else _given(bundle, data)
    return work if bundle.spec.image is None else _readable(bundle, work)


def _recorded(bundle: Bundle) -> dict[str, Any]:
    data = bundle.manifest.get("provenance", {}).get("data")
    if data is None:
        raise BadBundle(f"{bundle.source.path} does not say what data it is judged on; export it again, or give --data")
    return dict(data)


def _policy(bundle: Bundle) -> Work:
    data = _recorded(bundle)
    rows = tuple(tuple(golden.input) for golden in bundle.golden())
    if not rows:
        raise BadBundle(f"{bundle.source.path} has no golden observations to be timed on; export it again")
    return Work({key: data[key] for key in ("name",)}, _enough(rows), ())


def _own(bundle: Bundle) -> Work:
    """The data set that the bundle names."""
    from train.data import DATASETS, image_data
    from train.tables import TABLES, is_own, table_data

    data = _recorded(bundle)
    said = {"name": data["name"], "sha256": data["sha256"], "split": "test"}
    if bundle.spec.image is not None and data["name"] in DATASETS:
        pictures = image_data(data["name"], data["sha256"])
        examples = pictures.test
        return Work(said, tuple(str(one.path) for one in examples), tuple(one.label for one in examples))
    if bundle.spec.image is None and (data["name"] in TABLES or is_own(data["name"])):
        side = table_data(data["name"], data["sha256"]).test
        numbered = bundle.spec.task in ("binary", "multiclass")
        truth = tuple(int(row[0]) if numbered else tuple(map(float, row)) for row in side.targets)
        return Work(said, tuple(tuple(map(float, row)) for row in side.rows), truth)
    raise BadRequest(f"{bundle.name} was judged on {data['name']!r}, a folder of its maker's own: name it with --data")


def _given(bundle: Bundle, path: Path) -> Work:
    """The user's own: the test side where there are two, or where it is what the bundle was exported with."""
    from train.user_data import user_data

    labels = [label.id for label in bundle.spec.labels]
    if bundle.spec.task not in ("binary", "multiclass"):
        raise BadRequest(f"{bundle.name} is a {bundle.spec.task} model; --data measures binary and multiclass ones")
    if not path.exists():
        raise BadInput(f"--data {path} does not exist")
    if path.is_dir() != (bundle.spec.image is not None):
        takes = "pictures: give a folder" if bundle.spec.image else "rows of numbers: give a .csv"
        raise BadRequest(f"{bundle.name} takes {takes}")
    found = user_data(path, None if path.is_dir() else _target(path))
    unknown = [label for label in found.labels if label not in labels]
    if unknown:
        raise BadData(f"{path} has the label {unknown[0]!r}; {bundle.name} knows {', '.join(labels)}")
    exported = bundle.manifest.get("provenance", {}).get("data", {}).get("sha256") == found.sha256
    split = path.is_dir() and any((path / side).is_dir() for side in ("train", "test"))
    chosen = found.test if exported or split else (*found.train, *found.test)
    if not chosen:
        raise BadData(f"{path} has nothing on its test side; give more inputs, or folders train/ and test/")
    said = {"name": found.name, "sha256": found.sha256, "split": "test" if exported or split else "all"}
    return Work(said, tuple(given for given, _ in chosen), tuple(labels.index(label) for _, label in chosen))


def _target(path: Path) -> str:
    """The last column of a table holds the label, as `lokma check --data` has it."""
    try:
        with path.open(encoding="utf-8-sig") as handle:
            return handle.readline().strip().rpartition(",")[2]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as a table: {error}") from error


def _readable(bundle: Bundle, work: Work) -> Work:
    """Leaves out what cannot be read, for all systems alike, and says how many."""
    from edge_runtime.preprocess import open_picture

    assert bundle.spec.image is not None
    bad: list[str] = []
    kept = []
    for given, label in zip(work.inputs, work.labels, strict=True):
        try:
            open_picture(given, bundle.spec.image)
        except BadInput as error:
            bad.append(str(error))
            log.warning("left out: %s", error)
            continue
        kept.append((given, label))
    if len(bad) > MAX_UNREADABLE * len(work.inputs):
        raise BadData(f"{len(bad)} of {len(work.inputs)} pictures cannot be read, more than 5 %; the first: {bad[0]}")
    data = {**work.data, "skipped": len(bad)} if bad else work.data
    return Work(data, tuple(given for given, _ in kept), tuple(label for _, label in kept))


def _enough(rows: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(rows) * math.ceil(ROWS / len(rows))
