"""The client's side of a cloud: decode and preprocess here, the tensor over the Open Inference Protocol, the answer.

A child of `edge_runtime.worker.Worker`: `python -m benchmarks.client URL BUNDLE TIMEOUT_S AT_ONCE`. It asks through
`tritonclient`, with binary tensors, so that any server of the protocol will do. A refusal that may pass (429, 5xx, a
lost connection, no answer in time) is tried again, at most `TRIES` times and after a random wait; the time of all
tries counts. What gets no answer then is said to have none: it is never a fast answer.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_runtime import worker
from edge_runtime.errors import BadInput, LokmaError, NoAnswer

TIMEOUT_S = 10.0  # of one try
TRIES = 3
WAIT_S = 0.05  # before the second try on average, and twice as long before the third
AT_ONCE = 16  # connections where queries arrive at times of their own
PASSING = {"408", "425", "429", "500", "502", "503", "504"}
OWN = "cold start, memory and processor time are the client's own; the server was up before"
TOKEN = "LOKMA_TOKEN"  # a bearer token, where the server asks for one


def start(
    url: str, bundle: Path, timeout_s: float = TIMEOUT_S, prefix: Sequence[str] = (), at_once: int = AT_ONCE
) -> worker.Worker:
    """The parent's side: a worker that asks a server for a bundle's model.

    Args:
        url: of the server.
        bundle: whose spec says how inputs become tensors; its name is the model's.
        timeout_s: of one try.
        prefix: what the command runs in, as the words of a network namespace.
        at_once: connections at most.
    """
    command = [sys.executable, "-m", "benchmarks.client", url, str(bundle.absolute()), f"{timeout_s:g}", str(at_once)]
    return worker.Worker([*prefix, *command])


class Client:
    """Asks one server for one model. Each thread has a connection of its own: tritonclient's may not be shared."""

    def __init__(self, url: str, bundle: Path, timeout_s: float) -> None:
        from edge_runtime.bundle import open_bundle

        opened = open_bundle(bundle)
        self.name, self.spec, self.timeout_s = opened.name, opened.spec, timeout_s
        scheme, _, self._host = url.rstrip("/").rpartition("://")
        self._tls = scheme == "https"
        self._kept, self._chance = threading.local(), random.Random()  # not seeded: clients must not wait alike
        token = os.environ.get(TOKEN)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def predict(self, given: Any) -> tuple[Sequence[float], Mapping[str, int]]:
        """An answer and its stages; the server's own words on `queue` and `inference` where it says them.

        Raises:
            BadInput: it cannot be read.
            NoAnswer: the server gave none, or one that is none.
        """
        tensor, ns = self._prepared(given)
        first = began = time.perf_counter_ns()
        for number in range(TRIES):
            began = time.perf_counter_ns()
            try:
                result = self._asked(tensor)
                break
            except _TryError as error:
                if not error.passes or number + 1 == TRIES:
                    tries = f" ({number + 1} tries)" if number else ""
                    raise NoAnswer(f"{error}{tries}") from error
            time.sleep(self._chance.uniform(0, 2 * WAIT_S * 2**number))
        came = time.perf_counter_ns()
        values = self._values(result)
        said = result.get_response().get("parameters")
        inside = {key: _time(said, f"{key}_ns", came - began) for key in ("queue", "inference")}
        known = {key: value for key, value in inside.items() if value is not None}
        ns |= {**known, "network": came - began - sum(known.values()), "postprocess": time.perf_counter_ns() - came}
        if number:
            ns["retry"] = began - first
        return values, ns

    def _prepared(self, given: Any) -> tuple[Any, dict[str, int]]:
        import numpy as np

        takes, start = self.spec.inputs[0], time.perf_counter_ns()
        shape = (1, *takes.sample_shape)
        if self.spec.image is None:
            row = np.asarray(given, takes.dtype).reshape(shape)
            return row, {"preprocess": time.perf_counter_ns() - start}
        from edge_runtime.preprocess import open_picture, to_pixels

        picture = open_picture(given, self.spec.image)
        decoded = time.perf_counter_ns()
        pixels = np.frombuffer(to_pixels(picture, self.spec.image), takes.dtype).reshape(shape)
        return pixels, {"decode": decoded - start, "preprocess": time.perf_counter_ns() - decoded}

    def _asked(self, tensor: Any) -> Any:
        import gevent
        from geventhttpclient.response import HTTPParseError
        from tritonclient import http
        from tritonclient.utils import InferenceServerException

        takes, gives = self.spec.inputs[0], self.spec.outputs[0]
        asked = http.InferInput(takes.name, list(tensor.shape), _datatype(takes.dtype))
        asked.set_data_from_numpy(tensor, binary_data=True)
        wanted = [http.InferRequestedOutput(gives.name, binary_data=True)]
        late = f"no answer within {self.timeout_s:g} s"
        try:
            # its own timeouts count from byte to byte: a server that sends one now and then would never end them
            with gevent.Timeout(self.timeout_s, TimeoutError(late)):
                return self._connection().infer(self.name, [asked], outputs=wanted, headers=dict(self._headers))
        except InferenceServerException as error:
            status = str(error.status() or "")
            said = (error.message() or "").splitlines() or ["nothing"]
            raise _TryError(f"the server answered {status}: {said[0][:200]}", status in PASSING) from error
        except HTTPParseError as error:
            raise self._lost(f"the server answered something that is not HTTP, or left: {error}", True) from error
        except (OSError, RuntimeError) as error:  # RuntimeError: a host that has no address
            what = late if isinstance(error, TimeoutError) else f"the connection failed: {error}"
            raise self._lost(what, True) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # what tritonclient makes of no answer
            raise self._lost(f"the server answered something that is no inference: {error!r:.200}", False) from error

    def _lost(self, problem: str, passes: bool) -> _TryError:
        """The connection may hold half an answer: the next question gets a new one."""
        self._kept.client = None
        return _TryError(problem, passes)

    def _connection(self) -> Any:
        from tritonclient import http

        if getattr(self._kept, "client", None) is None:
            timeouts = {"connection_timeout": self.timeout_s, "network_timeout": self.timeout_s}
            self._kept.client = _prompt(http.InferenceServerClient(self._host, ssl=self._tls, **timeouts))
        return self._kept.client

    def _values(self, result: Any) -> list[float]:
        gives = self.spec.outputs[0]
        try:
            values = result.as_numpy(gives.name)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NoAnswer(f"the server answered something that is no {gives.name}: {error!r:.200}") from error
        wanted = (1, *gives.sample_shape)
        if values is None or values.shape != wanted or values.dtype != gives.dtype:
            got = "none" if values is None else f"{values.dtype} {values.shape}"
            raise NoAnswer(f"{gives.name} came back as {got}; {self.name} gives {gives.dtype} {wanted}")
        listed: list[float] = values.reshape(-1).tolist()
        if not all(map(math.isfinite, listed)):
            raise NoAnswer(f"{gives.name} came back with something that is not a finite number")
        return listed


