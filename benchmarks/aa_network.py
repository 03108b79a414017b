"""The network of the A/A study, for `lokma export` (`benchmarks.aa_model`), which imports this file by itself.

Seeded, not trained: time does not depend on what a network has learned.
"""

from __future__ import annotations

from typing import Any


def network() -> Any:
    """torchvision's SqueezeNet 1.1: normalised float32 (batch, 3, 112, 112) to logits (batch, 3), 2 to 5 ms here."""
    import torch
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    return squeezenet1_1(weights=None, num_classes=3).eval().requires_grad_(False)
