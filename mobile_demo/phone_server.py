"""`lokma phone`: the page on the local network, the ways a phone gets there, and a certificate where one is asked for.

>>> with serve(["bundles/cartpole"], Path("results"), port=8600) as served:            # doctest: +SKIP
...     print(served.url)
http://192.168.1.20:8600/#token=…
"""

from __future__ import annotations

import contextlib
import io
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime import store
from edge_runtime.errors import BadRequest, Missing

STARTED_WITHIN_S = 30.0
VALID_DAYS = 365


@dataclass(frozen=True)
class Served:
    """A running page: its port, its token, and the address that the QR code shows."""

    host: str
    port: int
    token: str
    https: bool

    @property
    def url(self) -> str:
        """For phones on the same network."""
        return f"{'https' if self.https else 'http'}://{self.host}:{self.port}/#token={self.token}"

    @property
    def local(self) -> str:
        """For this computer, and for a phone on its USB cable after `adb reverse`."""
        return f"{'https' if self.https else 'http'}://localhost:{self.port}/#token={self.token}"

    @property
    def adb(self) -> str:
        """What gives a phone on the USB cable this computer's port."""
        return f"adb reverse tcp:{self.port} tcp:{self.port}"


@contextlib.contextmanager
def serve(bundles: Sequence[str | Path], records: Path, port: int, https: bool = False) -> Iterator[Served]:
    """Starts the page on all of this computer's addresses and ends it at the end of the block.

    Args:
        bundles: folders or zips.
        records: the folder of results that phones add to.
        port: where to listen.
        https: with a certificate of our own, which every browser warns of once.

    Raises:
        BadRequest: the port is taken.
        LokmaError: as `mobile_demo.phone_routes.routes` and `certificate` do.
    """
    import uvicorn
    from starlette.applications import Starlette

    from mobile_demo.phone_routes import routes

    if not 0 < port < 65536:
        raise BadRequest(f"--port {port} is not a port; give a number from 1 to 65535")
    served = Served(address(), port, secrets.token_urlsafe(16), https)
    app = Starlette(routes=routes(bundles, served.token, records))
    key, cert = certificate(served.host) if https else (None, None)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("0.0.0.0", port))
    except OSError as error:
        listener.close()
        raise BadRequest(f"port {port} cannot be used here: {error.strerror}; choose another with --port") from error
    config = uvicorn.Config(app, log_level="warning", ssl_keyfile=key, ssl_certfile=cert, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        _wait(server, thread)
        yield served
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


def _wait(server: object, thread: threading.Thread) -> None:
    until = time.monotonic() + STARTED_WITHIN_S
    while not getattr(server, "started"):  # noqa: B009  (uvicorn is imported where it is used)
        if not thread.is_alive() or time.monotonic() > until:
            raise Missing("the phone page's server did not start; see above")
        time.sleep(0.02)


def address() -> str:
    """This computer's address on the network it would leave by; `localhost` where it has none. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 9))
        except OSError:
            return "localhost"
        return str(probe.getsockname()[0])


def qr(url: str) -> str:
    """The QR code of an address as text for a terminal."""
    import segno

    handle = io.StringIO()
    segno.make(url, error="l").terminal(out=handle, compact=True)
    return handle.getvalue()


def certificate(host: str) -> tuple[str, str]:
    """The key and the certificate of this computer for `https`, made once for each of its addresses.

    Raises:
        Missing: openssl, which makes them, is not here.
        BadRequest: it could not.
    """
    folder = store.home() / "phone"
    key, cert = folder / f"{host}.key", folder / f"{host}.crt"
    if not (key.is_file() and cert.is_file() and _still_valid(cert)):
        if shutil.which("openssl") is None:
            raise Missing("--https needs openssl to make a certificate; on Debian and Ubuntu: apt install openssl")
        folder.mkdir(parents=True, exist_ok=True)
        named = f"DNS:{host}" if host == "localhost" else f"IP:{host},DNS:localhost"
        made = subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", str(VALID_DAYS), "-subj", "/CN=lokma", "-addext", f"subjectAltName={named}"),
                *("-keyout", str(key), "-out", str(cert)),
            ],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise BadRequest(f"openssl could not make a certificate: {made.stderr.strip()[-200:]}")
        key.chmod(0o600)
    return str(key), str(cert)


def _still_valid(cert: Path) -> bool:
    """Whether it holds for another day, as openssl says."""
    if shutil.which("openssl") is None:
        return True
    command = ["openssl", "x509", "-checkend", "86400", "-noout", "-in", str(cert)]
    return subprocess.run(command, capture_output=True).returncode == 0
