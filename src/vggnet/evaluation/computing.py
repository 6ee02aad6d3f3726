"""Device, precision and workers of everything that scores images, chosen once (`Computing.of`)."""

from dataclasses import dataclass
from typing import get_args

import torch

from vggnet.errors import BadImage, UserError
from vggnet.evaluation.ranks import ALONE, Ranks, current_ranks
from vggnet.hardware import choose_device, choose_inference_precision, scoring_workers
from vggnet.options.choices import BadImages, InferencePrecisionName, Precision

CPU = torch.device("cpu")
FEW_IMAGES = 64  # starting a process takes longer than reading fewer images than these


@dataclass(frozen=True)
class Computing:
    """The device and precision of the nets, the processes that decode, and what to do about unreadable images.

    `ranks` share the images where several processes evaluate together.
    `workers` processes decode and rescale; with 0 this process does. `bad_images`: "stop" raises BadImage at the first
    image that cannot be used, "skip" leaves such images out and lists them.
    """

    device: torch.device = CPU
    precision: Precision = "fp32"
    workers: int = 0
    bad_images: BadImages = "stop"
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if self.bad_images not in get_args(BadImages):
            raise UserError(f"`bad_images` {self.bad_images!r}: use stop or skip")

    @classmethod
    def of(
        cls,
        device: str = "auto",
        precision: InferencePrecisionName = "auto",
        workers: int | None = None,
        bad_images: BadImages = "stop",
    ) -> "Computing":
        """Return the user's choices, with what was left open chosen by the machine.

        Raises UserError for a device or a precision that this machine does not have.
        """
        ranks = current_ranks()
        chosen = choose_device(device) if ranks.size == 1 else ranks.device
        return cls(
            chosen, choose_inference_precision(precision, chosen), scoring_workers(workers, chosen), bad_images, ranks
        )

    def skipped(self, error: BadImage) -> BadImage:
        """Return the error of an image that is skipped. Raise it where bad images stop the work."""
        if self.bad_images == "stop":
            reason = f"{error.reason} (`bad_images` skip leaves such images out, and lists and counts them)"
            raise BadImage(error.path, reason)
        return error


def prediction_workers(requested: int | None, images: int) -> int | None:
    """Return `requested`, or 0 where nothing was requested and there are few images; None leaves it to the machine."""
    return 0 if requested is None and images < FEW_IMAGES else requested


ON_CPU = Computing()  # fp32, decoded by this process, stops at a bad image
