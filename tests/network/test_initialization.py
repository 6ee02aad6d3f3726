"""Initial weights: deviations, determinism, and each layer's independence of the others."""

import math

import pytest
import torch

from vggnet.errors import UserError
from vggnet.network.initialization import build, deviation, initialize
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Architecture


@pytest.mark.parametrize(("method", "sigma"), [("gaussian", 0.01), ("gaussian", 0.1), ("glorot", 0.01), ("he", 0.01)])
def test_deviations(method: str, sigma: float) -> None:
    model = build("C", num_classes=20, width=1 / 8, init=method, sigma=sigma, seed=1)
    for layer in model.architecture.layers():
        weight = model.get_parameter(f"{layer.name}.weight").detach()
        expected = deviation(layer, method, sigma)
        tolerance = 5 / math.sqrt(2 * weight.numel())  # five deviations of an estimated deviation
        assert float(weight.square().mean().sqrt()) == pytest.approx(expected, rel=tolerance)
        assert abs(float(weight.mean())) < 5 * expected / math.sqrt(weight.numel())
        assert not model.get_parameter(f"{layer.name}.bias").any()


def test_fans_by_hand() -> None:
    layers = {layer.name: layer for layer in Architecture("D").layers()}
    assert deviation(layers["conv1_1"], "glorot") == math.sqrt(2 / (3 * 9 + 64 * 9))
    assert deviation(layers["fc6"], "glorot") == math.sqrt(2 / (512 * 49 + 4096))  # a linear layer, not 4096 * 49
    assert deviation(layers["fc8"], "he") == math.sqrt(2 / 4096)


def test_glorot_is_uniform() -> None:
    model = build("A", num_classes=5, width=1 / 8, crop=64)
    layer = next(layer for layer in model.architecture.layers() if layer.name == "fc6")
    bound = math.sqrt(3) * deviation(layer, "glorot")
    assert 0.99 * bound < float(model.fc6.weight.detach().abs().max()) <= bound


def same(first: VGG, second: VGG, name: str) -> bool:
    return torch.equal(first.get_parameter(f"{name}.weight"), second.get_parameter(f"{name}.weight"))


def test_draws_depend_on_seed_and_layer_only() -> None:
    options = {"num_classes": 5, "width": 1 / 16, "crop": 64, "init": "gaussian"}
    shallow, deep = build("B", seed=3, **options), build("E", seed=3, **options)  # type: ignore[arg-type]
    torch.manual_seed(99)  # the global generator has no part
    again, other = build("E", seed=3, **options), build("E", seed=4, **options)  # type: ignore[arg-type]
    assert all(same(shallow, deep, layer.name) for layer in shallow.architecture.layers())
    assert all(same(deep, again, layer.name) for layer in deep.architecture.layers())
    assert not any(same(deep, other, layer.name) for layer in deep.architecture.layers())
    assert not torch.equal(deep.get_parameter("conv5_1.weight"), deep.get_parameter("conv5_2.weight"))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    build("A", num_classes=2, width=1 / 32, crop=32)
    assert torch.equal(torch.get_rng_state(), state)


def test_batch_normalisation_starts_as_the_identity() -> None:
    model = build("A", num_classes=2, width=1 / 32, crop=32, batch_norm=True)
    model.train()(torch.randn(4, 3, 32, 32))
    initialize(model, "he")
    norm = model.get_submodule("norm1_1")
    assert torch.equal(norm.running_mean, torch.zeros(2))
    assert torch.equal(norm.weight, torch.ones(2))


def test_draws_follow_the_models_type() -> None:
    model = build("A", num_classes=2, width=1 / 32, crop=32)
    double = build("A", num_classes=2, width=1 / 32, crop=32).double()
    initialize(double, "glorot")
    assert double.fc8.weight.dtype == torch.float64
    assert torch.equal(double.fc8.weight.float(), model.fc8.weight)


def test_bad_choices() -> None:
    with pytest.raises(UserError, match=r"'xavier' does not exist.*glorot, gaussian, he"):
        build("A", init="xavier", width=1 / 32, crop=32)
    for sigma in (0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match="sigma"):
            build("A", init="gaussian", sigma=sigma, width=1 / 32, crop=32)
