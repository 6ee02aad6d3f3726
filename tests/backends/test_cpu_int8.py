"""int8 inference: equal to its arithmetic written out in floating point, near to the net, and honest about ranges."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from vggnet.backends.calibration import best_limit, measuring
from vggnet.backends.choose_inference import fast_inference
from vggnet.backends.cpu_int8 import QuantizedVGG
from vggnet.description import ModelDescription, Preprocessing
from vggnet.errors import UserError
from vggnet.evaluation.forward import ready_to_score
from vggnet.evaluation.masking import padding_kept_zero
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Architecture

CPU = torch.device("cpu")
needs_int8 = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this CPU has no VNNI instructions")


def pixels(*shape: int) -> torch.Tensor:
    """Preprocessed images of uniform pixels."""
    mean = torch.tensor(Preprocessing().mean).view(3, 1, 1)
    return torch.randint(0, 256, shape).float() - mean


def calibrated(net: str, seen: torch.Tensor, **more: object) -> VGG:
    """A small net that has measured its ranges on `seen`."""
    torch.manual_seed(0)
    model = build(net, num_classes=10, width=1 / 8, crop=64, init="he", **more).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand(tensor.shape))
            elif name.endswith("bias"):
                tensor.copy_(0.5 * torch.randn(tensor.shape))
        with measuring(model) as ranges:
            model(seen)
    model.description = replace(model.description, activation_limits=ranges.limits())
    return model


@needs_int8
@pytest.mark.parametrize("net", ["A", "A-LRN", "B", "C", "D", "E", "5x5"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_net_is_near_fp32(net: str, batch_norm: bool) -> None:
    images = pixels(4, 3, 96, 64)
    model = calibrated(net, images, batch_norm=batch_norm)
    with torch.inference_mode():
        exact, found = model(images), QuantizedVGG(model)(images)
    assert found.dtype == torch.float32
    assert found.shape == exact.shape
    assert F.cosine_similarity(found.flatten(), exact.flatten(), 0) > 0.98


def by_hand(model: VGG, images: torch.Tensor) -> torch.Tensor:
    """Net A in the arithmetic of 8 bits, written out in double precision: whole numbers times scales."""
    limits, net = model.description.activation_limits, model.architecture
    mean = model.description.preprocessing.mean
    low, high = -max(mean), 255 - min(mean)
    scale, zero = (high - low) / 255, round(-low / ((high - low) / 255))
    x = ((images.double() / scale).round() + zero).clamp(0, 255) - zero
    names = [layer.name for layer in net.layers()]
    for place, layer in enumerate(net.layers()):
        module = getattr(model, layer.name)
        weight, bias = module.weight.double(), module.bias.double()
        steps = weight.flatten(1).abs().amax(1) / 127
        whole = (weight / steps.view(-1, 1, 1, 1)).round()
        y = F.conv2d(x, whole, padding=layer.padding) * (scale * steps).view(-1, 1, 1) + bias.view(-1, 1, 1)
        if layer.name == "fc8":
            return y
        scale = limits[names[place + 1]] / 255
        x = (y / scale).round().clamp(0, 255)
        x = F.max_pool2d(x, 2) if layer.last_of_stage else x
    raise AssertionError


@needs_int8
def test_equal_to_the_arithmetic_written_out() -> None:
    """Sums of whole numbers are exact; only a value at the very middle of two may round the other way."""
    images = pixels(2, 3, 70, 101)
    model = calibrated("A", images)
    with torch.inference_mode():
        expected, found = by_hand(model, images), QuantizedVGG(model)(images)
    assert (found - expected).abs().max() < 2e-3 * expected.abs().max()
    coarse = model(images)
    assert (coarse - expected).abs().max() > 4 * (found - expected).abs().max()  # the rounding is there to be seen


@needs_int8
def test_a_padded_batch_is_as_each_image_alone() -> None:
    sizes = [(96, 128), (128, 80), (70, 100)]
    images = [pixels(1, 3, *size) for size in sizes]
    quick = QuantizedVGG(calibrated("D", pixels(2, 3, 96, 96)))
    batch = torch.zeros(3, 3, 128, 128)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[2], : image.shape[3]] = image[0]
    with torch.inference_mode():
        with padding_kept_zero(quick, sizes, CPU):
            maps = quick(batch)
        for (height, width), image, own in zip(sizes, images, maps, strict=True):
            assert torch.equal(own[:, : height // 32 - 1, : width // 32 - 1], quick(image)[0])


@needs_int8
def test_many_images_at_once_are_as_each_alone() -> None:
    """The first stages go through in pieces."""
    images = pixels(9, 3, 224, 128)
    quick = QuantizedVGG(calibrated("A", images[:2]))
    with torch.inference_mode():
        assert torch.equal(quick(images), torch.cat([quick(image[None]) for image in images]))


@needs_int8
def test_what_is_needed_is_said() -> None:
    model = build("A", num_classes=10, width=1 / 16, crop=64).eval()
    with pytest.raises(UserError, match="vggnet quantize MODEL DATA"), ready_to_score(model, "cpu", "int8"):
        pass
    with pytest.raises(UserError, match="for CPUs, not for cuda"):
        fast_inference(model, torch.device("cuda"), "int8")


def test_limits_travel_with_the_model_and_are_checked() -> None:
    architecture = Architecture("A", 10, 1 / 16, 64)
    limits = {layer.name: 1.5 for layer in list(architecture.layers())[1:]}
    description = ModelDescription(architecture, activation_limits=limits)
    assert ModelDescription.from_json(description.to_json(), "here") == description
    assert ModelDescription.from_json(ModelDescription(architecture).to_json(), "here").activation_limits == {}
    for wrong in ({"conv1_1": 1.0}, limits | {"fc8": 0.0}, limits | {"fc6": math.inf}, {"fc8": 1.0}):
        with pytest.raises(UserError, match="a number above 0 for each layer but the first"):
            ModelDescription(architecture, activation_limits=wrong)


def test_the_best_limit_by_hand() -> None:
    even = torch.linspace(0, 10, 1001)
    assert best_limit(even, 10.0) == 10.0  # clipping would cost more than finer steps gain
    outlier = torch.cat([torch.rand(100_000, generator=torch.Generator().manual_seed(0)), torch.tensor([20.0])])
    assert 1 <= best_limit(outlier, 20.0) < 20  # one value in 100,000 is not worth 20 times the rounding
    assert best_limit(torch.zeros(5), 0.0) > 0


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**16), st.floats(0.01, 1e4), st.floats(1, 4))
@example(65535, 1.03125, 1.0317427940379784)  # 40 times the largest, divided by 40, was more than the largest
def test_the_best_limit_errs_no_more_than_the_largest_value(seed: int, size: float, beyond: float) -> None:
    values = size * torch.randn(500, generator=torch.Generator().manual_seed(seed)).relu()
    largest = float(values.max()) * beyond
    limit = best_limit(values, largest)
    assert 0 < limit <= largest

    def error(end: float) -> float:
        return float(((values * (255 / end)).round().clamp(0, 255) * (end / 255) - values).square().mean())

    assert error(limit) <= error(largest)


def test_measuring_sees_what_goes_into_each_layer_and_leaves_no_trace() -> None:
    images = pixels(2, 3, 64, 64)
    model = build("A", num_classes=10, width=1 / 16, crop=64, init="he").eval()
    with torch.no_grad(), measuring(model) as ranges:
        scores = model(images)
        model(2 * images)
    assert list(ranges.limits()) == [layer.name for layer in model.architecture.layers()][1:]
    with torch.no_grad():
        pool5 = model.forward_features(2 * images)
        assert torch.equal(model(images), scores)
    assert 0.5 * float(pool5.max()) < ranges.limits()["fc6"] <= float(pool5.max())
    assert not any(module._forward_pre_hooks for module in model.modules())
