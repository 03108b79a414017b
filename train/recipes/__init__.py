"""The recipes, as a table: name -> module, default run name, what it trains and what to expect.

A recipe is a module with three names: `Args`, a frozen dataclass of `option` fields; `prepare(args)`,
which finds the data; and `train(args, data, draft)`, which trains and hands the model to the draft.
Adding one is a file here and a line below. This module imports nothing heavy, so that listing is instant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_runtime.errors import BadRequest


@dataclass(frozen=True)
class Recipe:
    """A row of the table. `module` is imported only when the recipe is used."""

    module: str
    run: str
    summary: str
    expected: str
    takes: str


RECIPES: dict[str, Recipe] = {
    "cartpole-dqn": Recipe(
        module="train.recipes.cartpole_dqn",
        run="cartpole",
        summary="Deep Q-learning: a policy that balances a pole",
        expected="mean return at least 475 of 500 (lower 95 % bound, 100 episodes)",
        takes="15 s",
    ),
    "foodvision": Recipe(
        module="train.recipes.foodvision",
        run="foodvision-mini",
        summary="pizza, steak or sushi: a frozen EfficientNet-Lite0 with a new head",
        expected="at least 144 of 150 test pictures",
        takes="1 min, then seconds",
    ),
    "multiclass-digits": Recipe(
        module="train.recipes.multiclass_digits",
        run="digits",
        summary="handwritten digits: TinyVGG from scratch, no network needed",
        expected="test accuracy at least 0.985",
        takes="20 s",
    ),
}


MAX_SEED = 2**32 - 1  # numpy's and scikit-learn's largest
MAX_NUMBER = 2**31 - 1  # above it torch's sizes and float32 steps end in a traceback, not in a model


def option(default: Any, text: str, at_least: float = 0, at_most: float = MAX_NUMBER) -> Any:
    """A field of a recipe's `Args`: its default, its meaning (also the flag's help), its bounds."""
    return dataclasses.field(default=default, metadata={"help": text, "at_least": at_least, "at_most": at_most})


def make_args(kind: type[Any], given: Mapping[str, Any]) -> Any:
    """Builds a recipe's `Args`.

    Raises:
        BadRequest: an argument that the recipe does not have, of the wrong type, or outside its bounds.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(given) - set(fields))
    if unknown:
        raise BadRequest(f"no argument {', '.join(unknown)}; this recipe has {', '.join(fields)}")
    for name, value in given.items():
        wanted, about = type(fields[name].default), fields[name].metadata
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise BadRequest(f"{name} must be {wanted.__name__}, not {value!r}")
        if not value >= about["at_least"]:
            raise BadRequest(f"{name} must be at least {about['at_least']}, not {value}")
        if value > about["at_most"]:
            raise BadRequest(f"{name} must be at most {about['at_most']}, not {value}")
    return kind(**given)
