import contextlib
import copy
import hashlib
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime import store
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import BadBundle, BadInput, BadRequest, LokmaError

WEIGHTS, PICTURE = b"pretend weights", b"pretend picture"
MANIFEST = {
    "schema_version": 1,
    "name": "shapes",
    "version": 3,
    "needs_runtime": "0.1.0",
    "spec": {
        "name": "shapes",
        "task": "multiclass",
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 4], "unit": "m"}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["batch", 2], "unit": ""}],
        "labels": [{"id": "a", "en": "a", "tr": "a"}, {"id": "b", "en": "b", "tr": "b"}],
        "architecture": {"name": "mlp", "arguments": {"width": 3}},
    },
    "artifacts": [
        {
            "id": "onnx-fp32",
            "file": "onnx-fp32.onnx",
            "engine": "onnxruntime",
            "precision": "fp32",
            "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
            "size_bytes": len(WEIGHTS),
            "verdict": None,
        }
    ],
    "golden": [
        {"id": "row", "input": [1, 2, 3, 4], "reference": [0.5, 0.5], "outputs": {"onnx-fp32": [0.5, 0.5]}},
        {
            "id": "picture",
            "file": "golden/0.png",
            "size_bytes": len(PICTURE),
            "sha256": hashlib.sha256(PICTURE).hexdigest(),
            "reference": [0.5, 0.5],
            "outputs": {},
        },
    ],
}
FILES = {"onnx-fp32.onnx": WEIGHTS, "golden/0.png": PICTURE}


def folder(path, manifest=MANIFEST, files=FILES):
    for name, data in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def packed(path, manifest=MANIFEST, files=FILES, prefix="", extra=()):
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [*files.items(), ("manifest.json", data)]:
            archive.writestr(prefix + name, content)
        for name, content in extra:
            archive.writestr(name, content)
    return path


@pytest.fixture(params=["folder", "zip", "zip of the folder"])
def bundle(request, tmp_path):
    if request.param == "folder":
        return folder(tmp_path / "shapes")
    return packed(tmp_path / "shapes.zip", prefix="" if request.param == "zip" else "shapes/")


def changed(**fields):
    return {**copy.deepcopy(MANIFEST), **fields}


def with_artifact(**fields):
    return changed(artifacts=[{**MANIFEST["artifacts"][0], **fields}])


def test_a_folder_and_its_zip_hold_the_same(bundle):
    opened = open_bundle(bundle)
    assert (opened.name, opened.version, opened.spec.task) == ("shapes", 3, "multiclass")
    artifact = opened.artifact("onnx-fp32")
    assert artifact.details == {"verdict": None}
    content = opened.content(artifact)
    assert (content if isinstance(content, bytes) else content.read_bytes()) == WEIGHTS
    row, picture = opened.golden()
    assert row.input == [1.0, 2.0, 3.0, 4.0] and row.outputs == {"onnx-fp32": (0.5, 0.5)}
    assert picture.input == PICTURE


def test_an_unknown_artifact_is_answered_with_those_that_exist(bundle):
    with pytest.raises(BadRequest, match="has no artifact 'tflite'; it has onnx-fp32"):
        open_bundle(bundle).artifact("tflite")


@pytest.mark.parametrize("verify", [False, True])
def test_a_flipped_byte_is_found(bundle, verify, tmp_path):
    flipped = bytes([WEIGHTS[0] ^ 1]) + WEIGHTS[1:]
    if bundle.is_dir():
        open_bundle(bundle).content(open_bundle(bundle).artifacts[0])
        (bundle / "onnx-fp32.onnx").write_bytes(flipped)
    else:
        bundle = packed(tmp_path / "flipped.zip", files={**FILES, "onnx-fp32.onnx": flipped})
    opened = open_bundle(bundle)
    with pytest.raises(BadBundle, match=r"was altered or damaged: its sha256 is .*fetch the bundle again"):
        opened.content(opened.artifacts[0], verify=verify)


