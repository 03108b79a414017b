"""Weights rounded onto int8's grid so that each layer's outputs on real inputs move least, before any backend does.

Rounding each weight to the nearest value is best for the weight and not for the layer: errors of weights whose inputs
rise and fall together add up. Here a layer's weights are rounded one after another, and what each loses is made up for
by those not yet rounded, by the inputs' second moments; what is left of the mean goes into the bias. Both backends
then find every weight on their grid and leave it there.

Sources: Frantar et al., GPTQ (arXiv 2210.17323); the bias as in Nagel et al., Data-Free Quantization Through Weight
Equalization and Bias Correction (arXiv 1906.04721), section 4.2, with measured means.

>>> rounded(model, spec, calibration, levels=127)                                       # doctest: +SKIP
{'stem.1.weight': tensor(…), 'stem.1.bias': tensor(…), …}
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from edge_runtime.spec import ModelSpec
from export.contract import InGraph
from export.fold import folded, once_a_model

PLACES = 64  # of each input, that a convolution's moments are taken from, drawn once
WIDEST = 4608  # inputs of one output: 5 s there on one core, time grows with the cube, memory with the square
DAMPING = 0.01  # of the mean second moment; the paper's
BLOCK = 64  # columns that share one product with all before them
WAITING = 1024  # places that are multiplied together: a product a picture would mostly move memory


class Moments:
    """Sums over `n` places of one layer's inputs, group by group: products (groups, k, k) and values (groups, k)."""

    def __init__(self, groups: int, k: int) -> None:
        self.products = torch.zeros(groups, k, k)
        self.values = torch.zeros(groups, k, dtype=torch.float64)
        self.n = 0
        self._waiting: list[Tensor] = []

    def add(self, places: Tensor) -> None:
        """More of them: (groups, k, places)."""
        self._waiting.append(places)
        self.n += places.shape[2]
        if sum(one.shape[2] for one in self._waiting) >= min(self.products.shape[1], WAITING):
            self.settle()

    def settle(self) -> None:
        """Adds what waits to the sums."""
        if self._waiting:
            places = torch.cat(self._waiting, 2)
            self._waiting.clear()
            self.products.baddbmm_(places, places.transpose(1, 2))
            self.values += places.sum(2, dtype=torch.float64)


