"""Dropout whose draws depend on (seed, epoch, step, image, layer, unit) alone.

The draws are the same for any micro-batch, any number of ranks or workers, and on every device. Each image has a key,
and each unit's bits are a hash of key and unit: SplitMix64 (Steele, Lea and Flood, 2014), a bijection of 64-bit words
that passes BigCrush as a generator. PyTorch's integers are signed: products wrap, as is wanted, and shifts need a mask.

Shapes: n images, K units of a layer.
"""

import torch
from torch import Tensor

from vggnet.randomness import step_key

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # the increment of SplitMix64's counter, as a signed word
_LOW = 2**32 - 1
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def image_keys(seed: int, epoch: int, step: int, images: Tensor) -> Tensor:
    """Return the key of each image, int64 (n,), from `images`: their numbers in the training set, int64 (n,)."""
    return _mixed(images * _GOLDEN + step_key(seed, epoch, step))


def dropout(x: Tensor, rate: float, keys: Tensor, layer: int) -> Tensor:
    """Zero each value of x (n, K, ...) with probability `rate` and divide the others by 1 - `rate`.

    `keys` (n,) are of `image_keys`; `layer` makes the draws of two layers differ.
    """
    if rate == 0:
        return x
    units = x[0].numel()
    words = torch.arange(1, (units + 1) // 2 + 1, device=x.device) * _GOLDEN  # one gives the bits of two units
    bits, least = _mixed(_mixed(keys + layer)[:, None] + words), round(rate * 2**32)
    # not view(torch.int32): torch.compile (2.14.1, CPU) gives other values then
    kept = torch.stack([bits & _LOW >= least, _shifted(bits, 32) >= least], -1).flatten(1)[:, :units]
    return x * (kept.to(x.dtype) / (1 - rate)).view_as(x)


def _mixed(words: Tensor) -> Tensor:
    """Return SplitMix64's finalizer of each word."""
    words = (words ^ _shifted(words, 30)) * _FACTORS[0]
    words = (words ^ _shifted(words, 27)) * _FACTORS[1]
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, places: int) -> Tensor:
    """Shift to the right, filling up with zeros."""
    return (words >> places) & ((1 << (64 - places)) - 1)
