"""The recipes, as a table: name -> module, default run name, what it trains and what to expect.

A recipe is a module with three names: `Args`, a frozen dataclass of `option` fields; `prepare(args)`,
which finds the data; and `train(args, data, draft)`, which trains and hands the model to the draft.
Adding one is a file here and a line below. This module imports nothing heavy, so that listing is instant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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
    "binary-circles": Recipe(
        module="train.recipes.binary_circles",
        run="circles",
        summary="two circles, one inside the other: a yes or no with a bent boundary",
        expected="test accuracy at most 0.01 below the best that anybody can have (10,000 points)",
        takes="10 s",
    ),
    "binary-table": Recipe(
        module="train.recipes.binary_table",
        run="breast-cancer",
        summary="is a tumour malignant? a real table of 569, columns standardised in the graph",
        expected="5-fold accuracy not below scikit-learn's LogisticRegression by more than 0.01",
        takes="10 s",
    ),
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
        summary="pizza, steak or sushi: a frozen EfficientNet-Lite0 (or --model) with a new head",
        expected="at least 144 of 150 test pictures; 145 by --model effnet_lite2, 138 by vit_s_14; 435 of food10's 500",
        takes="1 min (Lite2 2, ViT-S/14 10), then seconds",
    ),
    "multiclass-blobs": Recipe(
        module="train.recipes.multiclass_blobs",
        run="blobs",
        summary="four blobs of points: which one?",
        expected="test accuracy at least 0.99 (2,000 points)",
        takes="5 s",
    ),
    "multiclass-digits": Recipe(
        module="train.recipes.multiclass_digits",
        run="digits",
        summary="handwritten digits: TinyVGG from scratch, no network needed",
        expected="test accuracy at least 0.985",
        takes="20 s",
    ),
    "multilabel": Recipe(
        module="train.recipes.multilabel",
        run="multilabel",
        summary="any number of five topics, from counts of words",
        expected="5-fold micro-F1 not below one-vs-rest logistic regression by more than 0.01",
        takes="15 s",
    ),
    "regression-curve": Recipe(
        module="train.recipes.regression_curve",
        run="curve",
        summary="a sine, a parabola or a cubic from noisy points",
        expected="mean absolute error at most 1.05 times the true curve's (2,000 points)",
        takes="10 s",
    ),
    "regression-diabetes": Recipe(
        module="train.recipes.regression_diabetes",
        run="diabetes",
        summary="how far will diabetes progress? a real table of 442 patients",
        expected="5-fold R2 not below scikit-learn's Ridge by more than 0.01",
        takes="10 s",
    ),
    "regression-linear": Recipe(
        module="train.recipes.regression_linear",
        run="line",
        summary="a straight line from noisy points",
        expected="mean absolute error at most 1.05 times the true line's (2,000 points)",
        takes="5 s",
    ),
    "table": Recipe(
        module="train.recipes.table",
        run="table",
        summary="your own table: --data FILE.csv (or .parquet) --target COLUMN",
        expected="what a linear model of scikit-learn reaches on the same 5 folds, beside the network's",
        takes="10 s",
    ),
    "tinyvgg": Recipe(
        module="train.recipes.tinyvgg",
        run="tinyvgg",
        summary="the course's first CNN from scratch: food pictures, or FashionMNIST",
        expected="more than half of the 150 test pictures, where a guess gets a third",
        takes="4 min",
    ),
    "vit-paper": Recipe(
        module="train.recipes.vit_paper",
        run="vit-paper",
        summary="the Vision Transformer written out from its paper, on handwritten digits",
        expected="at most 1e-5 from torchvision's vit_b_16 with the same weights; test accuracy at least 0.98",
        takes="3 min",
    ),
}


MAX_SEED = 2**32 - 1  # numpy's and scikit-learn's largest
MAX_NUMBER = 2**31 - 1  # above it torch's sizes and float32 steps end in a traceback, not in a model


def option(
    default: Any,
    text: str,
    at_least: float = 0,
    at_most: float = MAX_NUMBER,
    kind: type[Any] | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A field of a recipe's `Args`: its default, its meaning (also the flag's help), and what it may be.

    Args:
        default: None where the recipe chooses; `kind` then says what may be given instead.
        text: the meaning.
        at_least: of a number.
        at_most: of a number.
        kind: int, float or str; None: the default's.
        choices: of a text; empty allows any.
    """
    about = {"help": text, "at_least": at_least, "at_most": at_most, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata={**about, "kind": kind or type(default)})


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
        _check(name, value, fields[name].metadata)
    return kind(**given)


def _check(name: str, value: Any, about: Mapping[str, Any]) -> None:
    wanted = about["kind"]
    if type(value) is not wanted and not (wanted is float and type(value) is int):
        raise BadRequest(f"{name} must be {wanted.__name__}, not {value!r}")
    if wanted is str:
        if about["choices"] and value not in about["choices"]:
            raise BadRequest(f"{name} must be one of {', '.join(about['choices'])}, not {value!r}")
        return
    if not value >= about["at_least"]:
        raise BadRequest(f"{name} must be at least {about['at_least']}, not {value}")
    if value > about["at_most"]:
        raise BadRequest(f"{name} must be at most {about['at_most']}, not {value}")
