"""`lokma dashboard`: a thin skin over `mobile_demo.server`."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

from benchmarks import results
from edge_runtime.arguments import Parser
from edge_runtime.errors import BadInput, Missing
from mobile_demo.server import PORT, serve

NEEDS = ("streamlit", "altair", "pandas")


def dashboard(argv: list[str]) -> int:
    """Parses, starts, prints the URL, waits for Ctrl-C; a stopped dashboard is done (0)."""
    parser = Parser(prog="lokma dashboard", description="Show the results as a page in the browser.")
    parser.add_argument("--results", type=Path, help="a folder of records (LOKMA_RESULTS, else results)")
    parser.add_argument("--bundles", type=Path, help="a folder of bundles, for try it (LOKMA_BUNDLES, else bundles)")
    parser.add_argument("--port", type=int, default=PORT, help=f"where to listen on this machine ({PORT})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a sentence")
    args = parser.parse_args(argv)
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise Missing(f"`lokma dashboard` needs {', '.join(missing)}: pip install -e '.[demo]' in lokma's clone")
    if args.results is not None and not args.results.exists():
        raise BadInput(f"--results {args.results} does not exist; `lokma bench BUNDLE` writes records")
    records = args.results or results.folder()
    bundles = args.bundles or Path(os.environ.get("LOKMA_BUNDLES") or "bundles")
    stopped = threading.Event()
    _on_terminate(stopped)
    try:
        with serve(records, bundles, args.port) as url:
            said = {"url": url, "results": str(records), "bundles": str(bundles)}
            print(json.dumps(said) if args.json else f"lokma dashboard: {url}  (Ctrl-C stops it)", flush=True)
            while not stopped.wait(0.5):
                pass
    except KeyboardInterrupt:
        print(flush=True)  # the shell's prompt does not follow ^C on the same line
    return 0


def _on_terminate(stopped: threading.Event) -> None:
    """Lets `kill` and a closing supervisor end the child too."""

    def stop(number: int, frame: Any) -> None:
        del number, frame
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
