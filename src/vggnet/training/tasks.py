"""What the training loop is given: the task that is learnt, its batches, and the settings of the run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from vggnet.network.vgg import VGG
from vggnet.options.choices import ExchangeFormat, OnDivergence, StepName, TrainPrecision
from vggnet.training.epoch_results import AfterEpoch, AfterStep


@dataclass
class Inputs:
    """One rank's part of a batch on its way into the net: images (n, 3, crop, crop), targets (n, ...).

    `indices` int64 (n,) are the images' numbers in the training set. All on the device.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor


class Task(Protocol):
    """What is learnt. All methods see one rank's images only; sums over ranks are the loop's work."""

    @property
    def images(self) -> int:
        """Of one epoch, over all ranks."""
        ...

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        """The inputs for each array of image indices, in this order, decoded ahead."""
        ...

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """For fp32 outputs (n, K): each image's loss (n,), and whether it counts as wrong (n,)."""
        ...

    def judge(self, model: VGG) -> dict[str, float]:
        """Figures on the images that the schedule is judged on; `error` is the one that counts. All ranks call."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """How a training runs, beside its recipe.

    Only `seed` and `epochs_before`, which all draws follow from, change what is learnt by more than rounding.
    """

    seed: int
    micro_batch: int
    precision: TrainPrecision
    save_every_s: float = 300.0
    keep: int = 2  # saves
    on_divergence: OnDivergence = "stop"
    exchange: ExchangeFormat = "fp32"  # of gradients between ranks
    step: StepName = "auto"
    epochs_before: int = 0  # that the starting weights were trained for: draws go on from there, and repeat none
    after_epoch: AfterEpoch | None = None
    after_step: AfterStep | None = None
