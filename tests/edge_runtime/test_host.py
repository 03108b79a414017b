import time

import pytest

from benchmarks import environment
from edge_runtime import host as hosts
from edge_runtime.host import busy, cpu_of, host

PI = [
    "processor\t: 0\n",
    "Features\t: fp asimd\n",
    "Hardware\t: BCM2835\n",
    "Model\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
]


def test_the_fingerprint_is_of_what_stays_the_same(monkeypatch):
    monkeypatch.setattr(hosts, "_system", lambda: ("Linux", "6.18.44-v8+", "aarch64"))
    monkeypatch.setattr(hosts, "_cpu", lambda: "Raspberry Pi 4 Model B Rev 1.4")
    monkeypatch.setattr(hosts, "_memory", lambda: 3_979_042_816)
    monkeypatch.setattr(hosts.os, "cpu_count", lambda: 4)
    found = host()
    assert found["fingerprint"] == "9b5306b06323" and found["system"] == "Linux 6.18.44"
    assert list(found) == ["fingerprint", "cpu", "cores", "usable_cores", "machine", "system", "memory_bytes", "python"]
    monkeypatch.setattr(hosts, "usable_cores", lambda: 1)
    assert host()["fingerprint"] == found["fingerprint"]
    monkeypatch.setattr(hosts, "_cpu", lambda: "Raspberry Pi 5 Model B Rev 1.0")
    assert host()["fingerprint"] != found["fingerprint"]


def test_the_processor_is_named_as_the_system_names_it():
    assert cpu_of(["processor : 0", "model name\t: AMD EPYC 9R14\n", "Model : another"]) == "AMD EPYC 9R14"
    assert cpu_of(PI) == "Raspberry Pi 4 Model B Rev 1.4"
    assert cpu_of(PI[:-1]) == "BCM2835" and cpu_of(PI[:2]) is None and cpu_of([]) is None


def test_a_system_without_proc_has_a_fingerprint_too(monkeypatch, tmp_path):
    monkeypatch.setattr(hosts, "CPUINFO", tmp_path / "nowhere")
    monkeypatch.delattr(hosts.os, "uname", raising=False)
    monkeypatch.delattr(hosts.os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(hosts.os, "sysconf", raising=False)
    found = host()
    assert len(found["fingerprint"]) == 12 and found["cpu"] and found["memory_bytes"] is None


def test_the_fingerprint_is_quick_enough_for_every_load():
    times = []
    for _ in range(9):
        start = time.perf_counter()
        host()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005


def test_a_busy_or_slowed_host_is_flagged(monkeypatch):
    monkeypatch.setattr(hosts, "_busy_share", lambda seconds: 0.62)
    monkeypatch.setattr(hosts, "read", lambda path: "powersave")
    assert busy(0) == ["other work: 62% of the processors busy before the run", "cpu governor is powersave"]
    monkeypatch.setattr(hosts, "_busy_share", lambda seconds: None)
    monkeypatch.setattr(hosts, "read", lambda path: None)
    assert busy(0) == []


def test_the_share_of_busy_time_counts_idle_and_disk_as_free(monkeypatch):
    said = iter(["cpu 10 0 10 100 0 0 0 0 0 0\ncpu0 …", "cpu 40 0 20 150 10 0 0 0 0 0\ncpu0 …"])
    monkeypatch.setattr(hosts, "read", lambda path: next(said))
    assert hosts._busy_share(0) == pytest.approx(0.4)


def test_benchmarks_know_the_same_host():
    assert environment.host()["fingerprint"] == host()["fingerprint"] and environment.busy is busy
