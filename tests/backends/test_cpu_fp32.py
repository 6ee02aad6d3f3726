"""Inference in fp32 on a CPU gives what the net gives: any net, any size, padded batches. It leaves the model alone."""

import pytest
import torch
from nets import worn_net
from torch import Tensor, nn

from vggnet.backends.choose_inference import fast_inference
from vggnet.backends.cpu_fp32 import FoldedVGG
from vggnet.backends.eager import EagerVGG
from vggnet.backends.piecewise import PIECE_PX, is_hooked
from vggnet.evaluation.forward import ready_to_score
from vggnet.evaluation.masking import padding_kept_zero
from vggnet.network.taps import features
from vggnet.network.vgg import VGG

CPU = torch.device("cpu")


def small(net: str, *, batch_norm: bool = False) -> VGG:
    return worn_net(net, width=1 / 16, batch_norm=batch_norm)


@pytest.mark.parametrize("net", ["A", "A-LRN", "B", "C", "D", "E", "5x5"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_net(net: str, batch_norm: bool) -> None:
    torch.manual_seed(0)
    model, images = small(net, batch_norm=batch_norm), 60 * torch.randn(3, 3, 41, 70)
    with torch.inference_mode():
        found, expected = FoldedVGG(model)(images), model(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("net", ["A", "D"])
def test_the_same_to_the_bit_without_batch_normalisation(net: str) -> None:
    """More images than one piece holds: the first stages compute them in several passes."""
    model, side = small(net), 96
    images = 60 * torch.randn(PIECE_PX // side**2 + 2, 3, side, side).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.equal(FoldedVGG(model)(images), EagerVGG(model)(images))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_image_in_a_padded_batch_gives_what_it_gives_alone(batch_norm: bool) -> None:
    torch.manual_seed(0)
    form, sizes = FoldedVGG(small("D", batch_norm=batch_norm)), [(64, 96), (96, 40), (35, 70)]
    images = [60 * torch.randn(1, 3, *size) for size in sizes]
    batch = torch.zeros(3, 3, 96, 96)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[2], : image.shape[3]] = image[0]
    with torch.inference_mode():
        with padding_kept_zero(form, sizes, CPU):
            maps = form(batch)
        for (height, width), image, own in zip(sizes, images, maps, strict=True):
            torch.testing.assert_close(own[:, : height // 32, : width // 32], form(image)[0], rtol=1e-4, atol=1e-4)
    assert not is_hooked(form)


def test_a_hook_sees_the_whole_batch_and_what_the_convolution_gave() -> None:
    model, images = small("A"), 60 * torch.randn(PIECE_PX // 64**2 + 1, 3, 64, 64)
    form, seen = FoldedVGG(model), list[Tensor]()
    handle = form.conv3_1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        form(images)
        handle.remove()
        (expected,) = features(model, images, ["conv3_1"]).values()
    (output,) = seen
    assert float(output.min()) < 0  # before the ReLU
    torch.testing.assert_close(output, expected)


def test_layers_by_name_are_those_of_the_model() -> None:
    model, images = small("D", batch_norm=True), 60 * torch.randn(2, 3, 64, 64)
    names = ["relu1_2", "pool2", "relu4_3", "pool5", "fc6", "relu7", "fc8"]
    with torch.inference_mode():
        found, expected = features(FoldedVGG(model), images, names), features(model, images, names)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-3)


def test_the_model_is_left_as_it_was() -> None:
    model = small("D", batch_norm=True)
    before, children = {name: tensor.clone() for name, tensor in model.state_dict().items()}, list(model.children())
    with ready_to_score(model, "cpu", "fp32") as scorer:
        assert type(scorer.model) is FoldedVGG
        assert isinstance(scorer.model.norm1_1, nn.Identity)
        scorer.model(torch.zeros(1, 3, 32, 32))
    assert list(model.children()) == children
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert type(fast_inference(model, torch.device("cuda"), "fp32")) is EagerVGG


def test_weights_are_not_copied_without_batch_normalisation() -> None:
    """Net D has 550 MB of them."""
    model = small("D")
    form = fast_inference(model, CPU, "fp32")
    for name, weight in model.named_parameters():
        assert form.get_parameter(name).data_ptr() == weight.data_ptr(), name