def rounded(
    model: nn.Module, spec: ModelSpec, calibration: Tensor, levels: int, in_float: Collection[str] = ()
) -> dict[str, Tensor]:
    """The weights and biases of convolutions and linear layers, by the folded model's parameter names.

    Args:
        model: takes normalised float32, gives raw outputs, in eval mode.
        spec: what it takes.
        calibration: real inputs (n, …) in the user's units.
        levels: the largest whole number that a weight is stored as; the largest weight of a channel is that.
        in_float: layers that are not quantized.

    Returns:
        Those of the layers that are called as modules; nothing for a program that has none left.
    """
    layers = dict(folded(model, spec).named_modules())
    found: dict[str, Tensor] = {}
    for name, seen in moments_of(model, spec, calibration).items():
        if name in in_float:
            continue
        layer: Any = layers[name]
        weight = layer.weight.detach()
        groups = getattr(layer, "groups", 1)
        rows = weight.reshape(groups, weight.shape[0] // groups, -1).double()
        whole = solved(rows, seen.products.double() / seen.n, levels)
        found[f"{name}.weight"] = whole.reshape(weight.shape).float()
        if layer.bias is not None:
            lost = torch.einsum("gok,gk->go", rows - whole, seen.values / seen.n)
            found[f"{name}.bias"] = layer.bias.detach() + lost.reshape(-1).float()
    return found


def moments_of(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> dict[str, Moments]:
    """Those of all layers that can be rounded; kept beside the model for the recipes that share both."""
    kept = _kept(model, spec)
    if not kept or kept[0][0] is not calibration:
        plain = folded(model, spec)
        layers = {name: module for name, module in plain.named_modules() if _fits(module)}
        kept[:] = [(calibration, _moments(plain, layers, InGraph(model, spec).normalise, calibration))]
    return kept[0][1]


@once_a_model
def _kept(model: nn.Module, spec: ModelSpec) -> list[tuple[Tensor, dict[str, Moments]]]:
    del model, spec
    return []


def _fits(module: nn.Module) -> bool:
    if type(module) is nn.Linear:
        return module.in_features <= WIDEST
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and module.weight[0].numel() <= WIDEST


def _moments(
    model: nn.Module, layers: dict[str, nn.Module], normalise: Callable[[Tensor], Tensor], calibration: Tensor
) -> dict[str, Moments]:
    """What every layer is given while the model runs on the calibration inputs."""
    draw = torch.Generator().manual_seed(0)
    found: dict[str, Moments] = {}

    def hook(name: str) -> Any:
        def add(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            places = _places(module, given[0].detach(), draw)
            if name not in found:
                found[name] = Moments(*places.shape[:2])
            found[name].add(places)

        return add

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in layers.items()]
    try:
        with torch.no_grad():
            for sample in calibration:
                model(normalise(sample[None]))
    finally:
        for handle in hooks:
            handle.remove()
    for seen in found.values():
        seen.settle()
    return found


def _places(module: nn.Module, given: Tensor, draw: torch.Generator) -> Tensor:
    """What single outputs of a layer see: (groups, k, places)."""
    if isinstance(module, nn.Linear):
        flat = given.reshape(-1, given.shape[-1])
        return flat[torch.randperm(len(flat), generator=draw)[:PLACES]].T[None]
    assert isinstance(module, nn.Conv2d)
    (height, width), (down, right) = module.kernel_size, module.stride
    if isinstance(module.padding, str):
        total = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        sides = [0, 0, 0, 0] if module.padding == "valid" else [p for t in total[::-1] for p in (t // 2, t - t // 2)]
    else:
        sides = [p for p in module.padding[::-1] for _ in range(2)]
    left, above = sides[0], sides[2]
    high, wide = given.shape[2], given.shape[3]
    rows = (high + above + sides[3] - module.dilation[0] * (height - 1) - 1) // down + 1
    columns = (wide + left + sides[1] - module.dilation[1] * (width - 1) - 1) // right + 1
    at = torch.randperm(rows * columns, generator=draw)[:PLACES]
    y = (at // columns * down - above)[:, None, None] + (torch.arange(height) * module.dilation[0])[:, None]
    x = (at % columns * right - left)[:, None, None] + torch.arange(width) * module.dilation[1]
    flat = y.clamp(0, high - 1) * wide + x.clamp(0, wide - 1)  # one index: several times as fast as two
    seen = given[0].flatten(1).index_select(1, flat.flatten()).unflatten(1, flat.shape)  # (channels, *flat.shape)
    if any(sides):  # the border is not in memory: to copy all of the input for it would take longer than the rest
        seen.masked_fill_((y < 0) | (y >= high) | (x < 0) | (x >= wide), 0.0)
    grouped = seen.reshape(module.groups, -1, len(at), height * width)
    return grouped.permute(0, 1, 3, 2).reshape(module.groups, -1, len(at))


def solved(weight: Tensor, moments: Tensor, levels: int) -> Tensor:
    """Weights (groups, rows, k) on the grid of each row, given the inputs' second moments (groups, k, k).

    What the paper takes from the inverse's factor stands in the moments' own, taken from the other end: column by
    column, a weight is rounded together with what it should make up for of those before it (Chee et al., QuIP, arXiv
    2307.13304, theorem 6). One factor and no inverse: a quarter of the time for the widest layers.
    """
    largest = weight.abs().amax(2, keepdim=True).clamp_min(1e-12)
    width = weight.shape[2]
    mean = moments.diagonal(dim1=1, dim2=2).mean(1)[:, None, None].clamp_min(1e-12)
    order = moments.diagonal(dim1=1, dim2=2).sum(0).argsort(descending=True)  # the paper's act-order
    damped = (moments + DAMPING * mean * torch.eye(width, dtype=moments.dtype))[:, order][:, :, order]
    factor = torch.linalg.cholesky(damped.flip(1, 2)).flip(1, 2)  # upper; damped is factor @ its transpose
    factor /= factor.diagonal(dim1=1, dim2=2)[:, None]
    weight, step = weight[:, :, order], largest[:, :, 0] / levels
    # the row's largest weight sets the grid: it stays, or the backend would find another one
    fixed = weight.abs() >= largest
    lost = torch.zeros_like(weight)
    for start in range(0, width, BLOCK):
        end = min(start + BLOCK, width)
        wanted = weight[:, :, start:end] + lost[:, :, :start] @ factor[:, :start, start:end]
        for column in range(start, end):
            near = (lost[:, :, start:column] @ factor[:, start:column, column, None])[:, :, 0]
            whole = ((wanted[:, :, column - start] + near) / step).round().clamp(-levels, levels) * step
            lost[:, :, column] = (weight[:, :, column] - whole).where(~fixed[:, :, column], 0.0)
    return (weight - lost)[:, :, order.argsort()]
