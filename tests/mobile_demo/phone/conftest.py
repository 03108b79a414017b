"""The phone page as `lokma phone` serves it, Chromium, and a phone-sized page in it."""

import contextlib
import hashlib
import json
import threading
import time

import pytest

from edge_runtime import examples
from edge_runtime.errors import Missing
from mobile_demo import phone_site, screenshot
from mobile_demo.words import CATALOGUE

READY_MS = 60_000


@pytest.fixture(scope="session")
def serving():
    """Gives a context manager: an ASGI app on a port of its own, and its URL."""
    pytest.importorskip("streamlit", reason="starlette and uvicorn are not installed (extra demo)")
    return served


@contextlib.contextmanager
def served(app):
    """An ASGI app on a port of its own, and its URL."""
    import uvicorn

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off", interface="asgi3")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKMA_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def chromium():
    if not phone_site.ENGINE.is_dir():
        pytest.skip("onnxruntime-web is not installed: npm ci")
    try:
        screenshot.chromium()
    except Missing as error:
        pytest.skip(str(error))
    with screenshot.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def app(home, chromium, tmp_path_factory):
    """The page with both examples, as `lokma phone` serves it."""
    from starlette.applications import Starlette

    from mobile_demo.phone_routes import routes

    pytest.importorskip("streamlit", reason="starlette and uvicorn are not installed (extra demo)")
    folder = tmp_path_factory.mktemp("records")
    bundles = [examples.path(f"{name}.zip") for name in ("digits", "cartpole")]
    made = Starlette(routes=routes(bundles, "right-token", folder))
    made.state.records = folder
    return made


COLUMNS = ("radius, mm", "texture", "age, years")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A bundle for rows of a table: 2 * radius - texture + age / 2, and one golden case of it."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra export): the test bundle is made with it")
    from onnx import TensorProto, helper

    takes, gives = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", w]) for n, w in (("row", 3), ("y", 1))
    )
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [3, 1], [2.0, -1.0, 0.5])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["row", "weights"], ["y"])], "table", [takes], [gives], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    spec = {
        "name": "growth",
        "task": "regression",
        "inputs": [{"name": "row", "dtype": "float32", "shape": ["batch", 3], "unit": "as the columns say"}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["batch", 1], "unit": "mm"}],
        "columns": list(COLUMNS),
    }
    helper.set_model_props(model, {"lokma.spec": json.dumps(spec)})
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    folder = tmp_path_factory.mktemp("table") / "growth"
    folder.mkdir()
    (folder / "onnx-fp32.onnx").write_bytes(data)
    artifact = {"id": "onnx-fp32", "file": "onnx-fp32.onnx", "engine": "onnxruntime", "precision": "fp32"}
    artifact |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    manifest = {"schema_version": 1, "name": "growth", "version": 1, "needs_runtime": "0.1.0", "spec": spec}
    golden = {"id": "0", "input": [10.0, 4.0, 30.0], "reference": [31.0], "outputs": {"onnx-fp32": [31.0]}}
    manifest |= {"artifacts": [artifact], "golden": [golden], "provenance": {}, "licences": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def table_url(home, chromium, table, tmp_path_factory):
    from starlette.applications import Starlette

    from mobile_demo.phone_routes import routes

    with served(Starlette(routes=routes([table], "right-token", tmp_path_factory.mktemp("records")))) as address:
        yield address


@pytest.fixture(scope="module")
def url(app):
    with served(app) as address:
        yield address


class Phone:
    """A page of the browser that collects what went wrong; whatever a page can do, it can."""

    def __init__(self, page):
        self.page, self.problems = page, []
        page.set_default_timeout(READY_MS)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)

    def __getattr__(self, name):
        return getattr(self.page, name)

    def ready(self, address):
        """Opens the page and waits for its model."""
        self.page.goto(address)
        self.page.locator("html[data-ready=yes]").wait_for()

    def photo(self, name, data, media="image/png"):
        """Chooses a picture."""
        self.page.locator("#choose").set_input_files({"name": name, "mimeType": media, "buffer": data})

    def error(self):
        """The sentence that says what went wrong."""
        self.page.locator("#error:not([hidden])").wait_for()
        return self.page.locator("#error").inner_text()

    @staticmethod
    def sentence(key, language="tr", **values):
        """A sentence of the page's catalogue."""
        return CATALOGUE[f"phone_{key}"][language == "tr"].format(**values)


@pytest.fixture
def as_phone():
    return Phone


@pytest.fixture
def phone(chromium):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, locale="tr-TR", reduced_motion="reduce")
    yield Phone(context.new_page())
    context.close()
