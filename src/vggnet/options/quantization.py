"""Options of quantize. The text below a field is its help; texts that commands share are in `common`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from vggnet.options.common import READ_BY, JsonOption, MirrorOption, ModelInput, TestScaleOption, option


@dataclass(frozen=True)
class QuantizeOptions:
    """Prepare a net for inference in 8-bit integers, calibrated on your images, and print the loss of accuracy.

    Some commands, such as evaluate and predict, have --precision int8. Give them the result as MODEL together with this
    option. Without it, and in all other commands, the model computes in bf16 or fp32. The gain in speed depends on the
    CPU. On a Zen 4, the only CPU measured, int8 is 1.9 times as fast as bf16 (docs/speed.md)."""

    model: ModelInput
    data: Positional[
        Annotated[
            str,
            option(
                "The images, as for train. On training images the ranges of the activations are calibrated, and on val "
                "images the loss of accuracy is measured. With a folder of images without labels, the ranges are "
                "calibrated, but the loss of accuracy is not measured."
            ),
        ]
    ]
    out: Path
    """A folder for the quantized model."""
    images: int = 256
    """How many images calibrate the ranges of the activations."""
    test_scale: TestScaleOption = None
    mirror: MirrorOption = None
    workers: Annotated[
        int | None,
        option(READ_BY, default="1, or 0 if the CPU has one or two cores"),
    ] = None
    seed: int = 0
    """Seed of the random choice of the calibration images."""
    json: JsonOption = None
