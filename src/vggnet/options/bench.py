"""Options of bench. The text below a field is its help."""

from dataclasses import dataclass
from typing import Annotated, Literal

from vggnet.options.common import JsonOption, option
from vggnet.options.machine import ThreadsOption


@dataclass(frozen=True)
class BenchOptions:
    """Time net D in vggnet and in other libraries, after a check that all of them compute the same.

    Libraries that are not installed are listed with the command that installs them."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device; auto takes a GPU if there is one."""
    tasks: Annotated[tuple[Literal["training", "inference"], ...], option(metavar="TASK...")] = (
        "training",
        "inference",
    )
    """What is timed: a training step (training), the scores of a batch (inference), or both."""
    batch: Annotated[int | None, option(default="8 on a CPU, 256 on a GPU")] = None
    """Images in a batch."""
    repeats: int = 5
    """Number of rounds; each round times every library once."""
    threads: ThreadsOption = None
    compile: Annotated[bool, option(default="off")] = False
    """Also time each net under torch.compile; compiling takes minutes."""
    json: JsonOption = None
    width: float = 1.0
    """Multiply the numbers of channels by this. A value below 1 gives a quick trial."""
    crop: int = 224
    """Side of the images in pixels. A smaller one gives a quick trial."""
