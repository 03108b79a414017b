"""Which of two is better, from paired evidence: A, B, or cannot tell, and how many more samples would. Pure.

>>> accuracy_verdict([True] * 40 + [False] * 10, [True] * 30 + [False] * 20)["answer"]
'A'
>>> latency_verdict([[(2.0, 1.0, 1.0, 2.0)] * 5] * 6)["answer"]
'B'
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import report
from edge_runtime.measure import (
    BATCHES,
    MIN_ROUNDS,
    drop_bound,
    mcnemar,
    quad_ratio_interval,
    rounds_ratio_interval,
    student_t,
)

ALPHA, POWER = 0.02, 0.9
A, B, CANNOT_TELL = "A", "B", "cannot tell"
SMALLEST = 0.005  # a difference in time below this share is not worth more rounds
ONE_PROCESS = 0.05  # two processes of one file differed by up to so much here
Quad = tuple[float, float, float, float]
_Z = statistics.NormalDist().inv_cdf(1 - ALPHA / 2)
_Z_POWER = statistics.NormalDist().inv_cdf(POWER)


def accuracy_verdict(right_a: Sequence[bool], right_b: Sequence[bool]) -> dict[str, Any]:
    """Exact McNemar on the same samples.

    Returns:
        `answer`, `p`, `only_a`, `only_b` (samples that one alone has right), `n`, `drop_bound` (the one-sided 95 %
        upper bound of what B's accuracy can lie below A's: the share that A alone has right), and `more`: how many
        more samples would tell, were the shares as seen; None where no difference is seen, or it is told.

    Raises:
        ValueError: the two differ in length, or are empty.

    Source of `more`: Connor, Sample size for testing differences in proportions for the paired-sample design, 1987.
    """
    pairs = list(zip(right_a, right_b, strict=True))
    only_a, only_b = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    n, p = len(pairs), mcnemar(only_a, only_b)
    answer = CANNOT_TELL if p >= ALPHA else A if only_a > only_b else B
    more = None
    if answer == CANNOT_TELL and only_a != only_b:
        apart, difference = (only_a + only_b) / n, abs(only_a - only_b) / n
        spread = _Z * math.sqrt(apart) + _Z_POWER * math.sqrt(max(0.0, apart - difference**2))
        more = max(1, math.ceil((spread / difference) ** 2) - n)
    bound = drop_bound(only_a, n)
    return {"answer": answer, "p": p, "only_a": only_a, "only_b": only_b, "n": n, "drop_bound": bound, "more": more}


def latency_verdict(rounds: Sequence[Sequence[Quad]]) -> dict[str, Any]:
    """Whether B's time over A's leaves 1, at alpha, from rounds in fresh processes.

    Returns:
        `answer` (the faster one), `ratio`, `low`, `high`, `n` (rounds), `quads`, and `more`: how many more rounds would
        tell the ratio that was seen with a power of 0.9; None where it is told, or less than 0.5 % from 1.
    """
    n, quads = len(rounds), sum(map(len, rounds))
    if n < MIN_ROUNDS or not all(rounds):
        return {"answer": CANNOT_TELL, "ratio": None, "low": None, "high": None, "n": n, "quads": quads,
                "more": max(1, MIN_ROUNDS - n)}  # fmt: skip
    ratio, low, high = rounds_ratio_interval(rounds, 1 - ALPHA)
    answer, more = A if low > 1 else B if high < 1 else CANNOT_TELL, None
    if answer == CANNOT_TELL and abs(ratio - 1) >= SMALLEST:
        more = max(1, rounds_needed(n, low, high, ratio) - n)
    return {"answer": answer, "ratio": ratio, "low": low, "high": high, "n": n, "quads": quads, "more": more}


def rounds_needed(n: int, low: float, high: float, ratio: float) -> int:
    """The rounds that tell a ratio from 1 with a power of 0.9, from the interval that `n` rounds gave."""
    quantile = student_t(1 - ALPHA / 2, n - 1)
    deviation = math.log(high / low) / 2 / quantile * math.sqrt(n)
    needed = MIN_ROUNDS
    while (student_t(1 - ALPHA / 2, needed - 1) + _Z_POWER) * deviation / math.sqrt(needed) > abs(math.log(ratio)):
        needed += max(1, needed // 50)
    return needed


def records_verdict(quads: Sequence[Quad]) -> dict[str, Any]:
    """As `latency_verdict`, from blocks of one process each: a ratio within 5 % of 1 may be the processes' own."""
    n = len(quads)
    if n < BATCHES:
        return {"answer": CANNOT_TELL, "reason": f"{n} common blocks are too few; {BATCHES} do", "n": n, "more": None}
    ratio, low, high = quad_ratio_interval(quads, 1 - ALPHA)
    answer = A if low > 1 + ONE_PROCESS else B if high < 1 / (1 + ONE_PROCESS) else CANNOT_TELL
    return {"answer": answer, "ratio": ratio, "low": low, "high": high, "n": 1, "quads": n, "more": None}


