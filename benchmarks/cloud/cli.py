"""`lokma serve BUNDLE…`: a thin skin that loads the models, opens a port and runs uvicorn on it."""

from __future__ import annotations

import functools
import json
import logging
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from benchmarks.cloud.app import server
from benchmarks.cloud.batching import QUEUE, WAIT_MS
from benchmarks.cloud.connections import Connection, most_connections
from benchmarks.cloud.limits import LIMITS, TOKEN, Doors, Limits, read_token
from benchmarks.cloud.models import Batching, Models, open_models
from edge_runtime.arguments import Parser, parser_of
from edge_runtime.errors import BadRequest

PORT = 8000


def main(argv: list[str]) -> int:
    """Serves until it is told to stop; what it has taken is answered first."""
    args = _parser().parse_args(argv)
    if bool(args.ssl_certfile) != bool(args.ssl_keyfile):
        raise BadRequest("--ssl-certfile and --ssl-keyfile go together")
    for name, least in (("max_batch", 1), ("max_wait_ms", 0), ("queue", 1)):
        if getattr(args, name) is not None and not getattr(args, name) >= least:
            raise BadRequest(f"--{name.replace('_', '-')} must be at least {least}")
    if not 0 <= args.port <= 65535:
        raise BadRequest(f"--port must be from 0 to 65535; got {args.port}")
    token = read_token(args.token_file)
    limits = replace(LIMITS, connections=most_connections(LIMITS.connections))
    with bound(args.host, args.port) as listening:
        batching = Batching(args.max_batch, args.max_wait_ms, args.queue)
        models = open_models(args.bundles, args.artifact, args.threads, batching)
        app = server(models, limits, token)
        tls = {"ssl_certfile": args.ssl_certfile, "ssl_keyfile": args.ssl_keyfile}
        running = uvicorn_server(app, limits, **tls)
        _announce(args, listening, models, token)
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, signal.SIG_IGN)  # uvicorn takes them while it runs, and repeats them after
        _log_to_stderr()
        running.run(sockets=[listening])
    return 0


def uvicorn_server(app: Doors, limits: Limits, **options: Any) -> uvicorn.Server:
    """uvicorn with this server's connections and limits."""
    config = uvicorn.Config(
        app,
        http=functools.partial(Connection, limits),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=int(limits.request_s + limits.read_s),
        **options,
    )
    return uvicorn.Server(config)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        BadRequest: the port is taken, or the address is not of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise BadRequest(f"port {port} of {host} cannot be opened: {error.strerror or error}") from error


def _parser() -> Parser:
    parser = parser_of("serve", "Answer over HTTP: the Open Inference Protocol v2, and pictures at /predict.")
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="a bundle folder, its .zip, or an installed name")
    parser.add_argument("--host", default="127.0.0.1", help="the address that it listens on (127.0.0.1: only here)")
    parser.add_argument("--port", type=int, default=PORT, help=f"({PORT}; 0 takes a free one)")
    parser.add_argument("--artifact", metavar="ID", help="default: what lokma tune chose, or the first that runs here")
    parser.add_argument("--threads", type=int, metavar="N", help="default: what was tuned, or the cores, at most 4")
    parser.add_argument("--max-batch", type=int, metavar="N", help="most rows that run together (measured at start)")
    parser.add_argument(
        "--max-wait-ms", type=float, default=WAIT_MS, metavar="MS", help=f"wait so long to fill a batch ({WAIT_MS:g})"
    )
    parser.add_argument("--queue", type=int, default=QUEUE, metavar="N", help=f"most requests that wait ({QUEUE})")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"clients must send this token (or {TOKEN})")
    parser.add_argument("--ssl-certfile", metavar="FILE", help="serve https with this certificate")
    parser.add_argument("--ssl-keyfile", metavar="FILE", help="and its key")
    return parser


def _announce(args: Any, listening: socket.socket, models: Models, token: str | None) -> None:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    url = f"{'https' if args.ssl_certfile else 'http'}://{shown}:{port}"
    rows = [
        {
            "name": one.name,
            "version": one.version,
            "artifact": one.predictor.artifact.id,
            "engine": one.predictor.artifact.engine,
            "threads": one.predictor.session.threads,
            "max_batch": one.batcher.max_batch,
        }
        for one in models.all()
    ]
    if args.json:
        print(json.dumps({"url": url, "token": token is not None, "models": rows}), flush=True)
        return
    for row in rows:
        what = f"{row['artifact']} ({row['engine']}, {row['threads']} threads, batches up to {row['max_batch']})"
        print(f"{row['name']} {row['version']}: {what}")
    if token is None and args.host not in ("127.0.0.1", "::1", "localhost"):
        print("lokma: whoever reaches this port can use it; --token-file asks for a token", file=sys.stderr)
    print(f"{url}/docs shows what it answers; Ctrl-C ends it", flush=True)


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        keys = ("request_id", "method", "path", "status", "ms")
        found = {key: vars(record)[key] for key in keys if key in vars(record)}
        line = {"time": self.formatTime(record), "level": record.levelname, "said": record.getMessage(), **found}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    for name in ("benchmarks.cloud", "uvicorn.error", "edge_runtime"):
        log = logging.getLogger(name)
        log.addHandler(handler)
        log.setLevel(logging.INFO if name == "benchmarks.cloud" else logging.WARNING)
        log.propagate = False
