"""Describe a worker process that delivers nothing for a long time, or that ended, for a message."""

import sys
from collections.abc import Sequence

import numpy as np

from vggnet.data.splits import Split

SILENT_S = 50.0  # until a process that delivers nothing is named and replaced


def print_aside(message: str) -> None:
    """Print a message to standard error on every rank, since each rank has its own workers."""
    print(f"vggnet: {message}", file=sys.stderr, flush=True)


def in_words(split: Split, indices: Sequence[int] | np.ndarray) -> str:
    """Return the number of images and the path of the first one."""
    first = split.path(int(indices[0])) if len(indices) else "no image"
    return first if len(indices) <= 1 else f"{len(indices)} images, the first of them {first}"
