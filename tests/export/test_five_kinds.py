"""A run, a function in a file, torchvision's own network, an `.onnx` and a student's `.pth`: each gives a bundle that
`lokma check` passes where torch cannot be imported."""

import subprocess
import sys

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torchvision.models import get_model_weights, resnet18

from export import export

LABELS = ("burrito", "guacamole", "pizza")  # ImageNet's names too: torchvision's own weights know them
SAID = {"input": 32, "mean": 0.5, "std": 0.25}
CHECK = "import sys; sys.modules['torch'] = None; from edge_runtime.cli import main; sys.exit(main(sys.argv[1:]))"
HERS = """import torch

def make():
    torch.manual_seed(0)
    pool = (torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), *pool, torch.nn.Linear(8, 3))
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, draw):
    root = tmp_path_factory.mktemp("data") / "pictures"
    for number, label in enumerate(LABELS):
        (root / label).mkdir(parents=True)
        for i in range(24):
            draw(32, 32, 100 * number + i).save(root / label / f"{i}.png")
    return root


def of_a_run(run, folder, monkeypatch):
    return run, {}


def of_a_file(run, folder, monkeypatch):
    (folder / "net.py").write_text(HERS)
    return f"{folder / 'net.py'}:make", SAID


def of_torchvision(run, folder, monkeypatch):
    """The published weights are downloaded where they are not at hand; here a seed's stand in their place."""
    monkeypatch.setenv("TORCH_HOME", str(folder))
    file = get_model_weights("resnet18").DEFAULT.url.rpartition("/")[2]
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), folder / "hub" / "checkpoints" / file)
    return "torchvision:resnet18", {"input": 32}


def of_a_students_pth(run, folder, monkeypatch):
    torch.manual_seed(0)
    torch.save({"model_state_dict": resnet18(num_classes=3).state_dict()}, folder / "my.pth")
    return "torchvision:resnet18", {"input": 32, "weights": folder / "my.pth", "labels": ",".join(LABELS)}


def of_an_onnx(run, folder, monkeypatch):
    torch.manual_seed(0)
    weight = numpy_helper.from_array(torch.randn(3, 3).numpy(), "w")
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    given, out = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 3, 32, 32]), ("logits", ["n", 3]))
    )
    proto = helper.make_model(
        helper.make_graph(nodes, "net", [given], [out], [weight]), opset_imports=[helper.make_opsetid("", 18)]
    )
    onnx.save(proto, folder / "net.onnx")
    return folder / "net.onnx", {"mean": 0, "std": 1}


@pytest.mark.parametrize("kind", [of_a_run, of_a_file, of_torchvision, of_a_students_pth, of_an_onnx])
def test_each_kind_gives_a_bundle_that_lokma_check_passes_without_torch(kind, run, pictures, tmp_path, monkeypatch):
    thing, said = kind(run, tmp_path, monkeypatch)
    data = {} if kind is of_a_run else {"data": str(pictures)}
    recipes = "onnx-fp32" if kind is of_an_onnx else "onnx-fp32,xnnpack-fp32"
    found = export(thing, recipes, tmp_path / "bundles", **said, **data)
    done = subprocess.run([sys.executable, "-c", CHECK, "check", str(found.path)], capture_output=True, text=True)
    sys.stdout.write(done.stdout)  # pytest -s shows what was proved
    assert done.returncode == 0, done.stdout + done.stderr
