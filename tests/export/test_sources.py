"""Everything that a PyTorch user has: each kind gives a bundle that passes its check, or one sentence why not."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torchvision.models import get_model

from edge_runtime.bundle import open_bundle
from edge_runtime.check import check
from edge_runtime.errors import BadData, BadInput, BadRequest
from export import export
from export.asked import Asked
from export.sources import plan_of
from export.torchvision_model import fitted, read_weights
from train.user_data import user_data

SAID = {"input": 16, "mean": 0.5, "std": 0.25}
HER_FILE = """import torch
from torch import nn
from train import WIDTH

print("what she prints goes nowhere")


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 3))


class Branch(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x.mean((2, 3))
        return -x.mean((2, 3))


class Narrow(nn.Module):
    def forward(self, x):
        return x.flatten(1) @ torch.ones(10, 3)


def nan():
    model = make()
    model[0].weight.data[0, 0] = float("nan")
    return model


def steals():
    import edge_runtime


def stops():
    raise SystemExit(5)


def text():
    return "resnet18"


def two():
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 2))


def hidden():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU())
"""


@pytest.fixture
def her_file(tmp_path):
    folder = tmp_path / "hers"
    folder.mkdir()
    (folder / "train.py").write_text("WIDTH = 8\n")
    (folder / "model.py").write_text(HER_FILE)
    return folder / "model.py"


def small(outputs=3):
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs))


def test_a_function_in_a_file_with_a_sibling_train_py_gives_a_bundle_and_then_needs_no_torch_here(
    her_file, food, tmp_path
):
    thing = f"{her_file}:make"
    said = {**SAID, "data": str(food)}
    first = export(thing, "onnx-fp32,xnnpack-fp32", tmp_path / "out", **said)
    assert check(first.path)["ok"]
    assert [label.id for label in open_bundle(first.path).spec.labels] == ["blue", "green", "red"]
    assert all(artifact["parity"]["max_relative"] <= 1e-4 for artifact in first.manifest["artifacts"])
    assert first.manifest["provenance"]["source"] == {"kind": "file.py:function", "what": "model.py:make"}
    code = (
        "import sys; sys.modules['torch'] = None\nfrom export import export\n"
        f"print(export({thing!r}, 'onnx-fp32,xnnpack-fp32', {str(tmp_path / 'out')!r}, **{said!r}).reused)"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout == "True\n"


def test_her_code_her_weights_and_the_files_she_reads_decide_whether_anything_has_changed(her_file, food):
    def content():
        plan = plan_of(f"{her_file}:make", Asked.of(data=food, **SAID))
        found = plan.content()
        plan.close()
        return found

    first = content()
    assert content() == first
    (her_file.parent / "unrelated.py").write_text("x = 1\n")
    assert content() == first
    (her_file.parent / "train.py").write_text("WIDTH = 8  # a comment\n")
    assert content() != first


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("branch", r"data-dependent expression .* \(line 15 of model.py: if x.sum\(\) > 0:\)"),
        (
            "narrow",
            r"does not take float32 \(1, 3, 16, 16\): .*1x768 and 10x3\) \(line 22 of model.py: return x.flatten",
        ),
        ("nan", r"the weights hold NaN or infinity: 0.weight, 9 of 216"),
        (
            "steals",
            r"fails in steals\(\): ModuleNotFoundError.*edge_runtime.* \(line 32 of model.py: import edge_runtime",
        ),
        ("stops", r"ended Python by itself \(code 5\)"),
        ("text", r"gives no torch.nn.Module from text\(\): TypeError: it gives a str"),
        ("two", r"has 2 outputs, and there are 3 labels: blue, green, red"),
        ("hidden", r"asks for --outputs logits\|probabilities"),
        ("nothing", r"model.py has no function 'nothing'"),
    ],
)
def test_what_is_wrong_in_her_file_is_one_sentence_with_the_line_of_her_code(function, said, her_file, food, tmp_path):
    with her_file.open("a") as handle:
        handle.write("\n\ndef branch():\n    return Branch()\n\n\ndef narrow():\n    return Narrow()\n")
    with pytest.raises((BadInput, BadRequest), match=said) as raised:
        export(f"{her_file}:{function}", "onnx-fp32", tmp_path / "out", data=food, **SAID)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "out").glob("*"))


def test_a_file_that_cannot_be_read_as_python_names_the_line(tmp_path, food):
    (tmp_path / "bad.py").write_text("def make(:\n    pass\n")
    with pytest.raises(BadInput, match=r"bad.py cannot be imported: SyntaxError: .* \(line 1 of bad.py: def make"):
        export(f"{tmp_path / 'bad.py'}:make", "onnx-fp32", tmp_path / "out", data=food, **SAID)


def test_a_students_checkpoint_gives_a_bundle_with_the_labels_in_her_order(food, tmp_path):
    torch.manual_seed(0)
    model = get_model("squeezenet1_1", weights=None, num_classes=3)
    torch.save({"model_state_dict": model.state_dict(), "epoch": 5}, tmp_path / "my.pth")
    done = export(
        "torchvision:squeezenet1_1",
        "onnx-fp32",
        tmp_path / "out",
        data=food,
        weights=tmp_path / "my.pth",
        labels="red,green,blue",
        input=32,
    )
    assert check(done.path)["ok"]
    spec = open_bundle(done.path).spec
    assert [label.id for label in spec.labels] == ["red", "green", "blue"]
    assert (spec.image.resize, spec.image.crop, spec.image.filter) == (37, 32, "bilinear")
    assert spec.normalise.mean == pytest.approx((123.675, 116.28, 103.53))


@pytest.mark.parametrize("head", ["num_classes", "bare", "linear", "dropout-linear"])
def test_the_heads_that_students_put_on_are_recognised(head):
    model = get_model("efficientnet_b0", weights=None, num_classes=3)
    if head == "bare":
        model.classifier = nn.Linear(1280, 3)
    elif head != "num_classes":
        parts = [nn.Dropout(0.2), nn.Linear(1280, 3)] if head == "dropout-linear" else [nn.Linear(1280, 3)]
        model.classifier = nn.Sequential(*parts)
    made = fitted("efficientnet_b0", model.state_dict(), "my.pth").eval()
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(made(x), model.eval()(x))


def test_the_prefix_of_a_wrapper_is_taken_off(tmp_path):
    torch.save({f"module.{key}": value for key, value in small().state_dict().items()}, tmp_path / "wrapped.pth")
    assert list(read_weights(tmp_path / "wrapped.pth")) == list(small().state_dict())


def test_wrong_keys_are_named_and_a_pickled_model_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"does not fit resnet18: it lacks conv1.weight, .*unknown features.0.weight"):
        fitted("resnet18", get_model("squeezenet1_1", weights=None).state_dict(), "my.pth")
    torch.save(small(), tmp_path / "whole.pth")
    with pytest.raises(BadInput, match=r"holds more than weights.*torch.save\(model.state_dict"):
        read_weights(tmp_path / "whole.pth")


def test_an_unknown_architecture_lists_near_ones_and_inception_weights_are_not_guessed_at(tmp_path):
    with pytest.raises(BadRequest, match="no classifier 'resnet19'; near: resnet18"):
        export("torchvision:resnet19", "onnx-fp32", tmp_path)
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(BadRequest, match="googlenet do not say whether it shifts its input"):
        export("torchvision:googlenet", "onnx-fp32", tmp_path, weights=tmp_path / "w.pth")


def test_a_saved_program_of_one_picture_gives_an_onnx_with_a_free_batch(food, tmp_path):
    program = torch.export.export(small().eval(), (torch.randn(1, 3, 16, 16),))
    torch.export.save(program, tmp_path / "mine.pt2")
    done = export(str(tmp_path / "mine.pt2"), "onnx-fp32", tmp_path / "out", data=food, mean=0.5, std=0.25)
    assert check(done.path)["ok"]
    assert onnx.load(done.path / "onnx-fp32.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert export(str(tmp_path / "mine.pt2"), "onnx-fp32", tmp_path / "out", data=food, mean=0.5, std=0.25).reused
    with pytest.raises(BadRequest, match="--input 32: this model was exported for pictures of 16 px"):
        export(str(tmp_path / "mine.pt2"), "onnx-fp32", tmp_path / "out", data=food, mean=0.5, std=0.25, input=32)


def test_a_program_that_keeps_a_pickle_is_refused_before_torch_reads_it(tmp_path):
    program = torch.export.export(small().eval(), (torch.randn(1, 3, 16, 16),))
    torch.export.save(program, tmp_path / "mine.pt2")
    touched = tmp_path / "touched"
    with zipfile.ZipFile(tmp_path / "mine.pt2") as old, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("weights_config.json"):
                config = json.loads(data)
                next(iter(config["config"].values()))["use_pickle"] = True
                data = json.dumps(config).encode()
            new.writestr(name, data)
    with zipfile.ZipFile(tmp_path / "mine.pt2") as old, zipfile.ZipFile(tmp_path / "worse.pt2", "w") as new:
        for name in old.namelist():
            evil = b"cpathlib\nPath\n(V" + str(touched).encode() + b"\ntR."  # a global that weights_only refuses
            new.writestr(name, evil if "sample_inputs" in name else old.read(name))
    for file in ("bad.pt2", "worse.pt2"):
        with pytest.raises(BadInput, match="pickle"):
            export(str(tmp_path / file), "onnx-fp32", tmp_path / "out")


def test_a_module_and_a_table_give_a_bundle_of_rows(tmp_path):
    draw = np.random.default_rng(1)
    lines = [f"{a:.4f},{b:.4f},{'up' if a > 0 else 'down'}" for a, b in draw.normal(size=(80, 2))]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,kind", *lines]))
    said = {"data": tmp_path / "table.csv", "target": "kind"}
    with pytest.raises(BadRequest, match="give --mean and --std: how columns"):
        export(nn.Linear(2, 2), "onnx-fp32", tmp_path / "out", **said)
    done = export(nn.Linear(2, 2), "onnx-fp32", tmp_path / "out", mean=0, std=1, **said)
    assert check(done.path)["ok"]
    assert open_bundle(done.path).spec.columns == ("a", "b")
    assert done.path.name == "linear" and "onnx-fp32" in str(done) and "<td>onnx-fp32</td>" in done._repr_html_()


def test_what_cannot_be_inferred_is_asked_for_by_name_all_at_once(her_file, tmp_path):
    with pytest.raises(BadRequest, match=r"--data: .*--labels A,B,C: .*--input N: .*--mean and --std: "):
        export(f"{her_file}:make", "onnx-fp32", tmp_path / "out")
    with pytest.raises(BadRequest, match="export has no option lables; it has data, labels, input"):
        export(f"{her_file}:make", lables="a,b")
    with pytest.raises(BadRequest, match="there is no recipe onnx-fp8; the recipes are xnnpack-fp32"):
        export(f"{her_file}:make", "auto,onnx-fp8")
    with pytest.raises(BadInput, match=r"nothing that can be exported: .*torchvision:NAME"):
        export("model.keras")
    with pytest.raises(BadInput, match=r"my.pth holds weights and no architecture; give torchvision:NAME --weights"):
        export("my.pth")
    (tmp_path / "done").mkdir()
    with pytest.raises(BadInput, match="done is not a run; `lokma train` writes one"):
        export(tmp_path / "done")
    (tmp_path / "done/manifest.json").write_text("{}")
    with pytest.raises(BadInput, match=r"done is a bundle, exported already; `lokma info .*done` describes it"):
        export(tmp_path / "done")


def test_that_another_models_bundle_will_be_replaced_is_said_before_it_is(her_file, food, tmp_path, caplog):
    (tmp_path / "out/model").mkdir(parents=True)
    before = {"version": 3, "provenance": {"source": {"kind": "onnx", "what": "model.onnx"}}}
    (tmp_path / "out/model/manifest.json").write_text(json.dumps(before))
    with pytest.raises(BadInput, match="has 2 outputs, and there are 3 labels"):
        export(f"{her_file}:two", "onnx-fp32", tmp_path / "out", data=food, **SAID)
    assert "model (version 3) was made of model.onnx, and will be replaced once" in caplog.text
    assert json.loads((tmp_path / "out/model/manifest.json").read_text()) == before


def test_labels_that_are_not_the_folders_are_refused(her_file, food, tmp_path):
    with pytest.raises(
        BadRequest, match="--data has the label blue, green, red, and the model has pizza, steak, sushi"
    ):
        export(f"{her_file}:make", "onnx-fp32", tmp_path / "out", data=food, labels="pizza,steak,sushi", **SAID)


def test_one_folder_is_split_the_same_way_every_time_and_copies_stay_on_one_side(food, tmp_path):
    data = user_data(food)
    assert data == user_data(food)
    assert len(data.train) + len(data.test) == 180 and 20 <= len(data.test) <= 55
    twice = tmp_path / "food"
    for label in ("a", "b"):
        (twice / label).mkdir(parents=True)
        for source in sorted((food / "red").iterdir()):
            (twice / label / source.name).write_bytes(source.read_bytes())
    sides = [{Path(path).name for path, _ in side} for side in (user_data(twice).train, user_data(twice).test)]
    assert not sides[0] & sides[1]


def test_an_empty_or_one_class_folder_and_too_few_pictures_are_refused(food, tmp_path):
    (tmp_path / "one" / "red").mkdir(parents=True)
    with pytest.raises(BadData, match="has 1 label folders; at least 2"):
        user_data(tmp_path / "one")
    (tmp_path / "one" / "blue").mkdir()
    with pytest.raises(BadData, match="blue holds no picture"):
        user_data(tmp_path / "one")
    with pytest.raises(BadInput, match="does not exist"):
        user_data(tmp_path / "nowhere")
    for label in ("red", "blue"):
        for i in range(12):
            (tmp_path / "one" / label / f"{i}.png").write_bytes((food / label / f"{i}.png").read_bytes())
    with pytest.raises(BadData, match=r"gives \d+ calibration inputs; at least 32"):
        export(small(2), "onnx-fp32", tmp_path / "out", data=tmp_path / "one", **SAID)


def test_corrupt_pictures_are_left_out_and_counted_and_above_five_percent_refused(food, tmp_path):
    root = tmp_path / "food"
    shutil.copytree(food, root)
    spoilt = [Path(path) for path, _ in user_data(root).train]
    spoilt[0].write_bytes(spoilt[0].read_bytes()[:60])
    done = export(small(), "onnx-fp32", tmp_path / "out", data=root, **SAID)
    assert done.manifest["provenance"]["data"]["skipped"] == 1
    assert "1 unreadable pictures left out" in (done.path / "MODEL_CARD.md").read_text()
    for path in spoilt[1:20]:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BadData, match=r"pictures cannot be read, more than 5%; the first: .*\.png"):
        export(small(), "onnx-fp32", tmp_path / "out", data=root, **SAID)
