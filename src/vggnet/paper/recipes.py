"""Sect. 3.1 as data: the hyper-parameters of each training stage, and its pixel sizes in proportion to the crop.

The paper's training: mini-batch SGD, batch 256, momentum 0.9, weight decay 5e-4, dropout 0.5 on fc6 and fc7, learning
rate 1e-2 divided by 10 three times when the validation accuracy stops improving, 74 epochs in all. S is 256, or 384
(from the S=256 net, at 1e-3), or drawn from [256; 512] for each image (from the S=384 net).
"""

import dataclasses
from dataclasses import dataclass

from vggnet.errors import UserError
from vggnet.paper.configurations import PAPER_CROP_PX

PAPER_EPOCHS = 74
FIXED_SCALE_PX = 256
LARGER_SCALE_PX = 384
JITTERED_SCALE_PX = (256, 512)
SCALE_STEP_PX = 32  # the 32 in Q = {S - 32, S, S + 32}
LATER_STAGE_RATE = 1e-3  # S=384 from S=256


def scaled_px(paper_px: int, crop_px: int) -> int:
    """Return a pixel size of the paper in proportion to another crop: 256 becomes 73 at a crop of 64."""
    return round(paper_px * crop_px / PAPER_CROP_PX)


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of one training of one net.

    `train_scale` is S in the paper: (256,) is fixed, (256, 512) is drawn for each image.

    The learning rate is divided by `drop_factor` when the validation error has not improved for `patience` epochs;
    this happens `drops` times. The training ends at the next such plateau, or after `epochs`. Drop i comes at the
    latest after the fraction `latest_drops[i]` of the epochs, so that a training shorter than the paper's still uses
    every rate.
    """

    train_scale: tuple[int, ...] = (FIXED_SCALE_PX,)
    epochs: int = PAPER_EPOCHS
    batch: int = 256
    learning_rate: float = 1e-2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    drops: int = 3
    drop_factor: float = 10.0
    patience: int = 6
    latest_drops: tuple[float, ...] = (0.6, 0.8, 0.93)
    color_deviation: float = 0.1  # of the PCA colour shift
    mirror: bool = True
    head_learning_rate: float | None = None  # of the last layer; not in the paper, whose layers share one rate

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"`batch` {self.batch}: a batch needs at least one image; the paper's is 256")
        if self.epochs < 1:
            raise UserError(f"`epochs` {self.epochs}: at least one epoch is needed; the paper trained for 74")
        if not self.learning_rate > 0:
            raise UserError(f"`learning_rate` {self.learning_rate}: must be above 0; the paper's is 0.01")
        if self.head_learning_rate is not None and not self.head_learning_rate > 0:
            raise UserError(f"`head_learning_rate` {self.head_learning_rate}: must be above 0")
        if not 0 <= self.momentum < 1:
            raise UserError(f"`momentum` {self.momentum}: must be at least 0 and below 1; the paper's is 0.9")
        if self.weight_decay < 0:
            raise UserError(f"`weight_decay` {self.weight_decay}: must not be negative; the paper's is 0.0005")
        if self.patience < 1:
            raise UserError(f"`patience` {self.patience}: at least one epoch")
        if self.drops < 0 or self.drop_factor <= 1:
            raise UserError(
                f"`drops` {self.drops}, `drop_factor` {self.drop_factor}: give drops of 0 or more and a factor above 1"
            )
        if len(self.train_scale) not in (1, 2) or list(self.train_scale) != sorted(self.train_scale):
            raise UserError(
                f"`train_scale` {' '.join(map(str, self.train_scale))}: give one S (fixed) or smallest and largest S"
            )

    def check_crop(self, crop_px: int) -> None:
        """Raise UserError where the smallest S is below the crop: the crop would not fit."""
        if self.train_scale[0] < crop_px:
            raise UserError(
                f"`train_scale` {self.train_scale[0]} is below the crop of {crop_px}: a crop would not fit; "
                f"give at least {crop_px} (the paper's 256 is {scaled_px(FIXED_SCALE_PX, crop_px)} at this crop)"
            )

    @property
    def judged_scale(self) -> int:
        """Return Q for single-scale evaluation: S, or 0.5(Smin + Smax) when jittered (Sect. 4.1)."""
        return round(sum(self.train_scale) / len(self.train_scale))

    def replace(self, **changes: object) -> "Recipe":
        """Return this recipe with other values for some fields."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def fixed_scale(crop_px: int = PAPER_CROP_PX) -> Recipe:
    """Return the recipe of the first stage: S = 256."""
    return Recipe(train_scale=(scaled_px(FIXED_SCALE_PX, crop_px),))


def larger_scale(crop_px: int = PAPER_CROP_PX) -> Recipe:
    """Return the recipe of the second stage: S = 384, from the S = 256 net, at learning rate 1e-3."""
    return Recipe(train_scale=(scaled_px(LARGER_SCALE_PX, crop_px),), learning_rate=LATER_STAGE_RATE)


def jittered_scale(crop_px: int = PAPER_CROP_PX) -> Recipe:
    """Return the recipe of the third stage: S in [256; 512], from the S = 384 net, at learning rate 1e-3."""
    low, high = (scaled_px(scale, crop_px) for scale in JITTERED_SCALE_PX)
    return Recipe(train_scale=(low, high), learning_rate=LATER_STAGE_RATE)
