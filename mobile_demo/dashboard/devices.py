"""What the page *Devices* shows: who reported, what a device said of itself, and how right the answers are outside.

>>> field_rows([Field("food", "onnx-int8", "int8", 3, 18, 20, now)], {}, Words("en"), now)  # doctest: +SKIP
[Row(cells=('food', 'onnx-int8', '90.0 %', …
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from edge_runtime.measure import wilson
from mobile_demo.dashboard.runs import Accuracy
from mobile_demo.dashboard.said import in_words
from mobile_demo.dashboard.store import Device, Field
from mobile_demo.dashboard.views import Row, accuracy_cell, target_words
from mobile_demo.words import Words

NAMED = 4  # bundles of a device; the rest are counted


def device_heads(words: Words) -> tuple[str, ...]:
    """The heads of the table of devices."""
    return tuple(words(key) for key in ("device", "memory", "reported_for", "records", "newest"))


def device_rows(found: Sequence[Device], here: str, words: Words, now: datetime) -> list[Row]:
    """Each device that reported, the newest first.

    Args:
        found: of `Records.devices`.
        here: the fingerprint of the machine that shows the page.
        words: the page's language.
        now: for how long ago.
    """
    rows = []
    for one in found:
        cores = words("cores", count=one.cores) if one.cores else ""
        mine = words("this_machine") if one.fingerprint == here else ""
        targets = words.listed(target_words(target, words) for target in one.targets)
        rows.append(
            Row(
                (
                    one.cpu,
                    words.size(one.memory_bytes) if one.memory_bytes else words("not_said"),
                    _bundles(one, words),
                    words.number(one.records),
                    words.ago(one.newest, now),
                ),
                (", ".join(filter(None, (cores, mine))), "", targets, "", words.moment(one.newest)),
                chosen=one.fingerprint == here,
                numeric=(False, True, False, True, False),
            )
        )
    return rows


def _bundles(one: Device, words: Words) -> str:
    more = len(one.bundles) - NAMED
    rest = [words("and_more", count=more)] if more > 0 else []
    return ", ".join([*one.bundles[:NAMED], *rest]) or words("not_said")


def field_heads(words: Words) -> tuple[str, ...]:
    """The heads of the table of field accuracy."""
    return tuple(words(key) for key in ("bundle", "system", "field_accuracy", "test_accuracy", "reported_by", "newest"))


def field_rows(
    found: Sequence[Field], tested: Mapping[tuple[str, str], Accuracy], words: Words, now: datetime
) -> list[Row]:
    """How often the answers were right outside, with n and interval, beside the test side's.

    Args:
        found: of `Records.field`.
        tested: (bundle, artifact): its accuracy on the test side.
        words: the page's language.
        now: for how long ago.
    """
    rows = []
    for one in found:
        low, high = wilson(one.right, one.n)
        value, under = accuracy_cell(Accuracy("field", one.right / one.n, one.right, one.n, low, high), words)
        test, test_under = accuracy_cell(tested.get((one.bundle, one.artifact)), words)
        rows.append(
            Row(
                (
                    one.bundle,
                    one.artifact,
                    value,
                    test,
                    words("devices_of", count=one.devices),
                    words.ago(one.newest, now),
                ),
                ("", "", under, test_under, "", ""),
                numeric=(False, False, True, True, False, False),
            )
        )
    return rows


def field_points(
    found: Sequence[Field], tested: Mapping[tuple[str, str], Accuracy], words: Words
) -> list[dict[str, Any]]:
    """Field and test accuracy of each file, with intervals, for the chart."""
    points = []
    for one in found:
        low, high = wilson(one.right, one.n)
        outside = Accuracy("field", one.right / one.n, one.right, one.n, low, high)
        for key, accuracy in (("field_accuracy", outside), ("test_accuracy", tested.get((one.bundle, one.artifact)))):
            if accuracy is not None:
                value, under = accuracy_cell(accuracy, words)
                points.append(
                    {
                        "system": f"{one.bundle} · {one.artifact}",
                        "what": words(key),
                        "accuracy": accuracy.value,
                        "accuracy_low": accuracy.low,
                        "accuracy_high": accuracy.high,
                        "said_accuracy": f"{value} ({under})",
                    }
                )
    return points


def finding_rows(checks: Sequence[Mapping[str, Any]], words: Words) -> list[Row]:
    """The doctor's findings: what it looked at, whether it is in order, and its own words."""
    rows, preflight = [], {"preflight": words("preflight")}
    for check in checks:
        ok = check.get("ok")
        said = words("finding_note") if ok is None else words("finding_ok" if ok else "finding_bad")
        name = str(check.get("name", "?"))
        cells = (preflight.get(name, name), said, in_words(str(check.get("detail", "")), words))
        rows.append(Row(cells, ("",) * 3, numeric=(False,) * 3, marks=(None, ok, None)))
    return rows


def finding_heads(words: Words) -> tuple[str, ...]:
    """The heads of the doctor's table."""
    return tuple(words(key) for key in ("looked_at", "finding", "detail"))


def findings_of(record: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """What spoke against the device when it was measured: the preflight's words, which a record keeps as its flags."""
    validity = (record or {}).get("validity")
    flags = validity.get("flags") if isinstance(validity, Mapping) else None
    if not isinstance(flags, list):
        return []
    said: list[Mapping[str, Any]] = [
        {"name": "preflight", "ok": False, "detail": flag} for flag in flags if isinstance(flag, str)
    ]
    return said or [{"name": "preflight", "ok": True, "detail": ""}]
