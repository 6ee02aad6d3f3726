"""Which numbers each option takes, whatever command has it; checked on the command line before all else."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from vggnet.errors import UserError


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; without the ends where these are open. Not a number is in no range."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        if self.high == float("inf"):
            return f"{self.low:,g} or more"
        low = f"above {self.low:,g}" if self.open_low else f"from {_number(self.low)}"
        return f"{low} {'and below' if self.open_high else 'to'} {_number(self.high)}"


_COUNT = Range(1, 1_000_000)
_RATE = Range(0, 1000, open_low=True)
_PART = Range(0, 1, open_high=True)
_SCALE = Range(1, 10_000)
RANGES = {
    "batch": _COUNT,
    "costs": Range(0, 1e9, open_low=True),
    "crop": Range(32, 2048),
    "dropout": _PART,
    "epochs": Range(1, 100_000),
    "head_learning_rate": _RATE,
    "holdout": _PART,
    "images": _COUNT,
    "keep": Range(1, 1000),
    "learning_rate": _RATE,
    "max_images": Range(1, 10_000),
    "max_megabytes": Range(0, 1000, open_low=True),
    "max_megapixels": Range(0, 178, open_low=True),  # `images.decoding.MAX_PIXELS`
    "max_seconds": Range(0, 3600, open_low=True),
    "max_restarts": Range(0, 1000),
    "micro_batch": _COUNT,
    "num_classes": _COUNT,
    "patience": Range(1, 100_000),
    "pixel_range": Range(0, 65_535),
    "port": Range(0, 65_535),
    "processes": Range(1, 1024),
    "quality": Range(1, 100),
    "repeats": Range(1, 10_000),
    "resize": _SCALE,
    "save_every": Range(0, float("inf")),
    "seed": Range(0, 2**32 - 1),  # as far as scikit-learn's go
    "shard_mb": _COUNT,
    "sigma": Range(0, 100, open_low=True),
    "splits": Range(1, 1000),
    "test_per_class": _COUNT,
    "test_scale": _SCALE,
    "threads": Range(1, 1024),
    "top": _COUNT,
    "train_per_class": _COUNT,
    "train_scale": _SCALE,
    "validation": Range(0, 1, open_low=True, open_high=True),
    "weight_decay": Range(0, 1000),
    "width": Range(0, 8, open_low=True),
    "workers": Range(0, 1024),
}


def check_numbers(options: Any) -> None:
    """Refuse a number that its option does not take, in the options (a dataclass) of any command. Raises UserError."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            check_numbers(value)
        allowed = RANGES.get(field.name)
        if allowed is None or value is None:
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if number not in allowed:
                raise UserError(f"`{field.name}` {number}: give a number {allowed}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"
