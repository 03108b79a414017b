"""The client of a cloud against servers that refuse, lie, or say nothing."""

import http.server
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from benchmarks import client
from edge_runtime.errors import BadInput, NoAnswer

pytest.importorskip("tritonclient.http", reason="asks through tritonclient: pip install 'tritonclient[http]'")
ROW = [0.1, 0.2, 0.3, 0.4]


def answer(values, name="q_values", datatype="FP32", shape=None, **more):
    shape = shape or [1, len(values)]
    return {
        "model_name": "m",
        "outputs": [{"name": name, "datatype": datatype, "shape": shape, "data": values}],
        **more,
    }


@contextmanager
def server(*replies):
    """Answers each request with the next (status, body), the last again and again; `seen` counts them."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = replies[min(len(seen), len(replies) - 1)]
            seen.append(self.headers.get("Authorization"))
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


@pytest.fixture
def ask(policy, monkeypatch):
    monkeypatch.setattr(client, "WAIT_S", 0.001)
    return lambda url, timeout_s=5.0: client.Client(url, policy.folder, timeout_s).predict(ROW)


def test_an_answer_has_the_servers_own_times_and_the_network_is_the_rest(ask):
    good = answer([1.0, 2.0], parameters={"queue_ns": 1000, "inference_ns": 2000, "batch": 1})
    with server((200, good)) as (url, _):
        values, ns = ask(url)
    assert values == [1.0, 2.0]
    assert (ns["queue"], ns["inference"]) == (1000, 2000) and ns["network"] > 0 and "retry" not in ns


@pytest.mark.parametrize("said", [None, "text", {"queue_ns": -1}, {"queue_ns": 1 << 60}, {"inference_ns": 1.5}])
def test_a_servers_word_on_its_times_that_cannot_be_true_is_not_taken(ask, said):
    with server((200, answer([1.0, 2.0], parameters=said))) as (url, _):
        _, ns = ask(url)
    assert "queue" not in ns and "inference" not in ns


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_refusal_that_passes_is_tried_again_and_its_time_counts(ask, status):
    with server((status, {"error": "busy"}), (200, answer([1.0, 2.0]))) as (url, seen):
        _, ns = ask(url)
    assert len(seen) == 2 and ns["retry"] > 0


def test_a_refusal_that_stays_is_no_answer_after_three_tries(ask):
    with server((429, {"error": "too many"})) as (url, seen):
        with pytest.raises(NoAnswer, match=r"the server answered 429: too many \(3 tries\)"):
            ask(url)
        assert len(seen) == client.TRIES


def test_what_no_second_try_would_mend_is_not_tried_again(ask):
    with server((404, {"error": "no such model"})) as (url, seen):
        with pytest.raises(NoAnswer, match="404: no such model"):
            ask(url)
        assert len(seen) == 1


@pytest.mark.parametrize(
    "body",
    [b"<html>it works</html>", b"", b"[1, 2]", b"{}", b'{"outputs": 7}', b'{"outputs": [{"name": "other"}]}'],
)
def test_garbage_is_no_answer(ask, body):
    with server((200, body)) as (url, _), pytest.raises(NoAnswer):
        ask(url)


@pytest.mark.parametrize(
    "wrong",
    [
        answer([1.0, 2.0, 3.0]),
        answer([1.0, 2.0], shape=[2, 1]),
        answer([1.0, 2.0], shape=[7]),
        answer([1, 2], datatype="INT64"),
        answer([1.0, 2.0], name="other"),
        b'{"outputs": [{"name": "q_values", "datatype": "FP32", "shape": [1, 2], "data": [NaN, 1.0]}]}',
    ],
    ids=str,
)
def test_an_answer_of_the_wrong_shape_type_name_or_number_is_none(ask, wrong):
    with server((200, wrong)) as (url, _), pytest.raises(NoAnswer):
        ask(url)


def test_a_server_that_never_answers_is_left_after_the_time_of_each_try(ask, monkeypatch):
    monkeypatch.setattr(client, "TRIES", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(NoAnswer, match=r"no answer within 0.3 s \(2 tries\)"):
            ask(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.3)
    assert time.monotonic() - began >= 0.6


def test_a_server_that_sends_a_byte_now_and_then_is_left_too(ask, monkeypatch):
    monkeypatch.setattr(client, "TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip():
            line, _ = listening.accept()
            with line:
                try:
                    for letter in b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b" " * 50:
                        line.sendall(bytes([letter]))
                        time.sleep(0.05)
                except OSError:
                    return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(NoAnswer, match=r"no answer within 0\.4 s"):
            ask(f"http://127.0.0.1:{listening.getsockname()[1]}", 0.4)
        thread.join(5)


def test_a_server_that_is_not_there_is_a_failed_connection(ask):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(NoAnswer, match=r"the connection failed: .*\(3 tries\)"):
        ask(f"http://127.0.0.1:{port}")
    with pytest.raises(NoAnswer, match="does not answer as a server of the Open Inference Protocol"):
        client.server_of(f"http://127.0.0.1:{port}", "m")
    with pytest.raises(BadInput, match="give cloud=http://HOST:PORT"):
        client.server_of("127.0.0.1:8000", "m")


def test_a_token_of_the_environment_is_sent(ask, monkeypatch):
    monkeypatch.setenv("LOKMA_TOKEN", "secret")
    with server((200, answer([1.0, 2.0]))) as (url, seen):
        ask(url)
    assert seen == ["Bearer secret"]
