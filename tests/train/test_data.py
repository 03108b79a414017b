from __future__ import annotations

import contextlib
import http.server
import io
import shutil
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_runtime.errors import BadData, BadRequest, LokmaError, Missing
from edge_runtime.spec import ImageSpec
from edge_runtime.writing import whole_folder
from train import data as data_module
from train.data import FOODVISION_SHA256, image_data, image_folder, load_pixels, pictures
from train.digits import write_digits
from train.download import unpack, unpack_url
from train.views import PLAIN, View

TINY = ImageSpec(resize=8, crop=8, filter="bicubic")


def zipped(folder: Path, target: Path) -> str:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder).as_posix())
    return target.as_uri()


def test_the_digits_are_the_same_folder_everywhere(tmp_path):
    digits = image_data("digits")
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    assert digits.labels == tuple("0123456789")
    write_digits(tmp_path)
    assert image_folder(tmp_path, "again").sha256 == digits.sha256


def test_a_digit_keeps_its_17_shades():
    digits = image_data("digits")
    pixels = np.concatenate([np.unique(Image.open(e.path)) for e in digits.test[:40]])
    assert set(pixels) == {round(shade * 255 / 16) for shade in range(17)}


def test_the_content_hash_is_that_of_the_manifest(real_pictures):
    food = image_data("foodvision-mini")
    assert food.sha256 == FOODVISION_SHA256
    assert (len(food.train), len(food.test)) == (450, 150)
    assert food.labels == ("pizza", "steak", "sushi")
    assert food.origin.startswith("LOKMA_DATA")


def test_lokma_data_may_name_the_folder_or_the_one_around_it(make_pictures, monkeypatch, tmp_path):
    root = make_pictures("pizza_steak_sushi")
    for given in (tmp_path, root):
        monkeypatch.setenv("LOKMA_DATA", str(given))
        assert image_data("foodvision-mini").root == root


def test_a_set_lokma_data_without_the_pictures_is_refused_and_nothing_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("LOKMA_DATA", str(tmp_path))
    monkeypatch.setattr(data_module, "unpack_url", None)
    with pytest.raises(BadData, match=r"holds neither pizza_steak_sushi/train nor train; .* or unset LOKMA_DATA"):
        image_data("foodvision-mini")


def test_an_unknown_data_set_is_refused_with_the_known_ones():
    with pytest.raises(BadRequest, match="no data set 'mnist'; known: digits, fashion-mnist, food10, food101, f"):
        image_data("mnist")


def test_random_parts_are_other_pictures_and_the_same_ones_again(make_pictures):
    examples = image_folder(make_pictures(), "x").train
    plain, first, again, second = (
        np.stack([pixels for _, pixels in pictures(examples, TINY, view)])
        for view in (PLAIN, View("part", 1), View("part", 1), View("part", 2))
    )
    assert np.array_equal(plain, load_pixels(examples, TINY)[0]) and np.array_equal(first, again)
    assert not np.array_equal(first, second) and not np.array_equal(plain, first)
    assert first.shape == plain.shape == (4, 8, 8, 3)


def test_ten_classes_of_food_are_taken_from_where_they_lie(make_pictures, monkeypatch, tmp_path):
    with pytest.raises(Missing, match="LOKMA_DATA=/path/with/food10"):
        image_data("food10")
    monkeypatch.setenv("LOKMA_DATA", str(make_pictures("pizza_steak_sushi")))
    with pytest.raises(Missing, match="LOKMA_DATA=/path/with/food10"):
        image_data("food10")
    root = make_pictures("food10", labels=("ramen", "steak"))
    for given in (tmp_path, root):
        monkeypatch.setenv("LOKMA_DATA", str(given))
        assert image_data("food10").root == root


