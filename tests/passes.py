"""Notice forward passes, by a hook that PyTorch calls before every module."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from vggnet.network.vgg import VGG


@contextmanager
def no_forward_pass() -> Iterator[None]:
    """Raise AssertionError where an image goes through a net within the block."""

    def hook(module: nn.Module, inputs: object) -> None:
        if isinstance(module, VGG) or _is_first_layer(module):
            raise AssertionError("an image goes through a net")

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _is_first_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.in_channels == 3
