"""An emulated network between a server and a client on this machine: two namespaces, joined by a link with a profile.

>>> describe("lte")["rtt_ms"], describe("lte")["emulated"]
(70, True)
>>> with opened("lte") as link:                                                          # doctest: +SKIP
...     server = link.run_server(["python", "-m", "http.server", "--bind", link.address])
...     subprocess.run(link.client(["curl", f"http://{link.address}:8000"]))

A shaped link is `tc netem` where the kernel has it, else `benchmarks.network_link`, a process with a TUN in each
namespace. It is measured before it is used, and refused where it does not keep its profile. `lan` is a plain veth
pair, measured and not shaped. All of it needs root, and every figure behind it is labelled *emulated*.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_runtime.errors import BadRequest, EngineError, LokmaError, Missing

CLIENT_ADDRESS, SERVER_ADDRESS = "10.86.0.1", "10.86.0.2"
TRIES, TOLERANCE, RTT_TOLERANCE_MS = 3, 0.1, 1.0
REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Profile:
    """A link: round trip and its jitter (standard deviation) in ms, Mbit/s down and up (at most 100), share lost."""

    rtt_ms: float | None
    jitter_ms: float
    down_mbit: float | None
    up_mbit: float | None
    loss: float
    source: str


WEBPAGETEST = "WebPageTest's connectivity.ini"
PROFILES = {
    "lan": Profile(None, 0, None, None, 0, "a veth pair of this machine, measured and not shaped"),
    "wifi": Profile(2, 0, 30, 15, 0, "Firefox DevTools' throttling/profiles.js: Wi-Fi"),
    "lte": Profile(70, 0, 12, 12, 0, f"{WEBPAGETEST}: LTE"),
    "3g": Profile(300, 0, 1.6, 0.768, 0, f"{WEBPAGETEST}: 3G"),
}


@dataclass
class Link:
    """An open link.

    Attributes:
        server_prefix: what a command begins with that runs at the server's end; `client_prefix` likewise.
        address: the server's, as the client reaches it.
        measured: rtt_ms, down_mbit, up_mbit, before it was used.
        means: what shapes it.
    """

    name: str
    profile: Profile
    means: str
    server_prefix: tuple[str, ...]
    client_prefix: tuple[str, ...]
    address: str = SERVER_ADDRESS
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def server_address(self) -> str:
        """The server's address, as the client reaches it."""
        return self.address

    def run_server(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Starts a program at the server's end; it is ended with the link."""
        return subprocess.Popen([*self.server_prefix, *command], **options)

    def client(self, command: Sequence[str]) -> list[str]:
        """The command that runs a program at the client's end."""
        return [*self.client_prefix, *command]

    def describe(self) -> dict[str, Any]:
        """What belongs into a record."""
        return {**_said(self.name, self.profile), "means": self.means, "measured": self.measured}


def describe(name: str) -> dict[str, Any]:
    """A profile as it stands in a record, before anything was measured.

    Raises:
        BadRequest: there is no such profile.
    """
    return _said(name, _profile(name))


@contextlib.contextmanager
def opened(name: str, profile: Profile | None = None) -> Iterator[Link]:
    """Opens the link of a profile, measures it, and takes it away at the end; what a killed one left goes too.

    Args:
        name: of the profile, see `PROFILES`.
        profile: another one than the table's, under that name.

    Raises:
        BadRequest: there is no such profile.
        Missing: this process is not root, or the system has no network namespaces.
        EngineError: the link does not keep its profile.
    """
    profile = profile or _profile(name)
    _needs_root(name)
    sweep()
    stem = f"lokma-{os.getpid()}-{os.urandom(2).hex()}"
    client, server = f"{stem}-c", f"{stem}-s"
    prefix = {end: ("ip", "netns", "exec", end) for end in (client, server)}
    with contextlib.ExitStack() as stack:
        for end in (client, server):
            stack.callback(_remove, end)
            _run("ip", "netns", "add", end)
            _run(*prefix[end], "ip", "link", "set", "lo", "up")
        means = "veth, not shaped"
        if profile.rtt_ms is None or _has_netem(prefix[client]):
            _veth(client, server, profile)
            means = means if profile.rtt_ms is None else "tc netem"
        else:
            _user_space(stack, client, server, profile)
            means = "a user-space link (TUN)"
        link = Link(name, profile, means, prefix[server], prefix[client])
        _measure(link)
        yield link


emulated = opened


def sweep() -> None:
    """Takes away the namespaces of processes that are gone, and what still runs in them."""
    for path in Path("/run/netns").glob("lokma-*-*-[cs]"):
        if not Path(f"/proc/{path.name.split('-')[1]}").exists():
            _remove(path.name)


def kept(profile: Profile, measured: dict[str, float]) -> list[str]:
    """What a link does not keep of its profile: the round trip within 10 % or 1 ms, rates within 10 %.

    >>> kept(PROFILES["lte"], {"rtt_ms": 70.4, "down_mbit": 11.9, "up_mbit": 9.0})
    ['up_mbit is 9.00, the profile says 12']
    """
    wrong = []
    for key, value in measured.items():
        meant = getattr(profile, key)
        if meant is None:
            continue
        room = max(meant * TOLERANCE, RTT_TOLERANCE_MS) if key == "rtt_ms" else meant * TOLERANCE
        if abs(value - meant) > room:
            wrong.append(f"{key} is {value:.2f}, the profile says {meant:g}")
    return wrong


def _profile(name: str) -> Profile:
    if name not in PROFILES:
        raise BadRequest(f"there is no network profile {name!r}; the profiles are {', '.join(PROFILES)}")
    return PROFILES[name]


def _said(name: str, profile: Profile) -> dict[str, Any]:
    return {"profile": name, "emulated": True, **asdict(profile)}


def _needs_root(name: str) -> None:
    if sys.platform != "linux" or not shutil.which("ip"):
        raise Missing(f"the network {name} is emulated by Linux network namespaces and `ip` (package iproute2)")
    if os.geteuid() != 0:
        raise Missing(f"the network {name} is emulated in network namespaces, which only root may make: run it by sudo")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"`{' '.join(command)}` failed here: {(done.stderr or done.stdout).strip()}")


