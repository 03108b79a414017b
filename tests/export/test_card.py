"""A card says what the manifest says, and nothing that was not measured."""

import json
import zipfile
from pathlib import Path

import pytest

from edge_runtime import examples
from export.card import card, warning
from export.exported import Exported


@pytest.fixture
def manifest():
    with zipfile.ZipFile(examples.path("digits.zip")) as packed:
        return json.loads(packed.read("manifest.json"))


def artifact(manifest, name):
    return next(a for a in manifest["artifacts"] if a["id"] == name)


def section(text, title):
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_artifact_stands_there_with_size_interval_and_both_verdicts_with_their_reasons(manifest):
    text = card(manifest)
    for entry in manifest["artifacts"]:
        assert f"| `{entry['id']}` | {entry['size_bytes'] / 1e6:.2f} MB | {entry['accuracy']['text']} |" in text
        for kind, said in (entry["verdict"] or {}).items():
            assert f"- `{entry['id']}`: {kind} **{said['answer']}**: {said['reason']}" in text


def test_who_ran_it_is_one_table_and_less_than_95_percent_of_the_time_is_a_warning(manifest):
    slow = artifact(manifest, "onnx-int8")["delegation"]
    slow |= {"operators": 40, "delegated": 30, "ops_share": 0.75, "time_share": 0.9}
    slow["outside"] = {"Softmax": 0.06, "Gemm": 0.04}
    said = section(card(manifest), "Who really ran it")
    assert "| `xnnpack-fp32` | XNNPACK | 16 of 16 (100%) | 100.0% | none |" in said
    assert "| `onnx-int8` | fused kernels | 30 of 40 (75%) | 90.0% | Softmax 6.0%, Gemm 4.0% |" in said
    assert "**Warning**: onnx-int8 spends 10% of its time outside fused kernels: Softmax 6%, Gemm 4%." in said
    assert said.count("**Warning**") == 1


def test_at_95_percent_there_is_no_warning(manifest):
    entry = artifact(manifest, "onnx-int8")
    assert warning({**entry, "delegation": {**entry["delegation"], "time_share": 0.95}}) is None
    assert warning({**entry, "delegation": None}) is None


def test_the_card_says_on_how_many_inputs_ranges_were_taken_and_warns_below_128(manifest):
    found = artifact(manifest, "onnx-int8")["quantization"]
    for inputs, warnings in ((128, 0), (127, 1)):
        found["calibration_inputs"] = inputs
        said = section(card(manifest), "Quantization")
        assert f"| {found['scheme']} | {inputs} |" in said
        assert said.count(f"`onnx-int8` was calibrated on {inputs} real inputs, fewer than 128") == warnings


def test_the_table_of_an_export_has_the_same_warning(manifest):
    exported = Exported(Path("bundles/digits"), manifest, reused=False)
    (said,) = exported.warnings()
    assert said == warning(artifact(manifest, "onnx-int8"))
    assert str(exported).endswith(f"\n  warning: {said}") and f"<p>Warning: {said}</p>" in exported._repr_html_()


def test_what_was_not_measured_has_no_section(manifest):
    text = card(manifest)
    assert "## From the eager model" not in text and "Raspberry Pis" not in text and "left out" not in text


def test_the_ladder_and_its_first_bad_hop_stand_there(manifest):
    hop = {"hop": "cortex-a72, emulated", "against": "session here", "max_abs": 0.25, "max_relative": 0.5}
    entry = artifact(manifest, "xnnpack-int8")
    entry["ladder"] = [hop | {"same_top1": 31, "n": 32, "bound": "1e-06 absolute", "ok": False}]
    entry["first_bad_hop"] = {"hop": hop["hop"], "against": hop["against"], "layer": "features.0"}
    said = section(card(manifest), "From the eager model to the device")
    row = "| cortex-a72, emulated | session here | 2.5e-01 | 5.0e-01 | 31 of 32 | 1e-06 absolute |"
    assert row in said
    bad = "cortex-a72, emulated against session here, from the layer `features.0` on."
    assert f"**First bad hop** of `xnnpack-int8`: {bad}" in said


def test_what_was_left_out_and_what_stays_in_float_say_why(manifest):
    manifest["left_out"] = [{"id": "onnx-fp16", "reason": "lost 9 of 360"}]
    found = artifact(manifest, "xnnpack-int8")["quantization"]
    found["in_float"].append("features.0")
    found |= {"why": "features.0: outputs move 0.1 instead of 0.4", "sensitivity": {"layers": {"features.0": 0.081}}}
    text = card(manifest)
    assert "- `onnx-fp16` **left out**: lost 9 of 360" in text
    said = section(text, "Quantization")
    assert "| 128 | normalisation, last activation, features.0 |" in said
    assert "for the accuracy: features.0: outputs move 0.1 instead of 0.4." in said and "`features.0` 0.081." in said


def test_unlabelled_pictures_are_part_of_where_it_comes_from(manifest):
    manifest["provenance"]["unlabelled"] = {"n": 650, "sha256": "", "left_out": {"seen in training": 3}}
    assert "650 unlabelled pictures judge beside the test side (left out: 3 seen in training)." in card(manifest)


def test_instructions_are_labelled_as_no_latency_and_what_was_not_counted_says_why(manifest):
    known = {"cpu": "cortex-a72", "n": 5, "instructions": 3_590_000, "ratio_to_fp32": 1.187, "reason": None}
    known |= {"cycles": None, "cycles_ratio_to_fp32": None, "cycles_reason": "llvm-mca-19 is not installed"}
    artifact(manifest, "xnnpack-int8")["instructions"] = {"pi4": known}
    said = section(card(manifest), "On Raspberry Pis: emulated and modelled")
    row = "| pi4 (cortex-a72, emulated) | 3.59 million, 1.19x | not known: llvm-mca-19 is not installed |"
    assert row in said
    assert "neither number is a latency" in said
