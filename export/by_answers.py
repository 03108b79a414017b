"""Weights of linear layers rounded onto int8's grid so that the model's answers move least.

`export.rounding` keeps each output of a layer near what it was, every one as near as the next. Answers do not hear
them alike: of a transformer's last block the class token alone decides, and of each token a few directions do. Here a
layer is rounded by the gradients that its weights get from random sums of the answers: what one weight loses is made
up for by those not yet rounded of the same output, and of the other outputs as well, so that errors cancel where
answers listen and stay where they do not. With `fairest`, int8 weights alone then move the answers of ViT-S/14 on
training-side close calls 0.49 times as far.

Source: Tseng et al., Model-Preserving Adaptive Rounding (YAQA, arXiv 2505.22988): the Hessian of the answers as a
product of one matrix of inputs and one of outputs, both summed from gradients, and rounding that feeds back by both.
Here the sums are of random projections, as narrow as `export.rounding`'s, and not of whole gradients.

>>> readings = read(program, map(normalise, calibration))                               # doctest: +SKIP
>>> rounded_by_answers(weight, readings["linear_3"], 127)                               # doctest: +SKIP
"""

from __future__ import annotations

import copy
import logging
import operator
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edge_runtime.errors import one_line
from export.rounding import PLACES, WIDEST, Moments, solved

log = logging.getLogger(__name__)

linear = torch.ops.aten.linear.default
DAMPING = 0.03  # of the mean second moment: of few samples, each heard as a whole
STEPS, RATE = 100, 0.05  # of Adam, for `fairest`


@dataclass
class Reading:
    """Of a layer of k inputs and o outputs: moments of the gradients of its weights (o, k), of rows and of columns,
    the second only where outputs are not too many, and the largest of each input, float32 (k,)."""

    inputs: Moments
    outputs: Moments | None
    largest: Tensor


def read(
    program: fx.GraphModule, samples: Iterable[Tensor], answers: Callable[[Tensor], Tensor] = torch.positive
) -> dict[str, Reading]:
    """Runs the program forth and back.

    Args:
        program: of one normalised sample.
        samples: such (1, …), of the training side.
        answers: of the raw outputs, what it is whose moves count.

    Returns:
        A reading of each layer, by its node's name.
    """
    reader = _Reader(copy.deepcopy(program), answers)  # of tensors that gradients may pass
    for sample in samples:
        reader.listen(sample)
    for reading in reader.found.values():
        for moments in filter(None, (reading.inputs, reading.outputs)):
            moments.settle()
    return reader.found


def layers_of(program: fx.GraphModule) -> list[fx.Node]:
    """Linear layers but for those whose weights are made at each run, or shared."""
    uses = Counter(node.target for node in program.graph.nodes for _ in node.users if node.op == "get_attr")

    def own(argument: Any) -> bool:
        return argument is None or (argument.op == "get_attr" and uses[argument.target] == 1)

    return [
        node
        for node in program.graph.nodes
        if node.target is linear and all(map(own, node.args[1:])) and value(program, node.args[1]).shape[1] <= WIDEST
    ]


def value(program: fx.GraphModule, node: Any) -> Tensor:
    """The weight or buffer that a node of the program stands for."""
    found: Tensor = operator.attrgetter(node.target)(program)
    return found


class _Reader(fx.Interpreter):
    def __init__(self, program: fx.GraphModule, answers: Callable[[Tensor], Tensor]) -> None:
        super().__init__(program)
        self.answers = answers
        self.found: dict[str, Reading] = {}
        for layer in layers_of(program):
            o, k = value(program, layer.args[1]).shape
            self.found[layer.name] = Reading(Moments(1, k), Moments(1, o) if o <= WIDEST else None, torch.zeros(k))
        self.answering = True
        self.passed: dict[str, tuple[Tensor, Tensor]] = {}
        self.draw = torch.Generator().manual_seed(0)

    def listen(self, sample: Tensor) -> None:
        """Adds one sample's gradients to the moments."""
        gradients = self._gradients(sample)
        for (name, (rows, result)), gradient in zip(self.passed.items(), gradients, strict=True):
            reading = self.found[name]
            reading.largest = torch.maximum(reading.largest, rows.abs().amax(0))
            if gradient is None or not gradient.isfinite().all():  # unknown: every output is heard alike
                gradient = torch.randn(result.shape, generator=self.draw)
            heard = gradient.flatten(0, -2)
            reading.inputs.add((rows.T @ (heard @ self._random(heard.shape[1])))[None])
            if reading.outputs:
                reading.outputs.add((heard.T @ (rows @ self._random(rows.shape[1])))[None])

    def run_node(self, n: fx.Node) -> Any:
        """One step."""
        result = super().run_node(n)
        if n.name not in self.found:
            return result
        given: Any = n.args[0]
        self.passed[n.name] = (self.env[given].detach().flatten(0, -2), result)
        return result.clone()  # what comes next may change it in place

    def _gradients(self, sample: Tensor) -> list[Tensor | None]:
        """Of a random sum of the sample's answers, that of each layer's outputs."""
        if self.answering:
            try:
                with torch.enable_grad():
                    answers = self.answers(self.run(sample.detach().requires_grad_().clone()))
                    weights = torch.randn(answers.shape, generator=self.draw)
                    results = [result for _, result in self.passed.values()]
                    return list(torch.autograd.grad(answers, results, weights, allow_unused=True))
            except RuntimeError as error:  # an operator that has none, or answers that follow from nothing
                log.warning("the answers give no gradients, so all outputs count alike: %s", one_line(str(error))[:200])
                self.answering = False
        with torch.no_grad():
            self.run(sample)
        return [None] * len(self.passed)

    def _random(self, width: int) -> Tensor:
        return torch.randn(width, PLACES, generator=self.draw)


