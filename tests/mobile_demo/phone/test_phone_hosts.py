"""How the phone page gets to a phone: plain http, a static host that goes away, a connection that breaks."""

import functools
import http.server
import threading

from edge_runtime import examples
from edge_runtime.bundle import open_bundle
from mobile_demo import phone_site, screenshot

SEVEN = examples.path("seven.png")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_a_static_site_under_a_path_installs_is_isolated_and_answers_when_its_server_is_gone(
    as_phone, home, chromium, tmp_path
):
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
        page = as_phone(context.new_page())
        page.ready(address)
        page.evaluate("navigator.serviceWorker.ready.then(() => null)")
        page.wait_for_timeout(300)
        page.ready(address)
        assert page.evaluate("crossOriginIsolated") is True
        session = context.new_cdp_session(page.page)
        assert session.send("Page.getInstallabilityErrors")["installabilityErrors"] == []
        assert session.send("Page.getAppManifest")["errors"] == []
        page.wait_for_timeout(300)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    try:
        for _ in range(2):
            page = as_phone(context.new_page())
            page.ready(address)
            page.photo("seven.png", SEVEN.read_bytes())
            page.locator("#answer:not([hidden])").wait_for()
            assert page.locator("#said").inner_text().startswith("7 ")
            assert page.evaluate("crossOriginIsolated") is True
            context.close()
            context = opened()
    finally:
        context.close()


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


def test_a_cut_download_goes_on_where_it_stopped(serving, app, phone, tmp_path):
    bundle = open_bundle(examples.path("digits.zip"))
    for name in bundle.files():
        (tmp_path / "digits" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "digits" / name).write_bytes(bundle.source.read(name, 1 << 24))
    from starlette.applications import Starlette

    from mobile_demo.phone_routes import routes

    cutting = Cutting(Starlette(routes=routes([tmp_path / "digits"], "t", tmp_path)), "onnx-int8.onnx", 2)
    with serving(cutting) as address:
        phone.ready(address)
    assert cutting.ranges[0] is None
    assert all(asked.startswith(b"bytes=") for asked in cutting.ranges[1:3])


def test_a_host_without_ranges_begins_anew_and_one_that_stays_cut_is_a_sentence(serving, app, phone):
    cutting = Cutting(app, "onnx-int8.onnx", 1)  # a zip's files are served whole
    with serving(cutting) as address:
        phone.ready(address)
    cutting = Cutting(app, "onnx-int8.onnx", 10**6)
    with serving(cutting) as address:
        phone.clock.install()
        phone.goto(address)
        for _ in range(12):
            phone.clock.run_for(20_000)
            phone.wait_for_timeout(100)
        assert phone.error() == phone.sentence("error_cut", file="onnx-int8.onnx")


def test_an_altered_file_is_refused(url, phone):
    phone.route("**/onnx-int8.onnx", lambda route: route.fulfill(body=bytes(26876)))
    phone.goto(url)
    assert phone.error() == phone.sentence("error_altered", file="onnx-int8.onnx")


def test_without_a_network_the_page_says_so(url, phone):
    phone.route("**/manifest.json", lambda route: route.abort())
    phone.goto(url)
    assert phone.error() == phone.sentence("error_network")


def test_where_not_even_the_words_arrive_the_page_says_so_in_both_languages(url, phone):
    phone.route("**/words.*.json", lambda route: route.abort())
    phone.goto(url)
    assert phone.error() == ("The computer with the model does not answer. · Modelin olduğu bilgisayar yanıt vermiyor.")


def test_a_large_artifact_waits_for_a_tap(url, phone):
    def small_limit(route):
        route.fulfill(json={**route.fetch().json(), "ask_above_bytes": 1000})

    asked = []
    phone.on("request", lambda request: asked.append(request.url))
    phone.route("**/site.json", small_limit)
    phone.goto(url)
    phone.locator("#load").get_by_text(phone.sentence("load", size="27\xa0kB")).wait_for()
    assert not any(one.endswith((".onnx", ".gz")) for one in asked)
    phone.locator("#load").click()
    phone.locator("html[data-ready=yes]").wait_for()


def test_the_live_camera_answers_frame_by_frame(as_phone, home, chromium, url):
    arguments = [*screenshot.ARGUMENTS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    opened = chromium.browser_type.launch(executable_path=screenshot.chromium(), args=arguments)
    try:
        page = as_phone(opened.new_page(locale="en-US"))
        page.ready(url)
        page.locator("#live").click()
        page.get_by_text("pictures a second").wait_for()
        page.locator("#live").click()
        page.locator("#answer").wait_for(state="hidden")
    finally:
        opened.close()


def test_over_plain_http_the_page_answers_and_says_what_is_off_and_why(as_phone, url, home, chromium):
    rule = "--host-resolver-rules=MAP phone.test 127.0.0.1"
    opened = chromium.browser_type.launch(executable_path=screenshot.chromium(), args=[*screenshot.ARGUMENTS, rule])
    try:
        page = as_phone(opened.new_page(locale="en-US"))
        page.ready(url.replace("localhost", "phone.test"))
        assert page.evaluate("isSecureContext") is False
        page.photo("seven.png", SEVEN.read_bytes())
        page.locator("#answer:not([hidden])").wait_for()
        assert page.locator("#said").inner_text().startswith("7 ")
        off = [line.get_attribute("data-feature") for line in page.locator("#feature-list li.no").all()]
        assert off == ["feature_threads", "feature_camera", "feature_offline"]
        assert page.locator("#live").is_hidden()
    finally:
        opened.close()
