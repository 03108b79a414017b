"""From output tensor to answer: a `Prediction`.

>>> labels = Label("pizza", "pizza", "pizza"), Label("steak", "steak", "biftek")
>>> answer = Prediction("multiclass", labels, (0.9, 0.1))
>>> answer.label, answer.top(2)
('pizza', [('pizza', 0.9), ('steak', 0.1)])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.errors import BadRequest
from edge_runtime.spec import Label


@dataclass(frozen=True)
class Prediction:
    """One answer. `values` is the output row: probabilities, Q-values, or numbers in the output's unit.

    `ms` holds the stage times of this answer in milliseconds: decode, preprocess, inference, postprocess.
    """

    task: str
    labels: tuple[Label, ...]
    values: tuple[float, ...]
    ms: Mapping[str, float] = field(default_factory=dict, compare=False)

    def top(self, k: int = 3) -> list[tuple[str, float]]:
        """The `k` best labels with their values (probabilities, or Q-values of a policy), best first.

        Raises:
            BadRequest: `k` is below 1, or the model has no labels.
        """
        if k < 1 or not self.labels:
            problem = f"the {k} best labels" if self.labels else "labels of a model that has none"
            raise BadRequest(f"there is no answer with {problem}")
        values = (1 - self.values[0], self.values[0]) if self.task == "binary" else self.values
        order = sorted(range(len(values)), key=lambda index: -values[index])
        return [(self.labels[index].id, values[index]) for index in order[:k]]

    @property
    def index(self) -> int:
        """The position of the best value."""
        return max(range(len(self.values)), key=self.values.__getitem__)

    @property
    def label(self) -> str | None:
        """The best label's id; None for regression. A binary model answers its second label from 0.5 on."""
        if self.task == "binary":
            return self.labels[int(self.values[0] >= 0.5)].id
        return self.labels[self.index].id if self.labels else None

    @property
    def probability(self) -> float | None:
        """The probability of `label`; None where the values are not probabilities."""
        if self.task == "binary":
            return max(self.values[0], 1 - self.values[0])
        return max(self.values) if self.task in ("multiclass", "multilabel") else None

    @property
    def value(self) -> float | None:
        """A regression's number, in the output's unit."""
        return self.values[0] if self.task == "regression" else None

    @property
    def action(self) -> int | None:
        """A policy's greedy action."""
        return self.index if self.task == "policy" else None

    def as_array(self) -> Any:
        """The values as a numpy array of float32, shape (outputs,). Imports numpy."""
        import numpy as np

        return np.asarray(self.values, dtype=np.float32)
