"""The GPU's inference net: its wiring on a CPU, with cuDNN's kernel written out; the real one where there is a GPU."""

import pytest
import torch

from vggnet.backends.choose_inference import fast_inference
from vggnet.backends.eager import EagerVGG
from vggnet.backends.gpu_bf16 import CudnnVGG, fused_convolution_unavailable
from vggnet.errors import UserError
from vggnet.evaluation.masking import padding_kept_zero
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG

CPU = torch.device("cpu")


def small(net: str, **more: object) -> VGG:
    model = build(net, num_classes=10, width=1 / 8, crop=64, init="he", **more).eval()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif name.endswith("bias"):
                tensor.copy_(0.5 * torch.randn(tensor.shape, generator=generator))
    return model


def near(found: torch.Tensor, exact: torch.Tensor) -> bool:
    gap = (found.float() - exact).abs().max() / exact.abs().max()
    return found.shape == exact.shape and bool(gap < 0.03)


@pytest.mark.usefixtures("cudnn_written_out")
@pytest.mark.parametrize("net", ["A", "A-LRN", "C", "D", "E", "5x5"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("kernels", [False, True])
def test_every_net(net: str, batch_norm: bool, kernels: bool) -> None:
    torch.manual_seed(0)
    model, images = small(net, batch_norm=batch_norm), 60 * torch.randn(3, 3, 70, 101)
    with torch.inference_mode():
        assert near(CudnnVGG(model, kernels=kernels)(images), model(images))


@pytest.mark.usefixtures("cudnn_written_out")
def test_a_padded_batch_is_as_each_image_alone() -> None:
    torch.manual_seed(0)
    sizes = [(96, 128), (70, 100)]
    images = [60 * torch.randn(1, 3, *size) for size in sizes]
    quick = CudnnVGG(small("D"), kernels=True)
    batch = torch.zeros(2, 3, 96, 128)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[2], : image.shape[3]] = image[0]
    with torch.inference_mode():
        with padding_kept_zero(quick, sizes, CPU):
            maps = quick(batch)
        for (height, width), image, own in zip(sizes, images, maps, strict=True):
            assert near(own[:, : height // 32 - 1, : width // 32 - 1], quick(image)[0].float())


def test_a_gpu_computes_by_pytorchs_operators_by_default() -> None:
    for precision in ("bf16", "fp32"):
        assert type(fast_inference(small("A"), torch.device("cuda"), precision)) is EagerVGG


@pytest.mark.usefixtures("cudnn_written_out", "nothing_noted")
def test_cudnn_is_used_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vggnet.backends.choose_inference.kernels_unavailable", lambda device: "no Triton")
    monkeypatch.setattr("vggnet.backends.choose_inference.fused_convolution_unavailable", lambda device: None)
    assert type(fast_inference(small("A"), torch.device("cuda"), "bf16-cudnn")) is CudnnVGG
    line = "inference runs without vggnet's kernels of conv1_1 and pooling: no Triton\n"
    assert capsys.readouterr().err == line


def test_where_cudnn_is_asked_for_and_does_not_work_the_reason_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> torch.Tensor:
        raise RuntimeError("GET was unable to find an engine\nand more")

    monkeypatch.setattr(torch, "cudnn_convolution_relu", refuse)
    for name in ("kernels_unavailable", "fused_convolution_unavailable"):
        monkeypatch.setattr(f"vggnet.backends.choose_inference.{name}", lambda device: None)
    model = small("A")
    with pytest.raises(
        UserError, match="`precision` bf16-cudnn does not work here: GET was unable to find an engine; leave"
    ):
        fast_inference(model, torch.device("cuda"), "bf16-cudnn")
    with pytest.raises(UserError, match="`precision` bf16-cudnn is for GPUs, not for cpu"):
        fast_inference(model, CPU, "bf16-cudnn")


@pytest.mark.usefixtures("cudnn_written_out")
def test_whether_the_fused_convolution_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fused_convolution_unavailable(CPU) is None
    right = torch.cudnn_convolution_relu
    for wrong in (lambda y: y + torch.nan * (y == 0), lambda y: 1.03 * y, lambda y: y.flip(1)):
        monkeypatch.setattr(torch, "cudnn_convolution_relu", lambda *given, wrong=wrong: wrong(right(*given)))
        assert (
            fused_convolution_unavailable(CPU)
            == "cuDNN's convolution with bias and ReLU gives other values than PyTorch here"
        )

    def refuse(*_: object) -> torch.Tensor:
        raise RuntimeError("GET was unable to find an engine\nand more")

    monkeypatch.setattr(torch, "cudnn_convolution_relu", refuse)
    assert fused_convolution_unavailable(CPU) == "GET was unable to find an engine"


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    device = torch.device("cuda")
    assert fused_convolution_unavailable(device) is None
    torch.manual_seed(0)
    for net in ("A-LRN", "D"):
        model = small(net).to(device)
        quick = fast_inference(model, device, "bf16-cudnn")
        assert isinstance(quick, CudnnVGG)
        for size in ((64, 64), (224, 224), (97, 130)):
            images = 60 * torch.randn(5, 3, *size, device=device)
            with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
                found = quick(images)
            with torch.inference_mode():
                assert near(found.cpu(), model(images).cpu())
