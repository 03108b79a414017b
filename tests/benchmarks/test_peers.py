import json

import numpy as np
import pytest

from benchmarks import peers, peers_budget, peers_networks
from benchmarks.peers import PEERS, PROBABILITIES, Job

HERE = ("lokma onnx-fp32", "lokma xnnpack-fp32", "onnxruntime", "executorch.runtime", "torch eager")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A network of 16 px by each peer that the tests install, and its inputs."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 10)).eval()
    spec = peers_networks.spec_of("mobilenet_v3_large")
    spec = spec.from_dict(json.loads(json.dumps(spec.to_dict()).replace("224", "16")))
    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    root = tmp_path_factory.mktemp("peers")
    folders = {}
    for peer in HERE:
        folder = root / peer
        folder.mkdir()
        example = peers_networks.normalised(pictures[:1])
        PEERS[peer].export(Job(model, spec, example, pictures, folder, peers_budget.lowered))
        folders[peer] = folder, ""
    (root / "inputs").mkdir()
    inputs = peers_networks.write_inputs(model, spec, pictures, root / "inputs")
    return folders, inputs, json.loads((root / "inputs" / peers_networks.ANSWERS).read_text())


@pytest.fixture(scope="module")
def cell(tiny):
    folders, inputs, expected = tiny
    limits = pytest.MonkeyPatch()
    for name, value in {"ROUNDS": 4, "BLOCK": 2, "COLD_STARTS": 1}.items():
        limits.setattr(peers_budget, name, value)
    absent = {"ncnn": (folders["onnxruntime"][0], "not installed: pnnx")}
    broken = {"OpenVINO": (folders["onnxruntime"][0], "")}  # its file is not there, or it is not installed
    found = peers_budget.cell(1, {**folders, **absent, **broken}, inputs)
    limits.undo()
    peers_budget.figures(found, expected)
    return found


def test_every_peer_gives_the_probabilities_of_eager_torch(cell):
    for peer in HERE:
        assert not cell[peer]["failure"], cell[peer]
        assert cell[peer]["differs"] < 1e-5 and cell[peer]["same"] == 4
        assert [len(block) for block in cell[peer]["blocks_ns"]] == [2] * 4
        assert cell[peer]["size_bytes"] > 10_000 and cell[peer]["peak_rss_bytes"] > 10_000_000
        assert len(cell[peer]["cold_start_ns"]) == 1 and cell[peer]["versions"]


def test_a_peer_that_is_not_installed_or_fails_is_a_row_and_no_crash(cell):
    assert cell["ncnn"]["failure"] == "not installed: pnnx" and not cell["ncnn"]["blocks_ns"]
    assert "the measured process stopped" in cell["OpenVINO"]["failure"]
    record = peers_budget.record("mobilenet_v3_large", 1, cell, [])
    said = peers_budget.table({("mobilenet_v3_large", 1): record})
    rows = {line.split("|")[3].strip() for line in said.splitlines()[2:]}
    assert "not measured: not installed: pnnx" in said and "not measured: the measured process stopped" in said
    assert len(rows) == 7 and said.count("1.00x (1.00 to 1.00)") == 1
    section = peers_budget.markdown([record])
    assert section.startswith("## lokma and its peers") and said in section


def test_what_is_not_installed_is_named_before_anything_is_exported(monkeypatch):
    peer = peers.Peer(("numpy", "no-such-distribution"), PEERS["ncnn"].export, PEERS["ncnn"].load)
    monkeypatch.setitem(PEERS, "nobody", peer)
    assert peers_budget.exported("vit_b_16", "nobody")[1] == "not installed: no-such-distribution"
    assert set(peers_budget.versions("nobody")) == {"numpy"}


def test_an_export_that_fails_says_its_last_line(monkeypatch, tmp_path):
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path))
    monkeypatch.setattr(peers_budget.sys, "executable", "false")
    assert peers_budget.exported("vit_b_16", "onnxruntime")[1] == "its export failed: no file"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_cell_on_record_of_the_same_code_peers_and_machine_is_not_measured_again(cell, monkeypatch):
    record = peers_budget.record("vit_b_16", 1, cell, [])
    by = peers_budget.key()
    assert list(peers_budget.on_record([record], by)) == [("vit_b_16", 1)]
    assert not peers_budget.on_record([record], {**by, "code": "other"})
    assert not peers_budget.on_record([{**record, "scenario": {"study": "aa"}}], by)


def test_logits_become_probabilities():
    assert peers_budget.softmax([0.0, 0.0]) == [0.5, 0.5]
    assert peers_budget.softmax([1000.0, 0.0]) == [1.0, 0.0]
    assert set(PROBABILITIES) < set(PEERS)


def test_seeded_networks_say_something_else_to_each_picture():
    pictures = peers_networks.pixels("mobilenet_v3_large")
    model = peers_networks.network("mobilenet_v3_large", pictures[-8:])
    answers = model(peers_networks.normalised(pictures[:4]))
    assert answers.shape == (4, 10) and float(answers.std(dim=0).min()) > 1e-3
