import json
import os
import subprocess
import sys

import pytest

from edge_runtime import doctor as doctors
from edge_runtime.doctor import cpu, doctor, engine, gpu, memory, python, temperature, throttling

PI3 = """processor\t: 0
BogoMIPS\t: 38.40
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd03
CPU revision\t: 4

Revision\t: a020d3
Serial\t\t: 0000000000000000
Model\t\t: Raspberry Pi 3 Model B Plus Rev 1.3
"""
PI4 = PI3.replace("0xd03", "0xd08").replace("Pi 3 Model B Plus Rev 1.3", "Pi 4 Model B Rev 1.4")
PI5 = PI3.replace("0xd03", "0xd0b").replace(
    "fp asimd evtstrm crc32 cpuid",
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
)
PI4_32 = """processor\t: 0
model name\t: ARMv7 Processor rev 3 (v7l)
BogoMIPS\t: 108.00
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32
CPU part\t: 0xd08
"""
X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse4_2 avx avx2 fma\nbugs\t\t:\n"
SMI = """
==============NVSMI LOG==============

Timestamp                                 : Mon Nov 23 12:00:00 2026
Driver Version                            : 550.54.15
CUDA Version                              : 12.4

Attached GPUs                             : 1
GPU 00000000:00:04.0
    Product Name                          : NVIDIA H100 80GB HBM3
    Product Brand                         : NVIDIA
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            PI3,
            "board (Cortex-A53): no dotprod, no i8mm, no fp16; int8 may gain little over fp32: lokma tune measures it",
        ),
        (
            PI4,
            "board (Cortex-A72): no dotprod, no i8mm, no fp16; int8 may gain little over fp32: lokma tune measures it",
        ),
        (PI5, "board (Cortex-A76): has dotprod, no i8mm, has fp16; int8 gains most"),
        (
            PI4_32,
            "board (Cortex-A72): no dotprod, no i8mm, no fp16; int8 may gain little over fp32: lokma tune measures it",
        ),
        (X86, "board: has AVX2, no VNNI; int8 may gain little over fp32: lokma tune measures it"),
        (X86.replace("fma", "fma avx512_vnni"), "board: has AVX2, has VNNI; int8 gains most"),
        (X86.replace("fma", "fma avx_vnni"), "board: has AVX2, has VNNI; int8 gains most"),
        ("", "board; the system does not list its features"),
    ],
)
def test_the_processors_features_that_matter_are_named(text, says):
    assert cpu(text, "board").detail == says


@pytest.mark.parametrize(
    ("version", "bits", "machine", "ok", "says"),
    [
        ((3, 11, 2), 64, "aarch64", True, "Python 3.11.2, 64-bit, on aarch64"),
        ((3, 10, 9), 64, "x86_64", False, "lokma needs Python 3.11 or newer"),
        ((3, 11, 2), 32, "armv7l", False, "armv7l: 32-bit systems are not supported; install a 64-bit system"),
        ((3, 11, 2), 32, "aarch64", False, "the kernel is 64-bit, the system on it is not; install a 64-bit system"),
    ],
)
def test_a_32_bit_system_and_an_old_python_are_refused_with_the_reason(version, bits, machine, ok, says):
    found = python(version, bits, machine)
    assert found.ok is ok and found.detail.endswith(says)


@pytest.mark.parametrize(
    ("said", "ok", "says"),
    [
        ("throttled=0x0", True, "never"),
        (
            "throttled=0x50005",
            None,
            "the supply's voltage is too low; throttled; the supply's voltage is too low at times since the start; "
            "throttled at times since the start; a stronger supply helps",
        ),
        ("throttled=0x50000", None, "throttled at times since the start; a stronger supply helps"),
        (
            "throttled=0x80008",
            None,
            "too warm, the clock is lowered; too warm, the clock is lowered at times since the start",
        ),
        ("throttled=0x20002", None, "the clock is capped; the clock is capped at times since the start"),
        ("VCHI initialization failed", None, "not known: there is no vcgencmd here, or it did not answer"),
        (None, None, "not known: there is no vcgencmd here, or it did not answer"),
    ],
)
def test_what_vcgencmd_says_becomes_words(said, ok, says):
    found = throttling(said)
    assert found.ok is ok and found.detail.endswith(says)


def test_the_gpu_its_driver_and_cuda_are_one_line():
    assert gpu(SMI).detail == "NVIDIA H100 80GB HBM3; driver 550.54.15, CUDA 12.4; not used here"
    assert gpu(SMI.split("Attached")[0]).detail == "none answers; driver 550.54.15, CUDA 12.4; not used here"
    assert gpu(None).detail == "no NVIDIA driver here; the engines run on the processor"


def test_memory_and_temperature_warn_and_never_fail():
    plenty = memory("MemTotal:  3885784 kB\nMemAvailable:  3000000 kB\n", 3_979_042_816)
    assert plenty.ok and plenty.detail == "4.0 GB, 3.0 GB free"
    little = memory("MemAvailable:     150000 kB\n", 450_000_000)
    assert little.ok is None and little.detail == "0.5 GB, 0.1 GB free: little"
    assert memory("", None).detail == "the system does not say"
    assert temperature({1: "48312", 2: "61800"}).detail == "61.8 °C" and temperature({1: "48312"}).ok
    assert temperature({1: "84700"}).ok is None and temperature({1: ""}).detail == "the system does not say"


def test_an_illegal_instruction_is_a_finding_that_says_what_to_use():
    found = engine("onnxruntime", -4, "", "")
    assert found.ok is False and found.detail == (
        "ends with SIGILL here: its wheel uses instructions that this processor lacks; use .pte artifacts, "
        "or install another version"
    )
    assert "SIGILL" in engine("onnxruntime", 0xC000001D, "", "").detail
    assert engine("executorch", -11, "", "").detail.startswith("does not run here: it was ended by SIGSEGV; use .onnx")
    assert (
        "ImportError: no libomp; use .pte" in engine("onnxruntime", 1, "", "Traceback\nImportError: no libomp\n").detail
    )
    assert engine("executorch", 0, "executorch 1.5.1 answers", "").detail == "executorch 1.5.1 answers"


def test_an_engine_that_ends_its_process_is_tried_in_another_one(monkeypatch, tmp_path):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nkill -s ILL $$\n")
    fake.chmod(0o755)
    monkeypatch.setattr(doctors.sys, "executable", str(fake))
    monkeypatch.setattr(doctors.engines, "available", lambda name: name == "onnxruntime")
    found = doctor()
    (bad,) = [entry for entry in found["checks"] if entry["ok"] is False]
    assert not found["ok"] and bad["name"] == "onnxruntime" and "SIGILL" in bad["detail"]


def test_an_engine_that_does_not_run_breaks_nothing_while_another_answers(monkeypatch):
    def tried(name):
        return engine(name, -4 if name == "onnxruntime" else 0, f"{name} answers", "")

    monkeypatch.setattr(doctors, "tried", tried)
    found = {one.name: one for one in doctors._engines()}
    assert found["executorch"].ok and found["onnxruntime"].ok is None
    assert found["onnxruntime"].detail.startswith("ends with SIGILL here")


def test_an_engine_that_the_system_cannot_start_is_a_finding(monkeypatch):
    monkeypatch.setattr(doctors.sys, "executable", "/nowhere/python")
    assert doctors.tried("onnxruntime").detail == "cannot be tried: No such file or directory"


def test_a_device_without_any_engine_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(doctors.engines, "available", lambda name: False)
    found = doctor()
    assert [entry["detail"] for entry in found["checks"] if entry["ok"] is False] == [
        "there is none, so nothing can run: pip install 'lokma[onnx]'"
    ]


def test_a_home_that_cannot_be_written_breaks_use(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "file" / "home"))
    found = doctors._home()
    assert found.ok is False and found.detail.startswith("cannot be written, so nothing can be installed or tuned")


def test_a_missing_tool_names_the_package_that_brings_it(monkeypatch):
    monkeypatch.setattr(doctors.shutil, "which", lambda name: None)
    assert doctors._tool("ssh", "lokma install --on").detail == (
        "not here, so no lokma install --on: on Debian and Raspberry Pi OS, apt install openssh-client"
    )


def test_the_command_prints_every_finding_and_passes_here(lokma):
    done = lokma("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[:4]] == ["python", "cpu", "cores", "memory"]
    found = json.loads(lokma("doctor", "--json").stdout)
    assert found["ok"] and {"name", "ok", "detail"} == set(found["checks"][0])


def test_a_probe_runs_the_example_by_one_engine():
    done = subprocess.run([sys.executable, "-m", "edge_runtime.doctor", "executorch"], capture_output=True, text=True)
    assert done.stdout.startswith("executorch 1.5.1 answers the example with xnnpack-")


def test_the_command_exits_1_where_use_is_broken(lokma, tmp_path):
    (tmp_path / "file").touch()
    done = lokma("doctor", env={**os.environ, "LOKMA_HOME": str(tmp_path / "file")})
    assert done.returncode == 1 and done.stderr.startswith("lokma: lokma cannot be used here as it is: home: ")
