"""lokma's files beside its peers': latency, cold start, memory and size on disk of four networks, 1 and 2 threads.

`python -m benchmarks.peers_budget [--only NETWORK,…]` (`make bench-peers`, which installs the extra `[peers]`) exports
each network by each peer (`benchmarks.peers`), once; what fails, or is not installed, is a row with its reason. A cell
is a network at a thread count: all its peers at once, each in a process of its own, in turn by blocks. One record a
finished cell; a cell that is on record of the same code, peers and machine is not measured again. About 40 minutes,
most of them exporting. LiteRT's converter pins packages that others need newer: its row asks for it to be importable,
`PYTHONPATH` will do.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import budget, peers_networks, results, tables
from benchmarks.compare import pinned
from benchmarks.environment import as_installed, busy, host
from benchmarks.peers import PEERS, PROBABILITIES, Job
from benchmarks.peers_networks import ANSWERS, NETWORKS, PICTURES, SPEC
from edge_runtime import store, worker
from edge_runtime.errors import LokmaError
from edge_runtime.measure import interleaved, quantile, quantile_interval, ratio_interval
from export.lowering import lower
from export.recipes import Job as Lowering
from train.provenance import code_sha256

STUDY, THREADS = "peers", (1, 2)
ROUNDS, BLOCK, COLD_STARTS, MEMORY_ANSWERS = 30, 5, 5, 30
LIMIT_S, PATIENCE_S = 900, 120.0
CODE = ("benchmarks.peers_budget", "benchmarks.peers", "benchmarks.peers_networks")
Record = Mapping[str, Any]
Found = dict[str, Any]  # of one peer in one cell


def versions(peer: str) -> dict[str, str]:
    """The versions of what a peer needs; what is not installed is left out."""
    found = {}
    for name in PEERS[peer].needs:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def exported(name: str, peer: str) -> tuple[Path, str]:
    """The folder of a peer's files of a network, made where it is not there yet, and why it could not be made."""
    missing = [one for one in PEERS[peer].needs if one not in versions(peer)]
    if missing:
        return Path(), f"not installed: {', '.join(missing)}"
    made_of = json.dumps([versions(peer), versions("torch eager"), code_sha256(*CODE[1:])])
    folder = store.home() / "peers" / hashlib.sha256(made_of.encode()).hexdigest()[:12] / name / peer.replace(" ", "-")
    if folder.is_dir():
        return folder, ""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, tempfile.TemporaryFile("w+") as said:
        files = Path(scratch) / "files"
        files.mkdir()
        command = [sys.executable, "-m", "benchmarks.peers_budget", "--export", name, peer, str(files)]
        try:
            code = subprocess.run(command, stdout=said, stderr=said, timeout=LIMIT_S, check=False).returncode
        except subprocess.TimeoutExpired:
            return folder, f"its export took more than {LIMIT_S} s"
        said.seek(0)
        lines = [line for line in said.read().splitlines() if line.strip()]
        if code or not any(files.iterdir()):
            return folder, f"its export failed: {lines[-1][:200] if lines else worker.killed_by(code) or 'no file'}"
        files.rename(folder)
    return folder, ""


def export(name: str, peer: str, folder: Path) -> None:
    """Writes a peer's files of a network, in this process."""
    import torch

    torch.set_num_threads(1)
    pictures = peers_networks.pixels(name)
    model = peers_networks.network(name, pictures[PICTURES:])
    example = peers_networks.normalised(pictures[:1])
    PEERS[peer].export(Job(model, peers_networks.spec_of(name), example, pictures, folder, lowered))


def lowered(recipe: str, job: Job) -> bytes:
    """lokma's own file of a network."""
    import torch

    calibration = torch.as_tensor(job.pixels)
    return lower(recipe, Lowering(job.model, job.spec, calibration, calibration[:2])).data


