"""Choose a net's form for inference on a device in a precision, which `hardware` has chosen.

CPU, fp32              `cpu_fp32`
CPU, bf16              `cpu_bf16`; `eager` under autocast where this PyTorch lacks the operators of oneDNN
CPU, int8              `cpu_int8`, for models that `vggnet quantize` wrote
GPU, fp32 and bf16     `eager`, bf16 under autocast
GPU, bf16-cudnn        `gpu_bf16`
"""

import torch

from vggnet.backends.cpu_bf16 import FastVGG
from vggnet.backends.cpu_fp32 import FoldedVGG
from vggnet.backends.cpu_int8 import QuantizedVGG
from vggnet.backends.eager import EagerVGG
from vggnet.backends.form import Form, refusal
from vggnet.backends.gpu_bf16 import CudnnVGG, fused_convolution_unavailable
from vggnet.backends.kernels.available import kernels_unavailable
from vggnet.console import note
from vggnet.errors import UserError
from vggnet.hardware import choose_inference_precision, cpu_has_bf16, keep_freed_memory
from vggnet.network.vgg import VGG
from vggnet.options.choices import Precision

POINTWISE = ("_convolution_pointwise", "_reorder_convolution_weight", "_linear_pointwise", "_reorder_linear_weight")
QUANTIZED = ("qconv_prepack", "qconv2d_pointwise", "qlinear_prepack", "qlinear_pointwise")


def fast_inference(model: VGG, device: torch.device, precision: Precision) -> Form:
    """Return the form of `model` that evaluation and prediction run on `device` in `precision`.

    On a CPU it holds copies of weights (in fp32 with batch normalisation, in bf16 and int8), which do not follow later
    changes of the model. Elsewhere it is PyTorch's operators on the model's own weights, in bf16 under the caller's
    autocast; on a CPU without a fast path for bf16 one line says why.

    `bf16-cudnn` is `CudnnVGG`. Its speed is not yet measured (docs/speed.md), so it is used only where it is asked for.
    Raises UserError where it, or int8, does not work.
    """
    if precision == "bf16-cudnn":
        if device.type != "cuda":
            raise UserError(f"`precision` bf16-cudnn is for GPUs, not for {device.type}; leave it at auto")
        return cudnn_form(model, kernels_unavailable(device), fused_convolution_unavailable(device))
    if precision == "int8":
        _need_int8(model, device)
        keep_freed_memory()
        return QuantizedVGG(model)
    if device.type == "cuda":
        return EagerVGG(model)
    keep_freed_memory()
    if precision == "fp32":
        return FoldedVGG(model)
    if reason := _no_fast_path():
        note(f"inference in bf16 runs without the fast path: {reason}")
        return EagerVGG(model)
    return FastVGG(model)


def describe_inference(device: torch.device, precision: str) -> str:
    """Return in words how `fast_inference` computes on `device` in bf16 or fp32."""
    if device.type == "cuda":
        return "PyTorch's operators on the GPU"
    if precision == "fp32":
        return "PyTorch's convolutions with the normalisation in their weights, a few images at a time"
    if reason := _no_fast_path():
        return f"PyTorch's operators: {reason}"
    return "packed weights, fused ReLU"


def cudnn_form(model: VGG, without_kernels: str | None, without_convolution: str | None) -> CudnnVGG:
    """Return the form of bf16-cudnn. Raises UserError where it cannot compute `model`.

    The arguments say why the device has no kernels of ours, and no fused convolution of cuDNN; None where it has.
    """
    form = CudnnVGG(model, kernels=without_kernels is None)
    if reason := without_convolution or refusal(form, training=False):
        raise UserError(f"`precision` bf16-cudnn does not work here: {reason}; leave it at auto")
    if without_kernels:
        note(f"inference runs without vggnet's kernels of conv1_1 and pooling: {without_kernels}")
    return form


def _no_fast_path() -> str | None:
    """Return what this CPU or this PyTorch lacks for `FastVGG`; None where it works."""
    if not cpu_has_bf16():
        return "this CPU has no bf16 instructions (AVX512_BF16 or AMX)"
    return _missing("mkldnn", POINTWISE)


def _need_int8(model: VGG, device: torch.device) -> None:
    """Raise UserError where device, PyTorch or model cannot compute in int8."""
    choose_inference_precision("int8", device)
    if missing := _missing("onednn", QUANTIZED):
        raise UserError(f"`precision` int8: {missing}; leave it at auto")
    if not model.description.activation_limits:
        raise UserError(
            f"`precision` int8: the ranges of this net's activations ({model.architecture.net}) are not measured yet; "
            "`vggnet quantize MODEL DATA --out DIR` measures them on your images: then give DIR as the model"
        )


def _missing(library: str, operators: tuple[str, ...]) -> str | None:
    """Return what this PyTorch lacks of `operators` of torch.ops.`library`; None where it has them."""
    if not torch.backends.mkldnn.is_available():
        return "this PyTorch was built without oneDNN"
    missing = [name for name in operators if not hasattr(getattr(torch.ops, library), name)]
    return f"this PyTorch has no {missing[0]}" if missing else None
