"""The server as its clients see it: a real uvicorn, clients that we did not write, and answers to the bit."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cloud import protocol
from benchmarks.cloud.cli import bound
from benchmarks.cloud.models import Batching, open_models
from edge_runtime import load
from edge_runtime.errors import BadRequest
from tests.benchmarks.serving import serving

ENGINES = ("onnx-fp32", "xnnpack-fp32", "onnx-int8", "xnnpack-int8")


@pytest.fixture(scope="module")
def both(pictures, policy):
    with serving(pictures.folder, policy.zip) as server:
        yield server


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, pictures):
    with serving(pictures.folder, artifact=request.param) as server:
        yield server, request.param


def exact(pictures, artifact, pixels):
    """What edge_runtime answers to one sample, or to a batch."""
    session = load(pictures.folder, artifact).session
    if artifact.startswith("onnx"):
        return np.frombuffer(session.run({"pixels": pixels})["probabilities"], np.float32).reshape(-1, 3)
    rows = [np.frombuffer(session.run({"pixels": row[None].copy()})["probabilities"], np.float32) for row in pixels]
    return np.stack(rows)


def test_the_protocols_get_routes_say_what_is_served(both):
    assert both.ask("GET", "/v2").json()["extensions"] == ["binary_tensor_data"]
    assert both.ask("GET", "/v2/health/live").json() == {"live": True}
    assert both.ask("GET", "/v2/health/ready").json() == {"ready": True}
    said = both.ask("GET", "/v2/models/tiny-shapes/versions/1").json()
    assert (
        said
        == both.ask("GET", "/v2/models/tiny-shapes").json()
        == {
            "name": "tiny-shapes",
            "versions": ["1"],
            "platform": "executorch_pte",
            "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 16, 16, 3]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
        }
    )
    assert both.ask("GET", "/v2/models/tiny-balance/ready").json() == {"name": "tiny-balance", "ready": True}
    assert both.ask("GET", "/v2/models/tiny-balance/versions/1/ready").status == 200
    assert b"/v2/models/{name}/infer" in both.ask("GET", "/openapi.json").body
    assert both.ask("GET", "/docs").status == 200


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_gets_the_answers_of_edge_runtime_from_both_engines(engine, pictures, binary):
    import tritonclient.http as triton

    server, artifact = engine
    pixels = pictures.inputs.numpy()
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny-shapes", "1")
        assert client.get_model_metadata("tiny-shapes")["inputs"][0]["shape"] == [-1, 16, 16, 3]

        def ask(rows):
            given = triton.InferInput("pixels", rows.shape, "UINT8")
            given.set_data_from_numpy(rows, binary_data=binary)
            wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
            return client.infer("tiny-shapes", [given], outputs=wanted, request_id="seven")

        one = ask(pixels[:1])
        assert one.as_numpy("probabilities").tobytes() == exact(pictures, artifact, pixels[:1]).tobytes()
        assert one.get_response()["id"] == "seven"
        times = one.get_response()["parameters"]
        assert list(times) == ["queue_ns", "inference_ns", "batch"] and times["batch"] == 1 < times["inference_ns"]
        np.testing.assert_allclose(ask(pixels).as_numpy("probabilities"), exact(pictures, artifact, pixels), atol=1e-5)
        if binary:  # without outputs it asks for all of them in binary
            given = triton.InferInput("pixels", [1, 16, 16, 3], "UINT8").set_data_from_numpy(pixels[1:2])
            plain = client.infer("tiny-shapes", [given], model_version="1")
            assert plain.as_numpy("probabilities").tobytes() == exact(pictures, artifact, pixels[1:2]).tobytes()


def test_what_sixteen_clients_ask_together_is_answered_as_alone(pictures):
    pixels = pictures.inputs.numpy()
    alone = exact(pictures, "onnx-fp32", pixels)
    with serving(pictures.folder, artifact="onnx-fp32", batching=Batching(8, max_wait_ms=5)) as server:
        model = server.models.find(None)

        def ask(index):
            row = pixels[index % len(pixels)]
            body, headers = protocol.write_request(row, 1, model.takes, binary=True)
            came = server.ask("POST", "/v2/models/tiny-shapes/infer", body, headers)
            assert came.status == 200 and came.headers["server-timing"].startswith("queue;dur=")
            values = protocol.read_response(came.body, came.headers[protocol.HEAD_LENGTH], model.gives)
            return index, np.frombuffer(values, np.float32)

        with ThreadPoolExecutor(16) as clients:
            for index, values in clients.map(ask, range(200)):
                np.testing.assert_allclose(values, alone[index % len(pixels)], atol=1e-5)
        text = server.ask("GET", "/metrics").body.decode()
    rows = float(text.split("lokma_batch_rows_sum{")[1].split("} ")[1].split("\n")[0])
    assert rows > 300  # of 200 requests: most ran with others


@pytest.mark.parametrize("artifact", ["onnx-int8", "xnnpack-fp32"])
def test_a_picture_is_answered_as_lokma_run_does(pictures, lokma, tmp_path, artifact):
    file = tmp_path / "lunch.png"
    file.write_bytes(pictures.goldens[1])
    line = json.loads(lokma("run", pictures.folder, file, "--artifact", artifact, "--top", 2, "--json").stdout)
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="lunch.png"\r\n\r\n%s\r\n--x--\r\n'
    with serving(pictures.folder, artifact=artifact) as server:
        raw = server.ask("POST", "/predict?top=2", pictures.goldens[1], {"Content-Type": "image/jpeg"})
        sent = server.ask(
            "POST",
            "/predict?top=2&model=tiny-shapes&version=1",
            form % pictures.goldens[1],
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
    assert list(raw.json()) == list(line) and list(raw.json()["ms"]) == list(line["ms"])
    for reply, name in ((raw, "body"), (sent, "lunch.png")):
        assert {**reply.json(), "ms": 0, "input": 0} == {**line, "ms": 0, "input": 0}
        assert reply.json()["input"] == name


def test_two_versions_of_a_bundle_are_served_side_by_side(pictures, tmp_path):
    import shutil

    newer = Path(shutil.copytree(pictures.folder, tmp_path / "newer"))
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps({**manifest, "version": 12}))
    with serving(pictures.folder, newer) as server:
        assert server.ask("GET", "/v2/models/tiny-shapes").json()["versions"] == ["1", "12"]
        body, headers = protocol.write_request(bytes(768), 1, server.models.find(None).takes, binary=False)
        for path, version in (("", "12"), ("/versions/1", "1"), ("/versions/12", "12")):
            came = server.ask("POST", f"/v2/models/tiny-shapes{path}/infer", body, headers)
            assert came.json()["model_version"] == version
    with pytest.raises(BadRequest, match="version 1 of tiny-shapes was given twice"):
        open_models([str(pictures.folder), str(pictures.zip)], batching=Batching(1))


def test_batches_are_set_for_all_models_or_by_name(pictures, policy):
    paths = [str(pictures.folder), str(policy.folder)]
    batching = Batching({"tiny-shapes": 3, "tiny-balance": 5}, {"tiny-balance": 7})
    models = open_models(paths, "onnx-fp32", batching=batching)
    assert {one.name: one.max_batch for one in models.all()} == {"tiny-shapes": 3, "tiny-balance": 5}
    asyncio.run(models.close())
    assert (batching.of("tiny-shapes"), batching.of("tiny-balance")) == ((3, 0.0), (5, 7))
    assert Batching(4).of("any") == (4, 0.0) and Batching().of("any") == (None, 0.0)


def test_a_full_queue_answers_503_at_once_and_the_next_request_works(policy):
    with serving(policy.folder, artifact="onnx-fp32", batching=Batching(1, queue=2)) as server:
        model = server.models.find(None)
        gate, begun, run = threading.Event(), threading.Event(), model.queue._run

        def slow(tensor, rows):
            begun.set()
            assert gate.wait(10)
            return run(tensor, rows)

        model.queue._run = slow
        body, headers = protocol.write_request(np.zeros(4, np.float32), 1, model.takes, binary=True)
        with ThreadPoolExecutor(3) as clients:
            path = "/v2/models/tiny-balance/infer"
            taken = [clients.submit(server.ask, "POST", path, body, headers)]
            assert begun.wait(10)  # it runs; the next two wait
            taken += [clients.submit(server.ask, "POST", path, body, headers) for _ in range(2)]
            while model.queue.waiting() < 2:
                time.sleep(0.005)
            start = time.perf_counter()
            came = server.ask("POST", path, body, headers)
            assert time.perf_counter() - start < 0.5
            assert came.status == 503 and int(came.headers["retry-after"]) >= 1
            assert came.error == "the queue of tiny-balance is full; try again later"
            gate.set()
            assert [one.result().status for one in taken] == [200, 200, 200]
        assert server.ask("POST", path, body, headers).status == 200


def test_a_request_that_takes_too_long_is_answered_504(policy):
    from benchmarks.cloud.limits import Limits

    with serving(policy.folder, artifact="onnx-fp32", limits=Limits(request_s=0.1)) as server:
        model = server.models.find(None)
        gate, run = threading.Event(), model.queue._run
        model.queue._run = lambda tensor, rows: gate.wait(10) and run(tensor, rows)
        body, headers = protocol.write_request(np.zeros(4, np.float32), 1, model.takes, binary=False)
        came = server.ask("POST", "/v2/models/tiny-balance/infer", body, headers)
        gate.set()
        assert came.status == 504 and came.error == "tiny-balance did not answer within 0.1 s"
        assert server.ask("POST", "/v2/models/tiny-balance/infer", body, headers).status == 200


def started(*arguments, **options):
    command = [sys.executable, "-m", "edge_runtime.cli", "serve", *map(str, arguments), "--port", "0", "--json"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    line = running.stdout.readline()
    assert line, running.stderr.read()
    return running, json.loads(line)


def test_told_to_stop_it_finishes_what_it_took_and_takes_no_more(pictures):
    running, said = started(pictures.folder, "--artifact", "onnx-fp32", "--max-batch", 4, "--threads", 1)
    port = int(said["url"].rsplit(":", 1)[1])
    assert said["models"][0]["max_batch"] == 4 and said["token"] is False
    body, headers = protocol.write_request(bytes(768), 1, pictures.spec.inputs[0], binary=True)
    head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    request = f"POST /v2/models/tiny-shapes/infer HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(request.encode() + body[:500])
        time.sleep(0.3)
        running.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1)
        line.sendall(body[500:])
        assert line.recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert running.wait(10) == 0
    lines = [json.loads(one) for one in running.stderr.read().splitlines()]
    assert [one["status"] for one in lines if one["said"] == "answered"] == [200]
    running.stdout.close()
    running.stderr.close()


def test_a_token_is_asked_for_over_tls(pictures, tmp_path):
    import ssl
    import urllib.error
    import urllib.request

    key, certificate, token = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "token"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    token.write_text("a-token-of-some-length\n")
    running, said = started(
        pictures.folder, "--max-batch", 1, "--token-file", token, "--ssl-certfile", certificate, "--ssl-keyfile", key
    )
    try:
        assert said["token"] is True and said["url"].startswith("https://")
        context = ssl.create_default_context(cafile=str(certificate))

        def ask(headers):
            request = urllib.request.Request(f"{said['url']}/v2/models/tiny-shapes", headers=headers)
            try:
                with urllib.request.urlopen(request, context=context, timeout=10) as came:
                    return came.status
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        assert ask({"Authorization": "Bearer a-token-of-some-length"}) == 200
        assert ask({"Authorization": "Bearer a-token-of-some-lengtH"}) == 401
    finally:
        running.terminate()
        running.communicate(timeout=20)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--ssl-certfile", "x"), 2, "--ssl-certfile and --ssl-keyfile go together"),
        (("--queue", 0), 2, "--queue must be at least 1"),
        (("--max-wait-ms", "nan"), 2, "--max-wait-ms must be at least 0"),
        (("--max-batch", "tiny-shapes=0"), 2, "--max-batch must be at least 1"),
        (("--max-batch", "pizza=4"), 2, "--max-batch names pizza; served here: tiny-shapes"),
        (("--max-batch", "tiny-shapes=many"), 2, "invalid int value: 'tiny-shapes=many'"),
        (("--token-file", "none.txt"), 2, "the token file none.txt cannot be read"),
        (("--artifact", "fast"), 2, "has no artifact 'fast'"),
        (("--port", 99999), 2, "--port must be from 0 to 65535"),
        (("--host", "203.0.113.7"), 2, "cannot be opened"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(pictures, run_serve, arguments, code, says):
    found, err = run_serve(pictures.folder, *arguments)
    assert found == code and says in err and err.count("\n") == 1


@pytest.fixture
def run_serve(capsys):
    from edge_runtime import cli

    def run(*arguments):
        code = cli.main(["serve", *map(str, arguments)])
        return code, capsys.readouterr().err

    return run


def test_a_short_token_is_refused(pictures, run_serve, monkeypatch):
    monkeypatch.setenv("LOKMA_TOKEN", "short")
    code, err = run_serve(pictures.folder)
    assert code == 2 and "at least 16" in err


def test_the_systemd_unit_is_one_that_systemd_takes(tmp_path):
    import shutil

    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    unit = (Path(__file__).resolve().parents[2] / "benchmarks" / "cloud" / "lokma.service").read_text()
    assert unit.count("/opt/lokma/.venv/bin/lokma serve") == 1
    (tmp_path / "lokma.service").write_text(unit.replace("/opt/lokma/.venv/bin/lokma", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "lokma.service"], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if "lokma.service" in line]
    assert done.returncode == 0 and complaints == [], done.stderr


def test_connections_send_at_once_what_they_have():
    with bound("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        line, _ = listening.accept()
        with line:
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
