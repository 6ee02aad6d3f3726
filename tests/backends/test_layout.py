"""Channels-last weights: the same values in another order in memory."""

import copy

import torch

from vggnet.backends.eager import EagerVGG
from vggnet.backends.layout import channels_last, lay_channels_last
from vggnet.network.initialization import build


def test_values_stay_and_strides_change_of_convolutions_only() -> None:
    model = build("C", num_classes=7, width=1 / 16, crop=64).eval()
    fast = copy.deepcopy(model)
    lay_channels_last(fast)
    for layer in model.architecture.layers():
        weight = fast.get_parameter(f"{layer.name}.weight")
        wanted = torch.empty(layer.shape).contiguous(memory_format=torch.channels_last).stride()
        if layer.kernel == 1:
            wanted = (layer.in_channels, 1, layer.in_channels, layer.in_channels)
        assert weight.stride() == (wanted if layer.stage else torch.empty(layer.shape).stride()), layer.name
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fast.parameters(), strict=True))
    images = torch.randn(2, 3, 64, 96) * 50
    torch.testing.assert_close(fast(images), model(images), rtol=1e-4, atol=1e-5)


def test_a_weight_that_lies_so_is_not_copied() -> None:
    weight = channels_last(torch.randn(4, 8, 1, 1))
    assert channels_last(weight) is weight


def test_a_form_made_in_inference_mode_leaves_a_net_that_can_be_trained() -> None:
    model = build("A", num_classes=3, width=1 / 16, crop=32)
    with torch.inference_mode():
        EagerVGG(model)
    assert model.conv2_1.weight.is_contiguous(memory_format=torch.channels_last)
    model(torch.randn(1, 3, 32, 32)).sum().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    assert not any(parameter.is_inference() for parameter in model.parameters())
