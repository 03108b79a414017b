import dataclasses
import hashlib
import io
import json
import random
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from edge_runtime import load, predictor, store
from edge_runtime.bundle import Artifact, open_bundle
from edge_runtime.check import check
from edge_runtime.errors import BadBundle, BadInput, BadRequest, EngineError, LokmaError, Missing
from edge_runtime.predictor import Predictor
from edge_runtime.spec import differing_field

FP32 = ["xnnpack-fp32", "onnx-fp32"]


@pytest.fixture
def copied(policy, tmp_path):
    return shutil.copytree(policy.folder, tmp_path / "policy")


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_the_first_artifact_that_runs_here_answers(pictures, form):
    loaded = load(getattr(pictures, form))
    assert loaded.artifact.id == "xnnpack-fp32"
    answer = loaded.predict(pictures.goldens[0])
    assert answer.label in ("circle", "cross", "star") and sum(answer.values) == pytest.approx(1, abs=1e-5)
    assert set(answer.ms) == {"decode", "preprocess", "inference", "postprocess"}
    loaded.close()


@pytest.mark.parametrize("name", FP32)
def test_a_picture_is_answered_as_eager_torch_answers_its_pixels(pictures, name, tmp_path):
    import torch

    from edge_runtime.preprocess import open_picture, to_pixels

    for given in pictures.goldens:
        pixels = to_pixels(open_picture(given, pictures.spec.image), pictures.spec.image)
        tensor = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).reshape(1, 16, 16, 3)
        expected = pictures.eager(tensor)[0].tolist()
        assert load(pictures.folder, name).predict(given).values == pytest.approx(expected, abs=1e-5)


def test_every_way_to_give_a_picture_gets_the_same_answer(pictures, tmp_path):
    loaded, data = load(pictures.folder), pictures.goldens[1]
    (tmp_path / "a.png").write_bytes(data)
    pil = Image.open(io.BytesIO(data))
    given = [data, tmp_path / "a.png", str(tmp_path / "a.png"), io.BytesIO(data), pil, np.asarray(pil)]
    assert len({loaded.predict(x).values for x in given}) == 1


def test_a_photograph_is_turned_upright_in_every_encoded_form(pictures, draw, tmp_path):
    loaded, upright, exif = load(pictures.folder), draw(40, 30, 3), Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    with Image.open(path) as pil, path.open("rb") as handle:
        forms = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), handle, pil]
        assert {loaded.predict(x).values for x in forms} == {loaded.predict(upright).values}


class Sees:
    """A session that keeps what it was given."""

    threads, versions = 1, {}

    def run(self, inputs):
        (self.tensor,) = (bytes(value) for value in inputs.values())
        return {"probabilities": memoryview(np.float32([0.2, 0.7, 0.1]))}


@pytest.mark.parametrize("resize", [16, 18])
def test_an_array_of_the_models_size_is_its_tensor_only_where_nothing_is_resized(pictures, draw, resize):
    spec = dataclasses.replace(pictures.spec, image=dataclasses.replace(pictures.spec.image, resize=resize))
    session, picture = Sees(), draw(16, 16, 5)
    seeing = Predictor(spec, Artifact("a", "a", "executorch", "fp32", "", 1), session)
    seeing.predict(picture)
    expected, pixels = session.tensor, np.asarray(picture)
    assert (expected == pixels.tobytes()) == (resize == 16)
    for x in (pixels, np.asfortranarray(pixels), np.repeat(pixels, 2, 1)[:, ::2]):
        session.tensor = None
        seeing.predict(x)
        assert session.tensor == expected
    with pytest.raises(BadInput, match="an array is a picture when it is uint8"):
        seeing.predict(pixels.astype(np.int8))


@pytest.mark.parametrize("name", FP32)
def test_a_batch_is_answered_as_its_inputs_one_by_one(pictures, policy, name):
    for tiny, xs in ((pictures, pictures.goldens), (policy, policy.inputs.tolist()), (policy, policy.inputs.numpy())):
        loaded = load(tiny.folder, name)
        answers = loaded.predict_batch(xs)
        assert [one.label for one in answers] == [loaded.predict(x).label for x in xs]
        for answer, x in zip(answers, xs, strict=True):
            assert answer.values == pytest.approx(loaded.predict(x).values, rel=1e-5, abs=1e-6)
            assert set(answer.ms) == {"decode", "preprocess", "inference", "postprocess"}
        assert loaded.predict_batch(iter(xs)) == answers and loaded.predict_batch([]) == []


