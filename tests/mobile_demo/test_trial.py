import http.server
import threading
from types import SimpleNamespace

import pytest

from edge_runtime.bundle import open_bundle
from edge_runtime.errors import EngineError
from edge_runtime.postprocess import Prediction
from edge_runtime.spec import Label, ModelSpec, TensorSpec
from mobile_demo.dashboard import trial
from mobile_demo.words import Words

EN, TR = Words("en"), Words("tr")
MS = {"decode": 1.0, "preprocess": 0.5, "inference": 4.0, "postprocess": 0.1}
YES_NO = (Label("no", "no", "hayır"), Label("yes", "yes", "evet"))


def predictor(task, values, labels=(), unit=""):
    """A predictor that knows one answer, and keeps what it was given."""
    spec = ModelSpec(
        "x",
        task,
        (TensorSpec("row", "float32", ("batch", 2)),),
        (TensorSpec("out", "float32", ("batch", len(values)), unit),),
        labels,
    )
    given = []

    def predict(x):
        given.append(x.read() if hasattr(x, "read") else x)
        return Prediction(task, labels, tuple(values), MS)

    return SimpleNamespace(spec=spec, artifact=SimpleNamespace(id="a", engine="e"), predict=predict, given=given)


@pytest.mark.parametrize(
    ("made", "label", "figure"),
    [
        (predictor("multiclass", [0.9, 0.1], YES_NO), "hayır", "%90,0"),
        (predictor("binary", [0.75], YES_NO), "evet", "%75,0"),
        (predictor("policy", [-1.5, 2.25], YES_NO), "evet", "2,25"),
        (predictor("regression", [12.5], unit="kg"), "12,50 kg", ""),
    ],
    ids=["multiclass", "binary", "policy", "regression"],
)
def test_each_task_is_said_in_the_pages_language(made, label, figure):
    found = trial.ask(made, [1.0, 2.0], "", TR)
    assert (found.label, found.figure, found.time) == (label, figure, "5,6\xa0ms")


def test_each_asking_reads_the_picture_anew_and_names_it_in_messages():
    made = predictor("multiclass", [0.9, 0.1], YES_NO)
    trial.ask(made, b"bytes", "lunch.jpg", EN)
    assert made.given == [b"bytes"] * trial.TIMES


def test_an_engine_that_fails_is_a_line_with_its_own_words():
    row = trial.rows([trial.failed("a", "e", EngineError("too new"), EN)])[0]
    assert (row.cells, row.under) == (("a", "cannot run here", "", ""), ("e", "too new", "", ""))


class Cloud(http.server.BaseHTTPRequestHandler):
    said = (200, b'{"top": [{"label": "yes", "probability": 0.75}], "artifact": "onnx-int8"}')

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.said
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(
    ("status", "body", "label", "detail"),
    [
        (200, Cloud.said[1], "evet", ""),
        (200, b"[]", "bulut yanıt vermedi", "list indices"),
        (200, b"nonsense", "bulut yanıt vermedi", "Expecting value"),
        (503, b'{"error": "full"}', "bulut yanıt vermedi", '503 {"error": "full"}'),
    ],
)
def test_the_cloud_is_a_line_beside_the_others_whatever_it_says(monkeypatch, status, body, label, detail):
    monkeypatch.setattr(Cloud, "said", (status, body))
    spec = predictor("multiclass", [0.9, 0.1], YES_NO).spec
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cloud) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = trial.ask_cloud(f"http://127.0.0.1:{server.server_port}/", spec, b"jpeg", TR)
        server.shutdown()
    assert found.label == label
    assert found.detail.startswith(detail)


@pytest.mark.parametrize("server", ["http://127.0.0.1:9", "file:///etc/passwd", "nonsense"])
def test_a_server_that_is_not_there_or_no_server_is_a_line_too(server):
    spec = predictor("multiclass", [0.9, 0.1], YES_NO).spec
    assert trial.ask_cloud(server, spec, b"jpeg", EN).label == "the cloud did not answer"


def test_numbers_start_at_zero_where_no_golden_case_is_a_row(made, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed (extra export): the test bundle is made with it")
    bundle = open_bundle(made.bundle(tmp_path, "x", policy=True))
    assert trial.starting_numbers(bundle) == [0.1, 0.0, -0.02, 0.3]
    bundle.manifest["golden"].clear()
    assert trial.starting_numbers(bundle) == [0.0] * 4
