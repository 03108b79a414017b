"""The statistics of lokma, standard library only: quantiles, intervals, paired tests, interleaved order.

>>> wilson(146, 150)
(0.9334, 0.9896)
>>> quantile([5, 1, 4, 2, 3], 0.5)
3
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Sequence

Z95 = statistics.NormalDist().inv_cdf(0.975)
BATCHES, MIN_ROUNDS = 20, 4


def quantile(samples: Sequence[float], q: float) -> float:
    """The order statistic at rank ceil(q * n): a value that was measured, never an interpolation.

    Raises:
        ValueError: no samples.
    """
    if not samples:
        raise ValueError("a quantile needs at least one sample")
    ordered = sorted(samples)
    # 0.55 * 100 is 55.00000000000001, whose ceiling would be one rank too high.
    return ordered[max(0, math.ceil(round(q * len(ordered), 9)) - 1)]


def quantile_interval(samples: Sequence[float], q: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """A distribution-free interval of a quantile: the order statistics whose binomial coverage is enough.

    Returns None where the sample is too small to have one (below 6 for the median, below 368 for p99).
    Source: David and Nagaraja, Order Statistics, 3rd ed., section 7.1.
    """
    ordered, n = sorted(samples), len(samples)
    tail = (1 - confidence) / 2
    below = [
        0.0,
        *itertools.accumulate(_binomial_terms(n, q, n)),
    ]  # below[r]: P(fewer than r of n lie below q)
    lower = max(r for r in range(n + 1) if below[r] <= tail)  # ranks are counted from 1
    upper = next((r for r in range(1, n + 1) if below[r] >= 1 - tail), None)
    return None if lower == 0 or upper is None else (ordered[lower - 1], ordered[upper - 1])


def repeated_quantile_interval(
    samples: Sequence[float], inputs: int, q: float, seed: int = 0, repeats: int = 400
) -> tuple[float, float]:
    """The 95 % bootstrap interval of a quantile where the same inputs were measured several times over.

    Repeats of one input are one sample: drawing inputs, each with all its repeats, keeps the interval from
    looking narrower than it is.

    Args:
        samples: one pass over all inputs after another, `inputs` values each.
        inputs: how many there are.
        q: the quantile.
        seed: of the resampling.
        repeats: bootstrap samples.

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (resampling clusters).
    """
    clusters = [samples[index::inputs] for index in range(inputs)]
    draw = random.Random(seed)
    boots = [
        quantile([value for cluster in draw.choices(clusters, k=inputs) for value in cluster], q)
        for _ in range(repeats)
    ]
    return quantile(boots, 0.025), quantile(boots, 0.975)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share, rounded to 4 digits.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} is not a share")
    share, z2 = successes / n, Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)


def mean_interval(samples: Sequence[float], bounds: tuple[float, float] | None = None) -> tuple[float, float]:
    """The 95 % interval of a mean by the normal approximation; for n >= 30.

    Where all samples are equal their spread is 0, and the approximation gives a point: more than n samples
    can say. With `bounds` the interval is then what the samples leave open: at most 1 - 0.05**(1/n) of all
    values (about 3/n) differ from the one seen, and each of those is at worst at a bound.

    >>> mean_interval([500.0] * 100, bounds=(0, 500))
    (485.2..., 500.0)

    Args:
        samples: what was measured.
        bounds: the smallest and the largest value that a sample can take; None where there is none.

    Raises:
        ValueError: fewer than 30 samples, or one outside the bounds.

    Source: Clopper and Pearson 1934, for 0 of n (`drop_bound`); Hanley and Lippman-Hand, If nothing goes
    wrong, is everything all right?, 1983 (the rule of three).
    """
    if len(samples) < 30:
        raise ValueError(f"{len(samples)} samples are too few for a normal interval of the mean; at least 30")
    low, high = bounds or (-math.inf, math.inf)
    least, most = min(samples), max(samples)
    if not low <= least <= most <= high:
        raise ValueError(f"the samples reach from {least} to {most}; the bounds say {low} to {high}")
    if bounds and least == most:
        unseen = drop_bound(0, len(samples))
        return least - (least - low) * unseen, most + (high - most) * unseen
    mean = statistics.fmean(samples)
    half = Z95 * statistics.stdev(samples) / math.sqrt(len(samples))
    return max(low, mean - half), min(high, mean + half)


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided McNemar p-value of two paired classifiers.

    Args:
        only_a: samples that A has right and B wrong.
        only_b: samples that B has right and A wrong.

    Source: McNemar 1947; exact form as the binomial test on the discordant pairs.
    """
    n = only_a + only_b
    return min(1.0, 2 * _binomial_cdf(min(only_a, only_b), n, 0.5)) if n else 1.0


def drop_bound(flips: int, n: int, confidence: float = 0.95) -> float:
    """The one-sided upper bound of a share after `flips` of `n`: Clopper-Pearson, by bisection.

    The share of changed answers bounds the accuracy that can have been lost, with or without labels.
    """
    if not 0 <= flips <= n or n == 0:
        raise ValueError(f"{flips} of {n} is not a share")
    if flips == n:
        return 1.0
    low, high = flips / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _binomial_cdf(flips, n, middle) > 1 - confidence else (low, middle)
    return high


