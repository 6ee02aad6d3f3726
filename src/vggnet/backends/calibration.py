"""Measure the range of each layer's inputs on real images, for inference in int8."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vggnet.backends.cpu_int8 import LEVELS, SAMPLED, TRIED
from vggnet.network.vgg import VGG


class Ranges:
    """Samples of the inputs of each layer but the first. `limits` are the best ends of their 8-bit scales."""

    def __init__(self) -> None:
        self._samples: dict[str, list[Tensor]] = {}
        self._largest: dict[str, float] = {}
        self._generator = torch.Generator().manual_seed(0)

    def add(self, layer: str, x: Tensor) -> None:
        """Sample one batch of a layer's input."""
        flat = x.detach().reshape(-1)
        chosen = torch.randint(len(flat), (min(SAMPLED, len(flat)),), generator=self._generator)
        self._samples.setdefault(layer, []).append(flat[chosen.to(x.device)].float().cpu())
        self._largest[layer] = max(self._largest.get(layer, 0.0), float(flat.max()))

    def limits(self) -> dict[str, float]:
        """Return for each layer the largest input that its 8-bit scale represents."""
        return {layer: best_limit(torch.cat(samples), self._largest[layer]) for layer, samples in self._samples.items()}


def best_limit(values: Tensor, largest: float) -> float:
    """Return the end of the 8-bit scale with the least mean square error for `values` (n,), none of them negative.

    Larger values are clipped to it. It is at most `largest`, which may lie beyond the sample.
    """
    if largest <= 0:
        return 1.0  # all inputs are 0: any scale represents them
    tried = [largest * ((step + 1) / TRIED) for step in range(TRIED)]  # the last is `largest` itself, to the bit

    def error(limit: float) -> float:
        rounded = (values * (LEVELS / limit)).round().clamp(0, LEVELS) * (limit / LEVELS)
        return float((rounded - values).square().mean())

    return min(tried, key=error)


@contextmanager
def measuring(model: VGG) -> Iterator[Ranges]:
    """Yield the ranges of what goes through the net's layers in the block, by its own forward or by `EagerVGG`'s."""
    ranges = Ranges()
    handles = []
    for layer in list(model.architecture.layers())[1:]:

        def sample(module: nn.Module, inputs: tuple[Any, ...], name: str = layer.name) -> None:
            ranges.add(name, inputs[0])

        handles.append(getattr(model, layer.name).register_forward_pre_hook(sample))
    try:
        yield ranges
    finally:
        for handle in handles:
            handle.remove()