def test_fashion_mnist_without_a_network_says_what_else_works(monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Error downloading train-images")

    monkeypatch.setattr(datasets, "FashionMNIST", refuse)
    with pytest.raises(Missing, match=r"cannot be downloaded \(Error downloading .*`lokma train tinyvgg` on food"):
        image_data("fashion-mnist")


def test_fashion_mnist_becomes_a_folder_without_pictures_of_both_splits(monkeypatch, tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    shirt, bag, both = (Image.fromarray(np.full((28, 28), shade, np.uint8)) for shade in (10, 20, 30))

    class Tiny(list):
        classes = ("T-shirt/top", "Bag")

    rows = {True: [(shirt, 0), (both, 1), (bag, 1)], False: [(both, 1), (Image.new("L", (28, 28)), 0)]}
    monkeypatch.setattr(datasets, "FashionMNIST", lambda folder, train, download: Tiny(rows[train]))
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path))
    data = image_data("fashion-mnist")
    assert data.labels == ("Bag", "T-shirt") and (len(data.train), len(data.test)) == (2, 2)
    assert image_data("fashion-mnist").sha256 == data.sha256


def test_food_101_becomes_a_folder_without_pictures_of_both_splits(monkeypatch, tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path))

    class Tiny:
        def __init__(self, root, split, download):
            shades = {"train": (10, 20, 30, 40), "test": (40, 50)}[split]
            names = ("pizza", "waffles", "waffles", "pizza") if split == "train" else ("pizza", "waffles")
            self._image_files = []
            for shade, label in zip(shades, names, strict=True):
                path = Path(root) / "food-101" / "images" / label / f"{split}{shade}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (9, 9), shade).save(path)
                self._image_files.append(path)

    monkeypatch.setattr(datasets, "Food101", Tiny)
    data = image_data("food101")
    assert data.labels == ("pizza", "waffles") and (len(data.train), len(data.test)) == (3, 2)
    assert image_data("food101") == data and [path.name for path in (tmp_path / "data").iterdir()] == ["food101"]


