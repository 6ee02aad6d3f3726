"""Which form of a net computes a training step fastest, where it computes: fused, through torch.compile, or as it is.

Written without a GPU at hand and not measured yet (docs/speed.md). On a CPU a step is the net's own.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vggnet.backends.eager import EagerVGG
from vggnet.backends.form import Form
from vggnet.backends.gpu_bf16 import why_not_relu
from vggnet.backends.kernels.available import why_not
from vggnet.console import note
from vggnet.errors import UserError, reason_of
from vggnet.network.vgg import VGG
from vggnet.options.choices import StepName
from vggnet.paper.configurations import TOTAL_STRIDE_PX


def step_form(model: VGG, device: torch.device, precision: str, step: StepName) -> Form:
    """Return the form of `model`, with the model's own parameters, that a training step runs.

    On a GPU `FusedVGG` where it works and is wanted, otherwise `EagerVGG`; one line says why it does not work. Raises
    UserError where `step` asks for what the device or the net cannot do.
    """
    if device.type != "cuda":
        if step in ("fused", "compiled"):
            raise UserError(f"--step {step} is for GPUs; a step on a {device.type} is plain: leave it at auto")
        return EagerVGG(model)
    if step not in ("auto", "fused"):
        return EagerVGG(model)
    if not (reason := _why_not_fused(model, device, precision)):
        from vggnet.backends.gpu_training import FusedVGG  # only where Triton is

        form = FusedVGG(model)
        if not (reason := _refusal(form)):
            return form
    if step == "fused":
        raise UserError(f"--step fused: {reason}; leave it at auto")
    note(f"training runs without the fused kernels: {reason}")
    return EagerVGG(model)


def _why_not_fused(model: VGG, device: torch.device, precision: str) -> str | None:
    if precision != "bf16":
        return "they compute in bf16, this training does not"
    if model.architecture.batch_norm:
        return "they know no batch normalisation"
    return why_not(device) or why_not_relu(device)


def _refusal(form: VGG) -> str | None:
    """What cuDNN says where it does not take a layer, as it is (its channels may be no multiple of eight, say)."""
    side, device = 2 * TOTAL_STRIDE_PX, form.conv1_1.weight.device
    try:
        with torch.enable_grad(), torch.autocast(device.type, torch.bfloat16):
            pool5 = form.forward_features(torch.zeros(1, 3, side, side, device=device))
        if pool5.requires_grad:  # not where the head alone trains
            pool5.float().sum().backward()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return reason_of(error)
    finally:
        form.zero_grad(set_to_none=True)
    return None


def compiled(model: nn.Module, device: torch.device) -> Callable[..., Tensor]:
    """`model` as a function that is compiled at its first call, on a GPU; elsewhere `model` itself.

    Where compiling fails (no Triton, an old GPU) the net runs as it is, and one line says why. Memory that runs out
    is no such reason: that is for the caller to mend.
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
                attempt = torch.compile(model)
                outputs = attempt(*inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            reason = reason_of(error)
            note(f"training runs without torch.compile: {reason}")
            quick = model
            return model(*inputs)
        quick = attempt
        return outputs

    return run
