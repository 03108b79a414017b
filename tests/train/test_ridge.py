import numpy as np
import pytest
import torch

from train.ridge import ridge


def points(n=300, columns=6):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    return torch.randn(n, columns, generator=generator) + torch.nn.functional.one_hot(labels, columns), labels


def test_it_is_scikit_learns_ridge_on_one_hot_targets():
    linear = pytest.importorskip("sklearn.linear_model")
    seen, labels = points()
    weight, bias = ridge(seen, labels, 3, 0.01)
    alpha = 0.01 * float((seen - seen.mean(0)).double().square().sum())
    theirs = linear.Ridge(alpha=alpha).fit(seen.double().numpy(), np.eye(3)[labels.numpy()])
    assert np.allclose(weight, theirs.coef_, atol=1e-6) and np.allclose(bias, theirs.intercept_, atol=1e-6)


def test_its_pull_means_the_same_for_repeated_and_for_larger_features():
    seen, labels = points()
    weight, bias = ridge(seen, labels, 3, 0.01)
    twice, _ = ridge(seen.repeat(2, 1), labels.repeat(2), 3, 0.01)
    larger, same = ridge(seen * 10, labels, 3, 0.01)
    assert torch.allclose(weight, twice, atol=1e-6) and torch.allclose(weight, larger * 10, atol=1e-6)
    assert torch.allclose(bias, same, atol=1e-5)


def test_the_harder_it_pulls_the_nearer_all_scores_are_to_the_classes_shares():
    seen, labels = points()
    weight, bias = ridge(seen, labels, 3, 1e6)
    assert torch.allclose(seen @ weight.T + bias, torch.full((300, 3), 1 / 3), atol=1e-4)