def rounded_by_answers(weight: Tensor, reading: Reading, levels: int, scale: Tensor) -> Tensor:
    """Weights (o, k) on the grid of each output, whose largest weight is stored as `levels`, float64.

    Args:
        weight: of the layer, times the scale.
        reading: of the layer before that.
        levels: the largest whole number.
        scale: what each input is divided by (k,).
    """
    inputs = reading.inputs.products[0].double() / scale[:, None] / scale
    if not reading.outputs:
        return solved(weight[None], inputs[None] / reading.inputs.n, levels)[0]
    rows, by_output = _factor(reading.outputs.products[0].double())
    columns, by_input = _factor(inputs)
    lost = _lost(weight[rows][:, columns], _unit(by_input), _unit(by_output), levels)
    return weight - lost[rows.argsort()][:, columns.argsort()]


def fairest(weight: Tensor, reading: Reading) -> Tensor:
    """What to divide each input by (k,), around 1, so that rounding moves answers least.

    An output's largest weight sets its grid, and one input may have the largest of many outputs. What is left of the
    rounding is the sum of the triangles' diagonals times the squares of the grids' steps, which Adam makes small.
    """
    if not reading.outputs:
        return torch.ones(weight.shape[1])
    rows, by_output = _factor(reading.outputs.products[0])
    columns, by_input = _factor(reading.inputs.products[0])
    heard, given = by_output.diagonal().square(), by_input.diagonal().square()
    sizes = weight.detach().abs()[rows][:, columns].to(heard.dtype)
    scale = torch.zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([scale], lr=RATE)
    with torch.enable_grad():
        for _ in range(STEPS):
            steps = (sizes * scale.exp()).amax(1)
            loss = (heard @ steps.square()).log() + (given @ (-2 * scale).exp()).log()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = scale.detach()
    return (found - found.mean()).exp()[columns.argsort()]


def _factor(moments: Tensor) -> tuple[Tensor, Tensor]:
    """The largest first, and the triangle U of moments = U Uᵀ in that order, of a mean of 1 and damped."""
    order = moments.diagonal().argsort(descending=True)
    mean = moments.diagonal().mean().clamp_min(torch.finfo(moments.dtype).tiny)
    damped = (moments / mean)[order][:, order] + DAMPING * torch.eye(len(moments), dtype=moments.dtype)
    return order, torch.linalg.cholesky(damped.flip(0, 1)).flip(0, 1)


def _unit(factor: Tensor) -> Tensor:
    return factor / factor.diagonal()


def _lost(weight: Tensor, by_input: Tensor, by_output: Tensor, levels: int) -> Tensor:
    """What each weight (o, k) loses by being rounded together with what it makes up for of those above and left of it.

    With E = lost, the answers move by the squares of by_outputᵀ @ E @ by_input; a weight's own square is the only one
    left to choose once those above and left are, so all on a line from the lower left to the upper right are rounded
    at once.
    """
    o, k = weight.shape
    step = weight.abs().amax(1).clamp_min(1e-12) / levels
    fixed = weight.abs() >= weight.abs().amax(1, keepdim=True)  # sets the grid: it stays, or the backend finds another
    left = by_input.T.flip(0).float().contiguous()  # column j of the triangle is row k - 1 - j: a line's are neighbours
    above = by_output.T.float().contiguous()
    moved = torch.zeros(o, k)  # by_outputᵀ @ E
    lost = torch.zeros(k, o)  # E, transposed and flipped as `left` is
    for line in range(o + k - 1):
        top, bottom = max(0, line - k + 1), min(o, line + 1)
        width = line - top + 1
        rows = torch.arange(top, bottom)
        columns = line - rows
        start, end = k - 1 - line + top, k - 1 - line + bottom
        beside = torch.einsum("ik,ik->i", moved[top:bottom, :width], left[start:end, :width])
        over = torch.einsum("ik,ik->i", above[top:bottom, :bottom], lost[start:end, :bottom])
        own = weight[rows, columns]
        whole = ((own + beside + over) / step[rows]).round().clamp(-levels, levels) * step[rows]
        lose = (own - whole).where(~fixed[rows, columns], 0.0).float()
        lost[torch.arange(start, end), rows] = lose
        moved[rows, columns] = lose + over
    return lost.flip(0).T.double()