@pytest.mark.parametrize(("name", "calls"), [("xnnpack-fp32", 3), ("onnx-fp32", 1)])
def test_a_batch_is_one_call_where_the_artifact_takes_batches(pictures, monkeypatch, name, calls):
    loaded, counted = load(pictures.folder, name), []
    run = loaded.session.run
    monkeypatch.setattr(loaded.session, "run", lambda inputs: (counted.append(inputs), run(inputs))[1])
    loaded.predict_batch(pictures.goldens)
    assert len(counted) == calls


@pytest.mark.parametrize(
    ("xs", "says"),
    [
        ([[1, 2, 3, 4], [1, 2, float("nan"), 4]], "input 2 of the batch: tiny-balance takes 4 .*; column 3 is nan"),
        ([1, 2, 3, 4], "input 1 of the batch: tiny-balance takes 4 numbers"),
        ("rows.csv", "a batch is a list of inputs, not one str; `predict` takes one"),
        ({"x": 1}, "a batch is a list of inputs, not one dict"),
    ],
)
def test_a_batch_with_a_bad_input_is_refused_and_says_which(policy, xs, says):
    with pytest.raises(BadInput, match=says):
        load(policy.folder).predict_batch(xs)


@pytest.fixture
def named(policy):
    """The policy's model, with columns that have names."""
    loaded = load(policy.folder)
    return Predictor(dataclasses.replace(loaded.spec, columns=("x", "v", "a", "w")), loaded.artifact, loaded.session)


def test_a_row_with_names_is_answered_whatever_their_order(named, policy):
    x, v, a, w = policy.goldens[0]
    expected = named.predict([x, v, a, w])
    assert named.predict({"w": w, "a": a, "x": x, "v": v}) == expected
    assert named.predict_batch([{"a": a, "x": x, "v": v, "w": w}]) == [expected]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"x": 1, "v": 2, "a": 3}, r"takes 4 numbers \(x, v, a, w\); the row lacks \['w'\]"),
        ({"x": 1, "v": 2, "a": 3, "w": 4, "y": 5}, r"the row has \['y'\] besides"),
        ({"x": 1, "v": 2, "a": 3, "W": 4}, r"the row lacks \['w'\] and has \['W'\] besides"),
        ({"x": 1, "v": float("nan"), "a": 3, "w": 4}, "column 'v' is nan"),
        ({"x": 1, "v": "2", "a": 3, "w": 4}, "takes 4 numbers .*; got"),
        ([1, 2, 3], "takes 4 numbers .*; got 3"),
    ],
)
def test_a_row_with_other_names_is_refused_by_them(named, row, says):
    with pytest.raises(BadInput, match=says):
        named.predict(row)


def test_an_answer_brings_the_unit_of_its_values(policy):
    assert load(policy.folder).predict(policy.goldens[0]).unit == "return"


def test_what_was_tuned_is_loaded_unless_something_else_is_asked_for(policy, monkeypatch):
    from edge_runtime import tuned

    monkeypatch.setattr(tuned, "remembered", lambda bundle: tuned.Choice("onnx-fp32", 1))
    loaded = load(policy.folder)
    assert (loaded.artifact.id, loaded.session.threads) == ("onnx-fp32", 1)
    assert load(policy.folder, threads=2).session.threads == 2
    assert load(policy.folder, "xnnpack-fp32").artifact.id == "xnnpack-fp32"
    monkeypatch.setattr(tuned, "remembered", lambda bundle: None)
    assert load(policy.folder).artifact.id == "xnnpack-fp32"


@pytest.mark.parametrize("bare", [False, True])
def test_strict_is_asked_of_every_artifact_that_is_loaded(policy, monkeypatch, bare):
    from edge_runtime import profile

    asked = []
    monkeypatch.setattr(profile, "require_delegated", lambda session, one, *, strict: asked.append((one.id, strict)))
    path = policy.folder / "xnnpack-fp32.pte" if bare else policy.folder
    load(path)
    load(path, strict=True)
    assert asked == [("xnnpack-fp32", False), ("xnnpack-fp32", True)]


