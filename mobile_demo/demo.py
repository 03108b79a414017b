"""`make demo`: the whole way, from photographs to a page of numbers, by the same verbs that anyone types.

What has not changed since the last time is reused: runs, bundles, and measurements of the same bundle on
the same machine. `--no-serve` stops before the dashboard.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report, results
from benchmarks.environment import host
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import Missing
from edge_runtime.store import sha256_of

WITHOUT_TORCH = (
    "import sys; sys.modules['torch'] = None; from edge_runtime.cli import main; sys.exit(main(sys.argv[1:]))"
)
PICTURES = "foodvision-mini"  # the run, and the data set that it is trained on
STOPPED = 130  # the exit code of a verb that Ctrl-C stopped; it has said so


def main(argv: list[str]) -> int:
    """Trains, exports, runs, measures, and shows."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--no-serve", action="store_true", help="stop before the dashboard")
    args = parser.parse_args(argv)
    pictures = train_pictures()
    lokma("train", "cartpole-dqn")
    bundles = [Path("bundles") / name for name in (pictures, "cartpole")]
    for bundle in bundles:
        lokma("export", f"runs/{bundle.name}")
    run(bundles[0])
    for bundle in bundles:
        measure(bundle)
    if not args.no_serve:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a page is closed
            lokma("dashboard")
    return 0


def train_pictures() -> str:
    """FoodVision Mini where its pictures can be had, else scikit-learn's digits; returns the run's name.

    Only what is missing of the pictures is replaced; anything else that `lokma train` misses ends the demo.
    """
    code, said = heard(verb("train", "foodvision"))
    if code == 0:
        return PICTURES
    if code != Missing.exit_code or not any(line.startswith(f"lokma: {PICTURES} ") for line in said):
        raise SystemExit(code)
    say("the food pictures cannot be had here; the demo goes on with scikit-learn's 1,797 real digits")
    lokma("train", "multiclass-digits")
    return "digits"


def run(bundle: Path) -> None:
    """A picture of the bundle through every artifact, with torch blocked: the way it runs on a device."""
    golden = next(iter(sorted((bundle / "golden").glob("*.png"))))
    for artifact in open_bundle(bundle).artifacts:
        command = ["run", str(bundle), str(golden), "--artifact", artifact.id]
        say("lokma " + " ".join(command) + "   (a training picture that the bundle holds; torch blocked)")
        step([sys.executable, "-c", WITHOUT_TORCH, *command])


def measure(bundle: Path) -> None:
    """Benchmarks a bundle, unless this machine has measured this very bundle before."""
    manifest = sha256_of(bundle / "manifest.json")
    newest = measured(results.read().records, manifest, host()["fingerprint"])
    if not newest:
        lokma("bench", str(bundle), "--anyway")  # a laptop is busy; the records and the page say so
        return
    say(f"{bundle} was measured here before, at {newest[0]['time']}; `lokma bench {bundle}` does it again")
    print(f"{report.table(newest)}\n\n{report.against_eager(newest)}", flush=True)


def measured(records: Iterable[Mapping[str, Any]], manifest: str, here: str) -> Sequence[Mapping[str, Any]]:
    """The newest run of a bundle on a machine, if it is whole: device systems and eager torch; else nothing.

    Args:
        records: all that are kept.
        manifest: the sha256 of the bundle's manifest.
        here: the machine's fingerprint.
    """
    known = [
        entry
        for entry in records
        if entry["bundle"].get("sha256") == manifest and entry["host"].get("fingerprint") == here
    ]
    found = report.runs(known)
    targets = {entry["target"] for entry in found[-1] if entry["latency_ns"]} if found else set()
    return found[-1] if {"device", "eager"} <= targets else []


def lokma(*words: str) -> None:
    """Runs a verb as anyone would type it, and stops the demo where it fails."""
    step(verb(*words))


def verb(*words: str) -> list[str]:
    """The command of a verb, which is shown."""
    say("lokma " + " ".join(words))
    return [sys.executable, "-m", "edge_runtime.cli", *words]


def step(command: Sequence[str]) -> None:
    """Runs a command; any exit code but 0 ends the demo with the same code."""
    code = wait(subprocess.Popen(command))
    if code:
        raise SystemExit(code)


def heard(command: Sequence[str]) -> tuple[int, list[str]]:
    """Runs a command; its exit code, and the lines of its stderr, which are shown as they come."""
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
    said: list[str] = []

    def pass_on() -> None:
        assert child.stderr is not None
        with child.stderr as stream:
            for line in stream:
                said.append(line)
                print(line, end="", file=sys.stderr, flush=True)

    listener = threading.Thread(target=pass_on, daemon=True)  # so that nothing is lost while Ctrl-C is waited out
    listener.start()
    try:
        code = wait(child)
    finally:
        listener.join()
    return code, said


def wait(child: subprocess.Popen[Any]) -> int:
    """The child's exit code. After Ctrl-C, which reaches the child too, it may clean up; a second one kills it."""
    try:
        return child.wait()
    except KeyboardInterrupt:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.kill()
            code = child.wait()
        if code == STOPPED:
            raise SystemExit(code) from None
        raise


def say(line: str) -> None:
    """One line of the story."""
    print(f"\n== {line}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print(
            "\nlokma: the demo was stopped by Ctrl-C; `make demo` goes on with what is finished",
            file=sys.stderr,
        )
        sys.exit(130)
