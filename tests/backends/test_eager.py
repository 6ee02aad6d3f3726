"""The eager form: the net's own function, gradients and parameters, with pooling before the ReLU."""

import pytest
import torch
from torch.nn import functional as F

from vggnet.backends.calibration import measuring
from vggnet.backends.eager import EagerVGG, FullyConnected
from vggnet.backends.response_normalization import ResponseNormalization
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import CONFIGURATIONS

NETS = tuple(CONFIGURATIONS)


def small(net: str = "D", **options: object) -> VGG:
    return build(net, **{"num_classes": 7, "width": 1 / 16, "crop": 64, **options}).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_scores_and_gradients_are_the_nets_own(net: str, batch_norm: bool) -> None:
    model = small(net, batch_norm=batch_norm, init="he").double()
    form = EagerVGG(model)
    images = 50 * torch.randn(2, 3, 97, 66, dtype=torch.float64)
    plain = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
    arranged = torch.autograd.grad(form(images).square().sum(), list(model.parameters()))
    torch.testing.assert_close(form(images), model(images))
    torch.testing.assert_close(arranged, plain)


def test_it_shares_the_nets_parameters_and_names() -> None:
    model = small("A", batch_norm=True)
    form = EagerVGG(model)
    assert {name: id(each) for name, each in form.named_parameters()} == {
        name: id(each) for name, each in model.named_parameters()
    }
    assert list(form.state_dict()) == list(model.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model.fc8.bias += 1
        torch.testing.assert_close(form(images), model(images))
    model.train()
    form.eval()
    assert not model.norm1_1.training


def test_nothing_changes_a_convolutions_output_after_it_was_handed_out() -> None:
    model = small("B")
    outputs: list[torch.Tensor] = []
    for name in ("conv1_1", "conv1_2"):
        model.get_submodule(name).register_forward_hook(lambda module, inputs, output: outputs.append(output))
    EagerVGG(model)(torch.randn(1, 3, 64, 64))
    assert len(outputs) == 2
    assert all((output < 0).any() for output in outputs)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_pooling_before_relu_is_bit_identical(batch_norm: bool) -> None:
    model = small("B", batch_norm=batch_norm)
    form = EagerVGG(model)  # lays out the weights of both
    x = images = torch.randn(2, 3, 96, 64) * 50
    with torch.no_grad():
        for layer in model.architecture.convolutions():
            x = model.get_submodule(layer.name)(x)
            x = model.get_submodule(layer.norm)(x) if batch_norm else x
            x = F.max_pool2d(F.relu(x), 2) if layer.last_of_stage else F.relu(x)
        assert torch.equal(form.forward_features(images), x)


@pytest.mark.parametrize("channels_last", [False, True])
def test_fully_connected_reads_any_layout_without_copying_the_weight(channels_last: bool) -> None:
    model = small("A", width=1 / 4).double()
    pool5 = torch.randn(2, 128, 3, 2, dtype=torch.float64)
    expected = F.conv2d(pool5, model.fc6.weight, model.fc6.bias)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        pool5 = pool5.contiguous(memory_format=torch.channels_last)
    weight = model.fc6.weight
    with torch.no_grad():
        torch.testing.assert_close(FullyConnected(model.fc6)(pool5), expected)
    flat = weight.permute(0, 2, 3, 1).flatten(1) if channels_last else weight.flatten(1)
    assert flat.data_ptr() == weight.data_ptr()


@pytest.mark.parametrize("channels", [1, 2, 3, 9])
def test_response_normalization_divides_alpha_by_n_as_pytorch_does(channels: int) -> None:
    x = (torch.rand(2, channels, 5, 6) * 300).requires_grad_()
    ours, theirs = ResponseNormalization()(x), F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=2.0)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(x)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, upstream)[0] for y in (ours, theirs)), rtol=1e-4, atol=1e-6)
    low = ResponseNormalization()(x.bfloat16())
    assert low.dtype == torch.bfloat16  # computed in fp32: off by bf16's rounding of input and output only
    torch.testing.assert_close(low.float(), ours, rtol=0.01, atol=0)


def test_hooks_on_the_nets_layers_run_in_the_form() -> None:
    """int8's calibration looks at a net's layers this way while a form of the net computes."""
    model = small("A-LRN")
    with torch.inference_mode(), measuring(model) as ranges:
        EagerVGG(model)(torch.randn(2, 3, 64, 64))
    assert list(ranges.limits()) == [layer.name for layer in model.architecture.layers()][1:]
    seen: list[torch.Tensor] = []
    handle = model.get_submodule("lrn1_1").register_forward_hook(lambda module, inputs, output: seen.append(output))
    form = EagerVGG(model)
    form(torch.randn(1, 3, 64, 64))
    handle.remove()
    form(torch.randn(1, 3, 64, 64))
    assert len(seen) == 1
