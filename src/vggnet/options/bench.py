"""Options of bench. Field texts are the help texts."""

from dataclasses import dataclass
from typing import Annotated, Literal

from vggnet.options.common import JsonOption, ThreadsOption, option


@dataclass(frozen=True)
class BenchOptions:
    """Images/s of net D, here and in other libraries, interleaved in one run; each path is checked before it is timed.

    Libraries that are not installed are listed with how to install them."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where everything runs; auto is the GPU where there is one."""
    tasks: Annotated[tuple[Literal["training", "inference"], ...], option(metavar="TASK...")] = (
        "training",
        "inference",
    )
    """A training step (training), the scores of a batch (inference), or both."""
    batch: Annotated[int | None, option(default="8 on a CPU, 256 on a GPU")] = None
    """Images at once."""
    repeats: int = 5
    """Timed rounds; each times every path once, in turn."""
    threads: ThreadsOption = None
    compile: bool = False
    """Also time the paths that go through torch.compile; compiling takes minutes."""
    json: JsonOption = None
    width: float = 1.0
    """Scales the channels, to try the command; the figures are then not net D's."""
    crop: int = 224
    """Side of the images, likewise."""
