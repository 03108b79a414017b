"""Looks for inputs that neither answer nor refuse: `python -m tests.fuzz [--seconds 300]`, shared by the targets.

Guided by coverage (atheris, for Linux and macOS). What it finds interesting is kept in `$LOKMA_HOME/fuzz/TARGET`
and is where the next run starts; an input that fails is written to `tests/fuzz/corpus/TARGET/`, so that the
test suite replays it from then on.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
TARGETS = sorted(folder.name for folder in CORPUS.iterdir())
MEMORY_MB = 4096  # of one process; above it is a finding


def main(argv: list[str]) -> int:
    """Runs every target in a process of its own, since libFuzzer ends its process; returns 1 after a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=300, help="in all (300)")
    parser.add_argument("--target", choices=TARGETS, help="only this one, in this process")
    args = parser.parse_args(argv)
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write("fuzz: atheris is not installed: pip install atheris\n")
        return 3
    if args.target:
        _fuzz(args.target, args.seconds)
    each = max(1, args.seconds // len(TARGETS))
    return max([_run(name, each) for name in TARGETS])  # every target runs, also after a finding


def _run(name: str, seconds: int) -> int:
    command = [sys.executable, "-m", "tests.fuzz", "--target", name, "--seconds", str(seconds)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    said = done.stderr.splitlines()
    ended = [line for line in said if line.startswith("Done ")]
    if done.returncode or not ended:
        sys.stdout.write("\n".join([*said[-40:], f"{name}: a finding, kept in {CORPUS / name}\n"]))
        return 1
    sys.stdout.write(f"{name}: {ended[-1]}\n")
    return 0


def _fuzz(name: str, seconds: int) -> None:
    """Hands the process over to libFuzzer, which never returns."""
    import atheris

    with atheris.instrument_imports(include=["edge_runtime", "PIL", "zipfile", "json"]):
        from edge_runtime.store import home
        from tests.fuzz import targets

    kept = home() / "fuzz" / name
    kept.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY_MB}", "-timeout=20"]
    finding = f"-artifact_prefix={CORPUS / name}/"
    atheris.Setup(["fuzz", *limits, finding, str(kept), str(CORPUS / name)], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
