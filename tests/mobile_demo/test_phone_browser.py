"""The phone page in Chromium: answers, records, offline, and everything that can go wrong on a phone."""

import contextlib
import functools
import http.server
import io
import json
import re
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import results
from edge_runtime import examples, load
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import Missing
from mobile_demo import phone_site, screenshot
from mobile_demo.words import CATALOGUE

pytest.importorskip("streamlit", reason="starlette and uvicorn are not installed (extra demo)")
SEVEN = examples.path("seven.png")
READY_MS = 60_000


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


class Cutting:
    """An ASGI app that cuts each of the first `times` answers whose path ends so, in its middle."""

    def __init__(self, app, path, times):
        self.app, self.path, self.left, self.ranges = app, path, times, []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or not scope["path"].endswith(self.path):
            return await self.app(scope, receive, send)
        self.ranges.append(dict(scope["headers"]).get(b"range"))
        if self.left == 0:
            return await self.app(scope, receive, send)
        self.left -= 1

        async def half(message):
            if message["type"] == "http.response.body":
                await send({**message, "body": message["body"][: len(message["body"]) // 2], "more_body": True})
                raise ConnectionError("cut on purpose")
            await send(message)

        return await self.app(scope, receive, half)


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

    folder = tmp_path_factory.mktemp("records")
    bundles = [examples.path(f"{name}.zip") for name in ("digits", "cartpole")]
    made = Starlette(routes=routes(bundles, "right-token", folder))
    made.state.records = folder
    return made


@pytest.fixture(scope="module")
def url(app):
    with served(app) as address:
        yield address


@pytest.fixture
def phone(chromium):
    """A phone-sized page that collects what went wrong."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, locale="tr-TR", reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(READY_MS)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda said: page.problems.append(said.text) if said.type == "error" else None)
    yield page
    context.close()


def ready(page, address):
    page.goto(address)
    page.locator("html[data-ready=yes]").wait_for()
    return page


def photo(page, name, data, media="image/png"):
    page.locator("#choose").set_input_files({"name": name, "mimeType": media, "buffer": data})


def sentence(key, language="tr", **values):
    return CATALOGUE[f"phone_{key}"][language == "tr"].format(**values)


def error(page):
    page.locator("#error:not([hidden])").wait_for()
    return page.locator("#error").inner_text()


def test_a_photo_is_answered_on_the_phone_without_a_request_in_both_languages(url, phone):
    ready(phone, url)
    asked = []
    phone.wait_for_timeout(500)  # the service worker keeps its files
    phone.context.on("request", lambda request: asked.append(request.url))
    photo(phone, "seven.png", SEVEN.read_bytes())
    phone.locator("#answer:not([hidden])").wait_for()
    assert phone.locator("#said").inner_text().startswith("7 %")
    assert "telefonunda" in phone.locator("#where").inner_text()
    assert "Fotoğrafın telefonundan çıkmaz" in phone.locator("#where").inner_text()
    assert [one for one in asked if not one.startswith("blob:")] == []
    phone.locator("#language").click()
    phone.locator("html[lang=en]").wait_for()
    assert phone.locator("#where").inner_text().endswith("Your photo stays on your phone")
    assert phone.problems == []


def test_the_answer_is_the_runtimes(url, phone):
    with contextlib.closing(load(examples.path("digits.zip"), "onnx-int8")) as predictor:
        theirs = predictor.predict(SEVEN).top(3)
    ready(phone, url)
    photo(phone, "seven.png", SEVEN.read_bytes())
    phone.locator("#answer:not([hidden])").wait_for()
    lines = [line.split("\n") for line in phone.locator("#top li").all_inner_texts()]
    assert [line[0] for line in lines] == [label for label, _ in theirs]
    assert lines[0][1] == f"%{100 * theirs[0][1]:.1f}".replace(".", ",")


@pytest.mark.parametrize("bundle", ["digits", "cartpole"])
def test_every_artifact_passes_its_golden_cases(url, phone, bundle):
    ready(phone, f"{url}?bundle={bundle}")
    phone.locator("#checks summary").click()
    phone.locator("#check").click()
    phone.locator("#findings li:not(.no)").nth(1).wait_for()
    found = [json.loads(line.get_attribute("data-finding")) for line in phone.locator("#findings li").all()]
    assert [(one["artifact"], one["ok"], one["cases"]) for one in found] == [
        ("onnx-fp32", True, 3),
        ("onnx-int8", True, 3),
    ]
    assert all(one["pixels"] == (0 if bundle == "digits" else None) for one in found)


def test_the_exported_policy_balances_the_pole(url, phone):
    ready(phone, f"{url}?bundle=cartpole&lang=en")
    phone.locator("#play").click()
    phone.locator("#said").get_by_text(re.compile(r"[1-5]\d\d of 500 steps")).wait_for()


def test_photo_answer_right_and_speed_test_come_back_as_records(app, url, phone):
    ready(phone, f"{url}#token=right-token")
    assert "token" not in phone.url
    photo(phone, "seven.png", SEVEN.read_bytes())
    phone.locator("#no").click()
    phone.locator("#actual").select_option("1")
    phone.locator("#tell").click()
    phone.locator("#thanks").get_by_text(sentence("thanks")).wait_for()
    phone.locator("#speed summary").click()
    phone.locator("#phone").fill("Redmi Note 12")
    phone.locator("#start").click()
    phone.get_by_text(sentence("speed_sent")).wait_for()
    found = results.read(app.state.records)
    assert found.dropped == 0
    field, *bench = found.records
    assert (field["kind"], field["target"], field["answer"]["predicted"], field["answer"]["actual"]) == (
        "field",
        "phone",
        "7",
        "1",
    )
    assert field["answer"]["right"] is False
    assert [one["artifact"]["id"] for one in bench] == ["onnx-fp32", "onnx-int8"]
    for one in bench:
        assert (one["kind"], one["target"], one["host"]["cpu"]) == ("bench", "phone", "Redmi Note 12")
        assert one["n"] >= 30
        assert one["scenario"]["warm_up"] >= 15
        assert set(one["stages_ns"]) == {"decode", "preprocess", "inference", "postprocess"}
        assert one["cold_start_ns"][0]["total"] > one["cold_start_ns"][0]["load"] > 0
        assert one["bundle"]["sha256"] == json.loads(json.dumps(bench[0]["bundle"]["sha256"]))
    assert all("picture" not in json.dumps(one).lower() for one in found.records)


def test_without_a_collector_records_are_saved_to_a_file_that_the_collector_accepts(url, phone):
    from mobile_demo.collector import accept

    ready(phone, url)
    photo(phone, "seven.png", SEVEN.read_bytes())
    phone.locator("#yes").click()
    phone.locator("#outbox:not([hidden])").wait_for()
    with phone.expect_download() as saved:
        phone.locator("#save").click()
    records = accept(Path(saved.value.path()).read_bytes())
    assert [one["answer"]["right"] for one in records] == [True]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_a_static_site_under_a_path_installs_is_isolated_and_answers_when_its_server_is_gone(home, chromium, tmp_path):
    folder = tmp_path / "host" / "some" / "path"
    phone_site.write(folder, phone_site.files([open_bundle(examples.path("digits.zip"))]))
    handler = functools.partial(Quiet, directory=str(tmp_path / "host"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://localhost:{server.server_address[1]}/some/path/"
    profile = tmp_path / "profile"

    def opened():
        arguments = [*screenshot.ARGUMENTS]
        return chromium.browser_type.launch_persistent_context(
            str(profile), executable_path=screenshot.chromium(), args=arguments, headless=True
        )

    context = opened()
    try:
        page = context.new_page()
        page.set_default_timeout(READY_MS)
        ready(page, address)
        page.evaluate("navigator.serviceWorker.ready.then(() => null)")
        page.wait_for_timeout(300)
        ready(page, address)
        assert page.evaluate("crossOriginIsolated") is True
        session = context.new_cdp_session(page)
        assert session.send("Page.getInstallabilityErrors")["installabilityErrors"] == []
        assert session.send("Page.getAppManifest")["errors"] == []
        page.wait_for_timeout(300)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    try:
        for _ in range(2):
            page = context.new_page()
            page.set_default_timeout(READY_MS)
            ready(page, address)
            photo(page, "seven.png", SEVEN.read_bytes())
            page.locator("#answer:not([hidden])").wait_for()
            assert page.locator("#said").inner_text().startswith("7 ")
            assert page.evaluate("crossOriginIsolated") is True
            context.close()
            context = opened()
    finally:
        context.close()


HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b"not a picture", "error_picture"),
        (b"", "error_picture"),
        (SEVEN.read_bytes()[:60], "error_picture"),
        (HEIC, "error_heic"),
    ],
    ids=["text", "empty", "cut off", "HEIC"],
)
def test_what_is_no_picture_here_is_a_sentence_and_the_next_photo_is_answered(url, phone, data, key):
    ready(phone, url)
    photo(phone, "photo.jpg", data, "image/jpeg")
    assert error(phone) == sentence(key)
    photo(phone, "seven.png", SEVEN.read_bytes())
    phone.locator("#answer:not([hidden])").wait_for()
    assert phone.locator("#error").is_hidden()


def test_a_transparent_rotated_picture_is_what_the_runtime_sees(url, phone):
    picture = Image.open(SEVEN).convert("RGBA")
    picture.putalpha(200)
    exif = Image.Exif()
    exif[0x0112] = 6
    handle = io.BytesIO()
    picture.save(handle, "PNG", exif=exif)
    with contextlib.closing(load(examples.path("digits.zip"), "onnx-int8")) as predictor:
        theirs = predictor.predict(handle.getvalue()).top(3)
    ready(phone, url)
    photo(phone, "turned.png", handle.getvalue())
    phone.locator("#answer:not([hidden])").wait_for()
    lines = [line.split("\n")[0] for line in phone.locator("#top li").all_inner_texts()]
    assert lines[0] == theirs[0][0]


def test_a_cut_download_goes_on_where_it_stopped(app, phone, tmp_path):
    bundle = open_bundle(examples.path("digits.zip"))
    for name in bundle.files():
        (tmp_path / "digits" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "digits" / name).write_bytes(bundle.source.read(name, 1 << 24))
    from starlette.applications import Starlette

    from mobile_demo.phone_routes import routes

    cutting = Cutting(Starlette(routes=routes([tmp_path / "digits"], "t", tmp_path)), "onnx-int8.onnx", 2)
    with served(cutting) as address:
        ready(phone, address)
    assert cutting.ranges[0] is None
    assert all(asked.startswith(b"bytes=") for asked in cutting.ranges[1:3])


def test_a_host_without_ranges_begins_anew_and_one_that_stays_cut_is_a_sentence(app, phone):
    cutting = Cutting(app, "onnx-int8.onnx", 1)  # a zip's files are served whole
    with served(cutting) as address:
        ready(phone, address)
    cutting = Cutting(app, "onnx-int8.onnx", 10**6)
    with served(cutting) as address:
        phone.clock.install()
        phone.goto(address)
        for _ in range(12):
            phone.clock.run_for(20_000)
            phone.wait_for_timeout(100)
        assert error(phone) == sentence("error_cut", file="onnx-int8.onnx")


def test_an_altered_file_is_refused(url, phone):
    phone.route("**/onnx-int8.onnx", lambda route: route.fulfill(body=bytes(26876)))
    phone.goto(url)
    assert error(phone) == sentence("error_altered", file="onnx-int8.onnx")


@pytest.mark.parametrize(
    ("changed", "key", "values"),
    [
        ({"schema_version": 2}, "error_newer", {"needs": "0.1.0", "here": "0.1.0"}),
        ({"needs_runtime": "9.0.0"}, "error_newer", {"needs": "9.0.0", "here": "0.1.0"}),
        ({"artifacts": []}, "error_no_artifact", {}),
        ({"spec": {"task": "poetry"}}, "error_manifest", {}),
        (
            {"artifacts": [{"engine": "onnxruntime", "file": "../../x", "sha256": "0" * 64, "size_bytes": 1}]},
            "error_manifest",
            {},
        ),
    ],
    ids=["schema", "runtime", "no artifact", "task", "a path out"],
)
def test_a_bundle_that_this_page_cannot_run_is_a_sentence(url, phone, changed, key, values):
    def altered(route):
        manifest = {**route.fetch().json(), **changed}
        route.fulfill(json=manifest)

    phone.route("**/manifest.json", altered)
    phone.goto(url)
    assert error(phone) == sentence(key, **values)


def test_a_manifest_that_is_not_json_and_a_missing_bundle_are_sentences(url, phone):
    phone.goto(f"{url}?bundle=lunch")
    assert error(phone) == sentence("error_no_bundle", name="lunch", here="digits, cartpole")
    phone.route("**/manifest.json", lambda route: route.fulfill(body="{torn"))
    phone.goto(url)
    assert error(phone) == sentence("error_manifest")


def test_without_a_network_the_page_says_so(url, phone):
    phone.route("**/manifest.json", lambda route: route.abort())
    phone.goto(url)
    assert error(phone) == sentence("error_network")


def test_a_browser_without_simd_is_told_what_to_do(url, phone):
    phone.add_init_script("WebAssembly.validate = () => false")
    phone.goto(url)
    assert error(phone) == sentence("error_simd")


def test_too_little_memory_is_a_sentence(url, phone):
    said = "RangeError: WebAssembly.Memory(): could not allocate memory"
    worker = f"onmessage = ({{data}}) => postMessage({{id: data.id, error: '{said}'}})"
    headers = {"Content-Type": "text/javascript", "Cross-Origin-Embedder-Policy": "require-corp"}
    phone.route("**/engine_worker.js", lambda route: route.fulfill(body=worker, headers=headers))
    phone.goto(url)
    assert error(phone) == sentence("error_memory")


def test_a_large_artifact_waits_for_a_tap(url, phone):
    def small_limit(route):
        route.fulfill(json={**route.fetch().json(), "ask_above_bytes": 1000})

    asked = []
    phone.on("request", lambda request: asked.append(request.url))
    phone.route("**/site.json", small_limit)
    phone.goto(url)
    phone.locator("#load").get_by_text(sentence("load", size="27\xa0kB")).wait_for()
    assert not any(one.endswith((".onnx", ".gz")) for one in asked)
    phone.locator("#load").click()
    phone.locator("html[data-ready=yes]").wait_for()


def test_an_unsure_answer_says_so(url, phone):
    def unsure(route):
        manifest = route.fetch().json()
        manifest["spec"]["unsure_below"] = 0.9999999
        route.fulfill(json=manifest)

    phone.route("**/manifest.json", unsure)
    ready(phone, f"{url}?lang=en")
    phone.locator("#samples button").nth(1).click()
    phone.locator("#answer:not([hidden])").wait_for()
    assert phone.locator("#said").inner_text() == "I am not sure"


def test_the_live_camera_answers_frame_by_frame(home, chromium, url):
    arguments = [*screenshot.ARGUMENTS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    opened = chromium.browser_type.launch(executable_path=screenshot.chromium(), args=arguments)
    try:
        page = opened.new_page(locale="en-US")
        page.set_default_timeout(READY_MS)
        ready(page, url)
        page.locator("#live").click()
        page.get_by_text("pictures a second").wait_for()
        page.locator("#live").click()
        page.locator("#answer").wait_for(state="hidden")
    finally:
        opened.close()


def test_over_plain_http_the_page_answers_and_says_what_is_off_and_why(url, home, chromium):
    rule = "--host-resolver-rules=MAP phone.test 127.0.0.1"
    opened = chromium.browser_type.launch(executable_path=screenshot.chromium(), args=[*screenshot.ARGUMENTS, rule])
    try:
        page = opened.new_page(locale="en-US")
        page.set_default_timeout(READY_MS)
        ready(page, url.replace("localhost", "phone.test"))
        assert page.evaluate("isSecureContext") is False
        photo(page, "seven.png", SEVEN.read_bytes())
        page.locator("#answer:not([hidden])").wait_for()
        assert page.locator("#said").inner_text().startswith("7 ")
        off = [line.get_attribute("data-feature") for line in page.locator("#feature-list li.no").all()]
        assert off == ["feature_threads", "feature_camera", "feature_offline"]
        assert page.locator("#live").is_hidden()
    finally:
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (390, "dark"), (1440, "light")])
@pytest.mark.parametrize("bundle", ["digits", "cartpole"])
def test_the_page_fits_its_width_and_every_control_has_a_name(url, chromium, width, scheme, bundle):
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, locale="tr-TR")
    try:
        page = context.new_page()
        ready(page, f"{url}?bundle={bundle}")
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, input, select, a, canvas')]
                .filter(one => one.checkVisibility() && !one.ariaLabel && !one.labels?.length && !one.innerText.trim())
                .map(one => one.outerHTML.slice(0, 80))"""
        )
        assert nameless == []
    finally:
        context.close()


def test_torn_and_forged_posts_over_http_are_refused(app, url):
    import urllib.error
    import urllib.request

    def status(data, token="right-token"):
        asked = urllib.request.Request(f"{url}api/records", data, {"Authorization": f"Bearer {token}"})
        try:
            return urllib.request.urlopen(asked, timeout=10).status
        except urllib.error.HTTPError as refused:
            return refused.code

    before = len(results.read(app.state.records).records)
    assert [status(b"{torn"), status(b"{}", "wrong"), status(b" " * 300_000)] == [400, 401, 413]
    assert len(results.read(app.state.records).records) == before
