"""The result tables of README.md and README.tr.md, which cog writes there: the dashboard's rows as Markdown.

>>> from benchmarks import results
>>> print(tables(results.read(Path("results/reference.jsonl")).records, Words("tr")))   # doctest: +SKIP
**foodvision-mini**, 2 çekirdekli AMD EPYC işlemcili makinede, 2 iş parçacığı ile:
…
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import report
from mobile_demo.dashboard import compare, views
from mobile_demo.dashboard.runs import Record, Run, runs
from mobile_demo.dashboard.said import in_words
from mobile_demo.words import Words

COLUMNS = range(8)  # of the page's; whether a record is valid is said below the table
_PLAIN = str.maketrans({"\xa0": " ", "\u2060": None})  # a page that people edit holds no letter they cannot see


def tables(records: Sequence[Record], words: Words) -> str:
    """The newest run of each bundle on each host, with the warnings that its records carry."""
    found = [run for group in report.newest_runs(records) for run in runs(group).runs]
    return "\n\n".join([*(_run(run, words) for run in found), words("table_note")]).translate(_PLAIN)


def _run(run: Run, words: Words) -> str:
    threads = words("threads", count=run.scenario["threads"])
    head = words("table_head", name=run.bundle, cpu=run.host["cpu"], cores=run.host["cores"], threads=threads)
    parts = [head, _table(run, words), _notes(run, words), views.flags(run, words)]
    return "\n\n".join(part for part in parts if part)


def _notes(run: Run, words: Words) -> str:
    """What the records of servers say about where they stood, a line a server."""
    names = compare.labels(run.systems, words)
    noted = [one for one in run.systems if one.target == "cloud" and one.notes]
    return "\n".join(f"- {names[one.id]}: {in_words(one.notes, words)}." for one in noted)


def _table(run: Run, words: Words) -> str:
    heads = compare.heads(run.task == "policy", words)
    lines = [[heads[i] for i in COLUMNS]]
    names = compare.labels(run.systems, words)
    for one, row in zip(run.systems, compare.rows(run.systems, words), strict=True):
        _, accuracy, *figures = (row.cells[i] for i in COLUMNS)
        lines.append([names[one.id], f"{accuracy} ({under})" if (under := row.under[1]) else accuracy, *figures])
    widths = [max(len(line[i].translate(_PLAIN)) for line in lines) for i in range(len(COLUMNS))]
    written = [
        [cell.translate(_PLAIN).ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    written.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in written)
