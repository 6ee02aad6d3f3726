"""Options of bench. Field texts are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class BenchOptions:
    """Images/s of net D, here and in other libraries, interleaved in one run; each path is checked before it is timed.

    Libraries that are not installed are listed with how to install them."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where everything runs."""
    tasks: tuple[Literal["training", "inference"], ...] = ("training", "inference")
    """A training step, or the scores of a batch, or both."""
    batch: int | None = None
    """Images at once; by default 8 on a CPU and 256 on a GPU."""
    repeats: int = 5
    """Timed rounds; each times every path once, in turn."""
    threads: int | None = None
    """CPU threads of every path; by default one a core."""
    compile: bool = False
    """Also time the paths that go through torch.compile; compiling takes minutes."""
    json: Path | None = None
    """Write the figures there, too, with hardware and versions; after every round."""
    width: float = 1.0
    """Scales the channels, to try the command; the figures are then not net D's."""
    crop: int = 224
    """Side of the images, likewise."""
