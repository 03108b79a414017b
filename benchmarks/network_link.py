"""The user-space link: a TUN in each of two namespaces, and between them delay, jitter, loss and rate per packet.

`python -m benchmarks.network_link CLIENT SERVER PROFILE` says `ready` and carries packets until stdin ends.
A packet leaves when the line is free of those before it (rate), arrives half a round trip later, never before one
that left earlier, and is dropped where the queue already holds more than a buffer's worth.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000  # linux/if_tun.h, linux/sched.h
BUFFER_S, BUFFER_BYTES = 0.2, 64_000  # what a queue holds: so long at its rate, and at least so many bytes
MAX_PACKET = 65_535


class Direction:
    """One way: what is on it, and when each packet arrives.

    >>> way = Direction(rate_mbit=0.008, delay_ms=1000, jitter_ms=0, loss=0, seed=0)   # 1,000 bytes a second
    >>> way.take(b"x" * 1000, now=0.0), way.take(b"y" * 500, now=0.0)
    (True, True)
    >>> [[packet[:1] for packet in way.due(at)] for at in (1.9, 2.1, 9.0)]
    [[], [b'x'], [b'y']]
    """

    def __init__(self, rate_mbit: float, delay_ms: float, jitter_ms: float, loss: float, seed: int) -> None:
        self._bytes_a_second = rate_mbit * 1e6 / 8
        self._delay, self._jitter, self._loss = delay_ms / 1e3, jitter_ms / 1e3, loss
        self._room = max(BUFFER_BYTES / self._bytes_a_second, BUFFER_S)
        self._free = self._last = 0.0
        self._draw = random.Random(seed)
        self.waiting: deque[tuple[float, bytes]] = deque()

    def take(self, packet: bytes, now: float) -> bool:
        """Puts a packet on the way; False where it is lost."""
        if (self._loss and self._draw.random() < self._loss) or self._free - now > self._room:
            return False
        self._free = max(now, self._free) + len(packet) / self._bytes_a_second
        delay = self._draw.gauss(self._delay, self._jitter) if self._jitter else self._delay
        self._last = max(self._last, self._free + max(0.0, delay))
        self.waiting.append((self._last, packet))
        return True

    def due(self, now: float) -> list[bytes]:
        """The packets that have arrived by now, in their order."""
        arrived = []
        while self.waiting and self.waiting[0][0] <= now:
            arrived.append(self.waiting.popleft()[1])
        return arrived


def carry(client: int, server: int, profile: Mapping[str, Any], until: int) -> None:
    """Carries packets between two TUN descriptors until a third can be read."""
    half, jitter = profile["rtt_ms"] / 2, profile["jitter_ms"] / 2**0.5
    up = Direction(profile["up_mbit"], half, jitter, profile["loss"], 1)
    down = Direction(profile["down_mbit"], half, jitter, profile["loss"], 2)
    ways = ((client, up, server), (server, down, client))
    while True:
        heads = [way.waiting[0][0] for _, way, _ in ways if way.waiting]
        wait = max(0.0, min(heads) - time.monotonic()) if heads else None
        ready, _, _ = select.select([client, server, until], [], [], wait)
        if until in ready:
            return
        for source, way, target in ways:
            if source in ready:
                for packet in _packets(source):
                    way.take(packet, time.monotonic())
            for packet in way.due(time.monotonic()):
                _put(target, packet)


def tun(namespace: str) -> int:
    """A TUN device `link0` in a namespace, as a descriptor that gives and takes packets, without waiting."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"link0", IFF_TUN | IFF_NO_PI))
    return device


def _packets(source: int, most: int = 64) -> list[bytes]:
    found: list[bytes] = []
    try:
        while len(found) < most:
            found.append(os.read(source, MAX_PACKET))
    except BlockingIOError:
        pass
    return found


def _put(target: int, packet: bytes) -> None:
    try:
        os.write(target, packet)
    except OSError:  # the other end is not up yet, or its queue is full: a lost packet, as on a real link
        return


def main(argv: list[str]) -> int:
    """`python -m benchmarks.network_link CLIENT SERVER PROFILE`."""
    devices = [tun(name) for name in argv[:2]]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    carry(devices[0], devices[1], json.loads(argv[2]), sys.stdin.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
