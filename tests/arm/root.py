"""An arm64 system without a Pi: Debian's Python, onnxruntime and lokma's wheel, run by qemu-user.

Nothing is chrooted, registered or installed on this machine. Each part lies in `LOKMA_HOME/arm` beside the
hash of what made it, so that only what changed is made again, in its place.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from boards import BOARDS, write_files

from edge_runtime import store

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
TOOLS = dict([("qemu-aarch64", "qemu-user"), COMPILER, ("dpkg-deb", "dpkg"), ("apt-get", "apt")])  # and their packages


def require_tools() -> None:
    """Ends with exit code 3 and one sentence where a tool is missing."""
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        packages = " ".join(TOOLS[tool] for tool in missing)
        refuse(f"make test-arm needs {' and '.join(missing)}; on Debian and Ubuntu: apt install {packages}")


def refuse(sentence: str) -> NoReturn:
    """Says what is missing and ends."""
    print(sentence, file=sys.stderr)
    raise SystemExit(3)


def run(board: str, arguments: Sequence[Any], **options: Any) -> subprocess.CompletedProcess:
    """Runs the emulated board's Python, which has lokma's wheel and onnxruntime, with `arguments`.

    Args:
        board: a key of `BOARDS`.
        arguments: what follows `python3`, such as `["-m", "edge_runtime.cli", "run", …]`.
        options: as `subprocess.run` takes them; `env` adds to this process's environment.
    """
    if board not in BOARDS:
        refuse(f"there is no board {board}; the boards are {', '.join(BOARDS)}")
    qemu, root = shutil.which("qemu-aarch64"), board_root(board)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {
        "PYTHONPATH": os.pathsep.join(map(str, (lokma(), site(), HERE))),
        "PYTHONSAFEPATH": "1",  # or the lokma of the working folder would come before the wheel
        "PYTHONPYCACHEPREFIX": str(arm() / "bytecode"),  # else the emulation compiles it every time
        "QEMU_LD_PREFIX": str(root),
        "QEMU_CPU": BOARDS[board].cpu,
        "LOKMA_ARM_QEMU": str(qemu),
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

    return made(board, fill, HERE / "boards.py", str(debian()))


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
            options = {"env": {**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}}
            subprocess.run(["apt-get", "update", "-qq"], check=True, **options)
            fetch = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "--download-only", *DEBIAN]
            if subprocess.run(fetch, stdout=subprocess.DEVNULL, **options).returncode:
                refuse("apt's sources on this machine have no arm64 packages; add a mirror that has them")
            for package in sorted((apt / "cache/archives").glob("*.deb")):
                subprocess.run(["dpkg-deb", "-x", package, into], check=True)
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
        subprocess.run([*command, "--constraint", constraints, *PACKAGES], check=True)

    return made("site", fill, version, PACKAGES, constraints)


@functools.cache
def lokma() -> Path:
    """The aarch64 wheel, built as `make wheels` builds it, and unpacked."""

    def fill(into: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
            environment = {**os.environ, "LOKMA_PLATFORM": PLATFORM}
            subprocess.run([*command, "--wheel-dir", scratch, REPOSITORY], check=True, env=environment)
            (wheel,) = Path(scratch).glob(f"*-{PLATFORM}.whl")
            zipfile.ZipFile(wheel).extractall(into)

    files = sorted((REPOSITORY / "edge_runtime").rglob("*"))
    sources = [path for path in files if path.is_file() and path.parent.name[0] != "_"]
    return made(
        "lokma", fill, *sources, *(REPOSITORY / name for name in ("pyproject.toml", "hatch_build.py", "README.md"))
    )


@functools.cache
def tiny_bundles() -> Path:
    """The tests' tiny models, lowered here by every export recipe, with this machine's answers."""

    def fill(into: Path) -> None:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", HERE / "tiny.py"]
        subprocess.run(command, check=True, cwd=REPOSITORY, env={**os.environ, "LOKMA_ARM_TINY": str(into)})

    sources = [path for room in ("edge_runtime", "export") for path in sorted((REPOSITORY / room).rglob("*.py"))]
    names = (
        "edge_runtime/native.cpp",
        "tests/conftest.py",
        "tests/arm/answers.py",
        "tests/arm/tiny.py",
        "constraints.txt",
    )
    return made("tiny", fill, *sources, *(REPOSITORY / name for name in names))
