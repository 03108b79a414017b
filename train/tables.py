"""Data sets that are tables, in two splits, and those known by name: scikit-learn's own and seeded generators.

The same name gives the same rows everywhere, so that export and benchmarks find a run's data again by its name
and `sha256`, which pins columns, rows, targets and the split between them. No network is needed for any.

There is no real multilabel table: no package that is installed here ships one (scikit-learn's tests hold 13 rows
of OpenML's *emotions*, which is no set to learn from), so `multilabel` is scikit-learn's generator alone.

>>> data = table_data("diabetes")
>>> data.columns[:3], data.targets, data.train.rows.shape, data.test.rows.shape
(('age', 'sex', 'bmi'), ('disease progression',), (353, 10), (89, 10))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_runtime.errors import BadData, BadRequest, Missing

TEST_SHARE, SPLIT_SEED = 0.2, 0
MIN_ROWS = 20  # of a training side: fewer teach nothing that could be checked on five folds

POINTS = 2_000  # a test side of the line and of each curve
LINE = (0.7, 0.3, 0.1)  # the course's slope and intercept, and the standard deviation of the noise
CURVES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float]] = {  # the function, |x| at most, noise
    "cubic": (lambda x: x**3 - 2 * x, 2.0, 0.3),
    "parabola": (lambda x: x**2, 2.0, 0.3),
    "sine": (np.sin, 2 * np.pi, 0.2),
}
CIRCLES = {"noise": 0.03, "factor": 0.8}  # the course's
BLOBS = {"centers": 4, "cluster_std": 1.5, "n_features": 2, "random_state": 42}  # the course's
WORDS, TOPICS = 20, 5  # of scikit-learn's multilabel generator: counts of words, and what a text is about


@dataclass(frozen=True, eq=False)
class Side:
    """One split: `rows` float32 (n, columns), `targets` float32 (n, outputs).

    A target is a number (regression), 0 or 1 for each label (binary, multilabel), or in one column the number of
    the class (multiclass). `numbers` int64 (n,) are the rows' in the source that both sides come from, if one does.
    """

    rows: np.ndarray
    targets: np.ndarray
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, chosen: np.ndarray) -> Side:
        """The rows of these numbers, (m,)."""
        return Side(self.rows[chosen], self.targets[chosen], None if self.numbers is None else self.numbers[chosen])


@dataclass(frozen=True, eq=False)
class TableData:
    """Rows in two splits. `sha256` pins their content, `origin` says where they were found.

    `units` belong to the columns, "" where nobody knows one; `targets` are the labels, or what a regression's
    number is called, and `target_unit` is that number's.
    """

    name: str
    task: str
    columns: tuple[str, ...]
    units: tuple[str, ...]
    targets: tuple[str, ...]
    train: Side
    test: Side
    sha256: str
    origin: str = field(default="", compare=False)
    target_unit: str = ""


def table_data(name: str, sha256: str | None = None) -> TableData:
    """Finds or makes a data set of the table `TABLES`, or reads a user's own.

    Args:
        name: a key of the table, or FILE#TASK#COLUMN.
        sha256: the content that is wanted, as a run or bundle recorded it; None takes what is here.

    Raises:
        BadRequest: no table has that name.
        BadData: it is not the content wanted: another version of scikit-learn or NumPy makes other rows.
        Missing: scikit-learn is not installed.
    """
    if is_own(name):
        data = _own(name)
    elif name not in TABLES:
        raise BadRequest(f"there is no table {name!r}; known: {', '.join(sorted(TABLES))}")
    else:
        data = _shipped(name)
    if sha256 is not None and data.sha256 != sha256:
        raise BadData(
            f"the table {name} made here has the sha256 {data.sha256[:12]}…, but {sha256[:12]}… is wanted: its run "
            "was trained on other rows, or with another version of lokma, scikit-learn or NumPy; train it again"
        )
    return data


def is_own(name: str) -> bool:
    """Whether a table is a user's own: the name says file, task and column, as `lokma train table` was given them."""
    return name.count("#") >= 2


def _shipped(name: str) -> TableData:
    try:
        return TABLES[name]()
    except ModuleNotFoundError as error:
        raise Missing(f"the table {name} comes with scikit-learn: pip install 'lokma[train]'") from error


def _own(name: str) -> TableData:
    from pathlib import Path

    from train.own_tables import own_table

    path, task, target = name.rsplit("#", 2)
    return own_table(Path(path), target, task)


