"""How far a classifier's confidence can be believed, and where it should say *I am not sure*.

All of it is chosen on validation: logits of pictures that the head which gave them did not learn from.

>>> logits, labels = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.0, 4.0]]), torch.tensor([0, 0, 1, 0])
>>> round(temperature(logits, labels), 2)  # right 3 of 4 times, sure to 98 %: it should say 75 %
3.64
>>> round(calibration_error(logits, labels), 3), round(calibration_error(logits / 3.64, labels), 3)
(0.232, 0.0)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_runtime.measure import wilson

BINS = 15  # of Guo et al., table 1
# temperatures looked at, and how often their range is halved; a ridge's scores lie near 0 and 1, and want about 0.1
COOLEST, HOTTEST, HALVINGS = 0.02, 50.0, 60
WITHHELD = 0.05  # share of pictures like the training ones that may go unanswered


def temperature(logits: Tensor, labels: Tensor) -> float:
    """What to divide logits by so that the softmax of them is as sure as it is right.

    Source: Guo et al., *On Calibration of Modern Neural Networks* (2017), section 4.2: the divisor with the least
    mean negative log-likelihood. That loss is convex in 1 / temperature, so halving the range by its slope finds it.

    Args:
        logits: float32 (n, classes) of pictures that their head did not learn from.
        labels: int64 (n,).
    """
    logits = logits.double()
    right = logits.gather(1, labels[:, None])[:, 0]
    low, high = 1 / HOTTEST, 1 / COOLEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        slope = ((torch.softmax(logits * middle, 1) * logits).sum(1) - right).mean()
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 1 / high


def cool(head: nn.Linear, divisor: float) -> None:
    """Divides a head's logits by `divisor`, in its weights: what is exported is calibrated by itself."""
    with torch.no_grad():
        head.weight.div_(divisor)
        head.bias.div_(divisor)


def calibration_error(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """The expected calibration error: how far confidence and share of right answers lie apart, bin by bin.

    Source: Guo et al. (2017), equation 3: bins of equal width, each weighed by its share of the samples.
    """
    sure, answer = torch.softmax(logits.double(), 1).max(1)
    gap = (answer == labels).double() - sure
    places = (sure * bins).ceil().long().clamp(1, bins) - 1
    return float(torch.zeros(bins, dtype=torch.float64).index_add_(0, places, gap).abs().sum() / len(labels))


def unsure_threshold(logits: Tensor, withheld: float = WITHHELD) -> float | None:
    """The probability of the best label below which an answer is withheld.

    It is the highest that withholds so few of these pictures that, at 95 %, at most `withheld` of all pictures like
    them lie below it (the upper end of Wilson's interval); None where there are too few pictures to say that of any.
    """
    sure = torch.softmax(logits.double(), 1).amax(1).sort().values
    n = len(sure)
    most = max((k for k in range(n) if wilson(k, n)[1] <= withheld), default=0)
    if most == 0:
        return None
    between = float(sure[most - 1] + sure[most]) / 2
    return round(between, 6) if 0 < round(between, 6) < 1 else None


def share_below(logits: Tensor, threshold: float | None) -> float:
    """The share of answers that a threshold withholds; none without one."""
    if threshold is None:
        return 0.0
    return float((functional.softmax(logits.double(), 1).amax(1) < threshold).double().mean())


def auroc(inside: Tensor, outside: Tensor) -> float:
    """How well a score tells two sets apart: the chance that one of `inside` scores higher than one of `outside`.

    It is the area under the ROC curve (Hanley and McNeil, 1982); a tie counts half.
    """
    pairs = inside.double()[:, None] - outside.double()[None]
    return float(((pairs > 0).double() + (pairs == 0).double() / 2).mean())
