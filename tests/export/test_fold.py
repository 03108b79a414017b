import torch
from torch import nn

from export.fold import folded
from tests.export.tiny import ROWS, normed, of_side
from train.effnet_lite import EfficientNetLite


def norms(model):
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_batch_norms_fold_into_the_convolutions_before_them_and_the_answers_stay():
    model, spec = normed(), of_side(16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = folded(model, spec)
    x = torch.randn(4, 3, 16, 16)
    assert norms(model) == 2 and norms(result) == 0
    assert torch.allclose(result(x), model(x), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert folded(model, spec) is result  # once a model


def test_every_norm_of_efficientnet_lite0_folds():
    torch.manual_seed(0)
    model = EfficientNetLite(3, 32)
    model.train()(torch.randn(8, 3, 32, 32))
    model.eval().requires_grad_(False)
    result, x = folded(model, of_side(32)), torch.randn(2, 3, 32, 32)
    assert norms(model) == 49 and norms(result) == 0
    assert torch.allclose(result(x), model(x), rtol=1e-4, atol=1e-5)


def test_an_exported_program_folds_too():
    model, spec = normed(), of_side(16)
    x = torch.randn(1, 3, 16, 16)
    program = torch.export.export(model, (x,), strict=False).module()
    result = folded(program, spec)
    assert not any("batch_norm" in str(node.target) for node in result.graph.nodes)
    assert any("batch_norm" in str(node.target) for node in program.graph.nodes)
    assert torch.allclose(result(x), model(x), rtol=1e-5, atol=1e-6)


class ReadTwice(nn.Module):
    """The convolution's own output is added again; and one layer is called twice."""

    def __init__(self, shared):
        super().__init__()
        self.conv, self.norm, self.shared = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), shared

    def forward(self, x):
        y = self.conv(x)
        z = self.norm(y)
        return (self.norm(self.conv(z)) if self.shared else y + z).mean((2, 3))


def test_a_norm_is_left_alone_where_others_read_the_convolution_or_a_layer_is_called_twice():
    for shared in (False, True):
        model = ReadTwice(shared)
        model.train()(torch.randn(8, 3, 16, 16) + 1)
        model.eval().requires_grad_(False)
        assert folded(model, of_side(16)) is model
        program = torch.export.export(model, (torch.randn(1, 3, 16, 16),), strict=False).module()
        if not shared:
            assert folded(program, of_side(16)) is program


def test_what_has_no_norms_is_the_model_itself():
    model = nn.Sequential(nn.Linear(4, 2)).eval()
    assert folded(model, ROWS) is model
