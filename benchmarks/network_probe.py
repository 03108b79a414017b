"""Measures a link between two namespaces by UDP: its round trip, and its rate each way. Standard library only.

`python network_probe.py server` prints its port and answers; `… client ADDRESS PORT [DOWN, UP]` prints
`{"rtt_ms", "down_mbit", "up_mbit"}`. A rate that is not known is sought at `FAST`.
"""

from __future__ import annotations

import json
import socket
import statistics
import struct
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

ECHOES, SECONDS, SIZE, OVERHEAD, FAST = 15, 1.0, 1400, 28, 2000.0  # OVERHEAD: IP and UDP headers count against a rate


def server() -> NoReturn:
    """Echoes `e…`, floods on `d RATE`, counts `u…` and tells on `c`."""
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    line.bind(("0.0.0.0", 0))
    sys.stdout.write(f"{line.getsockname()[1]}\n")
    sys.stdout.flush()
    arrived: list[float] = []
    while True:
        data, client = line.recvfrom(2048)
        if data[:1] == b"u":
            arrived.append(time.monotonic())
        elif data[:1] == b"e":
            line.sendto(data, client)
        elif data[:1] == b"d":
            flood(line, client, struct.unpack("!d", data[1:])[0], b"d")
        elif data[:1] == b"c":
            line.sendto(struct.pack("!d", mbit(arrived)), client)


def flood(line: socket.socket, target: tuple[str, int], rate_mbit: float, kind: bytes) -> None:
    """Sends a fifth faster than the rate, so that the link and not the sender decides."""
    packet, gap = kind + bytes(SIZE - 1), (SIZE + OVERHEAD) * 8 / (rate_mbit * 1.2e6)
    began = following = time.monotonic()
    while following - began < SECONDS:
        line.sendto(packet, target)
        following += gap
        wait = following - time.monotonic()
        if wait > 0:
            time.sleep(wait)


def mbit(arrived: Sequence[float]) -> float:
    """The rate of packets that arrived at these times, in Mbit/s; the start is left out, while a queue fills."""
    if len(arrived) < 10:
        return 0.0
    steady = arrived[len(arrived) // 10 :]
    return (len(steady) - 1) * (SIZE + OVERHEAD) * 8 / (steady[-1] - steady[0]) / 1e6


def client(address: str, port: int, down: float | None, up: float | None) -> dict[str, float]:
    """Measures, and returns the three figures."""
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    line.connect((address, port))
    line.settimeout(2)
    trips = []
    for number in range(ECHOES):
        began = time.monotonic()
        line.send(b"e%d" % number)
        if heard(line):
            trips.append((time.monotonic() - began) * 1e3)
    line.send(b"d" + struct.pack("!d", down or FAST))
    arrived: list[float] = []
    while heard(line):
        arrived.append(time.monotonic())
    flood(line, (address, port), up or FAST, b"u")
    time.sleep(1)
    line.send(b"c")
    counted = heard(line)
    return {
        "rtt_ms": statistics.median(trips),
        "down_mbit": mbit(arrived),
        "up_mbit": struct.unpack("!d", counted)[0] if counted else 0.0,
    }


def heard(line: socket.socket) -> bytes:
    """The next packet; empty where none comes."""
    try:
        return line.recv(2048)
    except TimeoutError:
        return b""


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server()
    sys.stdout.write(json.dumps(client(sys.argv[2], int(sys.argv[3]), *json.loads(sys.argv[4]))))
