"""Whether an artifact is faster than another of the same engine on this machine, by how much, and why.

>>> speed_answer(0.70, 0.95), speed_answer(0.97, 1.04)
('faster', 'no gain')
>>> because({"time_share": 0.8, "outside": {"Gemm": 0.15, "QuantizeLinear": 0.05}}, "int8", frozenset({"avx2"}))
'80% of its time in int8 kernels; in float: Gemm 15%; unfused casts: 5%; no VNNI or dotprod here'
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_runtime import host, worker
from edge_runtime.measure import interleaved, quantile, ratio_interval

PAIRS, BLOCKS = 3, 10  # of fresh processes, and of each pair: what a process got at its start no block of its own shows
BLOCK_NS = 40_000_000
INT8_INSTRUCTIONS = {"avx512_vnni": "VNNI", "avx_vnni": "VNNI", "asimddp": "dotprod", "i8mm": "i8mm"}
CASTS = ("quantize", "dequantize")  # as names of operators begin, in either engine
NAMED = 0.005  # the smallest share of the time that is worth a word


def speed_verdict(bundle: Path, name: str, against: str, given: Any, threads: int) -> dict[str, Any]:
    """Faster, no gain, slower or inconclusive against another artifact on this machine; each in its own process.

    Args:
        bundle: the folder that holds both.
        name: the artifact that is judged.
        against: the one it is compared with.
        given: one raw input.
        threads: of each.

    Returns:
        `answer`, `reason`, and `ratio` with an `interval`: the judged one's inference time over the other's, the
        median of the pairs of processes, and from the lowest to the highest end of their 95 % intervals.
    """
    pairs = [_pair(bundle, name, against, given, threads, seed) for seed in range(PAIRS)]
    ratio = statistics.median(ratio for ratio, _, _ in pairs)
    low, high = min(low for _, low, _ in pairs), max(high for _, _, high in pairs)
    answer = speed_answer(low, high)
    reason = f"{ratio:.2f}x the time of {against} ({low:.2f} to {high:.2f}, {threads} threads, here)"
    return {"answer": answer, "reason": reason, "ratio": ratio, "interval": [low, high], "against": against}


def _pair(bundle: Path, name: str, against: str, given: Any, threads: int, seed: int) -> tuple[float, ...]:
    """The ratio and its interval, of two fresh processes that take turns."""
    with worker.device(bundle, name, threads) as one, worker.device(bundle, against, threads) as other:
        systems = {name: one, against: other}
        size = {key: _block_size(system, given) for key, system in systems.items()}
        medians: dict[str, list[float]] = {key: [] for key in systems}
        for key in interleaved(list(systems), BLOCKS, seed):
            answers = systems[key].ask([given] * size[key])
            medians[key].append(quantile([answer["ns"]["inference"] for answer in answers], 0.5))
    return ratio_interval(medians[name], medians[against])


def speed_answer(low: float, high: float) -> str:
    """The word for a ratio's interval; *no gain* only where it lies within 5 % of 1."""
    if high < 1:
        return "faster"
    if low > 1:
        return "slower"
    return "no gain" if low >= 0.95 and high <= 1.05 else "inconclusive"


def because(delegation: Mapping[str, Any], precision: str, features: frozenset[str]) -> str:
    """What makes an artifact as fast or slow as it is, from its own profile and this processor.

    Args:
        delegation: the manifest's entry: the share of time in the backend or in fused kernels, and what is outside.
        precision: of the artifact.
        features: as /proc/cpuinfo lists them; empty where the system does not say.
    """
    outside = delegation["outside"]
    casts = sum(share for name, share in outside.items() if _last(name).startswith(CASTS))
    left = {name: share for name, share in outside.items() if not _last(name).startswith(CASTS) and share >= NAMED}
    parts = [f"{delegation['time_share']:.0%} of its time in {precision} kernels"]
    if left:
        worst = sorted(left.items(), key=lambda item: -item[1])[:3]
        parts.append("in float: " + ", ".join(f"{name} {share:.0%}" for name, share in worst))
    if casts >= NAMED:
        parts.append(f"unfused casts: {casts:.0%}")
    has = sorted({word for feature, word in INT8_INSTRUCTIONS.items() if feature in features})
    if features and precision == "int8":
        parts.append(f"{' and '.join(has)} here" if has else "no VNNI or dotprod here")
    return "; ".join(parts)


def processor() -> frozenset[str]:
    """The features that the system lists of this processor."""
    for line in (host.read(host.CPUINFO) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _last(name: str) -> str:
    return name.rpartition("::")[2].lower()


def _block_size(system: worker.Worker, given: Any) -> int:
    """Runs that fill a block, from a warm-up of five."""
    warm = [answer["ns"]["inference"] for answer in system.ask([given] * 5)]
    return max(3, min(200, math.ceil(BLOCK_NS / quantile(warm, 0.5))))
