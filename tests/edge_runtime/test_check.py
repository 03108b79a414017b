import json
import shutil

import pytest

from edge_runtime import check as checks
from edge_runtime.check import check
from edge_runtime.errors import BadBundle, BadInput


@pytest.fixture
def copied(policy, tmp_path):
    return shutil.copytree(policy.folder, tmp_path / "policy")


def edited(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return check(folder)


def detail(report, number=0):
    return report["checks"][number]["detail"]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_every_artifact_of_a_good_bundle_repeats_its_golden_cases(pictures, form):
    report = check(getattr(pictures, form))
    names = ["xnnpack-fp32", "onnx-fp32", "xnnpack-int8", "onnx-int8"]
    assert report["ok"] and [(one["name"], one["ok"]) for one in report["checks"]] == [(n, True) for n in names]
    assert detail(report).startswith("3 golden cases, largest difference 0.0e+00")


def test_a_policy_is_checked_too(copied):
    assert check(copied)["ok"]


def test_a_drift_above_the_bound_fails_and_one_below_it_does_not(copied):
    def drift(amount):
        def change(manifest):
            outputs = manifest["golden"][1]["outputs"]["xnnpack-fp32"]
            outputs[0] += amount * max(map(abs, outputs))

        return change

    assert edited(copied, drift(5e-5))["ok"]
    report = edited(copied, drift(5e-4))
    assert not report["ok"] and [one["ok"] for one in report["checks"]] == [False, True]
    assert detail(report) == "golden case golden-1 differs by 5.5e-04; at most 1e-04 is allowed"


def test_another_best_label_fails_within_the_bound_too(copied, monkeypatch):
    monkeypatch.setitem(checks.TOLERANCE, "fp32", 10.0)
    report = edited(copied, lambda m: m["golden"][0]["outputs"]["onnx-fp32"].reverse())
    assert detail(report, 1) == "golden case golden-0 gets another label than where it was exported"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m["golden"].clear(), "the bundle has no golden case, so nothing can be proved"),
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
    assert not report["ok"] and report["checks"][0]["ok"] is False and says in detail(report)


def test_an_engine_that_is_not_here_is_not_a_failure(copied, monkeypatch):
    monkeypatch.setattr(checks.engines, "available", lambda engine: engine == "executorch")
    report = check(copied)
    assert report["ok"] and report["checks"][1]["ok"] is None
    assert detail(report, 1) == "not run: onnxruntime is not installed here"
    monkeypatch.setattr(checks.engines, "available", lambda engine: False)
    assert not check(copied)["ok"]


def test_what_cannot_be_opened_is_not_checked(tmp_path, copied):
    with pytest.raises(BadInput, match="does not exist"):
        check(tmp_path / "nowhere")
    with pytest.raises(BadBundle, match=r"a golden case of .* cannot be read"):
        edited(copied, lambda m: m["golden"].append(5))
