"""The GPU's training form; on a CPU with Triton's interpreter, and cuDNN written out."""

from collections.abc import Callable

import pytest
import torch
from played_cudnn import any_channels, convolution_by
from torch import Tensor
from torch.nn import functional as F

from vggnet.backends.eager import EagerVGG
from vggnet.backends.gpu_training import FusedVGG
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG

HERE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if not torch.cuda.is_available():
    pytestmark = pytest.mark.usefixtures("cudnn_written_out")


SIDE, IMAGES = 32, 3  # Triton's interpreter takes time by the pixel


def small(net: str, width: float = 1 / 8) -> VGG:
    model = build(net, num_classes=10, width=width, crop=SIDE, init="he", dropout=0).to(HERE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model.train()


def batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(2)
    return 60 * torch.randn(IMAGES, 3, SIDE, SIDE, generator=draw).to(HERE), torch.arange(IMAGES, device=HERE)


def gradients(net: VGG, of: VGG, *, reduced: bool = True) -> dict[str, Tensor]:
    """Of the parameters of `of`, by a step of `net`; they are taken away."""
    images, labels = batch()
    with torch.autocast(HERE.type, torch.bfloat16, enabled=reduced):
        outputs = net(images).flatten(1)
    F.cross_entropy(outputs.float(), labels).backward()
    found = {name: p.grad.clone() for name, p in of.named_parameters() if p.grad is not None}
    of.zero_grad(set_to_none=True)
    return found


def cosine(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one.flatten(), other.flatten(), 0))


NETS = pytest.mark.parametrize("net", ["A", "A-LRN", "C", "E", "5x5"])


@NETS
@pytest.mark.usefixtures("cudnn_written_out")  # on a GPU, too: cuDNN may have no such kernel in fp32
def test_scores_and_gradients_are_the_nets(net: str) -> None:
    model = small(net)
    fused = FusedVGG(model, torch.float32)  # so that nothing but the arithmetic's order differs
    with torch.no_grad():
        expected = EagerVGG(model)(batch()[0])
        torch.testing.assert_close(fused(batch()[0]), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    exact, found = gradients(model, model, reduced=False), gradients(fused, model, reduced=False)
    assert found.keys() == exact.keys()
    for name, value in found.items():
        assert value.shape == exact[name].shape
        assert cosine(value, exact[name]) > 0.9999, name
        assert float(value.norm()) == pytest.approx(float(exact[name].norm()), rel=1e-3), name


@pytest.mark.parametrize("net", ["A", "E"])
def test_bf16_is_as_near_to_fp32_as_pytorchs_own(net: str) -> None:
    model = small(net)
    exact, plain = gradients(model, model, reduced=False), gradients(model, model)
    for name, value in gradients(FusedVGG(model), model).items():
        assert value.dtype == torch.float32
        # ReLUs near zero turn either way, and Triton's interpreter cuts bf16 off where a GPU rounds
        assert cosine(value, exact[name]) > min(0.995, cosine(plain[name], exact[name]) - 0.05), name
        assert 0.7 < value.norm() / exact[name].norm() < 1.4, name


def test_a_dead_layer_passes_no_gradient() -> None:
    model = small("D")
    with torch.no_grad():
        model.get_parameter("conv3_3.bias").fill_(-1e6)
    found = gradients(FusedVGG(model), model)
    assert all(float(found[name].abs().max()) == 0 for name in ("conv1_1.weight", "conv3_3.weight", "conv3_3.bias"))


def test_layers_and_parameters_are_the_models_own() -> None:
    model = small("A")
    fused = FusedVGG(model)
    assert dict(fused.named_parameters()).keys() == dict(model.named_parameters()).keys()
    assert all(a is b for a, b in zip(fused.parameters(), model.parameters(), strict=True))
    assert model.state_dict().keys() == fused.state_dict().keys()


@pytest.mark.parametrize("form", [FusedVGG, lambda model: model])
def test_gradients_lie_as_their_parameters(form: Callable[[VGG], VGG]) -> None:
    """Down to the strides of 1x1 convolutions: DistributedDataParallel warns where they differ, and is slower."""
    model = small("C")
    with torch.autocast(HERE.type, torch.bfloat16):
        form(model)(batch()[0]).float().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride(), name


@pytest.mark.parametrize("net", ["A", "B"])
def test_maps_of_three_channels_are_no_images(net: str) -> None:
    """A narrow net's conv1_1 gives three, and wants its gradient."""
    model = small(net, width=3 / 64)
    exact = gradients(model, model, reduced=False)
    with convolution_by(any_channels):
        found = gradients(FusedVGG(model, torch.float32), model, reduced=False)
    assert found.keys() == exact.keys()
    for name in ("conv1_1.weight", "conv1_1.bias", "conv2_1.weight"):
        assert float(exact[name].norm()) > 0
        torch.testing.assert_close(found[name], exact[name], rtol=1e-3, atol=1e-3 * float(exact[name].abs().max()))


def test_frozen_layers_stay_without_gradients() -> None:
    model = small("D").freeze_before("conv5_2")
    found = gradients(FusedVGG(model), model)
    assert {name.split(".")[0] for name in found} == {"conv5_2", "conv5_3", "fc6", "fc7", "fc8"}


def test_only_a_layers_input_is_kept_for_the_backward_pass() -> None:
    model = small("E")
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.dim() == 4 and len(tensor) == IMAGES:  # a map
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    images, _ = batch()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        pool5 = FusedVGG(model).forward_features(images)
    side, expected = SIDE, IMAGES * 3 * SIDE**2 * 4  # the images as they are, in fp32
    for layer in model.architecture.convolutions():
        pixels = IMAGES * layer.out_channels * side * side
        if layer.last_of_stage:
            side //= 2
            pixels //= 4
            expected += pixels  # a byte for each pooled value
        expected += pixels * 2 if layer.name != "conv5_4" else 0  # the head's input, not kept by these layers
    assert sum(kept.values()) == expected
    assert pool5.shape == (IMAGES, 64, SIDE // 32, SIDE // 32)


@pytest.mark.gpu
def test_batch_256_of_net_e_trains_within_24_gb() -> None:
    model = build("E").to("cuda").train()
    fused = FusedVGG(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        images, labels = torch.randn(256, 3, 224, 224, device="cuda"), torch.arange(256, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            outputs = fused(images).flatten(1)
        F.cross_entropy(outputs.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    assert torch.cuda.max_memory_allocated() < 24e9
