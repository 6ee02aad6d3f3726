"""The GPU's inference net: its wiring on a CPU, with cuDNN's kernel written out; the real one where there is a GPU."""

import pytest
import torch
from nets import worn_net
from played_cudnn import any_channels, convolution_by

from vggnet.backends.choose_inference import cudnn_form, fast_inference
from vggnet.backends.eager import EagerVGG
from vggnet.backends.gpu_bf16 import CudnnVGG, fused_convolution_unavailable
from vggnet.errors import UserError
from vggnet.evaluation.masking import padding_kept_zero

CPU = torch.device("cpu")


def near(found: torch.Tensor, exact: torch.Tensor) -> bool:
    gap = (found.float() - exact).abs().max() / exact.abs().max()
    return found.shape == exact.shape and bool(gap < 0.03)


@pytest.mark.usefixtures("cudnn_written_out")
@pytest.mark.parametrize("net", ["A", "A-LRN", "C", "D", "E", "5x5"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("kernels", [False, True])
def test_every_net(net: str, batch_norm: bool, kernels: bool) -> None:
    torch.manual_seed(0)
    model, images = worn_net(net, batch_norm=batch_norm), 60 * torch.randn(2, 3, 35, 70)
    with torch.inference_mode():
        assert near(CudnnVGG(model, kernels=kernels)(images), model(images))


@pytest.mark.usefixtures("cudnn_written_out")
def test_a_padded_batch_is_as_each_image_alone() -> None:
    torch.manual_seed(0)
    sizes = [(64, 96), (40, 70)]
    images = [60 * torch.randn(1, 3, *size) for size in sizes]
    quick = CudnnVGG(worn_net("D"), kernels=True)
    batch = torch.zeros(2, 3, 64, 96)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[2], : image.shape[3]] = image[0]
    with torch.inference_mode():
        with padding_kept_zero(quick, sizes, CPU):
            maps = quick(batch)
        for (height, width), image, own in zip(sizes, images, maps, strict=True):
            assert near(own[:, : height // 32, : width // 32], quick(image)[0].float())


def test_a_gpu_computes_by_pytorchs_operators_by_default() -> None:
    for precision in ("bf16", "fp32"):
        assert type(fast_inference(worn_net("A"), torch.device("cuda"), precision)) is EagerVGG


@pytest.mark.usefixtures("cudnn_written_out", "nothing_noted")
def test_without_kernels_a_line_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert cudnn_form(worn_net("A"), None, None).kernels
    assert not cudnn_form(worn_net("A"), "no Triton", None).kernels
    line = "inference runs without vggnet's kernels of conv1_1 and pooling: no Triton\n"
    assert capsys.readouterr().err == line


def refuse(*_: object) -> torch.Tensor:
    raise RuntimeError("GET was unable to find an engine\nand more")


def test_where_cudnn_is_asked_for_and_does_not_work_the_reason_is_raised() -> None:
    model = worn_net("A")
    with (
        convolution_by(refuse),
        pytest.raises(
            UserError, match="`precision` bf16-cudnn does not work here: GET was unable to find an engine; leave"
        ),
    ):
        cudnn_form(model, None, None)
    with pytest.raises(UserError, match="bf16-cudnn does not work here: no cuDNN; leave"):
        cudnn_form(model, "no Triton", "no cuDNN")
    with pytest.raises(UserError, match="`precision` bf16-cudnn is for GPUs, not for cpu"):
        fast_inference(model, CPU, "bf16-cudnn")


def test_whether_the_fused_convolution_can_be_used() -> None:
    with convolution_by(any_channels):
        assert fused_convolution_unavailable(CPU) is None
    for wrong in (lambda y: y + torch.nan * (y == 0), lambda y: 1.03 * y, lambda y: y.flip(1)):
        with convolution_by(lambda *given, wrong=wrong: wrong(any_channels(*given))):
            assert (
                fused_convolution_unavailable(CPU)
                == "cuDNN's convolution with bias and ReLU gives other values than PyTorch here"
            )
    with convolution_by(refuse):
        assert fused_convolution_unavailable(CPU) == "GET was unable to find an engine"


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    device = torch.device("cuda")
    assert fused_convolution_unavailable(device) is None
    torch.manual_seed(0)
    for net in ("A-LRN", "D"):
        model = worn_net(net).to(device)
        quick = fast_inference(model, device, "bf16-cudnn")
        assert isinstance(quick, CudnnVGG)
        for size in ((64, 64), (224, 224), (97, 130)):
            images = 60 * torch.randn(5, 3, *size, device=device)
            with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
                found = quick(images)
            with torch.inference_mode():
                assert near(found.cpu(), model(images).cpu())
