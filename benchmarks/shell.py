"""The target `ssh://user@host`: what is measured there runs there, by edge_runtime alone; its answers come home.

The wheel (`--wheel`), the bundle and the inputs go over `edge_runtime.remote`, which goes on where a transfer was cut
and sends nothing twice. There, a relay starts the same worker as here and times its cold start by that machine's own
clock; queries are timed inside the worker, so that the way between the machines is in no figure.
"""

from __future__ import annotations

import functools
import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime import remote, worker
from edge_runtime.errors import Missing
from edge_runtime.store import sha256_of

if TYPE_CHECKING:
    from benchmarks.targets import Asked, System

PATIENCE_S = 600.0  # for one block; a host that is gone is noticed by ssh itself after 45 s
# For any POSIX shell. The sibling of `lokma` is the Python that it was installed into.
_PYTHON = """python=$(dirname "$1")/python; shift; exec "$python" "$@" """
_UNPACK = """cd "$HOME/.lokma" && mkdir -p bench || exit 1
find bench -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} +
[ -d "bench/$2" ] || { rm -rf "bench/$2.new" &&
"$(dirname "$1")/python" -m zipfile -e "incoming/$2.zip" "bench/$2.new" && mv "bench/$2.new" "bench/$2"; } || exit 1
rm -f "incoming/$2.zip"; echo "lokma:at $HOME/.lokma/bench/$2" """
_UNPACKED = """[ -d "$HOME/.lokma/bench/$1" ] && echo "lokma:at $HOME/.lokma/bench/$1"; true"""
_LOOK = (
    "import json; from edge_runtime import engines, host; print('lokma:here ' + json.dumps({'host': host.host(), "
    "'flags': host.busy(), 'engines': [name for name in engines.ENGINES if engines.available(name)]}))"
)


class Far(worker.Worker):
    """A worker behind a relay on another machine, which knows the inputs by its own paths."""

    def __init__(self, command: Sequence[str], paths: dict[str, str]) -> None:
        super().__init__(command, PATIENCE_S)
        self._paths = paths

    def ask(self, inputs: Sequence[Any], *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        """As `Worker.ask`; inputs are named as they are here."""
        there = [self._paths.get(given, given) if isinstance(given, str) else given for given in inputs]
        return super().ask(there, *arguments, **options)


def systems(asked: Asked, host: str) -> list[System]:
    """One system an artifact that an engine there can run.

    Raises:
        BadRequest: that is no host.
        Missing: it does not answer, has no lokma, or no engine for any artifact.
    """
    from benchmarks.targets import System, described

    lokma = remote.find(host, asked.wheel)
    here = json.loads(remote.ask(host, "looking at the machine", _PYTHON, lokma, "-c", _LOOK)["here"])
    chosen = [artifact for artifact in asked.chosen() if artifact.engine in here["engines"]]
    if not chosen:
        raise Missing(f"{host} has no engine for {', '.join(artifact.id for artifact in asked.chosen())}")
    with remote.zipped(asked.bundle) as file:
        bundle = _unpacked(host, lokma, file)
    paths = _inputs(host, lokma, asked.inputs)
    found = []
    for artifact in chosen:
        words = ("-m", "edge_runtime.worker", "relay", bundle, artifact.id, str(asked.threads))
        start = functools.partial(Far, remote.command(host, _PYTHON, lokma, *words), paths)
        fields = {"host": here["host"], "flags": [f"{host}: {flag}" for flag in here["flags"]]}
        found.append(System(f"ssh {host} {artifact.id}", "ssh", described(artifact), start, fields=fields))
    return found


def _inputs(host: str, lokma: str, inputs: Sequence[Any]) -> dict[str, str]:
    """Sends the pictures; their paths here, and there. Rows need no file."""
    files = {given: Path(given) for given in inputs if isinstance(given, str)}
    if not files:
        return {}
    names = {given: f"{number:06d}{path.suffix.lower()}" for number, (given, path) in enumerate(files.items())}
    with tempfile.TemporaryDirectory(prefix="lokma-inputs-") as folder:
        file = Path(folder) / "inputs.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # photographs do not shrink
            for given, name in names.items():
                archive.writestr(zipfile.ZipInfo(name), files[given].read_bytes())
        there = _unpacked(host, lokma, file)
    return {given: f"{there}/{name}" for given, name in names.items()}


def _unpacked(host: str, lokma: str, file: Path) -> str:
    """The folder there that holds what is in an archive, which is sent where it is not there yet."""
    digest = sha256_of(file)
    there = remote.ask(host, "looking for what was sent before", _UNPACKED, digest)
    if "at" not in there:
        remote.send(host, file, f"{digest}.zip")
        there = remote.ask(host, "unpacking what was sent", _UNPACK, lokma, digest)
    return there["at"]
