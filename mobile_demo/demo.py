"""`make demo`: the whole way, from photographs to a page of numbers, by the same verbs that anyone types.

What has not changed since the last time is reused: runs, bundles, and measurements of the same bundle on
the same machine. `--no-serve` stops before the dashboard.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report, results
from benchmarks.environment import host
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import Missing
from edge_runtime.store import sha256_of

WITHOUT_TORCH = (
    "import sys; sys.modules['torch'] = None; from edge_runtime.cli import main; sys.exit(main(sys.argv[1:]))"
)


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
    node = "is not built yet in this version" if shutil.which("node") else "Node.js is not installed"
    say(f"phone page: skipped ({node})")
    if args.no_serve:
        return 0
    return lokma("dashboard")


def train_pictures() -> str:
    """FoodVision Mini where its pictures can be had, else scikit-learn's digits; returns the run's name."""
    code = lokma("train", "foodvision", accept=(0, Missing.exit_code))
    if code == 0:
        return "foodvision-mini"
    say("the food pictures cannot be had here; the demo goes on with scikit-learn's 1,797 real digits")
    lokma("train", "multiclass-digits")
    return "digits"


def run(bundle: Path) -> None:
    """One real picture through every artifact, with torch blocked: the way it runs on a device."""
    golden = next(iter(sorted((bundle / "golden").glob("*.png"))))
    for artifact in open_bundle(bundle).artifacts:
        command = ["run", str(bundle), str(golden), "--artifact", artifact.id]
        say("lokma " + " ".join(command) + "   (torch blocked)")
        step([sys.executable, "-c", WITHOUT_TORCH, *command])


def measure(bundle: Path) -> None:
    """Benchmarks a bundle, unless this machine has measured this very bundle before."""
    manifest, here = sha256_of(bundle / "manifest.json"), host()["fingerprint"]
    known = [
        entry
        for entry in results.read().records
        if entry["bundle"].get("sha256") == manifest and entry["host"].get("fingerprint") == here
    ]
    if not known:
        lokma("bench", str(bundle))
        return
    newest = report.runs(known)[-1]
    say(f"{bundle} was measured here before, at {newest[0]['time']}; `lokma bench {bundle}` does it again")
    print(f"{report.table(newest)}\n\n{report.against_eager(newest)}", flush=True)


def lokma(*words: str, accept: Sequence[int] = (0,)) -> int:
    """Runs a verb as anyone would type it, and stops the demo where it fails."""
    say("lokma " + " ".join(words))
    return step([sys.executable, "-m", "edge_runtime.cli", *words], accept)


def step(command: Sequence[str], accept: Sequence[int] = (0,)) -> int:
    """Runs a command; any exit code but those accepted ends the demo with the same code."""
    code = subprocess.run(command, check=False).returncode
    if code not in accept:
        raise SystemExit(code)
    return code


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
