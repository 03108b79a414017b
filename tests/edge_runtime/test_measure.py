import random
import statistics
import time

import pytest
from scipy import stats

from edge_runtime.measure import (
    drop_bound,
    interleaved,
    mcnemar,
    mean_interval,
    quantile,
    quantile_interval,
    ratio_interval,
    repeated_quantile_interval,
    wilson,
)


def test_a_quantile_is_a_measured_value():
    assert [quantile([5, 1, 4, 2, 3], q) for q in (0, 0.2, 0.21, 0.5, 0.9, 1)] == [1, 1, 2, 3, 5, 5]


def test_a_quantile_does_not_slip_a_rank_by_float_error():
    assert quantile(range(1, 101), 0.55) == 55  # 0.55 * 100 is 55.00000000000001


def test_a_quantile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        quantile([], 0.5)


@pytest.mark.parametrize(("n", "q"), [(6, 0.5), (30, 0.5), (101, 0.5), (200, 0.9), (368, 0.99), (500, 0.05)])
def test_quantile_interval_is_the_narrowest_with_equal_tails_by_scipy(n, q):
    low, high = quantile_interval(range(1, n + 1), q)  # the samples are their own ranks
    below = stats.binom(n, q)
    assert below.cdf(low - 1) <= 0.025 < below.cdf(low)
    assert below.sf(high - 1) <= 0.025 < below.sf(high - 2)


@pytest.mark.parametrize(("n", "q"), [(0, 0.5), (5, 0.5), (367, 0.99)])
def test_a_sample_too_small_for_a_quantile_interval_has_none(n, q):
    assert quantile_interval(range(n), q) is None


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_quantile_interval_covers_the_true_quantile_in_95_percent_of_seeded_draws(q):
    draw, truth = random.Random(1), -statistics.NormalDist().inv_cdf(1 - q)
    hits = 0
    for _ in range(1000):
        low, high = quantile_interval([draw.gauss(0, 1) for _ in range(60)], q)
        hits += low <= truth <= high
    assert 940 <= hits <= 990  # conservative by design: a discrete distribution, at least 95 %


def test_quantile_interval_of_many_samples_takes_under_a_second():

    start = time.perf_counter()
    assert quantile_interval(range(20_000), 0.5) is not None
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (10, 10), (146, 150), (75, 150), (1, 1)])
def test_wilson_is_scipys(k, n):
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == (round(expected.low, 4), round(expected.high, 4))


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_what_is_not_a_share_has_no_interval(k, n):
    with pytest.raises(ValueError, match=f"{k} of {n} is not a share"):
        wilson(k, n)
    with pytest.raises(ValueError, match=f"{k} of {n} is not a share"):
        drop_bound(k, n)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (5, 1), (10, 3), (7, 7), (120, 90)])
def test_mcnemar_is_the_exact_binomial_test(a, b):
    expected = stats.binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(b, a) == mcnemar(a, b)


@pytest.mark.parametrize(("flips", "n"), [(0, 150), (2, 150), (0, 299), (40, 150), (149, 150)])
def test_drop_bound_is_the_clopper_pearson_bound(flips, n):
    assert drop_bound(flips, n) == pytest.approx(stats.beta.ppf(0.95, flips + 1, n - flips), rel=1e-9)


def test_no_flips_in_299_samples_bound_the_drop_by_one_percent():  # the "rule of three"
    assert drop_bound(0, 299) == pytest.approx(0.00997, abs=1e-5)
    assert drop_bound(5, 5) == 1.0


def test_mean_interval_is_scipys_and_needs_30_samples():
    samples = [float(x % 7) for x in range(100)]
    low, high = stats.norm.interval(0.95, statistics.fmean(samples), stats.sem(samples))
    assert mean_interval(samples) == pytest.approx((low, high))
    with pytest.raises(ValueError, match="29 samples are too few"):
        mean_interval(samples[:29])


def test_the_mean_of_equal_samples_is_as_sure_as_their_number_allows():
    low, high = mean_interval([500.0] * 100, bounds=(0, 500))
    assert (low, high) == (pytest.approx(485.2, abs=0.05), 500.0)
    assert low == pytest.approx(500 * stats.binomtest(100, 100).proportion_ci(0.90, method="exact").low)  # one side
    assert mean_interval([0.0] * 100, bounds=(0, 500)) == (0.0, pytest.approx(500 - low))
    middle = mean_interval([200.0] * 30, bounds=(0, 500))
    assert middle == (pytest.approx(200 * 0.05 ** (1 / 30)), pytest.approx(500 - 300 * 0.05 ** (1 / 30)))
    assert mean_interval([500.0] * 100) == (500.0, 500.0)  # without bounds nothing better is known


def test_the_interval_of_a_mean_stays_inside_its_bounds():
    samples = [500.0] * 99 + [400.0]
    assert mean_interval(samples, bounds=(0, 500)) == (mean_interval(samples)[0], 500.0)
    with pytest.raises(ValueError, match=r"the samples reach from 400.0 to 500.0; the bounds say 0 to 450"):
        mean_interval(samples, bounds=(0, 450))


def test_the_interval_of_equal_samples_holds_the_true_mean_in_95_percent_of_seeded_draws():
    draw, share = random.Random(2), 0.0295  # so rare that 100 draws miss it in 5 % of tries
    hits = 0
    for _ in range(2000):
        seen = [0.0 if draw.random() < share else 500.0 for _ in range(100)]
        low, high = mean_interval(seen, bounds=(0, 500))
        hits += len(set(seen)) > 1 or low <= 500 * (1 - share) <= high
    assert hits / 2000 >= 0.94


def test_ratio_interval_holds_the_true_ratio_of_paired_blocks():
    draw = random.Random(0)
    shared = [1 + draw.random() for _ in range(40)]  # a slow drift that falls on both
    a, b = [0.5 * s * draw.uniform(0.99, 1.01) for s in shared], shared
    ratio, low, high = ratio_interval(a, b)
    assert low <= 0.5 <= high and high - low < 0.1 and ratio == pytest.approx(0.5, abs=0.01)
    assert ratio_interval(a, b) == (ratio, low, high)  # seeded


def test_ratio_interval_needs_pairs():
    with pytest.raises(ValueError, match="at least one pair"):
        ratio_interval([], [])
    with pytest.raises(ValueError, match="longer"):
        ratio_interval([1.0], [1.0, 2.0])


def test_every_system_takes_one_block_a_round_in_changing_order():
    order = interleaved(["a", "b", "c"], 20, seed=1)
    rounds = [tuple(order[i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds) and len(set(rounds)) > 3
    assert order == interleaved(["a", "b", "c"], 20, seed=1)


def test_repeats_of_one_input_do_not_narrow_the_interval_of_a_quantile():
    inputs = [100.0 + 10 * (index % 30) for index in range(150)]
    once = quantile_interval(inputs, 0.5)
    pretended = quantile_interval(inputs * 4, 0.5)
    low, high = repeated_quantile_interval(inputs * 4, 150, 0.5)
    assert low <= quantile(inputs * 4, 0.5) <= high
    assert high - low > pretended[1] - pretended[0]
    assert high - low == pytest.approx(once[1] - once[0], abs=20)
