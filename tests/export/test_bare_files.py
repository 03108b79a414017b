"""An artifact that was copied out of its bundle alone is whole and says what it is."""

import json
import shutil
import zipfile

import onnx
import pytest
from onnx.external_data_helper import uses_external_data

from edge_runtime import examples
from edge_runtime.cli import main
from edge_runtime.spec import ModelSpec


@pytest.fixture(params=["onnx-fp32.onnx", "onnx-int8.onnx", "xnnpack-fp32.pte", "xnnpack-int8.pte"])
def bare(request, tmp_path):
    """One file of the example bundle, in a folder of its own."""
    with zipfile.ZipFile(examples.path("digits.zip")) as packed:
        packed.extract(request.param, tmp_path)
    return tmp_path / request.param


def test_info_reads_the_spec_out_of_the_file(bare, capsys):
    with zipfile.ZipFile(examples.path("digits.zip")) as packed:
        spec = json.loads(packed.read("manifest.json"))["spec"]
    renamed = shutil.copy(bare, bare.with_stem("anything"))
    assert main(["info", str(renamed), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["spec"]
    assert printed == ModelSpec.from_dict(spec).to_dict()  # the fields added since that bundle was made are null
    assert main(["info", str(renamed)]) == 0
    assert capsys.readouterr().out.startswith("digits: multiclass, 0, 1, 2")


def test_a_bundle_has_one_file_an_artifact_and_its_onnx_keep_all_weights_inside(bare):
    with zipfile.ZipFile(examples.path("digits.zip")) as packed:
        files = {a["file"] for a in json.loads(packed.read("manifest.json"))["artifacts"]}
        assert {name for name in packed.namelist() if "/" not in name} == files | {"MODEL_CARD.md", "manifest.json"}
    if bare.suffix == ".onnx":
        initializers = onnx.load(bare, load_external_data=False).graph.initializer
        assert initializers and not any(map(uses_external_data, initializers))
