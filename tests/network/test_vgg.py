"""The net: shapes, order, sizes, layouts, precisions, and the shortcuts that must change nothing."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from vggnet.errors import UserError
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG, evaluating
from vggnet.paper.configurations import CONFIGURATIONS

NETS = tuple(CONFIGURATIONS)


def small(net: str = "D", **options: object) -> VGG:
    return build(net, **{"num_classes": 7, "width": 1 / 16, "crop": 64, **options}).eval()  # type: ignore[arg-type]


def textbook(model: VGG, x: torch.Tensor) -> torch.Tensor:
    """Convolution, (norm), ReLU, pooling, and FC layers as explicit convolutions: the paper read word for word."""
    for layer in model.architecture.convolutions():
        x = model.get_submodule(layer.name)(x)
        if model.architecture.batch_norm:
            x = model.get_submodule(layer.name.replace("conv", "norm"))(x)
        x = F.relu(x)
        if layer.name == "conv1_1" and model.architecture.net == "A-LRN":
            x = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=2.0)
        x = F.max_pool2d(x, 2) if layer.last_of_stage else x
    x = F.relu(F.conv2d(x, model.fc6.weight, model.fc6.bias))
    x = F.relu(F.conv2d(x, model.fc7.weight, model.fc7.bias))
    return F.conv2d(x, model.fc8.weight, model.fc8.bias)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("size", [(64, 64), (97, 130)])
def test_forward_is_the_textbook_net(net: str, size: tuple[int, int]) -> None:
    model = small(net)
    images = torch.randn(2, 3, *size) * 50
    with torch.no_grad():
        torch.testing.assert_close(model(images), textbook(model, images), rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(NETS), st.integers(64, 200), st.integers(64, 200))
def test_score_map_shape(net: str, height: int, width: int) -> None:
    model = small(net, width=1 / 64)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, height, width)).shape == (1, 7, height // 32 - 1, width // 32 - 1)


@pytest.mark.parametrize("size", [(63, 64), (200, 63), (40, 31)])
def test_a_too_small_image_is_refused_with_the_least_size(size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=f"{size[0]}x{size[1]} image.*smallest side must be at least 64"):
        small("A")(torch.zeros(1, 3, *size))


def test_what_is_no_batch_of_images_is_refused() -> None:
    for shape in ((3, 64, 64), (1, 1, 64, 64)):
        with pytest.raises(UserError, match=r"\(N, 3, H, W\)"):
            small("A")(torch.zeros(*shape))
    with pytest.raises(UserError, match="fc6 needs at least 2x2"):
        small("A").forward_head(torch.zeros(1, 32, 1, 2))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_parameters_stand_in_the_papers_order(net: str, batch_norm: bool) -> None:
    model = small(net, batch_norm=batch_norm)
    expected = []
    for layer in model.architecture.layers():
        expected += [f"{layer.name}.weight", f"{layer.name}.bias"]
        if batch_norm and layer.stage:
            norm = layer.name.replace("conv", "norm")
            expected += [f"{norm}.weight", f"{norm}.bias"]
    assert [name for name, _ in model.named_parameters()] == expected
    assert [key for key in model.state_dict() if key.endswith(("weight", "bias"))] == expected
    assert sum(parameter.numel() for parameter in model.parameters()) == model.architecture.parameters


@pytest.mark.parametrize("net", NETS)
def test_multiply_adds_agree_with_a_count_of_the_operations(net: str) -> None:
    for size in ((64, 64), (96, 130)):
        model = small(net)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 3, *size))
        assert counter.get_total_flops() == 2 * model.architecture.multiply_adds(*size)


@pytest.mark.parametrize("net", NETS)
def test_receptive_field_is_the_footprint_of_a_gradient(net: str) -> None:
    model = small(net, width=1 / 64)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)  # every path passes
    images = torch.rand(1, 3, 448, 448, dtype=torch.float64, requires_grad=True)
    # max-pooling passes one of its inputs only, so the footprint is taken of the mean, which sees all of them
    x = images
    for layer in model.architecture.convolutions():
        x = F.conv2d(x, model.get_parameter(f"{layer.name}.weight").double(), padding=layer.padding)
        x = F.avg_pool2d(x, 2) if layer.last_of_stage else x
    x[0, :, 7, 7].sum().backward()
    assert images.grad is not None
    rows = images.grad.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == model.architecture.receptive_field_px


@pytest.mark.parametrize("net", ["A-LRN", "C"])
def test_gradients_and_foreign_parameters_in_double(net: str) -> None:
    model = build(net, num_classes=2, width=1 / 512, crop=32, seed=3).double().eval()
    generator = torch.Generator().manual_seed(1)
    parameters = {
        name: (torch.rand(value.shape, generator=generator, dtype=torch.float64) * 0.5 + 0.1).requires_grad_()
        for name, value in model.named_parameters()
    }
    images = torch.rand(1, 3, 32, 32, generator=generator, dtype=torch.float64)

    def scores(*values: torch.Tensor) -> torch.Tensor:
        return functional_call(model, dict(zip(parameters, values, strict=True)), (images,))

    assert torch.autograd.gradcheck(scores, tuple(parameters.values()), fast_mode=True)
    own = {name: value.detach().clone() for name, value in model.named_parameters()}
    assert torch.equal(functional_call(model, own, (images,)), model(images))


def test_dropout_only_in_training_and_scores_never() -> None:
    model = small("A").train()
    model.conv1_1.eval()
    images = torch.randn(2, 3, 96, 96) * 50
    assert not torch.equal(model(images), model(images))
    scores = model.scores(images)
    assert torch.equal(scores, model.scores(images))
    assert not scores.requires_grad
    assert model.training
    assert not model.conv1_1.training  # every module's own mode is kept
    with torch.no_grad():
        torch.testing.assert_close(scores, model.eval()(images).mean((2, 3)))
    torch.testing.assert_close(model.posteriors(images), scores.softmax(1))


def test_modes_return_after_an_error() -> None:
    model = small("A").train()

    def fail() -> None:
        with evaluating(model):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert model.training


@pytest.mark.parametrize("net", ["A-LRN", "D"])
def test_autocast_stays_near_fp32(net: str) -> None:
    model = small(net, init="he")
    images = torch.randn(2, 3, 64, 96)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(images)
    assert low.dtype == torch.bfloat16
    high = model(images)
    assert (low.float() - high).abs().max() < 0.05 * high.abs().max()


def test_hooks_keep_a_convolutions_own_output() -> None:
    model = small("B")
    kept: list[torch.Tensor] = []
    names = ("conv1_1", "conv1_2", "fc6")
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda module, inputs, output: kept.append(output))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model(images)
        first = F.conv2d(images, model.conv1_1.weight, model.conv1_1.bias, padding=1)
    assert len(kept) == len(names)
    torch.testing.assert_close(kept[0], first)
    assert all((output < 0).any() for output in kept)


def test_a_deep_copy_is_independent() -> None:
    model = small("A")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.fc8.weight.zero_()
    assert model.fc8.weight.any()
    assert twin.description == model.description


def test_unknown_net() -> None:
    with pytest.raises(UserError, match="Table 1"):
        build("F")
