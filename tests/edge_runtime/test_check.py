import hashlib
import json
import os
import shutil
from collections import Counter
from types import SimpleNamespace

import pytest

from edge_runtime import check as checks
from edge_runtime import load
from edge_runtime.bundle import Artifact, Golden, open_bundle
from edge_runtime.check import check, difference
from edge_runtime.errors import BadBundle, BadInput, EngineError


@pytest.fixture
def copied(policy, tmp_path):
    return shutil.copytree(policy.folder, tmp_path / "policy")


def edited(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return check(folder)


def detail(report, number=0):
    """Of the artifact of this number; before the artifacts stand the hashes and the signature."""
    return report["checks"][number + 2]["detail"]


@pytest.fixture
def asked(monkeypatch):
    """Counts the inferences of each artifact and level."""
    seen, answer = Counter(), checks._answer

    def counting(predictor, golden, level):
        seen[predictor.artifact.id, level] += 1
        return answer(predictor, golden, level)

    monkeypatch.setattr(checks, "_answer", counting)
    return seen


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_every_artifact_of_a_good_bundle_repeats_its_golden_cases_at_two_levels(pictures, form, asked):
    report = check(getattr(pictures, form))
    names = ["xnnpack-fp32", "onnx-fp32", "xnnpack-int8", "onnx-int8"]
    assert report["ok"] and [(one["name"], one["ok"]) for one in report["checks"]] == [
        ("hashes", True),
        ("signature", None),
        *((name, True) for name in names),
    ]
    assert report["checks"][0]["detail"] == "4 artifacts are the files that the manifest names"
    assert detail(report) == (
        "3 golden cases, largest difference from raw input to answer 0.0e+00 and tensor to tensor 0.0e+00"
    )
    assert asked == {(name, level): 3 for name in names for level in (checks.RAW, checks.TENSOR)}


def test_at_most_25_inferences_are_spent_and_every_artifact_gets_its_share(pictures, tmp_path, asked):
    folder = shutil.copytree(pictures.folder, tmp_path / "pictures")
    assert edited(folder, lambda m: m.update(golden=m["golden"] * 5))["ok"]
    assert asked.total() == 25 and {asked[name, checks.RAW] for name in pictures.artifacts} == {6, 7}


def test_what_the_limit_leaves_out_is_said_and_raw_inputs_come_first(pictures, tmp_path, asked):
    folder = shutil.copytree(pictures.folder, tmp_path / "pictures")

    def four(manifest):
        manifest["golden"].append({**manifest["golden"][0], "id": "golden-3"})

    report = edited(folder, four)  # 16 raw inputs, so that 9 tensors may still be run
    assert {asked[name, checks.RAW] for name in pictures.artifacts} == {4}
    assert detail(report).startswith("4 golden cases, ")
    assert detail(report).endswith("tensor to tensor 0.0e+00 (3 tensors: at most 25 inferences are spent)")
    assert detail(edited(folder, lambda m: m.update(golden=m["golden"] * 2)), 1) == (
        "6 of 8 golden cases, largest difference from raw input to answer 0.0e+00 "
        "(no tensors: at most 25 inferences are spent)"
    )


def test_a_bundle_of_too_many_artifacts_is_not_called_proved(policy, monkeypatch, copied):
    monkeypatch.setattr(checks, "MAX_INFERENCES", 1)
    report = check(copied)
    assert not report["ok"] and detail(report, 1).startswith("the bundle has no golden case for it")


def test_a_policy_is_checked_too_and_its_two_levels_are_one(copied):
    report = check(copied)
    assert report["ok"] and detail(report).endswith("raw input to answer 0.0e+00, which is tensor to tensor too")


def put(folder, number, data, key="tensor"):
    """Another tensor for a golden case, with the right hash."""

    def change(manifest):
        entry = manifest["golden"][number][key]
        entry.update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        (folder / entry["file"]).write_bytes(data)

    return edited(folder, change)


def test_a_preprocess_that_differs_fails_from_the_raw_input_alone(pictures, tmp_path, draw, monkeypatch):
    folder = shutil.copytree(pictures.folder, tmp_path / "pictures")
    real = load(folder).predict(draw(40, 30, 9)).values
    monkeypatch.setattr(checks.Predictor, "predict", lambda self, x: SimpleNamespace(values=real))
    assert detail(check(folder)).startswith("golden case golden-0 (raw input to answer) differs by ")


def test_an_engine_that_differs_fails_from_the_tensor_too(pictures, tmp_path, draw):
    import io

    folder = shutil.copytree(pictures.folder, tmp_path / "pictures")

    def png(size):
        buffer = io.BytesIO()
        draw(size, size, 9).save(buffer, "PNG")
        return buffer.getvalue()

    assert detail(put(folder, 0, png(16))).startswith("golden case golden-0 (tensor to tensor) differs by ")
    assert "golden-0 has (17, 17) pixels; the model takes 16 x 16" in detail(put(folder, 0, png(17)))
    (folder / "golden/0.tensor.png").write_bytes(b"another")


def test_an_altered_golden_file_is_a_finding_as_an_altered_artifact_is(pictures, tmp_path, lokma):
    folder = shutil.copytree(pictures.folder, tmp_path / "pictures")
    (folder / "golden/0.tensor.png").write_bytes(b"another")
    done = lokma("check", folder, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1 and "golden cases: golden/0.tensor.png of " in done.stderr
    assert not report["ok"] and [one["name"] for one in report["checks"]] == ["hashes", "signature", "golden cases"]
    assert report["checks"][-1]["ok"] is False and "was altered or damaged" in report["checks"][-1]["detail"]


def test_a_bundle_of_an_older_export_is_checked_without_tensors(pictures, tmp_path):
    folder = shutil.copytree(pictures.folder, tmp_path / "pictures")
    report = edited(folder, lambda m: [case.pop("tensor") for case in m["golden"]])
    assert report["ok"] and detail(report).endswith("0.0e+00 (no tensors are stored: export it again)")


def test_the_golden_tensor_is_what_the_preprocess_makes(pictures):
    from edge_runtime.preprocess import open_picture, to_pixels

    for golden in open_bundle(pictures.folder).golden():
        image = pictures.spec.image
        stored = open_picture(golden.tensor, image, exact=True)
        assert stored.size == (16, 16)
        assert stored.tobytes() == to_pixels(open_picture(golden.input, image, exact=True), image)


def test_a_tensor_for_a_model_of_rows_is_refused(copied, pictures):
    tensor = json.loads((pictures.folder / "manifest.json").read_text())["golden"][0]["tensor"]
    shutil.copytree(pictures.folder / "golden", copied / "golden")
    report = edited(copied, lambda m: m["golden"][0].update(tensor=tensor))
    assert "golden-0 stores pixels for a model that takes none" in detail(report)


def test_a_file_of_an_engine_that_is_not_here_is_hashed_too(copied, monkeypatch):
    monkeypatch.setattr(checks.engines, "available", lambda engine: engine == "executorch")
    damaged = bytearray((copied / "onnx-fp32.onnx").read_bytes())
    damaged[100] ^= 1
    (copied / "onnx-fp32.onnx").write_bytes(damaged)
    report = check(copied)
    assert not report["ok"] and [one["ok"] for one in report["checks"]] == [False, None, True, None]
    assert report["checks"][0]["detail"].startswith("onnx-fp32.onnx of ")


def test_a_drift_above_the_bound_fails_and_one_below_it_does_not(copied):
    def drift(amount):
        def change(manifest):
            outputs = manifest["golden"][1]["outputs"]["xnnpack-fp32"]
            outputs[0] += amount * max(map(abs, outputs))

        return change

    assert edited(copied, drift(5e-5))["ok"]
    report = edited(copied, drift(5e-4))
    assert not report["ok"] and [one["ok"] for one in report["checks"]] == [True, None, False, True]
    assert detail(report) == "golden case golden-1 (raw input to answer) differs by 5.5e-04; at most 1e-04 is allowed"


def test_another_best_label_fails_within_the_bound_too_unless_the_two_were_as_good_as_equal():
    artifact = Artifact("int8", "int8.pte", "executorch", "int8", "", 1)

    def case(*stored):
        return Golden("golden-0", [0.0], stored, {"int8": stored})

    with pytest.raises(EngineError, match="gets another label"):
        difference(artifact, case(1.0, 0.97), (0.984, 0.985))
    assert difference(artifact, case(1.0, 0.985), (0.99, 0.991)) == pytest.approx(0.01, abs=2e-6)
    assert difference(artifact, case(0.0, 0.0), (0.0, 5e-7)) == 0  # Q-values near 0 have no relative precision


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m["golden"].clear(), "the bundle has no golden case for it, so nothing can be proved"),
        (lambda m: m["golden"][0]["outputs"].pop("xnnpack-fp32"), "golden-0 has no output of xnnpack-fp32"),
        (
            lambda m: m["golden"][0]["outputs"]["xnnpack-fp32"].append(1),
            "golden-0 has no output of xnnpack-fp32",
        ),
        (
            lambda m: m["golden"][0]["outputs"].update({"xnnpack-fp32": [1, float("nan")]}),
            "not a finite number",
        ),
        (lambda m: m["golden"][0]["outputs"].update({"xnnpack-fp32": [0, 0]}), "differs by"),
        (lambda m: m["golden"][0].update(input=[1, 2]), "takes 4 numbers"),
        (lambda m: m["artifacts"][0].update(precision="fp4"), "how exactly 'fp4' must agree; update lokma"),
        (lambda m: m["artifacts"][0].update(sha256="0" * 64), "was altered or damaged"),
    ],
)
def test_what_is_wrong_with_an_artifact_is_said(copied, change, says):
    report = edited(copied, change)
    assert not report["ok"] and report["checks"][2]["ok"] is False and says in detail(report)


