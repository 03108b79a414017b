"""`lokma tune`: measures which artifact is fastest on this device; `--explain` shows what was measured before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edge_runtime.arguments import parser_of
from edge_runtime.bundle import Bundle
from edge_runtime.check import open_whole
from edge_runtime.commands import progress, show
from edge_runtime.errors import Missing
from edge_runtime.findings import Finding, report


def main(argv: list[str]) -> int:
    """Prints every candidate with its time and why it was not chosen, then the choice."""
    parser = parser_of("tune", "Measure which artifact of a bundle is fastest on this device, and remember it.")
    parser.add_argument("bundle", help="a bundle folder, its .zip, or the name of an installed one")
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="how long to measure at most (60)")
    parser.add_argument("--explain", action="store_true", help="measure nothing: show what was measured before")
    args = parser.parse_args(argv)
    bundle = open_whole(args.bundle)
    if args.explain:
        from edge_runtime.tuned import evidence

        found = evidence(bundle)
        if found is None:
            raise Missing(
                f"nothing is remembered for {args.bundle} on this device as it now is: lokma tune {args.bundle}"
            )
    else:
        from edge_runtime.tune import tune

        with progress("edge_runtime.tune"):
            found = dict(tune(bundle, args.seconds).evidence)
    said = {**report(map(_finding, found["candidates"])), "ok": True}  # ok: there is a choice
    void = _void(bundle, found)
    if args.json:
        print(json.dumps({**found, **said, "void": void}))
        return 0
    show(said, False)
    chosen = found["choice"]
    for flag in found["flags"]:
        print(f"take care: {flag}")
    choice = f"{chosen['artifact']} with threads={chosen['threads']}"
    if void:
        print(f"`load` does not take {choice} (measured {found['time']}): {void}; lokma tune {args.bundle}")
    else:
        print(f"`load` takes {choice} here (measured {found['time']})")
    return 0


def _void(bundle: Bundle, found: Mapping[str, Any]) -> str | None:
    """Why `load` does not take what was chosen; None where it does."""
    from edge_runtime import host, tuned

    if tuned.remembered(bundle) is not None:
        return None
    threads, cores = found["choice"].get("threads"), host.usable_cores()
    if isinstance(threads, int) and threads > cores:
        return f"only {cores} of the cores may be used now"
    return "the record is damaged or the engine is not here"


def _finding(candidate: Mapping[str, Any]) -> Finding:
    said = "not measured"
    if candidate["p50_ns"] is not None:
        low_high = candidate["interval_ns"]
        interval = f"{low_high[0] / 1e6:.3f} to {low_high[1] / 1e6:.3f}, " if low_high else ""
        said = f"{candidate['p50_ns'] / 1e6:.3f} ms ({interval}n {candidate['n']})"
    why = candidate["why_not"]
    name = f"{candidate['artifact']} x{candidate['threads']}"
    return Finding(name, candidate["ok"], f"{said}; {why}" if why else f"{said}; chosen")
