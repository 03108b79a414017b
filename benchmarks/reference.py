"""The records that RESULTS.md is made from: new ones take the place of what they measure again, all others stay.

`python -m benchmarks.reference results/fresh/*.jsonl` puts them into `results/reference.jsonl`. The single comparisons
of the A/A study, which are many and large, stay where they are: its rows come along. Where a data set lay on the
machine that measured (`origin`) stays there too; its name and hash say which it was.

>>> subject({"kind": "budget", "bundle": {"name": "b2"}, "scenario": {"budget": "runtime", "group": "predict"}})
('budget', 'b2', 'runtime', 'predict', None)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results

REFERENCE = Path("results") / "reference.jsonl"
_SCENARIO = ("budget", "group", "study")


def subject(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a record is about: its kind, its bundle, and its budget, group or study."""
    return (entry["kind"], entry["bundle"].get("name"), *(entry["scenario"].get(key) for key in _SCENARIO))


def merged(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The old records without those of subjects that the new ones are about, and the new ones."""
    again = {subject(entry) for entry in new}
    return [*(entry for entry in old if subject(entry) not in again), *new]


def without_origin(value: Any) -> Any:
    """A record, or a part of one, without the folders that data sets came from.

    >>> without_origin({"data": {"name": "food10", "origin": "LOKMA_DATA: /home/ada/food10"}, "n": [1]})
    {'data': {'name': 'food10'}, 'n': [1]}
    """
    if isinstance(value, Mapping):
        return {key: without_origin(one) for key, one in value.items() if key != "origin"}
    return [without_origin(one) for one in value] if isinstance(value, list) else value


def main(argv: list[str]) -> int:
    """Merges files of fresh records into the reference."""
    fresh = [entry for name in argv for entry in results.read(Path(name)).records if "comparison" not in entry]
    if not fresh:
        sys.stderr.write("usage: python -m benchmarks.reference FRESH.jsonl…   (no whole record was found)\n")
        return 2
    whole = merged(results.read(REFERENCE).records if REFERENCE.exists() else (), fresh)
    waiting = REFERENCE.with_suffix(".new")
    waiting.unlink(missing_ok=True)
    results.append([without_origin(entry) for entry in whole], waiting)
    waiting.replace(REFERENCE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
