"""Options of quantize. The text below a field is its help; texts that commands share are in `common`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from vggnet.options.common import JsonOption, MirrorOption, ModelInput, TestScaleOption, WorkersOption, option


@dataclass(frozen=True)
class QuantizeOptions:
    """Prepare a net for inference in 8-bit integers, calibrated on your images, and print the loss of accuracy.

    Give the result to evaluate or predict with --precision int8. Commands without int8 compute the model in bf16 or
    fp32. The gain of speed depends on the CPU: 1.9 times bf16 on a Zen 4, the only CPU measured (docs/speed.md)."""

    model: ModelInput
    data: Positional[
        Annotated[
            str,
            option(
                "The images, as for train. The training images calibrate the ranges of the activations, the val images "
                "measure the loss of accuracy. A folder of images without labels only calibrates."
            ),
        ]
    ]
    out: Path
    """A folder for the quantized model."""
    images: int = 256
    """How many images calibrate the ranges of the activations."""
    test_scale: TestScaleOption = None
    mirror: MirrorOption = None
    workers: WorkersOption = None
    seed: int = 0
    """Seed of the random choice of the calibration images."""
    json: JsonOption = None
