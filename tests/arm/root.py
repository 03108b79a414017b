"""An arm64 system without a Pi: Debian's Python, onnxruntime and lokma's wheel, run by qemu-user.

Nothing is chrooted, registered or installed on this machine. Each part lies in `LOKMA_HOME/arm` under a
name that holds the hash of what made it, so that only what changed is made again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from boards import BOARDS, write_files

from edge_runtime import store

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
DEBIAN = ("python3", "libstdc++6", "libgomp1")  # apt finds what these need, whatever the release
PACKAGES = ("hypothesis", "numpy", "onnx", "onnxruntime", "pillow", "pytest")
PLATFORM = "manylinux_2_28_aarch64"
GLIBCS = (PLATFORM, "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
APT = """
Dir::State "{0}/state"; Dir::State::status "{0}/status"; Dir::Cache "{0}/cache"; Debug::NoLocking "true";
APT::Architecture "arm64"; APT::Architectures {{"arm64";}}; APT::Sandbox::User ""; Acquire::Languages "none";
"""
TOOLS = {"qemu-aarch64": "qemu-user", "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu", "dpkg-deb": "dpkg"}


def require_tools() -> None:
    """Ends with exit code 3 and one sentence where a tool is missing."""
    native = platform.machine() == "aarch64"
    missing = [tool for tool in TOOLS if not shutil.which(tool) and not (native and tool.endswith("g++"))]
    if not shutil.which("apt-get"):
        refuse("make test-arm makes its arm64 system from Debian's packages by apt-get, which is not on this machine")
    if missing:
        packages = " ".join(TOOLS[tool] for tool in missing)
        refuse(f"make test-arm needs {' and '.join(missing)}; on Debian and Ubuntu: apt install {packages}")


def refuse(sentence: str) -> None:
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
    root = board_root(board)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {
        "PYTHONPATH": os.pathsep.join(map(str, (lokma(), site(), HERE))),
        "PYTHONSAFEPATH": "1",  # or the lokma of the working folder would come before the wheel
        "PYTHONPYCACHEPREFIX": str(arm() / "bytecode"),  # else the emulation compiles it every time
        "QEMU_LD_PREFIX": str(root),
        "QEMU_CPU": BOARDS[board].cpu,
        **options.pop("env", {}),
    }
    command = ["qemu-aarch64", f"{root}/usr/bin/{python()}", *map(str, arguments)]
    return subprocess.run(command, env=environment, **options)


def arm() -> Path:
    """Where all of it lies."""
    return store.home().resolve() / "arm"


def board_root(board: str) -> Path:
    """What qemu shows the guest: Debian's files, and the kernel's as on this board."""
    with made(f"{board}-{debian().name}", HERE / "boards.py") as (folder, building):
        if building:
            for name in ("lib", "usr"):
                (building / name).symlink_to(debian() / name)
            write_files(BOARDS[board], building)
    return folder


@functools.cache
def debian() -> Path:
    """Debian's arm64 packages of this machine's release, unpacked."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
    with made(f"debian-{release}", DEBIAN) as (folder, building), tempfile.TemporaryDirectory() as scratch:
        if building:
            apt = Path(scratch)
            (apt / "status").touch()
            for name in ("state/lists/partial", "cache/archives/partial"):
                (apt / name).mkdir(parents=True)
            (apt / "apt.conf").write_text(APT.format(apt))
            options = {"env": {**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}}
            subprocess.run(["apt-get", "update", "-qq"], check=True, **options)
            fetch = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "--download-only", *DEBIAN]
            if subprocess.run(fetch, stdout=subprocess.DEVNULL, **options).returncode:
                refuse("apt's sources on this machine have no arm64 packages; add a mirror that has them")
            for package in sorted((apt / "cache/archives").glob("*.deb")):
                subprocess.run(["dpkg-deb", "-x", package, building], check=True)
            if not (building / "lib").exists():  # from Debian 13 on base-files makes this link
                (building / "lib").symlink_to("usr/lib")
    return folder


def python() -> str:
    """The name of Debian's Python: python3.11 on Debian 12."""
    return (debian() / "usr/bin/python3").readlink().name


@functools.cache
def site() -> Path:
    """The packages from pip's index, at the versions of constraints.txt."""
    constraints, version = REPOSITORY / "constraints.txt", python().removeprefix("python")
    with made(f"site-{version}", PACKAGES, constraints) as (folder, building):
        if building:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", building, "--no-compile"]
            command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", version]
            command += [part for name in GLIBCS for part in ("--platform", name)]
            command += [part for abi in ("cp" + version.replace(".", ""), "abi3", "none") for part in ("--abi", abi)]
            subprocess.run([*command, "--constraint", constraints, *PACKAGES], check=True)
    return folder


@functools.cache
def lokma() -> Path:
    """The aarch64 wheel, built and unpacked."""
    files = sorted((REPOSITORY / "edge_runtime").rglob("*"))
    sources = [path for path in files if path.is_file() and path.parent.name[0] != "_"]
    sources += [REPOSITORY / name for name in ("pyproject.toml", "hatch_build.py", "README.md")]
    with made("lokma", *sources) as (folder, building):
        if building:
            with tempfile.TemporaryDirectory() as scratch:
                command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
                command += ["--wheel-dir", scratch, REPOSITORY]
                subprocess.run(command, check=True, env={**os.environ, "LOKMA_PLATFORM": PLATFORM})
                (wheel,) = Path(scratch).glob(f"*-{PLATFORM}.whl")
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(building)
    return folder


@functools.cache
def tiny_bundles() -> Path:
    """The tests' tiny models, lowered here by every export recipe: the guest has no torch."""
    sources = [path for room in ("edge_runtime", "export") for path in sorted((REPOSITORY / room).rglob("*.py"))]
    sources += [REPOSITORY / "tests/conftest.py", HERE / "tiny.py", REPOSITORY / "constraints.txt"]
    with made("tiny", *sources) as (folder, building):
        if building:
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", HERE / "tiny.py"]
            environment = {**os.environ, "LOKMA_ARM_TINY": str(building)}
            subprocess.run(command, check=True, cwd=REPOSITORY, env=environment)
    return folder


@contextlib.contextmanager
def made(name: str, *of: Any) -> Iterator[tuple[Path, Path | None]]:
    """Gives a folder named by what it is made of, and, where it is not there yet, an empty one that becomes it."""
    digest = hashlib.sha256()
    for part in of:
        digest.update(part.read_bytes() if isinstance(part, Path) else str(part).encode())
    folder = arm() / f"{name}-{digest.hexdigest()[:12]}"
    if folder.is_dir():
        yield folder, None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        building = Path(scratch) / "made"
        building.mkdir()
        yield folder, building
        building.rename(folder)