def table(
    name: str,
    task: str,
    columns: Sequence[str],
    targets: Sequence[str],
    train: tuple[Any, ...],
    test: tuple[Any, ...],
    *,
    units: Sequence[str] = (),
    origin: str = "",
    target_unit: str = "",
) -> TableData:
    """Checks rows and targets of both sides, arrays of any number type, and makes a table of them.

    A side is (rows, targets), or what `split` gives.

    Raises:
        BadData: a number is missing or not finite (row and column are named), a label is beyond `targets`, there
            is one class only, all targets are equal, a row stands on both sides, or rows are too few.
    """
    sides = {split: _side(name, split, columns, targets, task, *given) for split, given in
             (("train", train), ("test", test))}  # fmt: skip
    if len(sides["train"]) < MIN_ROWS:
        raise BadData(f"{name} has {len(sides['train'])} training rows; at least {MIN_ROWS} are needed")
    _refuse_one_class(name, task, targets, sides["train"])
    _refuse_shared(name, sides["train"], sides["test"])
    digest = hashlib.sha256(json.dumps([task, list(columns), list(targets)]).encode())
    for side in sides.values():
        for array in (side.rows, side.targets):
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array, "<f4").tobytes())
    return TableData(
        name=name,
        task=task,
        columns=tuple(columns),
        units=tuple(units) or ("",) * len(columns),
        targets=tuple(targets),
        train=sides["train"],
        test=sides["test"],
        sha256=digest.hexdigest(),
        origin=origin or f"{name}: {len(sides['train'])} training and {len(sides['test'])} test rows",
        target_unit=target_unit,
    )


def split(rows: np.ndarray, targets: np.ndarray, classes: bool, test: float | int = TEST_SHARE) -> tuple[Any, Any]:
    """A seeded training and test side; with `classes`, each has the same share of every class.

    Args:
        rows: (n, columns).
        targets: (n,) or (n, outputs).
        classes: whether targets are numbers of classes.
        test: the share of the test side, or how many rows it has.
    """
    from sklearn.model_selection import train_test_split

    numbers = np.arange(len(rows))
    kept, held = train_test_split(
        numbers, test_size=test, random_state=SPLIT_SEED, stratify=targets if classes else None
    )
    return (rows[kept], targets[kept], kept), (rows[held], targets[held], held)


def _side(
    name: str,
    split: str,
    columns: Sequence[str],
    targets: Sequence[str],
    task: str,
    rows: Any,
    truth: Any,
    numbers: np.ndarray | None = None,
) -> Side:
    with np.errstate(over="ignore"):  # what does not fit into float32 becomes infinite, and is refused below
        given, true = np.asarray(rows, np.float32), np.asarray(truth, np.float32)
    true = true.reshape(len(true), -1)
    if given.ndim != 2 or given.shape[1] != len(columns) or len(given) != len(true) or not len(given):
        raise BadData(
            f"{name}, {split}: rows are {given.shape} and targets {true.shape}; needed are (n, {len(columns)}) for "
            f"{', '.join(columns[:5])}{'…' if len(columns) > 5 else ''}, and as many targets"
        )
    for array, names in ((given, columns), (true, targets if true.shape[1] == len(targets) else ("target",))):
        odd = np.argwhere(~np.isfinite(array))
        if len(odd):
            row, column = odd[0]
            place = f"row {row + 1} of {split}, column {names[column]!r}"
            raise BadData(f"{name}: {place} is {array[row, column]}; {len(odd)} such, fill or drop them")
    _refuse_strange(name, split, task, targets, true)
    return Side(given, true, numbers)


def _refuse_strange(name: str, split: str, task: str, targets: Sequence[str], true: np.ndarray) -> None:
    """Refuses targets that the task cannot mean: as many columns as it has outputs, and labels that exist."""
    outputs = len(targets) if task in ("multilabel", "regression") else 1
    if true.shape[1] != outputs:
        raise BadData(f"{name}, {split}: a {task} table of {', '.join(targets)} has {outputs} target columns, "
                      f"not {true.shape[1]}")  # fmt: skip
    if task == "regression":
        return
    highest = len(targets) - 1 if task == "multiclass" else 1
    odd = np.argwhere((true < 0) | (true > highest) | (true != np.rint(true)))
    if len(odd):
        row, column = odd[0]
        knows = f"0 to {highest} ({', '.join(targets)})" if task == "multiclass" else "0 and 1"
        raise BadData(f"{name}: row {row + 1} of {split} has the label {true[row, column]:g}; there are {knows}")


