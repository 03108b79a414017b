from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from export.lowering import entry, lower, lower_all
from export.mixed import _counts, distance, guilty, mend, needed, replaced
from export.recipes import Job
from export.samples import Samples
from tests.export.tiny import ROWS, answers, of_side, samples


def verdict(answer, changed, n, recipe="onnx-int8"):
    accuracy = {"answer": answer, "changed": changed, "n": n, "max_drop": 0.01}
    return {"recipe": recipe, "verdict": {"accuracy": accuracy}}


def test_only_changed_answers_of_an_int8_artifact_call_for_layers_in_float():
    assert guilty(verdict("inconclusive", 22, 1079)) and guilty(verdict("fail", 50, 1079))
    assert not guilty(verdict("pass", 3, 1079))
    assert not guilty(verdict("inconclusive", 0, 150))  # more pictures are needed, not more bits
    assert not guilty(verdict("inconclusive", 1, 150))  # not even none of 150 would pass
    assert not guilty(verdict("inconclusive", 22, 1079, "onnx-int8-dynamic"))
    assert not guilty({"recipe": "xnnpack-fp32", "verdict": None})


def test_what_is_needed_is_the_most_changes_that_pass_over_those_there_were():
    assert needed(22, 1079, 0.01) == 4 / 22  # five would pass at 95 %, and the second look is held to 97.5 %
    assert needed(4, 100, 0.01) == 0


def test_numbers_of_layers_that_by_their_own_errors_cannot_do_are_not_tried():
    errors = [0.9, 0.3, 0.1, 0.05, 0.01]
    assert _counts(errors, share=0.5) == [1, 2, 4]
    assert _counts(errors, share=0.05) == [
        4
    ]  # with two in float what is left moves 0.12 of it, twice as far as allowed
    assert _counts(errors, share=0.001) == []
    assert _counts(errors, share=0.001, free=True) == [5]  # all of them, where that costs no room


def test_the_distance_is_of_what_decides_an_answer():
    fp32 = np.array([[0.5, 0.3, 0.2]])
    assert distance(fp32, fp32) == 0
    moved = np.array([[0.5, 0.3 * np.e, 0.2 * np.e]])
    assert distance(moved / moved.sum(), fp32) == pytest.approx(1)


@pytest.fixture(scope="module")
def uneven():
    """A network whose middle layer's rows each hold one huge weight, so that int8 has no steps left for the others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)).eval()
    model.requires_grad_(False)
    model[0].bias[0] = -100  # the input of the huge ones is never on
    model[2].weight[:, 0] = 500
    given = samples(ROWS, 128)
    jobs = dict.fromkeys(("xnnpack-fp32", "onnx-fp32", "xnnpack-int8", "onnx-int8"), Job(model, ROWS, given, given[:4]))
    return jobs, lower_all(jobs)


def of(inputs):
    rows = tuple(tuple(map(float, row)) for row in inputs)
    return Samples("rows", "", (), (), (), (), held=rows)


@pytest.mark.parametrize("name", ["xnnpack-int8", "onnx-int8"])
def test_the_fewest_layers_stay_in_float_that_make_the_outputs_quiet_enough_or_more_if_faster(uneven, name, tmp_path):
    jobs, lowered = uneven
    artifact = entry(name, lowered[name], tmp_path) | verdict("inconclusive", 22, 1079, name)
    tried = []

    def lower(some):
        tried.append({recipe: sorted(job.in_float) for recipe, job in some.items()})
        return lower_all(some)

    torch.manual_seed(5)
    held = torch.randn(48, 4)
    mended = mend(jobs, lowered, [artifact], of(held), lower)
    quantization = mended[name].details["quantization"]
    assert next(iter(artifact["quantization"]["sensitivity"]["layers"])) == "2"
    assert tried[0] == {name: ["2"]} and "2" in quantization["in_float"] and quantization["why"].startswith("2")
    fp32 = answers(name, lowered[f"{name.partition('-')[0]}-fp32"].data, ROWS, held)
    before, after = (distance(answers(name, found[name].data, ROWS, held), fp32) for found in (lowered, mended))
    assert after <= 5 / 22 * before
    fastest = min((row for row in quantization["mixed"]["tried"] if "ms" in row), key=lambda row: row["ms"])
    assert fastest["distance"] == pytest.approx(after, rel=1e-3)
    assert len(quantization["in_float"]) - 2 == fastest["layers"] or name == "onnx-int8"  # there kinds are named too
    replaced(artifact, mended[name], tmp_path)
    assert (tmp_path / artifact["file"]).read_bytes() == mended[name].data
    assert artifact["size_bytes"] == len(mended[name].data)


def test_where_no_layer_in_float_helps_the_plain_artifact_stays_and_what_was_tried_is_noted(uneven, tmp_path):
    jobs, lowered = uneven
    artifact = entry("onnx-int8", lowered["onnx-int8"], tmp_path) | verdict("fail", 1000, 1079)
    calls = []

    def lower(some):
        calls.append(some)
        return {name: replace(lowered[name]) for name in some}  # as loud as before

    assert mend(jobs, lowered, [artifact], of(torch.randn(48, 4)), lower) == {}
    tried = artifact["quantization"]["mixed"]["tried"]
    assert [found["layers"] for found in tried] == [2]  # of three; one alone cannot do for so few changes
    assert len(calls) == 1


def test_without_training_side_inputs_to_decide_on_nothing_is_tried(uneven, tmp_path):
    jobs, lowered = uneven
    artifact = entry("onnx-int8", lowered["onnx-int8"], tmp_path) | verdict("fail", 50, 1079)
    assert mend(jobs, lowered, [artifact], of(torch.zeros(0, 4)), lower_all) == {}
    assert "mixed" not in artifact["quantization"]


def convolutions(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval().requires_grad_(False)


def test_onnxruntime_leaves_the_weights_of_a_layer_in_float_alone():
    model = convolutions(nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.Conv2d(8, 8, 3), nn.ReLU6(), nn.Conv2d(8, 8, 1))
    model[2].weight[0].mul_(500)  # the clamp cuts it off; one step for all channels would be as wide as the others
    model[-1].weight.mul_(20)
    spec, given = of_side(16), samples(of_side(16))
    found = lower("onnx-int8", Job(model, spec, given, given, frozenset({"2"})))
    seen, written = answers("onnx-int8", found.data, spec, given), found.stages["quantized graph"]
    assert distance(seen, written) < 0.1 * distance(written, found.stages["graph"])


def test_a_pad_between_integers_and_a_layer_in_float_can_be_lowered_and_pads_with_nothing():
    layers = nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(8, 8, 3), nn.ReLU6()
    model, spec, given = convolutions(*layers, nn.Conv2d(8, 8, 1)), of_side(16), samples(of_side(16))
    plain, mixed = (lower("xnnpack-int8", Job(model, spec, given, given, frozenset(names))) for names in ((), ("3",)))
    assert mixed.details["quantization"]["in_float"][-1] == "3"
    whole = mixed.stages["exported program"]
    assert distance(answers("xnnpack-int8", mixed.data, spec, given), whole) < 0.05
    assert len(mixed.data) > len(plain.data)
