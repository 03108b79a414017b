"""The plain target `cloud`: our own `lokma serve` for the bundle, here or behind an emulated link.

Server and client are processes of this machine. Under a network profile each runs in a namespace of its own, joined
by the link (`benchmarks.network`), and every record says that it was emulated.
"""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks import client, network
from edge_runtime import tuned
from edge_runtime.bundle import Artifact
from edge_runtime.errors import Missing, NoAnswer

if TYPE_CHECKING:
    from benchmarks.targets import Asked, Start, System

READY_S = 120.0  # a server measures its largest batch before it is ready


def usual(asked: Asked) -> Artifact:
    """What `lokma serve` takes where it is not told: what was tuned here, else the first that runs here."""
    choice = tuned.remembered(asked.bundle)
    return asked.bundle.artifact(choice.artifact) if choice else asked.runnable()[0]


def system(asked: Asked, artifact: Artifact, profile: str) -> System:
    """The system of one artifact behind one network profile; "" is this machine's own loopback.

    Raises:
        BadRequest: there is no such profile.
        Missing: it cannot be emulated here.
    """
    from benchmarks.targets import System, described

    note = "server and client share this machine"
    fields: dict[str, Any] = {"network": {"profile": "loopback", "emulated": False}}
    if profile:
        fields = {"network": network.describe(profile)}
        note += f"; the network {profile} between them is emulated"
    return System(
        f"cloud {artifact.id} {profile}".strip(),
        "cloud",
        described(artifact),
        prepare=functools.partial(_standing, asked, artifact, profile, fields),
        fields=fields,
        notes=(note, client.OWN),
    )


def _standing(
    asked: Asked, artifact: Artifact, profile: str, fields: dict[str, Any], stack: contextlib.ExitStack
) -> Start:
    """Starts the server, and the link where there is one; gives what starts a client."""
    bundle, address = asked.bundle.source.path, "127.0.0.1"
    prefix: Sequence[str] = ()
    server_prefix: Sequence[str] = ()
    if profile:
        link = stack.enter_context(network.opened(profile))
        server_prefix, prefix, address = link.server_prefix, link.client_prefix, link.address
        fields["network"] = link.describe()
    serve = [sys.executable, "-m", "edge_runtime.cli", "serve", str(bundle.absolute()), "--artifact", artifact.id]
    command = [*server_prefix, *serve, "--threads", str(asked.threads), "--host", address, "--port", "0", "--json"]
    url = stack.enter_context(served(command))
    return functools.partial(client.start, url, bundle, prefix=prefix)


@contextlib.contextmanager
def served(command: Sequence[str]) -> Any:
    """A server's process while it is needed; gives its URL.

    Raises:
        NoAnswer: it does not start; the message is its own.
        Missing: the command cannot be started.
    """
    with tempfile.TemporaryFile() as said:
        try:
            running = subprocess.Popen(list(command), stdout=subprocess.PIPE, stderr=said, text=True)
        except OSError as error:
            raise Missing(f"{command[0]} cannot be started: {error.strerror or error}") from error
        late = threading.Timer(READY_S, running.kill)
        try:
            late.start()
            assert running.stdout is not None
            line = running.stdout.readline()
            late.cancel()
            if not line:
                running.wait()
                said.seek(0)
                lines = said.read().decode(errors="replace").strip().splitlines()
                raise NoAnswer(f"lokma serve did not start: {lines[-1] if lines else 'it said nothing'}")
            yield json.loads(line)["url"]
        finally:
            late.cancel()
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
            if running.stdout is not None:
                running.stdout.close()
