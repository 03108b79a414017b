"""An arm64 system without a Pi: Debian's Python, onnxruntime and lokma's wheel, run by qemu-user.

Nothing is chrooted, registered or installed on this machine. Each part lies in `LOKMA_HOME/arm` beside the
hash of what made it, so that only what changed is made again, in its place.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from edge_runtime import store
from edge_runtime.errors import BadRequest, Missing
from edge_runtime.writing import locked
from export.boards.pis import BOARDS, write_files

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
DEBIAN = ("python3", "libstdc++6", "libgomp1")  # apt finds what these need, whatever the release
PACKAGES = ("gymnasium", "hypothesis", "numpy", "onnx", "onnxruntime", "pillow", "pytest")
PLATFORM = "manylinux_2_28_aarch64"
GLIBCS = (PLATFORM, "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
APT = """
Dir::State "{0}/state"; Dir::State::status "{0}/status"; Dir::Cache "{0}/cache"; Debug::NoLocking "true";
APT::Architecture "arm64"; APT::Architectures {{"arm64";}}; APT::Sandbox::User ""; Acquire::Languages "none";
"""
COMPILER = ("g++", "g++") if platform.machine() == "aarch64" else ("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
BUILDERS = ("hatchling", "pip")
TOOLS = dict([("qemu-aarch64", "qemu-user"), COMPILER, ("dpkg-deb", "dpkg"), ("apt-get", "apt")])  # and their packages


def missing() -> str | None:
    """One sentence on what must be installed before a board can be emulated here, or None."""
    if tools := [tool for tool in TOOLS if not shutil.which(tool)]:
        packages = " ".join(TOOLS[tool] for tool in tools)
        return f"an emulated board needs {' and '.join(tools)}; on Debian and Ubuntu: apt install {packages}"
    if parts := [name for name in BUILDERS if importlib.util.find_spec(name) is None]:
        return f"an emulated board needs {' and '.join(parts)} to build lokma's wheel; pip install {' '.join(parts)}"
    return None


def require() -> None:
    """Goes on only where a board can be emulated.

    Raises:
        Missing: something must be installed first.
    """
    if lacks := missing():
        raise Missing(lacks)


def alone() -> AbstractContextManager[None]:
    """Holds the boards for this process; `BadRequest` where another one makes or runs them."""
    return locked(arm() / "lock", f"another process is at work in {arm()}; wait for its end")


def prepare() -> None:
    """Makes what is not made yet: a minute or two the first time, then nothing.

    Raises:
        Missing: a tool, a package index or apt's arm64 packages are not here.
    """
    require()
    for part in (debian, site, lokma):
        part()
    for board in BOARDS:
        board_root(board)


def run(board: str, arguments: Sequence[Any], path: Sequence[Path] = (), **options: Any) -> subprocess.CompletedProcess:
    """Runs the emulated board's Python, which has lokma's wheel and onnxruntime, with `arguments`.

    Args:
        board: a key of `BOARDS`.
        arguments: what follows `python3`, such as `["-m", "edge_runtime.cli", "run", …]`.
        path: more folders that it imports from.
        options: as `subprocess.run` takes them; `env` adds to this process's environment.

    Raises:
        BadRequest: there is no such board.
        Missing: as `prepare`.
    """
    if board not in BOARDS:
        raise BadRequest(f"there is no board {board}; the boards are {', '.join(BOARDS)}")
    require()
    qemu, root = str(shutil.which("qemu-aarch64")), board_root(board)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {
        "PYTHONPATH": os.pathsep.join(map(str, (lokma(), site(), HERE / "guest", *path))),
        "PYTHONSAFEPATH": "1",  # or the lokma of the working folder would come before the wheel
        "PYTHONPYCACHEPREFIX": str(arm() / "bytecode"),  # else the emulation compiles it every time
        "QEMU_LD_PREFIX": str(root),
        "QEMU_CPU": BOARDS[board].cpu,
        "LOKMA_ARM_QEMU": qemu,
        **options.pop("env", {}),
    }
    return subprocess.run([qemu, f"{root}/usr/bin/{python()}", *map(str, arguments)], env=environment, **options)


def arm() -> Path:
    """Where all of it lies."""
    return store.home().resolve() / "arm"


def made(name: str, fill: Callable[[Path], None], *of: Any) -> Path:
    """The folder `name`; where it is not made of exactly this yet, `fill` is given an empty one for its place."""
    digest = hashlib.sha256()
    for part in of:
        digest.update(part.name.encode() + part.read_bytes() if isinstance(part, Path) else repr(part).encode())
    folder, note = arm() / name, arm() / f"{name}.sha256"
    if folder.is_dir() and note.is_file() and note.read_text() == digest.hexdigest():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        building = Path(scratch) / "made"
        building.mkdir()
        fill(building)
        note.unlink(missing_ok=True)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        building.rename(folder)
    note.write_text(digest.hexdigest())
    return folder


def board_root(board: str) -> Path:
    """What qemu shows the guest: Debian's files, and the kernel's as on this board."""

    def fill(into: Path) -> None:
        for name in ("lib", "usr"):
            (into / name).symlink_to(debian() / name)
        write_files(BOARDS[board], into)

    return made(board, fill, HERE / "pis.py", str(debian()))


@functools.cache
def debian() -> Path:
    """Debian's arm64 packages of this machine's release, unpacked."""

    def fill(into: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            apt = Path(scratch)
            (apt / "status").touch()
            (apt / "apt.conf").write_text(APT.format(apt))
            for name in ("state/lists/partial", "cache/archives/partial"):
                (apt / name).mkdir(parents=True)
            environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
            _done(["apt-get", "update", "-qq"], env=environment)
            fetch = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "--download-only", *DEBIAN]
            if subprocess.run(fetch, stdout=subprocess.DEVNULL, env=environment).returncode:
                raise Missing("apt's sources on this machine have no arm64 packages; add a mirror that has them")
            for package in sorted((apt / "cache/archives").glob("*.deb")):
                _done(["dpkg-deb", "-x", package, into])
        if not (into / "lib").exists():  # from Debian 13 on base-files makes this link
            (into / "lib").symlink_to("usr/lib")

    return made("debian", fill, platform.freedesktop_os_release().get("VERSION_CODENAME"), DEBIAN)


def python() -> str:
    """The name of Debian's Python: python3.11 on Debian 12."""
    return (debian() / "usr/bin/python3").readlink().name


