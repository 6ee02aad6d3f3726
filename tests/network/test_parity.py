"""Parity with torchvision's VGGs: the same weights give the same logits and the same gradient of every parameter."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from vggnet.network.initialization import build

COLUMNS = {"A": "A", "B": "B", "D": "D", "E": "E"}  # torchvision names its lists after the paper's columns, too


def small_reference(net: str, batch_norm: bool, width: float, classes: int) -> nn.Module:
    """torchvision's VGG with fewer channels, for 64 crops (its adaptive pooling to 7x7 would blow their maps up)."""
    channels = [size if isinstance(size, str) else round(size * width) for size in cfgs[COLUMNS[net]]]
    hidden, last = round(4096 * width), round(512 * width)
    with torch.device("meta"):  # its own head has 100 million weights
        model = torchvision.models.VGG(nn.Identity(), classes, False, dropout=0.0)
    model.features, model.avgpool = make_layers(channels, batch_norm=batch_norm), nn.Identity()
    model.classifier[0] = nn.Linear(last * 2 * 2, hidden)
    model.classifier[3] = nn.Linear(hidden, hidden)
    model.classifier[6] = nn.Linear(hidden, classes)
    return model


def compare(ours: nn.Module, theirs: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    with torch.no_grad():
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(own.view_as(other))
    logits, reference = ours(images).flatten(1), theirs(images)
    torch.testing.assert_close(logits, reference, rtol=1e-3, atol=1e-4 * float(reference.detach().abs().max()))
    F.cross_entropy(logits, labels).backward()
    F.cross_entropy(reference, labels).backward()
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert own.grad is not None
        expected = other.grad.view_as(own)
        scale = float(expected.abs().max())
        torch.testing.assert_close(own.grad, expected, rtol=1e-3, atol=1e-3 * scale + 1e-9, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("net", COLUMNS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_logits_and_every_gradient(net: str, batch_norm: bool) -> None:
    width = 1 / 8
    torch.manual_seed(0)
    theirs = small_reference(net, batch_norm, width, classes=10).double()
    ours = build(net, num_classes=10, width=width, crop=64, batch_norm=batch_norm, dropout=0.0, init="he").double()
    compare(ours.train(), theirs.train(), torch.randn(4, 3, 64, 64).double(), torch.tensor([1, 7, 3, 0]))


@pytest.mark.slow
def test_full_size_vgg16() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.vgg16(weights=None, init_weights=False, dropout=0.0)
    ours = build("D", dropout=0.0)
    compare(ours, theirs, torch.randn(1, 3, 224, 224) * 50, torch.tensor([17]))
