"""What the phone page says; its keys start with `phone_`."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {}