@functools.cache
def site() -> Path:
    """The packages from pip's index, at the versions of constraints.txt."""
    constraints, version = REPOSITORY / "constraints.txt", python().removeprefix("python")

    def fill(into: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", into, "--no-compile"]
        command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", version]
        command += [part for name in GLIBCS for part in ("--platform", name)]
        command += [part for abi in ("cp" + version.replace(".", ""), "abi3", "none") for part in ("--abi", abi)]
        _done([*command, "--constraint", constraints, *PACKAGES])

    return made("site", fill, version, PACKAGES, constraints)


@functools.cache
def lokma() -> Path:
    """The aarch64 wheel, built as `make wheels` builds it, and unpacked."""

    def fill(into: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
            environment = {**os.environ, "LOKMA_PLATFORM": PLATFORM}
            _done([*command, "--wheel-dir", scratch, REPOSITORY], env=environment)
            (wheel,) = Path(scratch).glob(f"*-{PLATFORM}.whl")
            zipfile.ZipFile(wheel).extractall(into)

    files = sorted((REPOSITORY / "edge_runtime").rglob("*"))
    sources = [path for path in files if path.is_file() and path.parent.name[0] != "_"]
    return made(
        "lokma", fill, *sources, *(REPOSITORY / name for name in ("pyproject.toml", "hatch_build.py", "README.md"))
    )


def _done(command: Sequence[Any], **options: Any) -> None:
    """Runs a command that brings a part; what it says itself stands on stderr already."""
    if code := subprocess.run(command, **options).returncode:
        raise Missing(f"the emulated boards cannot be made: {' '.join(map(str, command[:4]))} … ended with {code}")
