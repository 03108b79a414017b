"""Do the recipes reach what they state? Each is trained over its seeds, exported, and checked without torch.

`python -m benchmarks.recipes_study [--only NAME,…] [--json]` trains a seed at a time, each in a process of its own;
then the first seed's run goes through `lokma export --recipes auto`, every recipe that fits it, and its bundle
through `lokma check` where torch cannot be imported. A record is appended as each part ends: seeds, n, and what came
out; what is on record with the same code, libraries and machine is not done again. A recipe's rows, as RESULTS.md
shows them, are one record more. `foodvision` and `tinyvgg` need pictures (`LOKMA_DATA`); what a food model does not
know is asked by `python -m benchmarks.food_study`.

Five minutes on two idle cores without `foodvision`, `vit-paper` and `tinyvgg`, an hour with them. Exits 1 where a
row does not hold, or is open.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import budget, paired, results
from benchmarks.environment import host
from benchmarks.paired import Row
from edge_runtime.errors import EngineError, Missing
from train.provenance import code_sha256, commit, room_modules, versions
from train.recipes import RECIPES

SEEDS = (0, 1, 2)
STUDY, OUT = "recipes", Path("runs") / "study"
WINE = OUT / "wine.csv"  # somebody's own table
LIMIT_S = 3600  # of one part
CHECK = "import sys; sys.modules['torch'] = None; from edge_runtime.cli import main; sys.exit(main(sys.argv[1:]))"

Results = Mapping[str, Any]  # of a run's metrics.json
Part = tuple[str, str]  # a row's name, and "seed N" or "bundle"


@dataclass(frozen=True)
class Aim:
    """What one recipe must reach: `values` of a run's results against `bound`, by their mean or by the worst."""

    recipe: str
    what: str
    values: Callable[[Results], Sequence[float]]
    bound: Callable[[Results], float]
    n: Callable[[Results], int]
    seeds: Sequence[int] = (0,)  # a recipe for tables trains three in one run
    arguments: Mapping[str, Any] | None = None
    at_most: bool = False
    worst: bool = False
    also: Aim | None = None  # what the same runs must reach besides

    def holds(self, value: float, bound: float) -> bool:
        """Whether the bound is kept."""
        return value <= bound if self.at_most else value >= bound


def _aim(recipe: str, what: str, key: str, bound: float | Callable[[Results], float], **more: Any) -> Aim:
    """Of a recipe that keeps its seeds in its own results, under `key`; a cross-validation keeps them under `cv`."""
    own, n = ("cv", lambda r: r["cv"]["n"]) if key == "difference" else ("seeds", lambda r: r["test_n"])
    fixed = bound if callable(bound) else lambda _: bound
    return Aim(recipe, what, lambda r: r[own][key]["by_seed"], fixed, n, **more)


def _pictures(recipe: str, bound: float, also: Aim | None = None, **arguments: Any) -> Aim:
    values, n = lambda r: [r["test_accuracy"]], lambda r: r["test_n"]
    return Aim(recipe, "test accuracy", values, lambda _: bound, n, SEEDS, arguments, also=also)


