"""What machine a number came from, and whether it was fit to be measured on: `edge_runtime.host` by its old name."""

from __future__ import annotations

from edge_runtime.host import busy, host

__all__ = ["busy", "host"]