def cell(threads: int, folders: Mapping[str, tuple[Path, str]], inputs: Sequence[str]) -> dict[str, Found]:
    """Measures all peers of a cell; a peer that fails is out from there on, with its reason."""
    found: dict[str, Found] = {
        peer: {"versions": versions(peer), "failure": failure, "cold_start_ns": [], "blocks_ns": []}
        for peer, (_, failure) in folders.items()
    }
    spec = Path(inputs[0]).with_name(SPEC)
    for peer in interleaved(list(folders), COLD_STARTS):
        one = found[peer]
        if one["failure"]:
            continue
        with _noted(one), _started(peer, folders[peer][0], spec, threads) as child:
            child.ask(inputs[:1])
            one["cold_start_ns"].append(child.cold["total"])
            if len(one["cold_start_ns"]) == COLD_STARTS:
                child.ask([inputs[at % len(inputs)] for at in range(MEMORY_ANSWERS)])
                one["peak_rss_bytes"] = child.peak_rss_bytes
    with contextlib.ExitStack() as stack:
        children: dict[str, worker.Worker] = {}
        for peer in (peer for peer, one in found.items() if not one["failure"]):
            with _noted(found[peer]):
                child = stack.enter_context(_started(peer, folders[peer][0], spec, threads))
                found[peer]["answers"] = [answer["values"] for answer in child.ask(inputs)]
                children[peer] = child
        for number, peer in enumerate(interleaved(list(children), ROUNDS)):
            given = inputs[number // len(children) % len(inputs)]
            if not found[peer]["failure"]:
                with _noted(found[peer]):
                    told = children[peer].ask([given] * (1 + BLOCK))[1:]  # the first meets the caches of others
                    found[peer]["blocks_ns"].append([answer["total_ns"] for answer in told])
    for peer, one in found.items():
        if not one["failure"]:
            one["size_bytes"] = sum(path.stat().st_size for path in folders[peer][0].rglob("*") if path.is_file())
    return found


def _started(peer: str, folder: Path, spec: Path, threads: int) -> worker.Worker:
    with pinned(threads):
        command = [sys.executable, "-m", "benchmarks.peers", peer, str(folder), str(spec), str(threads)]
        return worker.Worker(command, PATIENCE_S)


@contextlib.contextmanager
def _noted(one: Found) -> Iterator[None]:
    """What goes wrong inside is the peer's failure."""
    try:
        yield
    except LokmaError as error:
        one["failure"] = str(error)


def figures(found: dict[str, Found], expected: Sequence[Sequence[float]]) -> None:
    """Adds to each peer what its samples say: `p50_ns` with its interval, and how far it is from eager torch.

    `differs` is the largest difference of a probability over the largest probability, `same` how many best labels.
    """
    for peer, one in found.items():
        times = [value for block in one["blocks_ns"] for value in block]
        if one["failure"] or not times:
            continue
        rows = one.pop("answers")
        rows = rows if peer in PROBABILITIES else [softmax(row) for row in rows]
        one["p50_ns"], one["p50_interval_ns"] = quantile(times, 0.5), quantile_interval(times, 0.5)
        one["differs"] = max(
            max(abs(a - b) for a, b in zip(row, true, strict=True)) / max(true)
            for row, true in zip(rows, expected, strict=True)
        )
        best = [[max(range(len(row)), key=row.__getitem__) for row in side] for side in (rows, expected)]
        one["same"] = sum(a == b for a, b in zip(*best, strict=True))


def softmax(logits: Sequence[float]) -> list[float]:
    """Logits as probabilities."""
    powers = [math.exp(value - max(logits)) for value in logits]
    return [power / sum(powers) for power in powers]


def against(one: Found, lokma: Found) -> tuple[float, ...]:
    """A peer's time over that of lokma's faster file, with its 95 % interval, over the blocks of the same rounds."""
    mine, theirs = ([quantile(block, 0.5) for block in side["blocks_ns"]] for side in (one, lokma))
    return ratio_interval(mine, theirs)


def record(name: str, threads: int, found: Mapping[str, Found], flags: Sequence[str]) -> Record:
    """The record of a cell."""
    scenario = {"study": STUDY, "group": f"{name}, {threads} threads", "threads": threads, "key": key()}
    return budget.record(scenario, [], flags, kind="study", bundle={"name": name}, peers=dict(found))


def key() -> dict[str, Any]:
    """What decides a cell: where any of it is another, the cell is measured again."""
    return {"code": code_sha256(*CODE)[:12], "versions": {peer: versions(peer) for peer in PEERS},
            "host": host()["fingerprint"]}  # fmt: skip


def on_record(records: Iterable[Record], by: Mapping[str, Any]) -> dict[tuple[str, int], Record]:
    """The newest record of each cell that was measured by the same."""
    return {
        (entry["bundle"]["name"], entry["scenario"]["threads"]): entry
        for entry in records
        if entry["scenario"].get("study") == STUDY and entry["scenario"].get("key") == by
    }


def table(cells: Mapping[tuple[str, int], Record]) -> str:
    """The cells as Markdown, a line a peer."""
    head = ("network", "threads", "who", "median (95 %)", "over lokma's faster", "cold start", "peak memory", "on disk",
            "differs", "best label")  # fmt: skip
    rows = []
    for (name, threads), entry in cells.items():
        peers: Mapping[str, Found] = entry["peers"]
        ours = [peers[peer] for peer in PROBABILITIES if not peers[peer]["failure"]]
        best = min(ours, key=lambda one: one["p50_ns"]) if ours else None
        for peer, one in peers.items():
            who = " ".join([peer, *list(one["versions"].values())[:1]])
            if one["failure"]:
                rows.append(
                    (name, str(threads), who, f"{tables.NONE}: {one['failure']}".replace("|", "\\|"), *[""] * 6)
                )
                continue
            low, high = one["p50_interval_ns"]
            ratio = against(one, best) if best else None
            rows.append((
                name, str(threads), who, f"{_ms(one['p50_ns'])} ({_ms(low)} to {_ms(high)})",
                f"{ratio[0]:.2f}x ({ratio[1]:.2f} to {ratio[2]:.2f})" if ratio else "",
                f"{statistics.median(one['cold_start_ns']) / 1e9:.2f} s", f"{one['peak_rss_bytes'] / 1e6:.0f} MB",
                f"{one['size_bytes'] / 1e6:.2f} MB", f"{one['differs']:.1e}", f"{one['same']} of {PICTURES}",
            ))  # fmt: skip
    return tables.grid_of(head, rows)


def markdown(records: Sequence[Record]) -> str:
    """The newest study as a section of RESULTS.md; empty where none is on record."""
    made = [entry for entry in records if entry["scenario"].get("study") == STUDY and entry.get("peers")]
    if not made:
        return ""
    cells = on_record(records, made[-1]["scenario"]["key"])
    said = (
        "`make bench-peers`: each peer as its documents show it, in fp32, in a process of its own, all of a network in "
        f"turn by {ROUNDS} blocks of {BLOCK}. A peer gets the normalised tensor; lokma's files take the pixels and "
        "normalise inside. Cold start: from nothing to the first answer. Differs: the largest difference of a "
        "probability from eager torch's, over its largest. Weights are seeded, but for EfficientNet-Lite0's backbone. "
        f"{made[-1]['time']}, commit {made[-1].get('commit')}, {made[-1]['host'].get('cpu')}."
    )
    flags = sorted({flag for entry in cells.values() for flag in entry["validity"]["flags"]})
    return "\n".join(["## lokma and its peers\n", said, "", table(cells), "", *(f"- {flag}" for flag in flags), ""])


def _ms(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e6:.1f} ms"


def study(names: Sequence[str], threads: Sequence[int] = THREADS) -> dict[tuple[str, int], Record]:
    """Measures the cells that are not on record, appends a record each, and returns all that were asked for."""
    by = key()
    found = on_record(results.read().records, by)
    for name in names:
        todo = [count for count in threads if (name, count) not in found]
        if not todo:
            continue
        folders = {}
        for peer in PEERS:
            folders[peer] = exported(name, peer)
            sys.stderr.write(f"{name}, {peer}: {folders[peer][1] or 'exported'}\n")
        with tempfile.TemporaryDirectory(prefix="lokma-peers-") as folder:
            pictures = peers_networks.pixels(name)
            model, spec = peers_networks.network(name, pictures[PICTURES:]), peers_networks.spec_of(name)
            inputs = peers_networks.write_inputs(model, spec, pictures[:PICTURES], Path(folder))
            expected = json.loads((Path(folder) / ANSWERS).read_text())
            for count in todo:
                flags = busy()
                one = cell(count, folders, inputs)
                figures(one, expected)
                found[name, count] = record(name, count, one, flags)
                budget.keep(found[name, count])
                sys.stderr.write(f"{name}, {count} threads: measured\n")
    return {(name, count): found[name, count] for name in names for count in threads}


def main(argv: list[str]) -> int:
    """Measures what is not on record yet, prints the table; or, asked by itself, exports one network by one peer."""
    parser = budget.parser("peers_budget", __doc__, NETWORKS, "NETWORK,…")
    parser.add_argument("--export", nargs=3, metavar=("NETWORK", "PEER", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.export:
        name, peer, folder = args.export
        export(name, peer, Path(folder))
        return 0
    as_installed()

    def work() -> bool:
        cells = study(budget.chosen(args.only, NETWORKS, "network"))
        print("\n".join(map(json.dumps, cells.values())) if args.json else table(cells))
        return True

    return budget.answered("peers_budget", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