def verdict(record_a: Mapping[str, Any], record_b: Mapping[str, Any]) -> dict[str, Any]:
    """Two records: accuracy where both answered the same inputs, latency where one run measured both in turn.

    Returns:
        `accuracy` and `latency` as above; where the two cannot be paired, `answer` is *cannot tell* with a `reason`.
    """
    return {"accuracy": _accuracy(record_a, record_b), "latency": _latency(record_a, record_b)}


def sentences(found: Mapping[str, Any], name_a: str = "A", name_b: str = "B") -> str:
    """A verdict in English."""
    names = {A: name_a, B: name_b}
    lines = []
    for kind, unit in (("accuracy", "samples"), ("latency", "rounds")):
        one = found.get(kind)
        if one is None:
            continue
        if "reason" in one:
            lines.append(f"{kind}: cannot tell: {one['reason']}")
            continue
        more = f"; about {one['more']} more {unit} would" if one["more"] else ""
        said = f"{names[one['answer']]} is better" if one["answer"] in names else f"cannot tell{more}"
        if kind == "accuracy":
            detail = (
                f"{name_a} alone right {one['only_a']}, {name_b} alone right {one['only_b']} of {one['n']}, "
                f"exact McNemar p {one['p']:.3g}; {name_b} lies at most {one['drop_bound']:.1%} below, at 95 %"
            )
        else:
            detail = f"too few rounds: {one['n']}"
            if one["ratio"] is not None:
                detail = (
                    f"{name_b} takes {one['ratio']:.3f}x ({one['low']:.3f} to {one['high']:.3f}, {one['quads']} quads)"
                )
        lines.append(f"{kind}: {said} ({detail})")
    return "\n".join(lines)


def _cannot(reason: str) -> dict[str, Any]:
    return {"answer": CANNOT_TELL, "reason": reason, "n": 0, "more": None}


def _accuracy(record_a: Mapping[str, Any], record_b: Mapping[str, Any]) -> dict[str, Any]:
    one, other = (entry.get("accuracy") or {} for entry in (record_a, record_b))
    for found in (one, other):
        if not found.get("predictions") or not found.get("labels"):
            return _cannot("a record keeps no predictions with their true labels")
    if one["labels"] != other["labels"] or one.get("inputs") != other.get("inputs"):
        return _cannot("the two records did not answer the same inputs")
    if len(one["predictions"]) != len(other["predictions"]):
        return _cannot("the two records did not answer the same inputs")
    right = [[a == b for a, b in zip(found["predictions"], found["labels"], strict=True)] for found in (one, other)]
    return accuracy_verdict(*right)


def _latency(record_a: Mapping[str, Any], record_b: Mapping[str, Any]) -> dict[str, Any]:
    scenarios = [entry["scenario"] for entry in (record_a, record_b)]
    if not (record_a["latency_ns"] and record_b["latency_ns"]):
        return _cannot("a record has no latencies")
    if scenarios[0].get("run") != scenarios[1].get("run") or not all(one.get("block") for one in scenarios):
        return _cannot("they were not measured in turn in one run: lokma compare measures them anew")
    blocks = [report.block_medians(entry) for entry in (record_a, record_b)]
    if len(blocks[0]) != len(blocks[1]):
        return _cannot("they were not measured in the same blocks")
    pairs = list(zip(*blocks, strict=True))
    return records_verdict([(a, b, b, a) for a, b in pairs])
