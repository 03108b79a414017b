"""The page's files, without a browser: what is served, what is written, and the words."""

import gzip
import json
import re
from pathlib import Path

import pytest

from edge_runtime import check, examples
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import BadRequest, Missing
from mobile_demo import cli, phone_site
from mobile_demo.catalogue.phone import TEXTS

PAGE = Path(phone_site.PAGE)
SOURCES = {path.name: path.read_text() for path in PAGE.iterdir() if path.suffix in (".js", ".html")}


@pytest.fixture
def site(tmp_path, monkeypatch):
    if not phone_site.ENGINE.is_dir():
        pytest.skip("onnxruntime-web is not installed: npm ci")
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "home"))
    return phone_site.files([open_bundle(examples.path(f"{name}.zip")) for name in ("digits", "cartpole")])


def test_only_what_a_browser_runs_is_part_of_the_page(site):
    assert "bundles/digits/onnx-int8.onnx" in site
    assert [name for name in site if name.endswith(".pte")] == []
    assert {name for name in site if name.startswith("engine/")} == {
        "engine/LICENSE.txt",
        "engine/ThirdPartyNotices.txt",
        "engine/ort.wasm.bundle.min.mjs",
        "engine/ort-wasm-simd-threaded.wasm.gz",
    }
    told = json.loads(site["site.json"].read())
    assert told["bundles"] == ["digits", "cartpole"]
    assert told["collector"] is None
    assert told["tolerance"] == check.TOLERANCE
    assert all(sample["source"] and sample["licence"] for sample in told["samples"])


def test_the_page_without_engine_and_bundle_is_below_100_kb(site):
    own = [file for name, file in site.items() if not name.startswith(("engine/", "bundles/", "samples/"))]
    assert sum(len(gzip.compress(file.read(), 9)) for file in own) < 100_000


def test_a_changed_file_is_a_new_version(site, monkeypatch):
    before = site["kept.js"].read()
    monkeypatch.setitem(TEXTS, "phone_yes", ("Yes!", "Evet!"))
    again = phone_site.files([open_bundle(examples.path("digits.zip")), open_bundle(examples.path("cartpole.zip"))])
    assert again["kept.js"].read() != before


def test_a_static_site_is_written_once_more_but_never_over_something_else(site, tmp_path):
    assert phone_site.write(tmp_path / "site", site) == phone_site.write(tmp_path / "site", site)
    assert (tmp_path / "site" / "index.html").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(BadRequest, match="is not empty and no phone page"):
        phone_site.write(tmp_path / "mine", site)


def test_a_bundle_without_onnx_is_refused(made, tmp_path):
    folder = made.bundle(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["artifacts"] = [one for one in manifest["artifacts"] if one["engine"] == "executorch"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadRequest, match=r"has no \.onnx artifact, which is what a browser runs; it has xnnpack-int8"):
        phone_site._bundle(open_bundle(folder))


def test_without_node_the_command_that_brings_the_engine_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(phone_site, "ENGINE", tmp_path)
    with pytest.raises(Missing, match="run npm ci"):
        phone_site.files([open_bundle(examples.path("digits.zip"))])


def test_every_sentence_that_the_page_asks_for_is_in_the_catalogue_and_none_is_unused():
    known = {key.removeprefix("phone_") for key in TEXTS}
    asked, written = set(), set()
    for name, source in SOURCES.items():
        asked |= set(re.findall(r'(?:\bsay\(|PageError\(|data-t=|data-label=)"([a-z0-9_]+)"', source))
        written |= set(re.findall(r'"([a-z0-9_]+)"', source))
        for pattern in re.findall(r"`([a-z_]+)\$\{", source):
            written |= {key for key in known if key.startswith(pattern)}
        assert name
    assert asked - known == set()
    assert known - written == set()


def test_every_file_of_the_page_shows_no_text_of_its_own():
    html = SOURCES["index.html"]
    shown = [text.strip() for text in re.sub(r"<(noscript|template|title)>.*?</\1>", "", html, flags=re.S).split(">")]
    stray = {text.split("<")[0].strip() for text in shown} - {"", "lokma"}
    assert stray == set()


def test_every_key_belongs_to_the_page():
    assert all(key.startswith("phone_") for key in TEXTS)


def test_a_static_site_says_that_it_publishes_the_bundles_golden_pictures(site, tmp_path, capsys):
    digits, cartpole = (str(examples.path(f"{name}.zip")) for name in ("digits", "cartpole"))
    held = len(open_bundle(digits).golden())
    assert cli.phone([digits, cartpole, "--out", str(tmp_path / "site")]) == 0
    assert f"It holds {held} golden pictures of the bundle: publish it only where you may" in capsys.readouterr().out
    assert cli.phone([cartpole, "--out", str(tmp_path / "plays")]) == 0
    assert "golden pictures" not in capsys.readouterr().out