def _refuse_one_class(name: str, task: str, targets: Sequence[str], train: Side) -> None:
    same = (train.targets == train.targets[0]).all(0)
    if not same.any():
        return
    value = train.targets[0, int(same.argmax())]
    if task == "regression":
        raise BadData(f"{name}: every training row has the target {value:g}; there is nothing to learn")
    if task == "multilabel":
        which = targets[int(same.argmax())]
        raise BadData(f"{name}: the label {which!r} holds for {'every' if value else 'no'} training row; leave it out")
    raise BadData(f"{name}: every training row is {targets[int(value)]!r}; at least 2 classes are needed")


def _refuse_shared(name: str, train: Side, test: Side) -> None:
    """The same numbers with the same target on both sides: a test must be unseen."""
    seen = {row.tobytes(): number for number, row in enumerate(np.hstack([train.rows, train.targets]))}
    for number, row in enumerate(np.hstack([test.rows, test.targets])):
        if row.tobytes() in seen:
            where = f"row {number + 1} of test is also row {seen[row.tobytes()] + 1} of train"
            raise BadData(f"{name}: {where}; a test must be unseen")


def line(x: np.ndarray) -> np.ndarray:
    """The course's straight line, without noise."""
    return LINE[0] * x + LINE[1]


def _line() -> TableData:
    return _of_function("line", line, 0.0, 1.0, LINE[2], "the straight line 0.7 x + 0.3 with noise, made here")


def _curve(kind: str) -> TableData:
    curve, most, noise = CURVES[kind]
    return _of_function(f"curve-{kind}", curve, -most, most, noise, f"a {kind} with noise, made here")


def _of_function(
    name: str, function: Callable[[np.ndarray], np.ndarray], low: float, high: float, noise: float, origin: str
) -> TableData:
    """As many training as test points, uniform in x, with normal noise on y."""
    draw = np.random.default_rng(SPLIT_SEED)
    x = draw.uniform(low, high, (2 * POINTS, 1))
    y = function(x) + draw.normal(0, noise, x.shape)
    sides = (x[:POINTS], y[:POINTS]), (x[POINTS:], y[POINTS:])
    return table(name, "regression", ("x",), ("y",), *sides, origin=origin)


def _diabetes() -> TableData:
    from sklearn.datasets import load_diabetes

    rows, targets = load_diabetes(return_X_y=True, scaled=False)
    return table(
        "diabetes",
        "regression",
        ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
        ("disease progression",),
        *split(rows, targets, classes=False),
        units=("years", "1 or 2", "kg/m²", *[""] * 7),  # of the other seven the authors say none
        origin="scikit-learn's diabetes table (Efron et al., 2004): 442 patients",
        target_unit="score one year after baseline",
    )


def _circles() -> TableData:
    from sklearn.datasets import make_circles

    train, test = (make_circles(count, **CIRCLES, random_state=seed) for count, seed in ((1_000, 42), (10_000, 43)))
    return table("circles", "binary", ("x", "y"), ("outer", "inner"), train, test,
                 origin="scikit-learn's two circles, made here")  # fmt: skip


def _breast_cancer() -> TableData:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    malignant = 1 - found.target  # scikit-learn calls benign 1; the label that a threshold is about comes second
    return table(
        "breast-cancer",
        "binary",
        tuple(map(str, found.feature_names)),
        ("benign", "malignant"),
        *split(found.data, malignant, classes=True),
        origin="scikit-learn's breast cancer table (Wolberg, Street and Mangasarian, 1993): 569 tumours",
    )


def _blobs() -> TableData:
    from sklearn.datasets import make_blobs

    rows, targets = make_blobs(1_000 + POINTS, **BLOBS)
    return table("blobs", "multiclass", ("x", "y"), ("0", "1", "2", "3"), *split(rows, targets, True, POINTS),
                 origin="scikit-learn's four blobs, made here")  # fmt: skip


def _multilabel() -> TableData:
    from sklearn.datasets import make_multilabel_classification

    rows, targets = make_multilabel_classification(
        1_000 + POINTS, WORDS, n_classes=TOPICS, allow_unlabeled=True, random_state=42
    )
    return table(
        "multilabel",
        "multilabel",
        tuple(f"word {number}" for number in range(WORDS)),
        tuple(f"topic {number}" for number in range(TOPICS)),
        *split(rows, targets, False, POINTS),
        units=("count",) * WORDS,
        origin="scikit-learn's multilabel generator: counts of 20 words in texts about any of 5 topics",
    )


TABLES: dict[str, Callable[[], TableData]] = {
    "blobs": _blobs,
    "breast-cancer": _breast_cancer,
    "circles": _circles,
    **{f"curve-{kind}": lambda kind=kind: _curve(kind) for kind in CURVES},  # type: ignore[misc]
    "diabetes": _diabetes,
    "line": _line,
    "multilabel": _multilabel,
}