class _TryError(Exception):
    """One try without an answer; `passes` says whether another may get one."""

    def __init__(self, problem: str, passes: bool) -> None:
        super().__init__(problem)
        self.passes = passes


def _prompt(made: Any) -> Any:
    """The client with TCP_NODELAY: else the last piece of a picture may wait 40 ms for an acknowledgement.

    tritonclient has no option for it; where its inside is another one day, it is left as it is.
    """
    pool = getattr(getattr(made, "_client_stub", None), "_connection_pool", None)
    if pool is not None and hasattr(pool, "after_connect"):
        pool.after_connect = lambda line: line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _datatype(dtype: str) -> str:
    import numpy as np
    from tritonclient.utils import np_to_triton_dtype

    return str(np_to_triton_dtype(np.dtype(dtype)))


def _time(said: Any, key: str, most: int) -> int | None:
    """A server's word on its own time, where it is one that can be."""
    value = said.get(key) if isinstance(said, dict) else None
    return value if type(value) is int and 0 <= value <= most else None


def main(argv: Sequence[str]) -> int:
    """Answers the parent's lines."""
    began = time.monotonic_ns()
    from tritonclient import http  # noqa: F401

    imported = time.monotonic_ns()
    try:
        client = Client(argv[0], Path(argv[1]), float(argv[2]))
        loaded = time.monotonic_ns()
        versions = {"tritonclient": importlib.metadata.version("tritonclient")}
        worker.serve(imported - began, loaded - imported, versions, client.predict, int(argv[3]))
    except LokmaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def server_of(url: str, name: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """What a server says of itself and of a model: its metadata.

    Raises:
        NoAnswer: nothing answers there, or not so.
        BadInput: the URL is none.
    """
    import http.client
    import urllib.error
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise BadInput(f"{url!r} is no URL of a server; give cloud=http://HOST:PORT")
    token = os.environ.get(TOKEN)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    found = {}
    for key, path in (("server", "/v2"), ("model", f"/v2/models/{name}")):
        asked = urllib.request.Request(url.rstrip("/") + path, headers=headers)
        try:
            with urllib.request.urlopen(asked, timeout=timeout_s) as came:
                found[key] = json.loads(came.read(1 << 20))
        except urllib.error.HTTPError as error:
            raise NoAnswer(f"{url} answered {error.code} to {path}; is {name} loaded there?") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            said = getattr(error, "reason", error)  # urllib's own words are in angle brackets
            raise NoAnswer(f"{url} does not answer as a server of the Open Inference Protocol: {said}") from error
        if not isinstance(found[key], dict):
            raise NoAnswer(f"{url} answered something else than the protocol's metadata")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
