"""Choose how a training step computes: by PyTorch's operators, compiled or not, or by the fused form on a GPU.

`--step auto` compiles on a GPU and falls back to plain operators. The fused form's speed is not yet measured
(docs/speed.md), so only `--step fused` uses it. A step on a CPU is `eager`, in fp32, or under autocast where the CPU
multiplies bf16 in hardware (`hardware.choose_precision`).
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vggnet.backends.eager import EagerVGG
from vggnet.backends.form import Form, refusal
from vggnet.backends.gpu_bf16 import fused_convolution_unavailable
from vggnet.backends.kernels.available import kernels_unavailable
from vggnet.console import note
from vggnet.errors import UserError, reason_of
from vggnet.network.vgg import VGG
from vggnet.options.choices import StepName


def step_form(model: VGG, device: torch.device, precision: str, step: StepName) -> Form:
    """Return the form of `model`, with the model's own parameters, that a training step runs; a form stays as it is.

    Raises UserError where `step` names what device, precision or net do not allow.
    """
    if isinstance(model, Form):
        return model
    if step in ("fused", "compiled") and device.type != "cuda":
        raise UserError(f"`step` {step} is for GPUs; a step on a {device.type} is plain: leave it at auto")
    if step == "fused":
        return fused_form(model, precision, kernels_unavailable(device) or fused_convolution_unavailable(device))
    return EagerVGG(model)


def fused_form(model: VGG, precision: str, lacking: str | None) -> Form:
    """Return the fused form of `model`. Raises UserError where it cannot train it in `precision`.

    `lacking`: what the device lacks for it; None where kernels and convolution work there.
    """
    reason = _no_fused_step(model, precision) or lacking
    if reason is None:
        from vggnet.backends.gpu_training import FusedVGG  # imports Triton

        form = FusedVGG(model)
        reason = refusal(form, training=True)
        if reason is None:
            return form
    raise UserError(f"`step` fused: {reason}; leave it at auto")


def _no_fused_step(model: VGG, precision: str) -> str | None:
    if precision != "bf16":
        return f"it computes in bf16, this training in {precision}"
    if model.architecture.batch_norm:
        return "it has no batch normalisation, this net has"
    return None


def compiled(
    model: nn.Module, device: torch.device, compiler: Callable[[nn.Module], Callable[..., Tensor]] = torch.compile
) -> Callable[..., Tensor]:
    """Return `model` as a function that `compiler` compiles at its first call; on a CPU the model itself.

    Where compiling fails (no Triton, an old GPU) the model runs as it is, and one line says why. Only OutOfMemoryError
    is raised: the caller can try a smaller batch.
    """
    if device.type != "cuda":
        return model
    quick: Callable[..., Tensor] | None = None

    def run(*inputs: Tensor) -> Tensor:
        nonlocal quick
        if quick is not None:
            return quick(*inputs)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice on fp32's matrix products, of which a step in bf16 has none
                attempt = compiler(model)
                outputs = attempt(*inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            note(f"training runs without torch.compile: {reason_of(error)}")
            quick = model
            return model(*inputs)
        quick = attempt
        return outputs

    return run
