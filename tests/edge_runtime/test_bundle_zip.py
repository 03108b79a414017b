"""What a bundle as a `.zip` may hold: damaged and hostile files are refused, never unpacked."""

import contextlib
import hashlib
import io
import json
import stat
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.bundle import MAX_ENTRIES, open_bundle
from edge_runtime.errors import BadBundle, LokmaError
from edge_runtime.spec import ModelSpec, TensorSpec

WEIGHTS = b"pretend weights"
MANIFEST = {
    "schema_version": 1,
    "name": "price",
    "version": 1,
    "needs_runtime": "0.1.0",
    "spec": ModelSpec(
        name="price",
        task="regression",
        inputs=(TensorSpec("x", "float32", ("batch", 4)),),
        outputs=(TensorSpec("y", "float32", ("batch", 1)),),
    ).to_dict(),
    "artifacts": [
        {
            "id": "onnx-fp32",
            "file": "onnx-fp32.onnx",
            "engine": "onnxruntime",
            "precision": "fp32",
            "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
            "size_bytes": len(WEIGHTS),
        }
    ],
}


def packed(path, weights=WEIGHTS, extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (("onnx-fp32.onnx", weights), ("manifest.json", json.dumps(MANIFEST)), *extra):
            archive.writestr(name, content)
    return path


def test_a_flipped_byte_in_the_stored_zip_is_found(tmp_path):
    path = packed(tmp_path / "shapes.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"onnx-fp32.onnx") + len("onnx-fp32.onnx") + 3] ^= 0x40
    path.write_bytes(data)
    opened = open_bundle(path)
    with pytest.raises(BadBundle, match=r"onnx-fp32.onnx of .* is damaged|was altered"):
        opened.content(opened.artifacts[0])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../evil", "only plain names inside the bundle are read"),
        ("a/../../evil", "only plain names"),
        ("/etc/cron.d/evil", "only plain names"),
        ("..\\evil", "only plain names"),
        ("C:evil", "only plain names"),
        ("bell\x07", "only plain names"),
    ],
)
def test_a_zip_with_a_name_that_leaves_the_bundle_is_refused(tmp_path, name, says):
    with pytest.raises(BadBundle, match=says):
        open_bundle(packed(tmp_path / "evil.zip", extra=[(name, b"x")]))


def test_a_zip_with_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(BadBundle, match=r"link of .* is a link; a bundle holds plain files only"):
        open_bundle(packed(tmp_path / "evil.zip", extra=[(link, b"/etc/passwd")]))


def test_a_zip_with_a_file_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = packed(tmp_path / "evil.zip", extra=[("manifest.json", b"{}")])
    with pytest.raises(BadBundle, match="holds a file twice"):
        open_bundle(path)


def test_a_zip_with_thousands_of_files_is_refused(tmp_path):
    path = packed(tmp_path / "evil.zip", extra=[(f"file{n}", b"") for n in range(2000)])
    with pytest.raises(BadBundle, match=f"holds 2002 files; a bundle has at most {MAX_ENTRIES}"):
        open_bundle(path)


def patched(path, offset, value):
    """Sets two bytes of every entry of a zip, in the local and in the central header."""
    data = bytearray(path.read_bytes())
    for magic, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        place = data.find(magic)
        while place >= 0:
            data[place + offset + shift : place + offset + shift + 2] = value.to_bytes(2, "little")
            place = data.find(magic, place + 4)
    path.write_bytes(data)
    return path


def test_an_encrypted_zip_is_refused(tmp_path):
    with pytest.raises(BadBundle, match="is encrypted; zip the bundle without a password"):
        open_bundle(patched(packed(tmp_path / "a.zip"), 6, 1))


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, 99])
def test_a_zip_compressed_in_another_way_is_refused(tmp_path, method):
    with pytest.raises(BadBundle, match="is compressed in a way that is not read; use deflate"):
        open_bundle(patched(packed(tmp_path / "a.zip"), 8, method))


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(MANIFEST))
        with archive.open("onnx-fp32.onnx", "w", force_zip64=True) as member:
            for _ in range(80):
                member.write(bytes(1 << 20))
    with pytest.raises(BadBundle, match=r"onnx-fp32.onnx of .* is a bomb: \d+ bytes that unpack to 83886080"):
        open_bundle(tmp_path / "bomb.zip")


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path):
    path = packed(tmp_path / "a.zip", weights=bytes(1 << 20))
    data = path.read_bytes().replace((1 << 20).to_bytes(4, "little"), len(WEIGHTS).to_bytes(4, "little"))
    path.write_bytes(data)
    opened = open_bundle(path)
    with pytest.raises(BadBundle, match=r"onnx-fp32.onnx of .* is damaged: Bad CRC-32"):
        opened.content(opened.artifacts[0])


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip", b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_zip_is_not_a_bundle(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(BadBundle, match=r"neither a folder nor a readable .zip|has no manifest.json"):
        open_bundle(tmp_path / "a.zip")


@pytest.fixture(scope="module")
def whole():
    handle = io.BytesIO()
    packed(handle)
    return handle.getvalue()


@settings(max_examples=500, deadline=None)
@given(
    st.binary(max_size=200) | st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_any_bytes_as_a_zip_are_read_or_refused(tmp_path_factory, whole, damage):
    data = bytearray(whole)
    if isinstance(damage, bytes):
        data = bytearray(damage)
    else:
        for place, value in damage:
            data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(data)
    with contextlib.suppress(LokmaError):
        opened = open_bundle(path)
        opened.golden()
        opened.content(opened.artifacts[0])