def test_an_artifact_that_strict_refuses_is_closed(policy, monkeypatch):
    from edge_runtime import profile

    opened = []

    def refuse(session, artifact, *, strict):
        opened.append(session)
        raise EngineError("outside XNNPACK")

    monkeypatch.setattr(profile, "require_delegated", refuse)
    with pytest.raises(EngineError, match="outside XNNPACK"):
        load(policy.folder, strict=True)
    with pytest.raises(EngineError, match="this session was closed"):
        opened[0].run({"observation": np.zeros(4, np.float32)})


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((30, 40, 3)), r"when it is uint8 of shape \(height, width, 3\); got <f8 \(30, 40, 3\)"),
        (np.zeros((30, 40), np.uint8), r"got \|u1 \(30, 40\)"),
        (np.zeros((30, 40, 4), np.uint8), r"got \|u1 \(30, 40, 4\)"),
        (np.zeros((0, 40, 3), np.uint8), r"got \|u1 \(0, 40, 3\)"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(pictures, array, says):
    with pytest.raises(BadInput, match=says):
        load(pictures.folder).predict(array)


@pytest.mark.parametrize("name", FP32)
def test_a_row_is_answered_with_the_greedy_action(policy, name):
    loaded = load(policy.folder, name)
    for row, expected in zip(policy.inputs.tolist(), policy.answers(), strict=True):
        answer = loaded.predict(row)
        assert answer.values == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6)
        assert answer.action == expected.argmax() and answer.label == ("left", "right")[answer.action]
    assert loaded.predict(tuple(row)) == loaded.predict(np.asarray(row)) == loaded.predict(policy.inputs[-1])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([1, 2, 3], r"tiny-balance takes 4 numbers \(m, m/s, rad, rad/s\); got 3"),
        ([], "takes 4 numbers .*; got 0"),
        ([1, 2, 3, "x"], "takes 4 numbers"),
        ([1, 2, 3, None], "takes 4 numbers"),
        ([1, 2, 3, float("nan")], r"takes 4 numbers .*, all finite; column 4 is nan"),
        ([1, 1e39, 3, 4], "all finite; column 2 is inf"),
        ([1, 2, 3, 10**400], "takes 4 numbers"),
        ("hello", "takes 4 numbers .*; got 'hello'"),
        (b"0123456789abcdef", "takes 4 numbers .*; got b'"),
        ({"x": 1, "v": 2, "a": 3, "w": 4}, "takes 4 numbers .* and names no columns; give the numbers in their order"),
        ([1, 2, 3, 4j], "takes 4 numbers .*; got"),
        (None, "takes 4 numbers .*; got None"),
        (5, "takes 4 numbers .*; got 5"),
        (np.zeros((4, 1)), r"takes 4 numbers .*; got the shape \(4, 1\)"),
        (np.float32(1), r"takes 4 numbers .*; got the shape \(\)"),
        ({0.5, 0.1, 0.2, 0.3}, "takes 4 numbers .*; a set has no order, give a list"),
        (frozenset(range(4)), "takes 4 numbers .*; a frozenset has no order, give a list"),
        (np.array([1, 2, 3, 4j]), "takes 4 numbers .*; these numbers are complex, give real ones"),
        (memoryview(b"abcd"), "takes 4 numbers .*; a memoryview of single bytes is raw data"),
        (memoryview(bytearray(4)).cast("c"), "takes 4 numbers .*; a memoryview of single bytes is raw data"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(policy, row, says):
    with pytest.raises(BadInput, match=says):
        load(policy.folder).predict(row)


def test_a_complex_tensor_is_refused_and_a_view_of_floats_is_a_row(policy):
    import torch

    loaded, row = load(policy.folder), np.asarray(policy.goldens[0], np.float32)
    assert loaded.predict(memoryview(row)) == loaded.predict(row)
    with pytest.raises(BadInput, match="takes 4 numbers"):
        loaded.predict(torch.tensor([1, 2, 3, 4j]))


def test_a_huge_wrong_row_makes_a_short_message(policy):
    with pytest.raises(BadInput) as refusal:
        load(policy.folder).predict("x" * 1_000_000)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("name", FP32)
def test_eight_threads_on_one_predictor_get_the_answers_of_one(pictures, name):
    loaded = load(pictures.folder, name)
    expected = [loaded.predict(given).values for given in pictures.goldens]
    found = []

    def work():
        found.extend([loaded.predict(given).values for given in pictures.goldens] for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80 and all(one == expected for one in found)


@pytest.mark.parametrize("file", ["xnnpack-fp32.pte", "onnx-fp32.onnx"])
def test_an_artifact_copied_out_alone_knows_what_it_is(policy, file):
    alone = load(policy.folder / file)
    assert alone.spec == policy.spec
    assert alone.predict(policy.goldens[0]) == load(policy.folder, file.split(".")[0]).predict(policy.goldens[0])
    with pytest.raises(BadRequest, match=f"{file} is one artifact and holds no 'onnx-int8'; name a bundle"):
        load(policy.folder / file, "onnx-int8")


@pytest.mark.parametrize("suffix", [".pte", ".onnx"])
def test_a_bare_file_that_is_empty_or_no_model_is_refused(tmp_path, suffix):
    for data in (b"", b"not a model" * 100):
        (tmp_path / f"a{suffix}").write_bytes(data)
        with pytest.raises(EngineError, match=rf"this {suffix} cannot be read|cannot load this \{suffix}"):
            load(tmp_path / f"a{suffix}")


def test_nothing_and_an_unknown_artifact_are_refused(policy):
    with pytest.raises(BadInput, match="does not exist; give a bundle folder"):
        load("nowhere.zip")
    with pytest.raises(BadInput, match="does not exist; give a bundle folder"):
        load("nowhere.pte")
    with pytest.raises(BadRequest, match="has no artifact 'tflite'; it has xnnpack-fp32, onnx-fp32"):
        load(policy.folder, "tflite")


def test_a_flipped_byte_is_found_at_the_next_load(copied):
    load(copied)
    path = copied / "xnnpack-fp32.pte"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadBundle, match=r"xnnpack-fp32.pte .* was altered or damaged"):
        load(copied)


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_a_pte_whose_shape_is_not_the_manifests_is_refused(copied):
    manifest = manifest_of(copied)
    manifest["spec"]["inputs"][0]["shape"] = ["batch", 5]
    manifest["spec"]["normalise"] = None
    (copied / "manifest.json").write_text(json.dumps(manifest))
    for name in FP32:
        with pytest.raises(EngineError, match=r"observation of this .* its spec says float32"):
            load(copied, name)


@pytest.mark.parametrize("name", [*FP32, "xnnpack-int8", "onnx-int8"])
@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda spec: spec["image"].update(resize=50), "spec.image.resize"),
        (lambda spec: spec["image"].update(filter="lanczos"), "spec.image.filter"),
        (lambda spec: spec["labels"][1].update(id="cros3"), "spec.labels[1].id"),
        (lambda spec: spec["labels"].reverse(), "spec.labels[0].id"),
        (lambda spec: spec.update(task="multilabel"), "spec.task"),
        (lambda spec: spec.update(normalise=None), "spec.normalise"),
        (lambda spec: spec["inputs"][0].update(unit="BGR"), "spec.inputs[0].unit"),
        (lambda spec: spec.update(name="other"), "spec.name"),
    ],
)
def test_a_manifest_whose_spec_is_not_the_artifacts_is_refused(pictures, tmp_path, name, change, field):
    folder = shutil.copytree(pictures.folder, tmp_path / "altered")
    manifest = manifest_of(folder)
    change(manifest["spec"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    says = rf"altered or damaged: its {re.escape(field)} is not the one inside {name}\..*; fetch the bundle again"
    with pytest.raises(BadBundle, match=says):
        load(folder, name)
    report = check(folder)
    said = {one["name"]: one["detail"] for one in report["checks"]}
    assert not report["ok"] and all(field in said[artifact] for artifact in pictures.artifacts)


@pytest.mark.parametrize("name", FP32)
def test_a_flipped_bit_in_the_manifests_spec_is_refused_or_changes_a_display_name(pictures, tmp_path, name):
    folder = shutil.copytree(pictures.folder, tmp_path / "flipped")
    path = folder / "manifest.json"
    data, draw = path.read_bytes(), random.Random(0)
    start, end = data.index(b'"spec"'), data.index(b'"artifacts"')
    loaded = 0
    for place in draw.sample(range(start, end), 200):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :])
        try:
            spec = load(folder, name).spec
        except LokmaError:
            continue
        loaded += 1
        assert differing_field(spec, pictures.spec) is None
    assert loaded < 40  # display names, and what JSON does not distinguish


