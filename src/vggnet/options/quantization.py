"""Options of quantize. Field texts are the help texts; those of shared options are theirs (`common`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from vggnet.options.common import MirrorOption, ModelInput, TestScaleOption, WorkersOption, option


@dataclass(frozen=True)
class QuantizeOptions:
    """Make a net ready for inference in 8-bit integers, calibrated on your images; prints what it costs in accuracy.

    The result goes wherever a MODEL goes; evaluate and predict then take --precision int8. How much faster that is
    depends on the CPU: 1.9 times bf16 on a Zen 4, the only kind measured (docs/speed.md)."""

    model: ModelInput
    data: Positional[
        Annotated[
            str,
            option(
                "Images as for train. The ranges of activations are measured on train, the loss of accuracy on val. A "
                "folder of images without labels serves for the ranges alone."
            ),
        ]
    ]
    out: Path
    """A folder for the model."""
    images: int = 256
    """How many images the ranges are measured on."""
    test_scale: TestScaleOption = None
    mirror: MirrorOption = None
    workers: WorkersOption = None
    seed: int = 0
    """Of the choice of images."""
