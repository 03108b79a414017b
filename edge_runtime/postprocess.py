"""From output tensor to answer: a `Prediction`.

>>> labels = Label("pizza", "pizza", "pizza"), Label("steak", "steak", "biftek")
>>> answer = Prediction("multiclass", labels, (0.9, 0.1))
>>> answer.label, answer.top(2)
('pizza', [('pizza', 0.9), ('steak', 0.1)])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_runtime.errors import BadRequest
from edge_runtime.frozen import frozen
from edge_runtime.spec import Label


@frozen
class Prediction:
    """One answer. `values` is the output row: probabilities, Q-values, or numbers in the output's unit.

    `ms` holds the stage times of this answer in milliseconds: decode, preprocess, inference, postprocess.
    `unit` is that of `values`, and `unsure_below` what makes an answer unsure, from the spec.
    """

    task: str
    labels: tuple[Label, ...]
    values: tuple[float, ...]
    ms: Mapping[str, float] = {}
    unit: str = ""
    unsure_below: float | None = None
    _uncompared = ("ms",)

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

    def labels_at(self, threshold: float) -> list[str]:
        """The ids of the labels that hold when a probability must reach `threshold` to count as a yes.

        A multilabel model answers any number of them, best first; a binary one exactly one: its second label
        from the threshold on, else its first.

        Raises:
            BadRequest: the threshold is not between 0 and 1, or the task has one answer whatever the threshold.
        """
        if not 0 <= threshold <= 1:
            raise BadRequest(f"a threshold is a probability from 0 to 1; got {threshold}")
        if self.task == "binary":
            return [self.labels[int(self.values[0] >= threshold)].id]
        if self.task != "multilabel":
            raise BadRequest(f"a {self.task} model has no threshold; binary and multilabel ones have")
        return [label for label, probability in self.top(len(self.labels)) if probability >= threshold]

    @property
    def index(self) -> int:
        """The position of the best value."""
        return max(range(len(self.values)), key=self.values.__getitem__)

    @property
    def label(self) -> str | None:
        """The best label's id; None for regression. A binary model answers its second label from 0.5 on;
        `labels_at` takes another threshold."""
        if self.task == "binary":
            return self.labels_at(0.5)[0]
        return self.labels[self.index].id if self.labels else None

    @property
    def probability(self) -> float | None:
        """The probability of `label`; None where the values are not probabilities."""
        if self.task == "binary":
            return max(self.values[0], 1 - self.values[0])
        return max(self.values) if self.task in ("multiclass", "multilabel") else None

    @property
    def unsure(self) -> bool:
        """Whether the best label is too improbable to be answered: *I am not sure*. False where no limit was chosen."""
        probability = self.probability
        return self.unsure_below is not None and probability is not None and probability < self.unsure_below

    @property
    def value(self) -> float | None:
        """A regression's number, in `unit`."""
        return self.values[0] if self.task == "regression" else None

    @property
    def action(self) -> int | None:
        """A policy's greedy action."""
        return self.index if self.task == "policy" else None

    def fields(self, k: int = 3) -> dict[str, Any]:
        """The answer as `lokma run --json` and the server's `/predict` say it, without its times.

        Raises:
            BadRequest: as `top`.
        """
        if self.task == "policy":
            said: dict[str, Any] = {"action": self.action, "label": self.label}
        elif self.task == "regression":
            said = {"value": self.value, "unit": self.unit}
        else:
            said = {"top": [{"label": label, "probability": round(p, 6)} for label, p in self.top(k)]}
        return said if self.unsure_below is None else {**said, "unsure": self.unsure}

    def as_array(self) -> Any:
        """The values as a numpy array of float32, shape (outputs,). Imports numpy."""
        import numpy as np

        return np.asarray(self.values, dtype=np.float32)
