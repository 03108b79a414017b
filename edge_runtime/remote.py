"""`lokma install` on another machine, over the system's own `ssh` and the POSIX shell there.

The user's `~/.ssh/config`, keys and known hosts count as in any `ssh HOST`; `LOKMA_SSH` (default `ssh`) may
name another program or add arguments. A transfer that was cut goes on where it stopped; the bundle becomes
active there only by the `lokma install` of that machine, so whatever fails leaves the old one active.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.errors import BadInput, BadRequest, Missing, one_line
from edge_runtime.store import sha256_of
from edge_runtime.zipped import Zip

log = logging.getLogger(__name__)
_CHUNK = 256 << 10
_CUT = 255  # what ssh itself returns where it could not connect or lost the connection
# Scripts for any POSIX shell; what they answer stands in lines `lokma:key value`, among what a login may print.
_FIND = """cd "$HOME" && mkdir -p .lokma/incoming && cd .lokma || exit 1
find incoming -type f -mtime +7 -exec rm -f {} +
found=$HOME/.lokma/venv/bin/lokma; [ -x "$found" ] || found=$(command -v lokma)
echo "lokma:found $found"; echo "lokma:wheel $(cat venv/wheel.sha256 2>/dev/null)" """
_SIZE = """cd "$HOME/.lokma/incoming" || exit 1; [ -f "$1" ] && echo "lokma:done yes"
[ -f "$1.part" ] && echo "lokma:size $(wc -c < "$1.part" | tr -d " ")"; true"""
_RECEIVE = """cd "$HOME/.lokma/incoming" && touch "$1.part" || exit 1
[ "$(wc -c < "$1.part" | tr -d " ")" = "$2" ] || exit 9; cat >> "$1.part" """
_FINISH = """cd "$HOME/.lokma/incoming" || exit 1
sum=$(sha256sum < "$1.part" 2>/dev/null || python3 -c "import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())" < "$1.part")
if [ "${sum%% *}" = "$2" ]; then mv "$1.part" "$1" && echo "lokma:whole yes"; else rm -f "$1.part"; fi"""
# A new folder for every wheel, then one atomic switch: an update that fails half way leaves the old lokma.
_WHEEL = """cd "$HOME/.lokma" || exit 1; new=venv-$1
rm -rf "$new" && python3 -m venv "$new" >&2 || {
  rm -rf "$new"; echo "python3 -m venv failed; on Debian: apt install python3-venv" >&2; exit 1; }
mkdir -p "incoming/$1" && mv "incoming/$1.whl" "incoming/$1/$2" || exit 1
"$new/bin/python" -m pip install --quiet --disable-pip-version-check "incoming/$1/$2" &&
"$new/bin/lokma" --version >/dev/null && echo "$1" > "$new/wheel.sha256" || {
  mv "incoming/$1/$2" "incoming/$1.whl"; rm -rf "$new" "incoming/$1"; exit 1; }
