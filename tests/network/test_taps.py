"""Named layers against hooks on the net, against torchvision, and against counting what is computed."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import vggnet
from vggnet.errors import UserError
from vggnet.network.initialization import build
from vggnet.network.taps import features, taps
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import CONFIGURATIONS


def small(net: str = "D", **options) -> VGG:
    model = build(net, num_classes=5, width=1 / 16, crop=64, **options).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
    return model


def images(height: int = 70, width: int = 101) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 50


def hooked(model: VGG, x: torch.Tensor, names: list[str]) -> dict[str, torch.Tensor]:
    """What the layers' own forward passes give out."""
    found = {}
    handles = [
        model.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: found.update({name: out}))
        for name in names
    ]
    model(x)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("net", list(CONFIGURATIONS))
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_layer_is_what_the_net_computes_on_its_way(net: str, batch_norm: bool) -> None:
    model, x = small(net, batch_norm=batch_norm), images()
    weights = [layer.name for layer in model.architecture.layers()]
    with torch.no_grad():
        found = features(model, x, list(taps(model.architecture)))
        for name, expected in hooked(model, x, weights).items():
            torch.testing.assert_close(found[name], expected)
        torch.testing.assert_close(found["fc8"], model(x))
        torch.testing.assert_close(found["pool5"], model.forward_features(x))
    for name, activation in found.items():
        tap = taps(model.architecture)[name]
        assert activation.shape == (2, tap.channels, *tap.map_size(70, 101)), name
        if name.startswith("relu"):
            before = name.replace("relu", "norm" if batch_norm and "_" in name else "conv" if "_" in name else "fc")
            torch.testing.assert_close(activation, F.relu(found[before]))


def test_before_and_after_the_relu_at_full_resolution_of_a_pooled_layer() -> None:
    model, x = small(), images(64, 64)
    with torch.no_grad():
        found = features(model, x, ["conv3_3", "relu3_3", "pool3"])
        alone = features(model, x, ["pool3"])["pool3"]
    assert found["conv3_3"].min() < 0 <= found["relu3_3"].min()
    assert found["relu3_3"].shape[2:] == (16, 16)
    torch.testing.assert_close(found["pool3"], F.max_pool2d(found["relu3_3"], 2))
    assert torch.equal(alone, found["pool3"])


def test_average_pooling_replaces_every_maximum() -> None:
    model, x = small("A"), images(64, 64)
    with torch.no_grad():
        found = features(model, x, ["relu1_1", "pool1", "conv2_1"], pooling="average")
        torch.testing.assert_close(found["pool1"], F.avg_pool2d(found["relu1_1"], 2))
        torch.testing.assert_close(found["conv2_1"], model.conv2_1(found["pool1"]))
    with pytest.raises(UserError, match="max or average"):
        features(model, x, ["pool1"], pooling="mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["relu3_3", "conv2_2", "pool5", "fc6"])
def test_nothing_deeper_than_the_deepest_layer_is_computed(name: str) -> None:
    model = small()
    x = images(64, 64)
    convolutions = list(model.architecture.convolutions())
    side, needed = 64, 0
    for layer in convolutions:
        needed += 2 * 2 * layer.weights * side * side  # two images, a multiplication and an addition
        if layer.name[4:] == name[4:] and "_" in name:
            break
        side //= 2 if layer.last_of_stage else 1
    if name == "fc6":
        needed += 2 * 2 * next(iter(model.architecture.fully_connected())).weights
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        features(model, x, ["conv1_1", name])
    assert needed <= counter.get_total_flops() <= 1.05 * needed


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 95), (224, 50)])
def test_any_size_that_has_a_position(height: int, width: int) -> None:
    model = small()
    found = features(model, images(height, width), ["pool5", "relu1_2"])
    assert found["pool5"].shape[2:] == (height // 32, width // 32)
    assert found["relu1_2"].shape[2:] == (height, width)


def test_small_images_do_for_early_layers_and_are_refused_for_late_ones() -> None:
    model = small()
    assert features(model, images(5, 4), ["conv3_1"])["conv3_1"].shape[2:] == (1, 1)
    with pytest.raises(UserError, match="pool3 of a 5x4 image is empty: the smallest side must be at least 8"):
        features(model, images(5, 4), ["pool3"])
    with pytest.raises(UserError, match=r"fc7 of a 40x40 image.*at least 64"):
        features(model, images(40, 40), ["fc7"])


def test_gradients_reach_the_image_and_are_the_nets_own() -> None:
    model = small("A").double()
    x = images(32, 40).double().requires_grad_()
    (gradient,) = torch.autograd.grad(features(model, x, ["relu2_1"])["relu2_1"].square().sum(), x)
    y = F.relu(model.conv2_1(F.max_pool2d(F.relu(model.conv1_1(x)), 2)))
    (expected,) = torch.autograd.grad(y.square().sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_what_is_handed_out_is_in_the_order_asked_for_and_stays_as_it_is() -> None:
    model, x = small(), images(64, 64)
    found = vggnet.features(model, x, ["fc7", "conv4_2", "relu3_3"])
    assert list(found) == ["fc7", "conv4_2", "relu3_3"]
    kept = found["conv4_2"].clone()
    model(x)
    assert torch.equal(kept, found["conv4_2"])


def test_names_that_do_not_exist_are_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="net A has no layer 'conv3_3': did you mean conv3_2"):
        features(small("A"), images(), ["conv3_3"])
    with pytest.raises(UserError, match="a list of layer names"):
        features(small(), images(), "relu3_3")
    with pytest.raises(UserError, match=r"\(N, 3, H, W\)"):
        features(small(), images()[0], ["relu3_3"])
    with pytest.raises(UserError, match="features takes a net"):
        features("runs/D", images(), ["relu3_3"])  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"preprocessed images.*not torch.uint8"):
        features(small(), images().to(torch.uint8), ["relu3_3"])
