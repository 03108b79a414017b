import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import network
from benchmarks.network import PROFILES, Profile, kept
from benchmarks.network_link import Direction
from edge_runtime.errors import BadRequest, EngineError, Missing

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip") or not Path("/dev/net/tun").exists(),
    reason="network namespaces need root, iproute2 and a TUN device",
)
SHORT = Profile(10, 0, 20, 10, 0, "made up")


def test_every_profile_has_a_source_and_stays_within_what_the_link_carries():
    for profile in PROFILES.values():
        assert profile.source
        assert profile.rtt_ms is None or max(profile.down_mbit, profile.up_mbit) <= 100
    assert network.describe("3g")["emulated"] is True


def test_an_unknown_profile_is_refused_with_the_known_ones():
    with pytest.raises(BadRequest, match="there is no network profile '5g'; the profiles are lan, wifi, lte, 3g"):
        network.describe("5g")


def test_without_root_or_namespaces_a_profile_is_refused_and_never_faked(monkeypatch):
    monkeypatch.setattr(network.shutil, "which", lambda name: "/sbin/ip")
    monkeypatch.setattr(network.os, "geteuid", lambda: 1000)
    with pytest.raises(Missing, match="the network lte is emulated in network namespaces, which only root may make"):
        network.opened("lte").__enter__()
    monkeypatch.setattr(network.shutil, "which", lambda name: None)
    with pytest.raises(Missing, match="package iproute2"):
        network.opened("lte").__enter__()


def test_a_link_is_held_to_its_profile_within_a_tenth_or_a_millisecond():
    assert kept(SHORT, {"rtt_ms": 10.9, "down_mbit": 18.1, "up_mbit": 10.9}) == []
    assert kept(SHORT, {"rtt_ms": 11.1, "down_mbit": 17.9, "up_mbit": 11.1}) == [
        "rtt_ms is 11.10, the profile says 10",
        "down_mbit is 17.90, the profile says 20",
        "up_mbit is 11.10, the profile says 10",
    ]
    assert kept(PROFILES["lan"], {"rtt_ms": 5.0, "down_mbit": 1.0, "up_mbit": 1.0}) == []


def test_packets_keep_their_order_under_jitter_and_a_full_queue_drops_them():
    way = Direction(rate_mbit=1, delay_ms=50, jitter_ms=20, loss=0, seed=0)
    taken = [way.take(bytes([number]) + bytes(999), now=0.0) for number in range(100)]
    assert taken.count(True) == 64  # half a second at a megabit, after which the buffer of 64 kB is full
    assert [packet[0] for packet in way.due(60)] == list(range(64))


def test_a_share_of_the_packets_is_lost():
    way = Direction(rate_mbit=1000, delay_ms=0, jitter_ms=0, loss=0.1, seed=0)
    assert sum(way.take(b"x", now=float(at)) for at in range(10_000)) == 8974


@needs_root
def test_a_link_reaches_a_server_and_leaves_nothing_behind():
    with network.opened("short", SHORT) as link:
        assert link.describe()["profile"] == "short" and link.describe()["measured"] == link.measured
        server = link.run_server(
            [
                sys.executable,
                "-c",
                "import socket; socket.create_server(('', 8000)).accept()[0].send(b'hi')",
            ]
        )
        code = (
            f"import socket, time\nfor _ in range(100):\n  try: s = "
            f"socket.create_connection(({link.address!r}, 8000))\n"
            "  except OSError: time.sleep(0.1); continue\n  print(s.recv(9)); break"
        )
        said = subprocess.run(link.client([sys.executable, "-c", code]), capture_output=True, text=True)
        assert said.stdout == "b'hi'\n"
        server.wait(10)
        here = {path.name for path in Path("/run/netns").glob(f"lokma-{os.getpid()}-*")}
        assert len(here) == 2
    assert not list(Path("/run/netns").glob(f"lokma-{os.getpid()}-*"))


@needs_root
def test_what_a_killed_process_left_is_swept_away():
    ended = subprocess.Popen(["true"])
    ended.wait()
    subprocess.run(["ip", "netns", "add", f"lokma-{ended.pid}-ab-c"], check=True)
    network.sweep()
    assert not Path(f"/run/netns/lokma-{ended.pid}-ab-c").exists()


@needs_root
def test_a_link_that_does_not_keep_its_profile_is_refused(monkeypatch):
    monkeypatch.setattr(network, "_probed", lambda link: {"rtt_ms": 99.0, "down_mbit": 20.0, "up_mbit": 10.0})
    with pytest.raises(EngineError, match=r"does not keep its profile: rtt_ms is 99\.00, the profile says 10"):
        network.opened("short", SHORT).__enter__()
