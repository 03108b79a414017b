import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from benchmarks import results
from edge_runtime import cli as lokma
from edge_runtime.errors import BadInput, BadRequest, Missing
from mobile_demo import cli, phone_site, screenshot
from mobile_demo.phone_server import address
from mobile_demo.server import free_port, serve

pytest.importorskip("streamlit", reason="streamlit is not installed (extra demo)")


def test_a_busy_port_is_one_line_that_names_it(page, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert lokma.main(["dashboard", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said == f"lokma: port {port} is in use by another program; choose another with --port\n"


def test_a_number_that_is_no_port_is_refused(page):
    with pytest.raises(BadRequest, match="--port 70000 is not a port"):
        cli.dashboard(["--port", "70000"])


def test_a_results_folder_that_is_not_there_is_refused(page):
    with pytest.raises(BadInput, match="does not exist; `lokma bench BUNDLE` writes records"):
        cli.dashboard(["--results", str(page / "nowhere")])


def test_without_streamlit_the_extra_is_named(page, monkeypatch):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None if name == "streamlit" else object())
    with pytest.raises(Missing, match=re.escape("needs streamlit: pip install -e '.[demo]'")):
        cli.dashboard([])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_dashboard_prints_its_url_and_ends_cleanly(page, number):
    (page / "results").mkdir()
    port = free_port()
    command = [sys.executable, "-m", "edge_runtime.cli", "dashboard", "--json", "--port", str(port)]
    child = subprocess.Popen(
        [*command, "--results", str(page / "results")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = json.loads(child.stdout.readline())
        assert said["url"] == f"http://localhost:{port}"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.status == 200
        os.kill(child.pid, number)
        _, err = child.communicate(timeout=20)
    finally:
        child.kill()
    assert (child.returncode, err) == (0, "")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0  # the server is gone too


def test_with_lan_both_pages_and_the_collector_answer_at_the_networks_address(page, made):
    if not phone_site.ENGINE.is_dir():
        pytest.skip("onnxruntime-web is not installed: npm ci")
    made.bundle(page / "bundles")
    (page / "results").mkdir()
    command = [sys.executable, "-m", "edge_runtime.cli", "dashboard", "--json", "--lan", "--port", str(free_port())]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said = json.loads(child.stdout.readline())
        home, token = said["phone"].split("#token=")
        assert home == f"http://{address()}:{said['url'].rsplit(':', 1)[1]}/phone/"
        for url in (f"{home}site.json", home.removesuffix("phone/")):
            with urllib.request.urlopen(url, timeout=20) as answer:
                assert answer.status == 200
        record = {**made.field(seed=1), "time": "2026-11-25T17:00:00+00:00"}
        post = urllib.request.Request(f"{home}api/records", json.dumps(record).encode())
        post.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(post, timeout=20) as answer:
            assert answer.status == 201
    finally:
        child.terminate()
        child.communicate(timeout=20)
    assert [one["kind"] for one in results.read(page / "results").records] == ["field"]


def test_it_listens_on_this_machine_only(page):
    with serve(page / "results", page / "bundles", free_port()) as url:
        port = int(url.rsplit(":", 1)[1])
        with socket.socket() as probe:  # a server that listened everywhere would answer here too
            assert probe.connect_ex(("127.0.0.2", port)) != 0


def test_a_screenshot_without_chromium_says_what_is_missing(page, monkeypatch, capsys):
    monkeypatch.setattr(screenshot.importlib.util, "find_spec", lambda name: None)
    assert screenshot.main([str(page / "out.png")]) == 3
    assert capsys.readouterr().err == "screenshot: a picture of the page needs Playwright: pip install playwright\n"
