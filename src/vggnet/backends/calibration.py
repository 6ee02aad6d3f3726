"""Measure the range of each layer's inputs on real images, for inference in int8."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vggnet.backends.cpu_int8 import LEVELS, SAMPLED, TRIED
from vggnet.network.vgg import VGG


class Ranges:
    """What went into each layer but the first, sampled; `limits` are the best ends of their 8-bit scales."""

    def __init__(self) -> None:
        self._samples: dict[str, list[Tensor]] = {}
        self._largest: dict[str, float] = {}
        self._generator = torch.Generator().manual_seed(0)

    def add(self, layer: str, x: Tensor) -> None:
        """Look at one batch of a layer's input."""
        flat = x.detach().reshape(-1)
        chosen = torch.randint(len(flat), (min(SAMPLED, len(flat)),), generator=self._generator)
        self._samples.setdefault(layer, []).append(flat[chosen.to(x.device)].float().cpu())
        self._largest[layer] = max(self._largest.get(layer, 0.0), float(flat.max()))

    def limits(self) -> dict[str, float]:
        """For each layer the largest input that is represented."""
        return {layer: best_limit(torch.cat(samples), self._largest[layer]) for layer, samples in self._samples.items()}


def best_limit(values: Tensor, largest: float) -> float:
    """The end of an 8-bit scale with the least mean square error for `values` (n,), none of them negative.

    Values beyond it count as it. At most `largest`, which may be more than any of the sample.
    """
    if largest <= 0:
        return 1.0  # a layer that never sees anything: any scale is right
    tried = [largest * ((step + 1) / TRIED) for step in range(TRIED)]  # the last is `largest` itself, to the bit

    def error(limit: float) -> float:
        rounded = (values * (LEVELS / limit)).round().clamp(0, LEVELS) * (limit / LEVELS)
        return float((rounded - values).square().mean())

    return min(tried, key=error)


@contextmanager
def measuring(model: VGG) -> Iterator[Ranges]:
    """Within the block, forward passes of the plain net are looked at; gives the ranges seen so far."""
    ranges = Ranges()
    handles = []
    for layer in list(model.architecture.layers())[1:]:

        def look(module: nn.Module, inputs: tuple[Any, ...], name: str = layer.name) -> None:
            ranges.add(name, inputs[0])

        handles.append(getattr(model, layer.name).register_forward_pre_hook(look))
    try:
        yield ranges
    finally:
        for handle in handles:
            handle.remove()
