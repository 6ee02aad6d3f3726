"""A net through torch.compile on a GPU, where its fused passes pay; and as it is where that does not work.

Written without a GPU at hand and not measured yet (docs/speed.md). On a CPU nothing is compiled.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vggnet.console import note


def compiled(model: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`model` as a function of images that is compiled at its first call, on a GPU; elsewhere `model` itself.

    Where compiling fails (no Triton, an old GPU) the net runs as it is, and one line says why. Memory that runs out
    is no such reason: that is for the caller to mend.
    """
    if device.type != "cuda":
        return model
    quick: Callable[[Tensor], Tensor] | None = None
    failed = False

    def run(images: Tensor) -> Tensor:
        nonlocal quick, failed
        if failed:
            return model(images)
        first = quick is None
        try:
            quick = quick or torch.compile(model)
            return quick(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if not first:
                raise
            failed = True
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            note(f"training runs without torch.compile: {reason}")
        return model(images)

    return run
