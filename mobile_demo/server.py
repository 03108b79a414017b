"""The server of all pages: Streamlit in a child process, from free port to healthy to ended.

>>> with serve(Path("results"), Path("bundles"), port=8501) as url:                     # doctest: +SKIP
...     print(url)
http://localhost:8501
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.errors import BadRequest, Missing

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "mobile_demo" / "dashboard" / "app.py"
SERVING = APP.with_name("serving.py")
PORT = 8501  # Streamlit's own
HEALTHY_WITHIN_S = 60.0
ENDED_WITHIN_S = 5.0


@contextlib.contextmanager
def serve(results: Path, bundles: Path, port: int = PORT, token: str = "", lan: bool = False) -> Iterator[str]:
    """Starts the dashboard, waits until it answers, gives its URL, and ends it at the end of the block.

    Args:
        results: the folder of records.
        bundles: the folder of bundles, for *try it*.
        port: where to listen.
        token: what phones' posts must bear; with it the phone page is served too, below `/phone/`.
        lan: for other machines of the network too.

    Raises:
        BadRequest: the port is taken.
        Missing: the server did not come up.
    """
    _refuse_busy(port)
    child = start(results, bundles, port, token, lan)
    try:
        _wait(child, port)
        yield f"http://localhost:{port}"
    finally:
        end(child)


def start(results: Path, bundles: Path, port: int, token: str = "", lan: bool = False) -> subprocess.Popen[bytes]:
    """The child process. Everything but port and address stands in `.streamlit/config.toml` beside it."""
    command = [sys.executable, "-m", "streamlit", "run", str(SERVING), "--server.port", str(port)]
    command += ["--server.address", "0.0.0.0"] if lan else []
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    folders = {"LOKMA_RESULTS": str(results.resolve()), "LOKMA_BUNDLES": str(bundles.resolve())}
    folders["LOKMA_PHONE_TOKEN"] = token
    return subprocess.Popen(
        command,
        env={**os.environ, **folders, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def end(child: subprocess.Popen[bytes]) -> None:
    """Asks the child to stop, and stops it if it does not."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(timeout=ENDED_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _refuse_busy(port: int) -> None:
    if not 0 < port < 65536:
        raise BadRequest(f"--port {port} is not a port; give a number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise BadRequest(f"port {port} is reserved on this machine; choose one from 1024 on with --port") from error
        except OSError as error:
            raise BadRequest(f"port {port} is in use by another program; choose another with --port") from error


def _wait(child: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + HEALTHY_WITHIN_S
    while time.monotonic() < until:
        if child.poll() is not None:
            raise Missing(f"the dashboard's server stopped at its start with exit code {child.returncode}; see above")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise Missing(f"the dashboard's server did not answer on port {port} within {HEALTHY_WITHIN_S:.0f} s")
