"""The same app on one local Ray node; where Ray is not installed ([cluster]), these say so and are skipped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.cloud import protocol
from benchmarks.cloud.load import http_request, offered
from benchmarks.cloud.refusals import Refused
from edge_runtime import load
from edge_runtime.errors import BadRequest

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install --editable '.[cluster]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, of pydantic
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster(pictures, policy):
    options = ["--engine", "ray", "--artifact", "onnx-fp32", "--replicas", "2", "--port", "0", "--json"]
    command = [sys.executable, "-m", "edge_runtime.cli", "serve", str(pictures.folder), str(policy.folder), *options]
    environment = {**os.environ, "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 8}), "RAY_USAGE_STATS_ENABLED": "0"}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        lines = (line for line in running.stdout if line.startswith('{"url"'))
        yield int(json.loads(next(lines))["url"].rsplit(":", 1)[1])
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            assert running.wait(60) == 0
        finally:
            running.kill()
            running.stdout.close()


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_gets_the_answers_of_edge_runtime_from_replicas(cluster, pictures, binary):
    import tritonclient.http as triton

    pixels = pictures.inputs.numpy()[:1]
    wanted = load(pictures.folder, "onnx-fp32").session.run({"pixels": pixels})["probabilities"].tobytes()
    with triton.InferenceServerClient(f"127.0.0.1:{cluster}") as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny-balance", "1")
        given = triton.InferInput("pixels", pixels.shape, "UINT8")
        given.set_data_from_numpy(pixels, binary_data=binary)
        outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
        assert client.infer("tiny-shapes", [given], outputs=outputs).as_numpy("probabilities").tobytes() == wanted
        with pytest.raises(triton.InferenceServerException, match="there is no model 'nope'"):
            client.infer("nope", [given])


def workers():
    """The replicas of tiny-shapes: Ray names a worker by its deployment."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::ServeReplica:lokma:tiny-shapes" in line.read_bytes():
                found.append(int(line.parent.name))
        except OSError:
            continue
    return found


def test_a_replica_that_is_killed_under_load_takes_no_request_with_it(cluster, pictures):
    body, headers = protocol.write_request(bytes(768), 1, pictures.spec.inputs[0], binary=True)
    request = http_request("/v2/models/tiny-shapes/infer", body, headers)
    before = workers()
    assert len(before) == 2
    code = f"import os, time; time.sleep(1); os.kill({before[0]}, 9)"
    killer = subprocess.Popen([sys.executable, "-c", code])
    assert len(offered(cluster, [request], 8, 4).latency_ns) > 0  # one refused or lost would raise
    assert killer.wait() == 0
    until = time.monotonic() + 30
    while len(workers()) < 2 or before[0] in workers():
        assert time.monotonic() < until
        time.sleep(0.2)
    assert len(offered(cluster, [request], 8, 1).latency_ns) > 0


def test_args_that_cannot_be_are_refused(pictures):
    from benchmarks.cloud.cluster import application

    with pytest.raises(BadRequest, match="there is no bundle; a cluster's args are bundles, artifact"):
        application({"bundle": ["x"]})
    with pytest.raises(BadRequest, match="replicas are the fewest and the most"):
        application({"bundles": [str(pictures.folder)], "replicas": [3, 2]})


def test_the_config_file_names_what_exists(pictures):
    import yaml
    from ray.serve.schema import ServeDeploySchema

    from benchmarks.cloud.cluster import application

    config = yaml.safe_load((ROOT / "benchmarks" / "cloud" / "cluster.yaml").read_text())
    (app,) = ServeDeploySchema(**config).applications
    assert app.import_path == "benchmarks.cloud.cluster:application"
    application({**app.args, "bundles": [str(pictures.folder)]})


def test_a_refusal_survives_the_way_from_a_replica():
    import pickle  # noqa: TID251  (what Ray does)

    came = pickle.loads(pickle.dumps(Refused(503, "full", {"Retry-After": "2"})))
    assert (came.status, str(came), came.headers) == (503, "full", {"Retry-After": "2"})