[ -L venv ] || { rm -rf venv.before; [ ! -d venv ] || mv venv venv.before; }
ln -sfn "$new" venv.new && "$new/bin/python" -c "import os; os.replace(\\"venv.new\\", \\"venv\\")" || exit 1
rm -rf "incoming/$1" venv.before; ls -dt venv-* | tail -n +3 | xargs rm -rf"""
_LOKMA = """lokma=$1; shift; exec "$lokma" "$@" """
_INSTALL = """file=$HOME/.lokma/incoming/$1; lokma=$2; shift 2; "$lokma" install "$file" "$@"; code=$?
case "$code" in 0|1|2) rm -f "$file";; esac; exit "$code" """


def install_on(host: str, path: str | Path, arguments: Sequence[str] = (), wheel: Path | None = None) -> int:
    """Sends a bundle and runs `lokma install` there, whose output goes to this process's; returns its exit code.

    Args:
        host: what `ssh` takes: `user@host`, a name of `~/.ssh/config`, or `ssh://user@host:port`.
        path: a bundle folder or its `.zip`; it is opened and hashed here first.
        arguments: more arguments for `lokma install` there.
        wheel: a wheel of lokma to put into `~/.lokma/venv` there first.

    Raises:
        BadInput, BadBundle: the bundle or the wheel cannot be read.
        Missing: the host does not answer, the connection was cut, or there is no lokma there.
    """
    bundle = open_bundle(path)
    bundle.verify()
    lokma = find(host, wheel)
    with zipped(bundle) as file:
        send(host, file, name := f"{sha256_of(file)}.zip")
    return _attached(host, _INSTALL, name, lokma, *arguments)


def lokma_on(host: str, arguments: Sequence[str], wheel: Path | None = None) -> int:
    """Runs `lokma` there with these arguments; returns its exit code."""
    return _attached(host, _LOKMA, find(host, wheel), *arguments)


def find(host: str, wheel: Path | None = None) -> str:
    """The path of lokma on that machine, after the wheel, if one is given, was installed there.

    Raises:
        Missing: there is none, or the wheel could not be installed.
    """
    here = ask(host, "looking for lokma", _FIND)
    if wheel is not None:
        if wheel.suffix != ".whl" or not wheel.is_file():
            raise BadInput(f"{wheel} is not a wheel; `make wheels` writes them to dist/")
        digest = sha256_of(wheel)
        if here.get("wheel") != digest:
            send(host, wheel, f"{digest}.whl")
            ask(host, f"installing {wheel.name}", _WHEEL, digest, wheel.name)
        here = ask(host, "looking for lokma", _FIND)
    if not here.get("found"):
        raise Missing(f"{host} has no lokma; give --wheel lokma-….whl to install it there")
    return here["found"]


def send(host: str, file: Path, name: str) -> None:
    """Sends a file to `~/.lokma/incoming/NAME` there; one that was cut goes on, and one that is there is not sent.

    Args:
        host: what `ssh` takes.
        file: what is sent.
        name: its sha256 and a suffix.

    Raises:
        Missing: the host does not answer, or the connection was cut.
    """
    there, size = ask(host, "looking for what was sent before", _SIZE, name), file.stat().st_size
    if there.get("done"):
        return
    start = int(there.get("size") or 0)
    log.info("sending %s, %.1f MB; %.1f MB of it are there", file.name, size / 1e6, start / 1e6)
    if start < size:
        _stream(host, file, start, name)
    if "whole" not in ask(host, "hashing what was sent", _FINISH, name, name.partition(".")[0]):
        raise Missing(f"{file.name} arrived damaged on {host} and was removed there; run the same command again")


def _stream(host: str, file: Path, start: int, name: str) -> None:
    with file.open("rb") as handle, _process(host, _RECEIVE, name, str(start), stdin=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stderr is not None
        handle.seek(start)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its exit code says what happened
            while chunk := handle.read(_CHUNK):
                child.stdin.write(chunk)
                log.info("sent %.1f MB", handle.tell() / 1e6)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            child.stdin.close()
        said = child.stderr.read()
    if child.returncode != 0:
        raise Missing(f"sending to {host} stopped; the same command goes on from there{_last(said)}")


def ask(host: str, doing: str, script: str, *arguments: str) -> dict[str, str]:
    """Runs a script there and gives what it answered in its `lokma:` lines."""
    with _process(host, script, *arguments) as child:
        out, said = child.communicate()
    if child.returncode != 0:
        what = f"{host} did not answer" if child.returncode == _CUT else f"{doing} on {host} failed"
        raise Missing(f"{what}{_last(said)}")
    lines = [line[6:] for line in out.decode(errors="replace").splitlines() if line.startswith("lokma:")]
    return {key: value for key, _, value in (line.partition(" ") for line in lines)}


def _attached(host: str, script: str, *arguments: str) -> int:
    sys.stdout.flush()
    with _process(host, script, *arguments, stdout=None, stderr=None) as child:
        code = child.wait()
    if code == _CUT:
        raise Missing(f"the connection to {host} was cut; the same command may be given again")
    return code


def command(host: str, script: str, *arguments: str) -> list[str]:
    """What starts a POSIX shell script with arguments there; its streams are the script's.

    Raises:
        BadRequest: that is no host.
    """
    if host.startswith("-") or not host.isprintable() or not host.strip():
        raise BadRequest(f"{host!r} is not a host; give user@host")
    program = shlex.split(os.environ.get("LOKMA_SSH") or "ssh", posix=os.name != "nt")
    options = ["-T", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15"]
    if not sys.stdin or not sys.stdin.isatty():  # nobody there to type a password
        options += ["-o", "BatchMode=yes"]
    remote = shlex.join(["sh", "-c", script, "sh", *arguments])
    return [*program, *options, "--", host, remote]


def _process(host: str, script: str, *arguments: str, **streams: int | None) -> subprocess.Popen[bytes]:
    words = command(host, script, *arguments)
    chosen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    try:
        return subprocess.Popen(words, **chosen)  # type: ignore[call-overload]
    except OSError as error:
        brings = "on Debian: apt install openssh-client"
        raise Missing(f"{words[0]} cannot be started ({error.strerror}); {brings}") from error


@contextlib.contextmanager
def zipped(bundle: Bundle) -> Iterator[Path]:
    """The bundle as one file, the same bytes every time, or a cut transfer could not go on."""
    if isinstance(bundle.source, Zip):
        yield bundle.source.path
        return
    with tempfile.TemporaryDirectory(prefix="lokma-send-") as folder:
        file = Path(folder) / f"{bundle.name}.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # weights hardly shrink
            for name, limit in sorted(bundle.files().items()):
                archive.writestr(zipfile.ZipInfo(name), bundle.source.read(name, limit))
        yield file


def _last(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return f" ({one_line(lines[-1])})" if lines else ""
