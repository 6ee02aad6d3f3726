"""Count updates of weights, and notice forward passes, by hooks that PyTorch calls before each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from vggnet.network.vgg import VGG
from vggnet.training.stopping import Interrupted


@contextmanager
def before_update(number: int, act: Callable[[], object]) -> Iterator[None]:
    """Call `act` before the update of the weights of that number within the block; 0 is the first.

    What `act` raises ends the training there: the update is not made.
    """
    updates = count()

    def hook(*_: object) -> None:
        if next(updates) == number:
            act()

    handle = register_optimizer_step_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


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


def stopping() -> None:
    """Raise what a signal makes a training raise after its state is saved."""
    raise Interrupted


def _is_first_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.in_channels == 3