def test_display_names_may_change_without_a_new_export(pictures, tmp_path):
    folder = shutil.copytree(pictures.folder, tmp_path / "renamed")
    manifest = manifest_of(folder)
    manifest["spec"]["labels"][0].update(en="ring", tr="halka")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert load(folder).spec.labels[0].tr == "halka" and check(folder)["ok"]


def test_where_no_engine_runs_it_says_what_would(copied, monkeypatch):
    monkeypatch.setattr(predictor.engines, "available", lambda engine: False)
    with pytest.raises(Missing, match=r"needs executorch or onnxruntime \(executorch: .*; onnxruntime: pip install"):
        load(copied)
    manifest = manifest_of(copied)
    manifest["artifacts"] = [{**manifest["artifacts"][0], "engine": "warp"}]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Missing, match="which needs warp"):
        load(copied)


def test_an_answer_that_is_not_a_number_is_an_error(policy, monkeypatch):
    loaded = load(policy.folder)
    monkeypatch.setattr(loaded.session, "run", lambda inputs: {"q_values": memoryview(np.float32([1, np.nan]))})
    with pytest.raises(
        EngineError, match=r"xnnpack-fp32 of tiny-balance answered \(1\.0, nan\): the artifact is broken"
    ):
        loaded.predict(policy.goldens[0])


