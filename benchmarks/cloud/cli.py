"""`lokma serve BUNDLE…`: a thin skin that loads the models, opens a port and runs uvicorn on it."""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from benchmarks.cloud import log
from benchmarks.cloud.app import server
from benchmarks.cloud.batching import QUEUE, WAIT_MS
from benchmarks.cloud.connections import Connection, most_connections
from benchmarks.cloud.limits import LIMITS, TOKEN, Doors, Limits, read_token
from benchmarks.cloud.models import Batching, Models, open_models, served_bundle
from edge_runtime.arguments import Parser, parser_of
from edge_runtime.errors import BadRequest, Missing

PORT = 8000


def main(argv: list[str]) -> int:
    """Serves until it is told to stop; what it has taken is answered first."""
    args = _parser().parse_args(argv)
    if bool(args.ssl_certfile) != bool(args.ssl_keyfile):
        raise BadRequest("--ssl-certfile and --ssl-keyfile go together")
    for name, least in (("max_batch", 1), ("max_wait_ms", 0), ("queue", 1)):
        _refuse_below(f"--{name.replace('_', '-')}", getattr(args, name), least, args.bundles)
    if not 0 <= args.port <= 65535:
        raise BadRequest(f"--port must be from 0 to 65535; got {args.port}")
    token = read_token(args.token_file)
    if args.engine == "ray":
        return _on_ray(args)
    if args.address or args.replicas:
        raise BadRequest("--address and --replicas go with --engine ray")
    limits = replace(LIMITS, connections=most_connections(LIMITS.connections))
    with bound(args.host, args.port) as listening:
        batching = Batching(args.max_batch, args.max_wait_ms, args.queue)
        models = open_models(args.bundles, args.artifact, args.threads, batching)
        app = server(models, limits, token, log.answered)
        tls = {"ssl_certfile": args.ssl_certfile, "ssl_keyfile": args.ssl_keyfile}
        running = uvicorn_server(app, limits, **tls)
        _announce(args, listening, models, token)
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, signal.SIG_IGN)  # uvicorn takes them while it runs, and repeats them after
        log.to_stderr()
        gc.freeze()  # to look through all that was loaded takes 16 ms, and the answers wait for it
        running.run(sockets=[listening])
    return 0


def _by_model(kind: type) -> Callable[[str], Any]:
    """Reads `8`, for every model, or `NAME=8,OTHER=4`."""

    def read(text: str) -> Any:
        if "=" not in text:
            return kind(text)
        return {name: kind(value) for name, _, value in (part.partition("=") for part in text.split(","))}

    read.__name__ = kind.__name__  # argparse says it: invalid int value
    return read


def _refuse_below(option: str, given: Any, least: int, bundles: Sequence[str]) -> None:
    named = given if isinstance(given, dict) else {}
    served = {served_bundle(path).name for path in bundles} if named else set()
    if unknown := sorted(set(named) - served):
        raise BadRequest(f"{option} names {', '.join(unknown)}; served here: {', '.join(sorted(served))}")
    if not all(value is None or value >= least for value in (named.values() if named else [given])):
        raise BadRequest(f"{option} must be at least {least}")


def _on_ray(args: Any) -> int:
    """Serves as a Ray Serve application until it is told to stop."""
    try:
        from benchmarks.cloud import cluster
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise Missing("--engine ray needs Ray Serve: pip install --editable '.[cluster]'") from error
    if os.environ.get(TOKEN) and args.token_file is None:
        raise BadRequest(f"{TOKEN} does not reach the replicas; give a file that every node has by --token-file")
    least, _, most = (args.replicas or "1:4").partition(":")
    if not (least.isdigit() and (most or least).isdigit()):
        raise BadRequest(f"--replicas is a number, or two as in 1:4; got {args.replicas!r}")
    asked = cluster.Cluster(
        bundles=[str(Path(one).resolve()) if Path(one).exists() else one for one in args.bundles],
        artifact=args.artifact,
        threads=args.threads,
        replicas=(int(least), int(most or least)),
        batching={"max_batch": args.max_batch, "max_wait_ms": args.max_wait_ms, "queue": args.queue},
        token_file=None if args.token_file is None else str(args.token_file.resolve()),
    )
    with bound(args.host, args.port) as free:
        port = free.getsockname()[1]
    http = {"host": args.host, "port": port, "ssl_certfile": args.ssl_certfile, "ssl_keyfile": args.ssl_keyfile}
    cluster.run(asked, args.address, {key: value for key, value in http.items() if value is not None})
    stopped = threading.Event()
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: stopped.set())  # after Ray's own, which abort
    url = f"{'https' if args.ssl_certfile else 'http'}://{args.host}:{port}"
    print(json.dumps({"url": url, "engine": "ray"}) if args.json else f"{url}/docs; Ctrl-C ends it", flush=True)
    stopped.wait()
    cluster.stop(args.address)
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
        listening = socket.create_server((host, port), family=family, backlog=2048)
        # asyncio sets it only where the socket says its protocol, and this one does not: without it the second part
        # of an answer waits 40 ms for the client's acknowledgement wherever the way is not loopback
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise BadRequest(f"port {port} of {host} cannot be opened: {error.strerror or error}") from error


def _parser() -> Parser:
    parser = parser_of("serve", "Answer over HTTP: the Open Inference Protocol v2, and pictures at /predict.")
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="a bundle folder, its .zip, or an installed name")
    parser.add_argument("--host", default="127.0.0.1", help="the address that it listens on (127.0.0.1: only here)")
    parser.add_argument("--port", type=int, default=PORT, help=f"({PORT}; 0 takes a free one)")
    parser.add_argument("--artifact", metavar="ID", help="default: what lokma tune chose, or the first that runs here")
    parser.add_argument("--threads", type=int, metavar="N", help="default: what was tuned, or the cores, at most 4")
    most = "most rows that run together, of all models or NAME=N,OTHER=N (measured at start)"
    parser.add_argument("--max-batch", type=_by_model(int), metavar="N", help=most)
    wait = f"wait so long to fill a batch, likewise ({WAIT_MS:g})"
    parser.add_argument("--max-wait-ms", type=_by_model(float), default=WAIT_MS, metavar="MS", help=wait)
    parser.add_argument("--queue", type=int, default=QUEUE, metavar="N", help=f"most requests that wait ({QUEUE})")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"clients must send this token (or {TOKEN})")
    parser.add_argument("--engine", choices=("process", "ray"), default="process", help="one process, or Ray Serve")
    parser.add_argument("--address", metavar="ADDR", help="with --engine ray: a running cluster (else one is started)")
    parser.add_argument("--replicas", metavar="N[:M]", help="with --engine ray: of each model, N to M (1:4)")
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
            "artifact": one.artifact.id,
            "engine": one.artifact.engine,
            "threads": one.threads,
            "max_batch": one.max_batch,
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