AIMS: dict[str, Aim] = {
    "binary-circles": _aim("binary-circles", "test accuracy", "accuracy", lambda r: r["bayes_accuracy"] - 0.01),
    "binary-table": _aim("binary-table", "accuracy over 5 folds, less logistic regression's", "difference", -0.01),
    "cartpole-dqn": Aim(
        "cartpole-dqn", "lower 95 % bound of the mean return", lambda r: [r["lower_95"]], lambda _: 475.0,
        lambda r: r["episodes"], range(5), worst=True,
    ),
    "foodvision effnet_lite0": _pictures("foodvision", 0.96, model="effnet_lite0"),
    "foodvision effnet_lite2": _pictures(
        "foodvision", 0.965, model="effnet_lite2",
        also=Aim("foodvision", "accuracy over 5 folds of the training pictures",
                 lambda r: [r["cv_repeats_accuracy"]], lambda _: 0.96, lambda r: r["cv_n"], SEEDS),
    ),
    "foodvision food10": _pictures(
        "foodvision", 0.87, model="effnet_lite2", data="food10", size=380, pool="root", weight_decay=0.001
    ),
    "foodvision vit_s_14": _pictures("foodvision", 0.92, model="vit_s_14"),
    "multiclass-blobs": _aim("multiclass-blobs", "test accuracy", "accuracy", 0.99),
    "multiclass-digits": _pictures("multiclass-digits", 0.985),
    "multilabel": _aim("multilabel", "micro-F1 over 5 folds, less one-vs-rest logistic regression's", "difference",
                       -0.01),
    **{
        f"regression-curve {curve}": _aim("regression-curve", "error, of the true curve's", "ratio", 1.05,
                                           arguments={"curve": curve}, at_most=True)
        for curve in ("cubic", "parabola", "sine")
    },
    "regression-diabetes": _aim("regression-diabetes", "R2 over 5 folds, less Ridge's", "difference", -0.01),
    "regression-linear": _aim("regression-linear", "error, of the true line's", "ratio", 1.05, at_most=True),
    "table wine": _aim("table", "accuracy over 5 folds, less a linear model's", "difference", -0.01,
                       arguments={"data": WINE, "target": "cultivar"}),
    "tinyvgg": _pictures("tinyvgg", 0.5),
    "vit-paper": _pictures(
        "vit-paper", 0.98,
        also=Aim("vit-paper", "difference to torchvision's vit_b_16, same weights",
                 lambda r: [r["torchvision_difference"]], lambda _: 1e-5, lambda _: 2, SEEDS, at_most=True, worst=True),
    ),
}  # fmt: skip


def parts(name: str) -> list[Part]:
    """What is to be done for a row: its seeds, then the bundle."""
    return [(name, f"seed {seed}") for seed in AIMS[name].seeds] + [(name, "bundle")]


