"""Runs lokma bundles on a phone- or Pi-class device: Pillow and the standard library, no torch, no numpy.

>>> from edge_runtime import examples, load
>>> answer = load(examples.path("digits.zip")).predict(examples.path("seven.png"))
>>> answer.label
'7'
"""

from __future__ import annotations

TYPE_CHECKING = False  # for type checkers it is True; the import of typing alone takes 10 ms
if TYPE_CHECKING:
    from typing import Any

    from edge_runtime.errors import LokmaError
    from edge_runtime.postprocess import Prediction
    from edge_runtime.predictor import Predictor, load
    from edge_runtime.spec import ModelSpec

__version__ = "0.1.0"
__all__ = ["LokmaError", "ModelSpec", "Prediction", "Predictor", "load"]

_HOMES = {
    "LokmaError": "errors",
    "ModelSpec": "spec",
    "Prediction": "postprocess",
    "Predictor": "predictor",
    "load": "predictor",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for, so that `import edge_runtime` costs nothing."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'edge_runtime' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edge_runtime.{_HOMES[name]}"), name)
