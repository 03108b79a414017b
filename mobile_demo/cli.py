"""`lokma dashboard` and `lokma phone`: a thin skin over `mobile_demo.server` and `mobile_demo.phone_server`."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks import results
from edge_runtime.arguments import Parser
from edge_runtime.errors import BadInput, Missing
from mobile_demo.server import PORT, serve

NEEDS = ("streamlit", "altair", "pandas", "babel", "duckdb")
PHONE_NEEDS = ("starlette", "uvicorn", "segno")
PHONE_PORT = 8600


def dashboard(argv: list[str]) -> int:
    """Parses, starts, prints the URL, waits for Ctrl-C; a stopped dashboard is done (0)."""
    parser = Parser(prog="lokma dashboard", description="Show the results as a page in the browser.")
    parser.add_argument("--results", type=Path, help="a folder of records (LOKMA_RESULTS, else results)")
    parser.add_argument("--bundles", type=Path, help="a folder of bundles, for try it (LOKMA_BUNDLES, else bundles)")
    parser.add_argument("--port", type=int, default=PORT, help=f"where to listen on this machine ({PORT})")
    parser.add_argument("--lan", action="store_true", help="open both pages to the network, for phones on it")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a sentence")
    args = parser.parse_args(argv)
    _need("dashboard", NEEDS)
    if args.results is not None and not args.results.exists():
        raise BadInput(f"--results {args.results} does not exist; `lokma bench BUNDLE` writes records")
    records = args.results or results.folder()
    bundles = args.bundles or Path(os.environ.get("LOKMA_BUNDLES") or "bundles")
    stopped = threading.Event()
    _on_terminate(stopped)
    try:
        token = secrets.token_urlsafe(16)
        with serve(records, bundles, args.port, token, args.lan) as url:
            phone = _phone_of(url, token, args.lan)
            said = {"url": url, "phone": phone, "results": str(records), "bundles": str(bundles)}
            print(json.dumps(said) if args.json else _both(url, phone, args.port), flush=True)
            while not stopped.wait(0.5):
                pass
    except KeyboardInterrupt:
        print(flush=True)  # the shell's prompt does not follow ^C on the same line
    return 0


def _phone_of(url: str, token: str, lan: bool) -> str | None:
    """The phone page's address; None where it is not served: no bundle, or no engine for it."""
    try:
        with urllib.request.urlopen(f"{url}/phone/site.json", timeout=30):
            pass
    except urllib.error.URLError:
        return None
    from mobile_demo.phone_server import address

    home = url.replace("localhost", address()) if lan else url
    return f"{home}/phone/#token={token}"


def _both(url: str, phone: str | None, port: int) -> str:
    lines = [f"lokma dashboard: {url}  (Ctrl-C stops it)"]
    if phone:
        lines.append(f"phone page:      {phone}")
        lines.append(
            f"  from a phone: on the USB cable after `adb reverse tcp:{port} tcp:{port}`, on the Wi-Fi with --lan"
        )
    else:
        lines.append("phone page:      not served: it needs a bundle, and the engine that `npm ci` brings (Node.js)")
    return "\n".join(lines)


def phone(argv: list[str]) -> int:
    """Serves the phone page until Ctrl-C and prints how a phone gets there; `--out` writes it as a folder instead."""
    parser = Parser(prog="lokma phone", description="Show a bundle as a page that runs it on the phone.")
    parser.add_argument("bundle", nargs="+", help="a bundle folder, its .zip, or the name of an installed one")
    parser.add_argument("--out", type=Path, help="write one static folder for any web host, and serve nothing")
    parser.add_argument("--port", type=int, default=PHONE_PORT, help=f"where to listen, on this network ({PHONE_PORT})")
    parser.add_argument("--https", action="store_true", help="with a certificate of this computer's own")
    parser.add_argument("--results", type=Path, help="where phones' records go (LOKMA_RESULTS, else results)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")
    args = parser.parse_args(argv)
    if args.out is not None:
        return _phone_site(args.bundle, args.out, args.json)
    _need("phone", PHONE_NEEDS)
    from mobile_demo import phone_server

    stopped = threading.Event()
    _on_terminate(stopped)
    try:
        with phone_server.serve(args.bundle, args.results or results.folder(), args.port, args.https) as served:
            if args.json:
                print(json.dumps({"url": served.url, "local": served.local, "adb": served.adb}), flush=True)
            else:
                print(f"{phone_server.qr(served.url)}\n{_ways(served)}", flush=True)
            while not stopped.wait(0.5):
                pass
    except KeyboardInterrupt:
        print(flush=True)
    return 0


def _ways(served: Any) -> str:
    site = "Any web host, everything, and without this computer: lokma phone BUNDLE --out site"
    if served.https:
        ways = [
            f"Same Wi-Fi: scan the code, or open {served.url}\n"
            "   The browser warns of this computer's own certificate once; all but offline and install works.",
            f"Android on the USB cable, everything: without --https, {served.adb}",
            site,
        ]
    else:
        ways = [
            f"Same Wi-Fi: scan the code, or open {served.url}\n"
            "   Answers, speed test, was it right; --https adds live camera and threads.",
            f"Android on the USB cable, everything: {served.adb}\n   and on the phone {served.local}",
            site,
        ]
    lines = (f"{number}. {way}" for number, way in enumerate(ways, start=1))
    return "\n".join([*lines, "(Ctrl-C stops it)"])


def _phone_site(bundles: list[str], folder: Path, as_json: bool) -> int:
    from edge_runtime.bundle import open_bundle
    from mobile_demo.phone_site import files, write

    opened = [open_bundle(path) for path in bundles]
    made = files(opened)
    size = write(folder, made)
    pictures = sum(len(one.golden()) for one in opened if one.spec.image is not None)
    said = {"folder": str(folder), "files": len(made), "size_bytes": size, "golden_pictures": pictures}
    sentence = f"{folder}: {len(made)} files, {size / 1e6:.1f} MB. Try it: python3 -m http.server -d {folder} 8600"
    if pictures:
        sentence += f"\nIt holds {pictures} golden pictures of the bundle: publish it only where you may publish them."
    print(json.dumps(said) if as_json else sentence)
    return 0


def _need(verb: str, names: tuple[str, ...]) -> None:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise Missing(f"`lokma {verb}` needs {', '.join(missing)}: pip install -e '.[demo]' in lokma's clone")


def _on_terminate(stopped: threading.Event) -> None:
    """Lets `kill` and a closing supervisor end the child too."""

    def stop(number: int, frame: Any) -> None:
        del number, frame
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