def test_a_wrong_size_is_found_before_hashing(bundle, tmp_path):
    longer = {**FILES, "onnx-fp32.onnx": WEIGHTS + b"!"}
    bundle = folder(tmp_path / "two", files=longer) if bundle.is_dir() else packed(tmp_path / "2.zip", files=longer)
    opened = open_bundle(bundle)
    with pytest.raises(BadBundle, match="has 16 bytes; the manifest says 15"):
        opened.content(opened.artifacts[0])


def test_an_altered_golden_picture_is_found(tmp_path):
    opened = open_bundle(packed(tmp_path / "a.zip", files={**FILES, "golden/0.png": b"pretend picturE"}))
    with pytest.raises(BadBundle, match=r"golden/0.png of .* was altered or damaged"):
        opened.golden()


@pytest.mark.parametrize("name", ["onnx-fp32.onnx", "manifest.json"])
def test_a_file_that_is_missing_is_named(tmp_path, name):
    path = folder(tmp_path / "shapes")
    (path / name).unlink()
    with pytest.raises(BadBundle, match=f"has no {name}; it is not a bundle, or not a whole one"):
        opened = open_bundle(path)
        opened.content(opened.artifacts[0])


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (changed(schema_version=2), "has the manifest schema 2; this lokma reads 1. Update lokma"),
        (changed(schema_version=True), "has the manifest schema True"),
        ({"hello": 1}, "has the manifest schema None"),
        (changed(needs_runtime="0.1.1"), r"needs lokma 0.1.1; this is 0.1.0. Update lokma"),
        (changed(needs_runtime="0.10.0"), "needs lokma 0.10.0"),
        (changed(needs_runtime="1.0.0"), "needs lokma 1.0.0"),
        (changed(needs_runtime="1"), "needs the lokma '1'; a version such as 0.1.0 must stand there"),
        (changed(needs_runtime="0.1.0\n"), "a version such as"),
        (changed(needs_runtime="٠.١.٠"), "a version such as"),
        (changed(needs_runtime=None), "a version such as"),
        (changed(needs_runtime=1), "a version such as"),
        (changed(name=5), "needs a name and a whole-number version"),
        (changed(name="a\nb"), "needs a name"),
        (changed(version="3"), "needs a name and a whole-number version"),
        (changed(spec=[]), "has no model spec"),
        (changed(spec={}), "lacks the field 'name'"),
        (changed(artifacts=[]), "lists no artifacts"),
        (changed(artifacts={}), "artifacts must be a list of at most 1000"),
        (changed(artifacts=[MANIFEST["artifacts"][0]] * 2), "lists an artifact twice"),
        (changed(artifacts=[5]), "lacks one of id, file, engine, precision, sha256"),
        (with_artifact(engine=None), "lacks one of id"),
        (with_artifact(size_bytes="15"), "has no valid size and sha256"),
        (with_artifact(size_bytes=-1), "has no valid size"),
        (with_artifact(size_bytes=10 * 2**30), "has no valid size"),
        (with_artifact(sha256="ab"), "has no valid size and sha256"),
        (with_artifact(file="../secret"), "only plain names inside the bundle are read"),
        (with_artifact(file="/etc/passwd"), "only plain names inside"),
        (with_artifact(file="a\\b"), "only plain names inside"),
        (with_artifact(file="C:x"), "only plain names inside"),
        (with_artifact(file="\ud800"), "lacks one of id"),
    ],
)
def test_a_manifest_that_cannot_be_true_is_refused(tmp_path, manifest, says):
    with pytest.raises(BadBundle, match=says):
        open_bundle(folder(tmp_path / "shapes", manifest))
    with pytest.raises(BadBundle, match=says):
        open_bundle(packed(tmp_path / "shapes.zip", manifest))