def ratio_interval(a: Sequence[float], b: Sequence[float], seed: int = 0, repeats: int = 1000) -> tuple[float, ...]:
    """The ratio of the medians a / b with its 95 % bootstrap interval.

    Args:
        a: block medians of one system, in the order in which they were measured.
        b: those of the other, of the same blocks: pairs are drawn together.
        seed: of the resampling.
        repeats: bootstrap samples.

    Returns:
        (ratio, lower, upper).

    Raises:
        ValueError: the two differ in length, or are empty.
    """
    pairs = list(zip(a, b, strict=True))
    if not pairs:
        raise ValueError("a ratio needs at least one pair")
    draw = random.Random(seed)

    def ratio(sample: list[tuple[float, float]]) -> float:
        return statistics.median(x for x, _ in sample) / statistics.median(y for _, y in sample)

    boots = sorted(ratio(draw.choices(pairs, k=len(pairs))) for _ in range(repeats))
    return ratio(pairs), quantile(boots, 0.025), quantile(boots, 0.975)


def quad_ratio_interval(
    quads: Sequence[tuple[float, float, float, float]], confidence: float = 0.98
) -> tuple[float, float, float]:
    """The time of B over A's from quads such as ABBA, with its interval: a quad's own drift cancels.

    Of each quad the shorter time of B over the shorter of A counts, and of these log-ratios the mean without a fifth
    at each end: a neighbour's bursts, which fall on single answers, move it little. Its standard error comes from 20
    batches of consecutive quads, so that quads which depend on those before them do not look like more evidence than
    they are.

    >>> quad_ratio_interval([(1.0, 2.0, 2.0, 1.0), (1.0, 2.0, 4.0, 2.0)] * 10)
    (2.0, 2.0, 2.0)

    Args:
        quads: times of A, B, B, A, in the order in which they were measured; A and B may swap their places from quad
            to quad.
        confidence: of the interval.

    Returns:
        (ratio, lower, upper).

    Raises:
        ValueError: fewer than 20 quads.

    Source: Yuen, The two-sample trimmed t for unequal population variances, 1974 (the variance of a trimmed mean is
    that of the winsorized values); Law and Kelton, Simulation Modeling and Analysis, section 9.5.3 (batch means).
    """
    n = len(quads)
    if n < BATCHES:
        raise ValueError(f"a ratio needs at least {BATCHES} quads; got {n}")
    logs = [math.log(min(b1, b2) / min(a1, a2)) for a1, b1, b2, a2 in quads]
    ordered, cut = sorted(logs), n // 5
    centre = statistics.fmean(ordered[cut : n - cut])
    clipped = [min(max(value, ordered[cut]), ordered[n - cut - 1]) for value in logs]
    edges = [n * number // BATCHES for number in range(BATCHES + 1)]
    means = [statistics.fmean(clipped[start:end]) for start, end in itertools.pairwise(edges)]
    error = statistics.stdev(means) / math.sqrt(BATCHES) / (1 - 2 * cut / n)
    half = student_t((1 + confidence) / 2, BATCHES - 1) * error
    return math.exp(centre), math.exp(centre - half), math.exp(centre + half)


def rounds_ratio_interval(
    rounds: Sequence[Sequence[tuple[float, float, float, float]]], confidence: float = 0.98
) -> tuple[float, float, float]:
    """The time of B over A's from rounds of quads, each round in fresh processes, with its interval.

    Two processes of one and the same file differ for as long as they live, by some percent (where their memory lies is
    drawn once): only other processes show by how much. So the interval is Student's over the rounds.

    >>> rounds_ratio_interval([[(1.0, 2.0, 2.0, 1.0)] * 5] * 6)
    (2.0, 2.0, 2.0)

    Args:
        rounds: quads as `quad_ratio_interval` takes them, a list a pair of processes.
        confidence: of the interval.

    Returns:
        (ratio, lower, upper).

    Raises:
        ValueError: fewer than 4 rounds, or one without quads.

    Source: Kalibera and Jones, Rigorous benchmarking in reasonable time, 2013: repeat at the highest level that varies.
    """
    if len(rounds) < MIN_ROUNDS or not all(rounds):
        raise ValueError(f"a ratio needs at least {MIN_ROUNDS} rounds of quads; got {len(rounds)}")
    means = [log_ratio(quads) for quads in rounds]
    centre, freedom = statistics.fmean(means), len(rounds) - 1
    half = student_t((1 + confidence) / 2, freedom) * statistics.stdev(means) / math.sqrt(len(rounds))
    return math.exp(centre), math.exp(centre - half), math.exp(centre + half)


def log_ratio(quads: Sequence[tuple[float, float, float, float]]) -> float:
    """The logarithm of the time of B over A's, of one pair of processes: the mean without a fifth at each end."""
    ordered, cut = sorted(math.log(min(b1, b2) / min(a1, a2)) for a1, b1, b2, a2 in quads), len(quads) // 5
    return statistics.fmean(ordered[cut : len(ordered) - cut])


def student_t(p: float, freedom: int) -> float:
    """Student's quantile, to 0.4 % from 3 degrees of freedom on, for p up to 0.99.

    >>> round(student_t(0.99, 19), 3)
    2.539

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z = statistics.NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def interleaved(names: Sequence[str], blocks: int, seed: int = 0) -> list[str]:
    """The order in which systems take their blocks: each once a round, every round shuffled anew.

    Slow drifts of the machine then fall on all systems alike.
    """
    draw = random.Random(seed)
    return [name for _ in range(blocks) for name in draw.sample(list(names), len(names))]


def _binomial_cdf(k: int, n: int, p: float) -> float:
    return min(1.0, math.fsum(_binomial_terms(n, p, k)))


def _binomial_terms(n: int, p: float, last: int) -> list[float]:
    """The probabilities of 0, 1, … `last` successes in `n` draws, for 0 < p < 1."""
    whole = math.lgamma(n + 1)
    return [
        math.exp(whole - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p))
        for i in range(last + 1)
    ]