def test_verify_hashes_again(policy, monkeypatch):
    from edge_runtime import store

    hashed = []
    real = store.sha256_of
    monkeypatch.setattr(store, "sha256_of", lambda path: (hashed.append(path), real(path))[1])
    monkeypatch.setattr(store, "_SETTLED_NS", -1)
    load(policy.folder)
    load(policy.folder)
    assert len(hashed) == 1
    load(policy.folder, verify=True)
    assert len(hashed) == 2


def test_a_predictor_is_closed_once_and_for_all(policy):
    loaded = load(policy.folder)
    loaded.close()
    with pytest.raises(EngineError, match="this session was closed"):
        loaded.predict(policy.goldens[0])


def test_a_bundle_of_another_hash_with_the_right_manifest_loads(copied):
    manifest, path = manifest_of(copied), copied / "onnx-fp32.onnx"
    shutil.copy(copied / "xnnpack-fp32.pte", path)
    entry = manifest["artifacts"][1]
    entry.update(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size_bytes=path.stat().st_size)
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(EngineError, match=r"cannot load this \.onnx"):  # a .pte by another name
        load(copied, "onnx-fp32")


def test_the_spec_of_a_predictor_is_frozen(policy):
    with pytest.raises(AttributeError, match="frozen"):
        load(policy.folder).spec.name = "other"  # type: ignore[misc]


def test_a_tuned_thread_count_gives_way_to_the_pool_that_the_process_has_also_where_two_load_at_once(pictures, policy):
    code = f"""
import threading
from edge_runtime import load, tuned
from edge_runtime.bundle import open_bundle
paths = {str(pictures.zip)!r}, {str(policy.zip)!r}
for path, artifact, threads in zip(paths, ("xnnpack-int8", "xnnpack-fp32"), (1, 2)):
    tuned.remember(open_bundle(path), {{"choice": {{"artifact": artifact, "threads": threads}}}})
together, counts = threading.Barrier(2), []
def one(path):
    together.wait()
    counts.append(load(path).session.threads)
both = [threading.Thread(target=one, args=[path]) for path in paths]
[thread.start() for thread in both], [thread.join() for thread in both]
print(*counts)
"""
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() in (["1", "1"], ["2", "2"]), done.stderr


def test_a_bare_file_is_refused_where_signatures_are_asked_for(pictures, monkeypatch, tmp_path):
    monkeypatch.setenv("LOKMA_TRUSTED_SIGNERS", str(tmp_path / "signers"))
    with pytest.raises(BadBundle, match="sign"):
        load(pictures.folder / "xnnpack-fp32.pte")


def test_a_bundle_is_given_by_path_or_name():
    with pytest.raises(BadRequest, match="not as int"):
        load(5)


def test_where_signatures_are_asked_for_remembered_hashes_do_not_count(pictures, tmp_path, monkeypatch):
    folder = tmp_path / "bundle"
    shutil.copytree(pictures.folder, folder)
    bundle = open_bundle(folder)
    artifact = bundle.artifact("onnx-fp32")
    path = folder / artifact.file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(store, "remembered_sha256", lambda path: artifact.sha256)  # somebody wrote into seen.json
    assert bundle.content(artifact) == path
    monkeypatch.setenv("LOKMA_TRUSTED_SIGNERS", "signers")
    with pytest.raises(BadBundle, match="altered or damaged"):
        bundle.content(artifact)
