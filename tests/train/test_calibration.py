from __future__ import annotations

import pytest
import torch

from edge_runtime.measure import wilson
from train.calibration import auroc, calibration_error, cool, share_below, temperature, unsure_threshold


def drawn(n: int, scale: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels drawn from the softmax of logits, and those logits `scale` times too large."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 3, generator=generator) * 2
    labels = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    return logits * scale, labels


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_the_temperature_is_how_many_times_too_large_the_logits_are(scale):
    logits, labels = drawn(20_000, scale)
    assert temperature(logits, labels) == pytest.approx(scale, rel=0.03)


def test_the_temperature_has_the_least_loss_of_all():
    logits, labels = drawn(300, 3.0)
    best = temperature(logits, labels)
    loss = [float(torch.nn.functional.cross_entropy(logits / (best * by), labels)) for by in (0.98, 1.0, 1.02)]
    assert loss[1] < min(loss[0], loss[2])


def test_answers_that_are_always_right_are_not_made_infinitely_sure():
    assert temperature(torch.tensor([[2.0, 0.0]] * 5), torch.zeros(5, dtype=torch.int64)) == pytest.approx(0.02)


def test_a_calibrated_head_gives_logits_divided_and_the_same_answers():
    torch.manual_seed(0)
    head, seen = torch.nn.Linear(4, 3), torch.randn(20, 4)
    before = head(seen)
    cool(head, 2.5)
    assert torch.allclose(head(seen), before / 2.5, atol=1e-6)


def test_calibration_removes_the_calibration_error():
    logits, labels = drawn(20_000, 4.0)
    assert calibration_error(logits, labels) > 0.12
    assert calibration_error(logits / temperature(logits, labels), labels) < 0.01


def test_the_calibration_error_is_the_sum_over_bins_of_the_gap():
    # two answers, 0.9 and 0.6 sure: the first wrong, the second right, each half of the samples
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.6, 0.4]]))
    assert calibration_error(logits, torch.tensor([1, 0])) == pytest.approx((0.9 + 0.4) / 2)
    assert calibration_error(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])) == pytest.approx(0)


@pytest.mark.parametrize("n", [150, 450, 750])
def test_the_threshold_withholds_as_many_as_leave_the_interval_within_the_bound(n):
    logits, _ = drawn(n, 1.0)
    threshold = unsure_threshold(logits)
    below = round(share_below(logits, threshold) * n)
    assert wilson(below, n)[1] <= 0.05 < wilson(below + 1, n)[1]


def test_too_few_pictures_give_no_threshold_and_then_nothing_is_withheld():
    assert unsure_threshold(drawn(20, 1.0)[0]) is None
    assert share_below(drawn(20, 1.0)[0], None) == 0.0


def test_answers_that_are_equally_sure_are_not_withheld():
    assert share_below(torch.zeros(500, 3), unsure_threshold(torch.zeros(500, 3))) == 0.0


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    assert auroc(torch.tensor([0.9, 0.8]), torch.tensor([0.1, 0.2])) == 1.0
    assert auroc(torch.tensor([0.9, 0.3]), torch.tensor([0.3, 0.5])) == pytest.approx((2 + 0.5) / 4)
