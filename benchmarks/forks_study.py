"""Whether forked processes differ from each other as fresh ones do: what `compare` rests on.

`python -m benchmarks.forks_study [--pairs 80]` races pairs of processes of one artifact, fresh pairs and forked ones in
turn, beside the A/A study's neighbour. The spread of the pairs' log-ratios must not be smaller where they are forked:
the verdicts of `compare` would be surer than they may be. About two minutes; one record.
"""

from __future__ import annotations

import contextlib
import functools
import random
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence

from benchmarks import aa_model, aa_study, budget, paired
from benchmarks.compare import golden_inputs, pinned, race
from benchmarks.forks import Popen, forks
from benchmarks.paired import Row
from edge_runtime import worker
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import BadRequest
from edge_runtime.measure import log_ratio, quantile

STUDY, PAIRS, SECONDS, REPEATS = "forks", 80, 0.2, 2000
MAX_RATIO = 1.2  # of the spreads: fresh over forked


def study(pairs: int) -> list[Row]:
    """Races the pairs, appends one record, returns its rows.

    Raises:
        BadRequest: too few pairs to say how far they spread.
    """
    if pairs < paired.MIN_PAIRS:
        raise BadRequest(f"{pairs} pairs of processes do not show how far they spread; give {paired.MIN_PAIRS} or more")
    bundle = open_bundle(aa_model.bundle())
    ratios: dict[str, list[float]] = {"fresh": [], "forked": []}
    starts: dict[str, list[float]] = {"fresh": [], "forked": []}
    with golden_inputs(bundle) as inputs, aa_study.neighbour(), forks() as forked:
        aa_study.shrink(inputs)
        command = aa_study.command_of(bundle, aa_model.ARTIFACT, 1, 0)
        popens: dict[str, Popen] = {"fresh": subprocess.Popen, "forked": forked}
        for _ in range(pairs):
            for kind, popen in popens.items():
                start = functools.partial(worker.Worker, command, popen=popen)
                began = time.monotonic()
                with contextlib.ExitStack() as stack:
                    with pinned(1):
                        sides = [stack.enter_context(start()) for _ in "AB"]
                    for child in sides:
                        child.ready()
                    starts[kind].append(time.monotonic() - began)
                    ratios[kind].append(log_ratio(race(sides[0], sides[1], inputs, SECONDS)))
    rows = [spread_row(ratios["fresh"], ratios["forked"]), *_start_rows(starts)]
    scenario = {"study": STUDY, "run": uuid.uuid4().hex, "neighbour": aa_study.SAID, "seconds": SECONDS}
    budget.keep(budget.record(scenario, rows, kind="study", bundle={"name": bundle.name, "version": bundle.version},
                              artifact={"id": aa_model.ARTIFACT}, log_ratios=ratios))  # fmt: skip
    return rows


def spread_row(fresh: Sequence[float], forked: Sequence[float], seed: int = 0) -> Row:
    """The standard deviation of fresh pairs' log-ratios over that of forked pairs', with its 95 % bootstrap interval.

    It holds as a ratio of times does: the lower limit at or below the bound, the upper at most 0.05 above.
    """
    draw = random.Random(seed)

    def resampled(values: Sequence[float]) -> float:
        return statistics.stdev(draw.choices(values, k=len(values)))

    spreads = [statistics.stdev(values) for values in (fresh, forked)]
    boots = [resampled(fresh) / resampled(forked) for _ in range(REPEATS)]
    low, high = quantile(boots, 0.025), quantile(boots, 0.975)
    holds = low <= MAX_RATIO and high <= MAX_RATIO + 0.05
    note = f"sd {spreads[0]:.2%} over {spreads[1]:.2%}; 95 %: {low:.2f} to {high:.2f}"
    return paired.row("spread of fresh pairs over that of forked ones", spreads[0] / spreads[1], MAX_RATIO, holds,
                      len(fresh), note)  # fmt: skip


def _start_rows(starts: dict[str, list[float]]) -> list[Row]:
    return [
        paired.row(f"seconds to start a {kind} pair and load its model", statistics.median(told), None, True, len(told))
        for kind, told in starts.items()
    ]


def main(argv: list[str]) -> int:
    """Runs the study, prints its rows."""
    parser = budget.parser("forks_study", __doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each kind (%(default)s)")
    args = parser.parse_args(argv)
    return budget.answered("forks_study", lambda: budget.show(study(args.pairs), args.json))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