def trained(name: str, seed: str) -> Results:
    """The metrics of a run, trained in a process of its own."""
    if AIMS[name].recipe == "table":
        _write_wine()
    given = {**(AIMS[name].arguments or {}), "seed": seed.removeprefix("seed ")}
    flags = [text for key, value in given.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    run = ["--name", _run(name, seed), "--out", str(OUT), "--json"]
    found: Results = json.loads(_lokma("train", AIMS[name].recipe, *flags, *run)[1])
    return found


def bundled(name: str) -> Results:
    """The first seed's run as a bundle: what it holds, what was left out and why, and whether `lokma check` passes."""
    run = OUT / _run(name, parts(name)[0][1])
    code, said = _lokma("export", str(run), "--recipes", "auto", "--out", str(OUT / "bundles"), "--json", may=(0, 1))
    manifest = json.loads(said)
    command = [sys.executable, "-c", CHECK, "check", str(OUT / "bundles" / manifest["name"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return {
        "artifacts": [one["id"] for one in manifest["artifacts"]],
        "left_out": manifest.get("left_out") or [],
        "verdicts_hold": code == 0,
        "checked": done.returncode == 0,
        "check_said": (done.stdout + done.stderr).splitlines()[-1:],
    }


def _write_wine() -> None:
    """scikit-learn's wines as a file, the cultivar in words, so that the recipe `table` has one to read."""
    from sklearn.datasets import load_wine

    found = load_wine()
    rows = zip(found.data.tolist(), found.target_names[found.target].tolist(), strict=True)
    lines = [[*found.feature_names, "cultivar"], *([*values, cultivar] for values, cultivar in rows)]
    WINE.parent.mkdir(parents=True, exist_ok=True)
    WINE.write_text("".join(",".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")


def _run(name: str, part: str) -> str:
    return f"{name}-{part}".replace(" ", "-")


def _lokma(*arguments: str, may: Sequence[int] = (0,)) -> tuple[int, str]:
    """A verb's exit code and what it printed last.

    Raises:
        Missing: something that it needs is not here.
        EngineError: it failed.
    """
    command = [sys.executable, "-m", "edge_runtime.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode not in may:
        words = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        kind = Missing if done.returncode == Missing.exit_code else EngineError
        raise kind(f"lokma {' '.join(arguments[:2])}: {words}")
    return done.returncode, (done.stdout.strip().splitlines() or ["{}"])[-1]


def made_by(name: str) -> dict[str, Any]:
    """What decides a row: where any of it is another, it is done again."""
    code = code_sha256(*room_modules(), RECIPES[AIMS[name].recipe].module, "edge_runtime.preprocess")
    return {"code": code[:12], "versions": versions(), "host": host()["fingerprint"]}


def record(part: Part, found: Mapping[str, Any]) -> dict[str, Any]:
    """One part's record."""
    name, which = part
    scenario = {"study": STUDY, "group": name, "part": which, "made_by": made_by(name)}
    return _record(name, scenario, outcome=dict(found))


def _record(name: str, scenario: dict[str, Any], **more: Any) -> dict[str, Any]:
    return results.record(
        kind="study", commit=commit(), bundle={}, artifact={"id": name}, target="device", host=host(),
        scenario=scenario, latency_ns=[], validity={"valid": True, "flags": []}, **more,
    )  # fmt: skip


def done(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[Part, Mapping[str, Any]]:
    """The parts on record that the same code, libraries and machine made."""
    by = {name: made_by(name) for name in names}
    found = {}
    for one in records:
        at = one["scenario"]
        if at.get("study") == STUDY and "part" in at and at.get("made_by") == by.get(at["group"]):
            found[at["group"], at["part"]] = one["outcome"]
    return found


def rows(name: str, found: Mapping[Part, Mapping[str, Any]], problem: str = "") -> list[Row]:
    """What a recipe reached over its seeds, and whether its run arrives on a device; None where it is open.

    `problem` says why the first part that is not in `found` is not there.
    """
    aim = AIMS[name]
    runs = [found[part]["results"] for part in parts(name)[:-1] if part in found]
    answers = [_reached(name, one, runs, problem) for one in (aim, aim.also) if one is not None]
    bundle, title = found.get((name, "bundle")), f"{name}: exported by every fitting recipe, checked without torch"
    if bundle is None and problem and len(runs) == len(aim.seeds):
        answers.append(paired.row(title, None, None, False, 0, problem))
    if bundle is not None:
        made, left = bundle["artifacts"], [str(one.get("id", one)) for one in bundle["left_out"]]
        holds = bundle["checked"] and bundle["verdicts_hold"]
        said = "lokma check passes" if bundle["checked"] else f"lokma check FAILS: {' '.join(bundle['check_said'])}"
        note = f"{', '.join(made)}; {said}" + (f"; left out by their verdict: {', '.join(left)}" if left else "")
        wanted = len(made) + len(left)
        answers.append(paired.row(title, len(made), wanted, holds, wanted, note))
    return answers


def _reached(name: str, aim: Aim, runs: Sequence[Results], problem: str) -> Row:
    """What the runs of all seeds reached."""
    from train.tabular import over_seeds

    title = f"{name}: {aim.what}, {'the worst' if aim.worst else 'mean'} over seeds"
    if len(runs) < len(aim.seeds):
        return paired.row(title, None, None, None, 0, problem or "not every seed is trained yet")
    values = [value for one in runs for value in aim.values(one)]
    spread, bound = over_seeds(values), aim.bound(runs[0])
    value = spread["mean"] if not aim.worst else (max if aim.at_most else min)(values)
    low, high = spread["interval"]
    first = runs[0].get("seeds", runs[0].get("cv", {})).get("seeds")
    seeds = ", ".join(map(str, first or aim.seeds))
    each = ", ".join(f"{one:.4g}" for one in values)
    note = f"seeds {seeds}: {each}; mean {spread['mean']:.4g} (95 %: {low:.4g} to {high:.4g})"
    return paired.row(title, value, bound, aim.holds(value, bound), aim.n(runs[0]), note)


def main(argv: list[str]) -> int:
    """Does what is not on record yet, and prints every row."""
    args = budget.parser("recipes_study", __doc__, AIMS, "NAME,…").parse_args(argv)
    return budget.answered(
        "recipes_study", lambda: budget.show(_study(budget.chosen(args.only, AIMS, "row")), args.json)
    )


def _study(names: Sequence[str]) -> Iterator[Row]:
    found = done(results.read().records, names)
    for name in names:
        problem = ""
        try:
            for part in parts(name):
                if part not in found:
                    found[part] = bundled(name) if part[1] == "bundle" else trained(*part)
                    budget.keep(record(part, found[part]))
        except (Missing, EngineError) as error:  # the other rows go on; this one says the reason
            problem = str(error)
        mine = rows(name, found, problem)
        budget.keep(_record(name, {"study": STUDY, "group": name}, rows=mine))
        yield from mine


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
