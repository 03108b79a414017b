"""A linear head in closed form: least squares against one-hot targets, its weights pulled towards 0.

Each class has its own sum of squares, so that a picture with a wrong label pulls with a bounded force; a head that
learns by log-likelihood bends further the surer it was. Nothing in it is random.

>>> seen, labels = torch.tensor([[0.0, 1.0], [0.2, 0.9], [1.0, 0.0], [0.8, 0.1]]), torch.tensor([0, 0, 1, 1])
>>> weight, bias = ridge(seen, labels, classes=2, pull=0.001)
>>> (seen @ weight.T + bias).argmax(1)
tensor([0, 0, 1, 1])
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def ridge(seen: Tensor, labels: Tensor, classes: int, pull: float) -> tuple[Tensor, Tensor]:
    """The weights and bias of a linear head.

    Source: Hoerl and Kennard, *Ridge Regression* (1970), equation 2.1, on centred features, so that the bias is free.

    Args:
        seen: float32 (n, features).
        labels: int64 (n,).
        classes: how many there are.
        pull: the penalty, as a share of the sum of the squares of the centred features: so it means the same for
            more pictures and for features of another size. 0 only where n exceeds the features.

    Returns:
        Float32 (classes, features) and (classes,): scores that a temperature makes logits of.
    """
    target = functional.one_hot(labels, classes).double()
    middle, mean = seen.double().mean(0), target.mean(0)
    x = seen.double() - middle
    gram = x.T @ x
    gram.diagonal().add_(pull * gram.diagonal().sum())
    weight = torch.linalg.solve(gram, x.T @ (target - mean)).T
    return weight.float(), (mean - weight @ middle).float()