def test_a_bundle_for_an_older_lokma_is_read(tmp_path):
    assert open_bundle(folder(tmp_path / "shapes", changed(needs_runtime="0.0.99"))).name == "shapes"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is not JSON"),
        (b"\x80\x81", "is not JSON"),
        (b"[]", "must hold one JSON object"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested deeper"),
        (b" " * (5 << 20), "larger than the 4194304 bytes|unpacks to 5242880 bytes; at most 4194304"),
    ],
)
def test_a_manifest_that_is_not_one_is_refused(tmp_path, data, says):
    path = folder(tmp_path / "shapes")
    (path / "manifest.json").write_bytes(data)
    with pytest.raises(BadBundle, match=says):
        open_bundle(path)
    with pytest.raises(BadBundle, match=says):
        open_bundle(packed(tmp_path / "shapes.zip", data))


@pytest.mark.parametrize(
    "case",
    [
        5,
        {},
        {"id": 1, "input": [10**400], "reference": [], "outputs": {}},
        {"id": 1, "input": "x", "reference": [], "outputs": {}},
        {"id": 1, "input": [1], "reference": [], "outputs": []},
        {
            "id": 1,
            "file": "golden/0.png",
            "size_bytes": float("inf"),
            "sha256": "",
            "reference": [],
            "outputs": {},
        },
        {"id": 1, "file": "golden/0.png", "size_bytes": -1, "sha256": "", "reference": [], "outputs": {}},
        {"id": 1, "file": "../x", "size_bytes": 1, "sha256": "", "reference": [], "outputs": {}},
        {"id": 1, "file": ["x"], "size_bytes": 1, "sha256": "", "reference": [], "outputs": {}},
    ],
)
def test_a_golden_case_that_cannot_be_read_is_refused(tmp_path, case):
    with pytest.raises(BadBundle, match=r"golden|only plain names"):
        open_bundle(folder(tmp_path / "shapes", changed(golden=[case]))).golden()


def test_a_link_inside_a_folder_is_followed_and_one_out_of_it_is_refused(tmp_path):
    path = folder(tmp_path / "shapes")
    (path / "onnx-fp32.onnx").rename(path / "real")
    (path / "onnx-fp32.onnx").symlink_to(path / "real")
    opened = open_bundle(path)
    assert opened.content(opened.artifacts[0]) == path.resolve() / "real"
    (path / "real").rename(tmp_path / "outside")
    (path / "onnx-fp32.onnx").unlink()
    (path / "onnx-fp32.onnx").symlink_to(tmp_path / "outside")
    with pytest.raises(BadBundle, match="is a link out of the bundle"):
        opened.content(opened.artifacts[0])
    (path / "onnx-fp32.onnx").unlink()
    (path / "onnx-fp32.onnx").symlink_to(path / "onnx-fp32.onnx")
    with pytest.raises(BadBundle, match=r"cannot be read: .*[Ss]ymlink|has no"):
        opened.content(opened.artifacts[0])


def test_a_bundle_through_a_linked_folder_is_read(tmp_path):
    folder(tmp_path / "real")
    (tmp_path / "current").symlink_to("real")
    opened = open_bundle(tmp_path / "current")
    assert opened.content(opened.artifacts[0])


def test_a_member_larger_than_asked_for_is_not_read(tmp_path):
    opened = open_bundle(packed(tmp_path / "a.zip"))
    with pytest.raises(BadBundle, match=r"onnx-fp32.onnx unpacks to 15 bytes; at most 3 are read"):
        opened.source.read("onnx-fp32.onnx", 3)
    with pytest.raises(BadBundle, match=r"onnx-fp32.onnx is larger than the 3 bytes that are read"):
        open_bundle(folder(tmp_path / "a")).source.read("onnx-fp32.onnx", 3)


