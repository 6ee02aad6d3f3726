"""Which form of a net computes fastest, where it computes: the net itself, or a copy made ready for inference."""

from functools import cache

import torch

from vggnet.backends.cpu_bf16 import FastVGG
from vggnet.backends.cpu_int8 import QuantizedVGG
from vggnet.backends.eager import EagerVGG
from vggnet.backends.form import Form
from vggnet.backends.gpu_bf16 import CudnnVGG, why_not_relu
from vggnet.backends.kernels.available import why_not
from vggnet.console import note
from vggnet.errors import UserError, reason_of
from vggnet.hardware import choose_inference_precision, cpu_has_bf16, keep_freed_memory
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import TOTAL_STRIDE_PX


def fast_inference(model: VGG, device: torch.device, precision: str) -> Form:
    """Return the form of `model` that computes fastest on `device` in `precision`.

    For bf16 and int8 that is a copy, which does not follow later changes of the model's weights, where the hardware
    has a fast path; elsewhere it is PyTorch's operators, and one line says why. Raises UserError where int8 is not
    possible.
    """
    if precision == "int8":
        _need_int8(model, device)
        keep_freed_memory()
        return QuantizedVGG(model)
    if device.type == "cuda":
        return _on_gpu(model, device) if precision == "bf16" else EagerVGG(model)
    keep_freed_memory()
    if reason := _why_not():
        note(f"inference runs without the fast path: {reason}")
        return EagerVGG(model)
    return FastVGG(model) if precision == "bf16" else EagerVGG(model)


def _on_gpu(model: VGG, device: torch.device) -> Form:
    """`CudnnVGG`, where cuDNN takes its layers: tried on one small image, since no table says so beforehand."""
    missing, reason = _tried(device)
    quick = CudnnVGG(model, kernels=missing is None)
    if reason := reason or _refusal(quick, device):
        note(f"inference runs without cuDNN's fused layers: {reason}")
        return EagerVGG(model)
    if missing:
        note(f"inference runs without our kernels of conv1_1 and pooling: {missing}")
    return quick


@cache
def _tried(device: torch.device) -> tuple[str | None, str | None]:
    """Why our kernels, and cuDNN's fused convolution, cannot be used; asked once, since nets are made ready often."""
    return why_not(device), why_not_relu(device)


def _refusal(quick: CudnnVGG, device: torch.device) -> str | None:
    """What cuDNN says where it does not take a layer."""
    side = quick.architecture.fc_kernel * TOTAL_STRIDE_PX
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            quick.forward_features(torch.zeros(1, 3, side, side, device=device))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return reason_of(error)
    return None


def _why_not() -> str | None:
    """What this CPU or this PyTorch lacks; None where the fast path works."""
    if not cpu_has_bf16():
        return "this CPU has no bf16 instructions (AVX512_BF16 or AMX)"
    wanted = ("_convolution_pointwise", "_reorder_convolution_weight", "_linear_pointwise", "_reorder_linear_weight")
    return _missing("mkldnn", wanted)


def _need_int8(model: VGG, device: torch.device) -> None:
    choose_inference_precision("int8", device)
    if missing := _missing("onednn", ("qconv_prepack", "qconv2d_pointwise", "qlinear_prepack", "qlinear_pointwise")):
        raise UserError(f"--precision int8: {missing}; leave it at auto")
    if not model.description.activation_limits:
        raise UserError(
            f"--precision int8: net {model.architecture.net} does not know the ranges of its activations yet; "
            "`vggnet quantize MODEL DATA --out DIR` measures them on your images: then give DIR as the model"
        )


def _missing(library: str, operators: tuple[str, ...]) -> str | None:
    """What this PyTorch lacks of `operators` of torch.ops.`library`; None where it has them."""
    if not torch.backends.mkldnn.is_available():
        return "this PyTorch was built without oneDNN"
    missing = [name for name in operators if not hasattr(getattr(torch.ops, library), name)]
    return f"this PyTorch has no {missing[0]}" if missing else None
