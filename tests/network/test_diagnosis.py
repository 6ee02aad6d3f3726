"""The verdict on cases known to live and to die, at full width (crop 64), on real photographs."""

import math
import re

import pytest
import torch
from sklearn.datasets import load_sample_images

from vggnet.errors import UserError
from vggnet.network.diagnosis import diagnose
from vggnet.network.initialization import build

LABELS = torch.arange(8) * 5  # of 40 classes


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Eight 64-pixel windows of two photographs, the mean subtracted."""
    windows = []
    for photograph in load_sample_images().images:
        pixels = torch.tensor(photograph).permute(2, 0, 1)[None].float()
        half = torch.nn.functional.interpolate(pixels, scale_factor=0.4, mode="area")[0]
        windows += [half[:, 20:84, x : x + 64] for x in (0, 64, 128, 190)]
    stack = torch.stack(windows)
    return stack - stack.mean((0, 2, 3), keepdim=True)


@pytest.mark.parametrize(
    ("net", "init", "sigma", "batch_norm", "verdict"),
    [
        ("A", "glorot", 0.01, False, "learns"),
        pytest.param("E", "glorot", 0.01, False, "learns", marks=pytest.mark.slow),
        pytest.param("A", "gaussian", 0.01, False, "learns", marks=pytest.mark.slow),
        ("A", "gaussian", 0.1, False, "explodes"),
        ("D", "gaussian", 0.01, False, "vanishes"),
        pytest.param("E", "gaussian", 0.01, False, "vanishes", marks=pytest.mark.slow),
        pytest.param("E", "gaussian", 0.1, False, "explodes", marks=pytest.mark.slow),
        pytest.param("A", "gaussian", 0.01, True, "learns", marks=pytest.mark.slow),
    ],
)
def test_known_cases(images: torch.Tensor, net: str, init: str, sigma: float, batch_norm: bool, verdict: str) -> None:
    model = build(net, num_classes=40, crop=64, init=init, sigma=sigma, batch_norm=batch_norm)
    result = diagnose(model, images, LABELS)
    assert result.verdict == verdict, result.words
    assert f"Net {net}" in result.words
    assert [layer.name for layer in result.layers] == [layer.name for layer in model.architecture.layers()]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_verdict_names_the_layers_that_its_numbers_are_of(images: torch.Tensor, batch_norm: bool) -> None:
    result = diagnose(build("A", num_classes=40, crop=64, width=1 / 16, batch_norm=batch_norm), images, LABELS)
    layers = [layer for layer in result.layers if not batch_norm or layer.name.startswith("fc")]
    said = re.search(r"with momentum \(10 times the first update\), change (.*) by more than (\S+) times", result.words)
    assert said is not None, result.words
    assert said[1] == ("none of fc6 to fc8" if batch_norm else "no layer")
    assert float(said[2]) == pytest.approx(10 * max(layer.relative_update for layer in layers), rel=0.06)
    assert batch_norm == (max(layer.relative_update for layer in result.layers) > float(said[2]) / 10 * 1.06)
    pull = re.search(r"is (\d+) times that of weight decay(.*), and", result.words)  # no power of ten
    assert pull is not None, result.words
    assert float(pull[1]) == pytest.approx(result.pull, rel=0.06)
    assert pull[2] == (" in fc6 to fc8" if batch_norm else "")


def test_numbers_against_a_computation_by_hand(images: torch.Tensor) -> None:
    model = build("B", num_classes=40, crop=64, width=1 / 16)
    result = diagnose(model, images, LABELS, learning_rate=0.02)
    kept = []
    model.conv1_1.register_forward_hook(lambda module, inputs, output: kept.append(output))
    model.eval()
    loss = torch.nn.functional.cross_entropy(model(images).flatten(1), LABELS)
    weight = model.conv1_1.weight
    by_output, by_weight = torch.autograd.grad(loss, (kept[0], weight))
    first = result.layers[0]
    output = kept[0].detach()
    assert result.loss == pytest.approx(loss.item())
    assert first.signal_rms == pytest.approx(float(output.norm()) / math.sqrt(output.numel()), rel=1e-4)
    assert first.variation_rms == pytest.approx(float(output.std(0, correction=0).square().mean().sqrt()), rel=1e-4)
    assert first.gradient_rms == pytest.approx(float(by_output.norm()) / math.sqrt(output.numel()), rel=1e-4)
    assert first.relative_update == pytest.approx(float(0.02 * by_weight.norm() / weight.detach().norm()), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_is_left_as_it_was(images: torch.Tensor, dtype: torch.dtype) -> None:
    model = build("A", num_classes=40, crop=64, width=1 / 16, batch_norm=True).to(dtype).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    diagnose(model, images, LABELS)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.get_submodule("norm1_1").track_running_stats
    assert not model.conv1_1._forward_hooks


def test_weights_that_are_zero_or_infinite_get_a_verdict_too(images: torch.Tensor) -> None:
    model = build("A", num_classes=40, crop=64, width=1 / 16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert diagnose(model, images, LABELS).verdict == "vanishes"
    with torch.no_grad():
        model.fc8.bias.fill_(math.inf)
    assert diagnose(model, images, LABELS).verdict == "explodes"


def test_bad_input(images: torch.Tensor) -> None:
    model = build("A", num_classes=40, crop=64, width=1 / 16)
    with pytest.raises(UserError, match="at least two images"):
        diagnose(model, images[:1], LABELS[:1])
    with pytest.raises(UserError, match="at least two images"):
        diagnose(model, images, LABELS[:3])
    with pytest.raises(UserError, match="labels from 0 to 40"):
        diagnose(model, images[:2], torch.tensor([0, 40]))