@pytest.mark.parametrize("path", ["missing", "a\0b", "x" * 5000, "/dev/null"])
def test_where_nothing_is_there_is_nothing_to_open(path):
    with pytest.raises(BadInput, match=r"does not exist; give a bundle folder|cannot be read: File name too long"):
        open_bundle(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = folder(tmp_path / "shapes")
    (path / "manifest.json").chmod(0)
    with pytest.raises(BadBundle, match="Permission denied"):
        open_bundle(path)


def test_a_disk_that_fails_under_the_hash_is_a_bad_bundle(tmp_path, monkeypatch):
    from edge_runtime import store

    def failing(path):
        raise OSError(5, "Input/output error")

    opened = open_bundle(folder(tmp_path / "shapes"))
    monkeypatch.setattr(store, "sha256_of", failing)
    with pytest.raises(BadBundle, match="cannot be read: Input/output error"):
        opened.content(opened.artifacts[0])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """The path of every value inside a manifest."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


PLACES = [path for path in places(MANIFEST) if path]


def read_all(path):
    """Everything that opening a bundle may lead to."""
    opened = open_bundle(path)
    opened.golden()
    for artifact in opened.artifacts:
        opened.content(artifact)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON | st.just("delete")), min_size=1, max_size=3))
def test_any_mutation_of_a_manifest_is_read_or_refused(tmp_path_factory, mutations):
    manifest = copy.deepcopy(MANIFEST)
    for path, value in mutations:
        holder = manifest
        with contextlib.suppress(KeyError, IndexError, TypeError):  # an earlier mutation took the place away
            for key in path[:-1]:
                holder = holder[key]
            if value == "delete":
                del holder[path[-1]]
            else:
                holder[path[-1]] = value
    handle = io.BytesIO()
    packed(handle, manifest)
    for number, write in enumerate((lambda p: p.write_bytes(handle.getvalue()), lambda p: folder(p, manifest))):
        where = tmp_path_factory.getbasetemp() / f"mutated{number}"
        shutil.rmtree(where) if where.is_dir() else where.unlink(missing_ok=True)
        write(where)
        with contextlib.suppress(LokmaError):
            read_all(where)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """`shapes` 3 is installed; the working directory is an empty folder."""
    folder(store.home() / "bundles" / "shapes" / "3")
    (store.home() / "bundles" / "shapes" / "active.json").write_text('{"active": 3, "previous": null}')
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return store.home() / "bundles" / "shapes" / "3"


@pytest.mark.parametrize("kind", ["bundle", "empty folder", "file"])
def test_a_plain_name_means_the_installed_bundle_and_what_lies_here_is_said(installed, kind, caplog):
    assert open_bundle("shapes").source.path == installed and not caplog.messages
    if kind == "bundle":
        folder(Path("shapes"), changed(version=4))
    elif kind == "file":
        Path("shapes").touch()
    else:
        Path("shapes").mkdir()
    for path in ("shapes", Path("shapes")):
        caplog.clear()
        assert open_bundle(path).source.path == installed
        what = f"shapes means the installed bundle, version 3; what lies here is {Path.cwd() / 'shapes'}"
        assert caplog.messages == [what]


def test_a_path_with_a_separator_is_never_an_installed_bundle(installed, caplog):
    with pytest.raises(BadInput, match="shapes does not exist"):
        open_bundle("./shapes")
    folder(Path("shapes"), changed(version=4))
    for path in ("./shapes", "shapes/", "../here/shapes", Path.cwd() / "shapes"):
        assert open_bundle(path).version == 4
    assert not caplog.messages


def test_a_plain_name_that_is_not_installed_is_a_path_too(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    folder(Path("shapes"))
    packed(Path("shapes.zip"))
    assert open_bundle("shapes").version == open_bundle("shapes.zip").version == 3 and not caplog.messages


def test_a_store_that_may_not_be_read_keeps_no_path_from_being_opened(installed, monkeypatch):
    read = Path.read_bytes

    def denied(self):
        if self.name == "active.json":
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(BadBundle, match=r"active.json cannot be read"):
        open_bundle("shapes")
    packed(Path("shapes"), changed(version=4))
    assert open_bundle("shapes").version == 4