def test_food_101_without_a_network_says_what_else_works(monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(datasets, "Food101", refuse)
    with pytest.raises(Missing, match=r"cannot be downloaded \(no network\); .* taken from LOKMA_DATA/food101, and"):
        image_data("food101")


def test_an_empty_label_folder_is_named(make_pictures):
    root = make_pictures()
    (root / "test" / "steak" / "0.png").unlink()
    (root / "test" / "steak" / "1.png").unlink()
    with pytest.raises(BadData, match=r"test/steak holds no picture"):
        image_folder(root, "x")


def test_one_label_is_refused(make_pictures):
    with pytest.raises(BadData, match="1 label folders; at least 2"):
        image_folder(make_pictures(labels=("pizza",)), "x")


def test_labels_of_one_split_only_are_named(make_pictures):
    root = make_pictures()
    (root / "test" / "soup").mkdir()
    with pytest.raises(BadData, match="one split only: soup"):
        image_folder(root, "x")


def test_a_picture_of_both_splits_is_refused(make_pictures):
    root = make_pictures()
    shutil.copy(root / "train" / "pizza" / "0.png", root / "test" / "steak" / "copy.png")
    with pytest.raises(BadData, match=r"copy.png is also in train, as .*0.png"):
        image_folder(root, "x")


def test_a_damaged_picture_is_left_out_and_named_in_the_log(make_pictures, caplog):
    root = make_pictures(count=60)
    bad = root / "train" / "pizza" / "7.png"
    bad.write_bytes(bad.read_bytes()[:50])
    pixels, labels = load_pixels(image_folder(root, "x").train, TINY)
    assert pixels.shape == (119, 8, 8, 3) and labels.sum() == 60
    assert "7.png" in caplog.text


def test_more_than_one_percent_of_damaged_pictures_is_refused(make_pictures):
    root = make_pictures(count=60)
    for number in (7, 8):
        (root / "train" / "pizza" / f"{number}.png").write_bytes(b"no picture %d" % number)
    with pytest.raises(BadData, match=r"more than 1% of 120 pictures cannot be read; first: .*7.png"):
        load_pixels(image_folder(root, "x").train, TINY)


def test_a_download_with_other_pictures_is_refused_and_leaves_nothing(make_pictures, monkeypatch, tmp_path):
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(data_module, "FOODVISION_URL", zipped(make_pictures(), tmp_path / "other.zip"))
    with pytest.raises(BadData, match="holds other pictures"):
        image_data("foodvision-mini")
    assert list((tmp_path / "home" / "data").iterdir()) == []


def test_a_download_with_the_right_content_is_kept_and_found_again(make_pictures, monkeypatch, tmp_path):
    root = make_pictures()
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(data_module, "FOODVISION_URL", zipped(root, tmp_path / "right.zip"))
    monkeypatch.setattr(data_module, "FOODVISION_SHA256", image_folder(root, "x").sha256)
    assert image_data("foodvision-mini").origin.startswith("downloaded from")
    assert image_data("foodvision-mini").origin.startswith("downloaded earlier")
    next((tmp_path / "home" / "data").rglob("*.png")).unlink()
    with pytest.raises(BadData, match="has changed since it was downloaded"):
        image_data("foodvision-mini")


def test_without_a_network_it_says_what_else_works(monkeypatch, tmp_path):
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(data_module, "FOODVISION_URL", (tmp_path / "nowhere.zip").as_uri())
    with pytest.raises(Missing, match=r"LOKMA_DATA=/path/with/pizza_steak_sushi; `lokma train multiclass-digits`"):
        image_data("foodvision-mini")


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "..\\evil.png", "c:/evil.png"])
def test_a_member_that_leaves_the_folder_is_refused(name, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("train/pizza/1.png", b"x")
        members.writestr(name, b"x")
    (tmp_path / "in").mkdir()
    with pytest.raises(BadData, match="would leave its folder"):
        unpack(archive, tmp_path / "in", "some.zip")
    assert list(tmp_path.rglob("*.png")) == []


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    with pytest.raises(BadData, match=r"some.zip is not a whole zip file"):
        unpack(io.BytesIO(b"<html>busy</html>"), tmp_path, "some.zip")


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_archive_is_a_named_error_whichever_bit_it_is(packed, tmp_path):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", packed) as members:
        for number in range(3):
            members.writestr(f"train/pizza/{number}.png", bytes(range(40)) * 2)
    chance = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole.getvalue())
        damaged[chance.integers(len(damaged))] ^= 1 << chance.integers(8)
        try:
            with (tmp_path / "some.zip").open("w+b") as archive, whole_folder(tmp_path / "in") as folder:
                archive.write(damaged)
                unpack(archive, folder, "some.zip")
        except LokmaError:
            refused += 1
    assert refused > 100


def test_only_stored_and_deflated_members_are_taken(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_BZIP2) as members:
        members.writestr("train/pizza/1.png", b"x")
    with pytest.raises(BadData, match="neither stored nor deflated"):
        unpack(archive, tmp_path, "some.zip")


@contextlib.contextmanager
def server(answer: bytes):
    """Says the same bytes to every request, then hangs up."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}/some.zip"
        finally:
            listening.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nshort", "broke off after 5 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort", "broke off after"),
        (b"nonsense\r\n\r\n", "broke off after 0 bytes"),
        (b"", "cannot be fetched|broke off"),
        (b"HTTP/1.0 503 Busy\r\n\r\n", r"cannot be fetched \(Busy\)"),
    ],
)
def test_a_connection_that_breaks_off_is_missing_not_a_disk_that_is_full(answer, message, monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with server(answer) as url, pytest.raises(Missing, match=message), whole_folder(tmp_path / "in") as folder:
        unpack_url(url, folder)


def test_a_broken_read_is_missing_and_a_failed_write_a_bad_request(monkeypatch, tmp_path):
    class Response(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError("TLS: record layer failure")

    def fetch() -> None:
        with whole_folder(tmp_path / "in") as folder:
            unpack_url("https://nowhere/some.zip", folder)

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Response())
    with pytest.raises(Missing, match=r"broke off after 0 bytes .*record layer"):
        fetch()

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b"some bytes"))
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(BadRequest, match=r"cannot write .*No space left on device"):
        fetch()
