"""Options of quantize. Field texts are the help texts."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class QuantizeOptions:
    """Make a net ready for inference in 8-bit integers, calibrated on your images; says what it costs in accuracy.

    The result goes wherever a MODEL goes; evaluate and predict then take --precision int8."""

    model: Positional[Path]
    """A run, model folder or weight file."""
    data: Positional[str]
    """Images as for train. The ranges of activations are measured on train, the loss of accuracy on val. A folder of
    images without labels serves for the ranges alone."""
    out: Path
    """A folder for the model."""
    images: int = 256
    """How many images the ranges are measured on."""
    test_scale: int | None = None
    """Q; by default the net's S."""
    workers: int | None = None
    """As for train."""
    seed: int = 0
    """Of the choice of images."""