def _remove(end: str) -> None:
    found = subprocess.run(["ip", "netns", "pids", end], capture_output=True, text=True)
    for pid in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "delete", end], capture_output=True)


def _has_netem(prefix: Sequence[str]) -> bool:
    if not shutil.which("tc"):
        return False
    tried = subprocess.run([*prefix, "tc", "qdisc", "add", "dev", "lo", "root", "netem"], capture_output=True)
    subprocess.run([*prefix, "tc", "qdisc", "del", "dev", "lo", "root"], capture_output=True)
    return tried.returncode == 0


def _veth(client: str, server: str, profile: Profile) -> None:
    _run("ip", "link", "add", "link0", "netns", client, "type", "veth", "peer", "name", "link0", "netns", server)
    for end, address, rate in ((client, CLIENT_ADDRESS, profile.up_mbit), (server, SERVER_ADDRESS, profile.down_mbit)):
        inside = ("ip", "netns", "exec", end)
        _run(*inside, "ip", "address", "add", f"{address}/24", "dev", "link0")
        _run(*inside, "ip", "link", "set", "link0", "up")
        if profile.rtt_ms is not None:
            half, spread = f"{profile.rtt_ms / 2}ms", f"{profile.jitter_ms / 2**0.5}ms"
            shape = ("delay", half, spread, "loss", f"{profile.loss:%}", "rate", f"{rate}mbit")
            _run(*inside, "tc", "qdisc", "add", "dev", "link0", "root", "netem", *shape)


def _user_space(stack: contextlib.ExitStack, client: str, server: str, profile: Profile) -> None:
    command = [sys.executable, "-m", "benchmarks.network_link", client, server, json.dumps(asdict(profile))]
    # It ends when this pipe does, so that it cannot outlive a killed parent.
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    stack.callback(child.wait)
    stack.callback(child.kill)
    assert child.stdout is not None and child.stdin is not None
    stack.enter_context(child.stdin)
    with child.stdout:
        if child.stdout.readline().strip() != "ready":
            raise Missing("the user-space link did not start: this system gives no TUN device (/dev/net/tun)")
    for end, address in ((client, CLIENT_ADDRESS), (server, SERVER_ADDRESS)):
        inside = ("ip", "netns", "exec", end)
        _run(*inside, "ip", "address", "add", f"{address}/24", "dev", "link0")
        _run(*inside, "ip", "link", "set", "link0", "up")


def _measure(link: Link) -> None:
    """Measures the link; a busy machine gets a few tries."""
    for _ in range(TRIES):
        link.measured = _probed(link)
        wrong = kept(link.profile, link.measured)
        if not wrong:
            return
    raise EngineError(f"the emulated network {link.name} ({link.means}) does not keep its profile: {'; '.join(wrong)}")


def _probed(link: Link) -> dict[str, float]:
    probe = [sys.executable, str(Path(__file__).with_name("network_probe.py"))]
    server = link.run_server([*probe, "server"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        rates = json.dumps([link.profile.down_mbit, link.profile.up_mbit])
        done = subprocess.run(
            link.client([*probe, "client", link.address, port, rates]), capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"the emulated network {link.name} does not answer") from error
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
    if done.returncode:
        raise EngineError(f"the emulated network {link.name} could not be measured: {done.stderr.strip()[-200:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(argv: list[str]) -> int:
    """`python -m benchmarks.network [PROFILE…]`: opens each link, measures it, prints it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network", description=__doc__.splitlines()[0])
    parser.add_argument("profiles", nargs="*", default=list(PROFILES))
    worst = 0
    for name in parser.parse_args(argv).profiles:
        try:
            with opened(name) as link:
                said = ", ".join(f"{key} {value:.2f}" for key, value in link.measured.items())
                sys.stdout.write(f"{name}: {said} ({link.means}; meant: {link.profile})\n")
        except LokmaError as error:
            sys.stderr.write(f"benchmarks.network: {error}\n")
            worst = max(worst, error.exit_code)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