def test_an_engine_that_is_not_here_is_not_a_failure(copied, monkeypatch):
    monkeypatch.setattr(checks.engines, "available", lambda engine: engine == "executorch")
    report = check(copied)
    assert report["ok"] and report["checks"][3]["ok"] is None
    assert detail(report, 1) == "not run: onnxruntime is not installed here"
    monkeypatch.setattr(checks.engines, "available", lambda engine: False)
    report = check(copied)
    assert not report["ok"] and [one["ok"] for one in report["checks"]] == [True, None, None, None, False]
    assert report["checks"][-1]["detail"].endswith(
        ": executorch is not installed here; onnxruntime is not installed here"
    )


@pytest.fixture
def illegal(tmp_path):
    """An environment whose onnxruntime ends every process that imports it."""
    package = tmp_path / "illegal" / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    return {**os.environ, "PYTHONPATH": str(package.parent)}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGILL to send")
def test_an_engine_that_ends_its_process_is_a_finding_while_another_answers(policy, tmp_path, lokma, illegal):
    why = "onnxruntime ends with SIGILL here: its wheel uses instructions that this processor lacks; use .pte artifacts"
    done = lokma("check", policy.zip, "--json", env=illegal)
    assert done.returncode == 0, done.stderr
    assert [one["ok"] for one in json.loads(done.stdout)["checks"]] == [True, None, True, None]
    assert detail(json.loads(done.stdout), 1).startswith(f"not run: {why}")
    done = lokma("install", policy.zip, "--no-tune", "--json", env=illegal)
    assert done.returncode == 0 and json.loads(done.stdout)["changed"], done.stderr
    folder = shutil.copytree(policy.folder, tmp_path / "onnx")
    edited(folder, lambda m: m.update(artifacts=m["artifacts"][1:]))
    done = lokma("check", folder, env=illegal)
    assert done.returncode == 1 and f"no engine here can run any of its artifacts: {why}" in done.stderr


def test_an_engine_is_tried_although_only_signed_bundles_count(policy, lokma, tmp_path):
    from edge_runtime import doctor

    (tmp_path / "signers").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKMA_TRUSTED_SIGNERS", str(tmp_path / "signers"))
        assert doctor.tried("onnxruntime").ok


@pytest.mark.parametrize("verb", ["check", "tune", "install"])
def test_a_bare_artifact_is_answered_with_what_to_give(policy, lokma, verb):
    done = lokma(verb, policy.folder / "xnnpack-fp32.pte")
    assert done.returncode == 2
    assert done.stderr == f"lokma: {policy.folder / 'xnnpack-fp32.pte'} is a bare artifact; give its bundle\n"


def test_what_cannot_be_opened_is_not_checked(tmp_path, copied):
    with pytest.raises(BadInput, match="does not exist"):
        check(tmp_path / "nowhere")
    report = edited(copied, lambda m: m["golden"].append(5))
    assert not report["ok"] and report["checks"][-1]["detail"].startswith("a golden case of ")
    with pytest.raises(BadBundle, match="has no model spec"):
        edited(copied, lambda m: m.pop("spec"))
