"""Make random generators and hashes for named `Stream`s, from the seed and what is drawn for alone.

A draw does not depend on the number of workers, ranks or restarts, nor on draws made before it. Two kinds are here:
- `generator` gives numpy generators. Philox is counter-based: (seed, epoch) is its key, (index, stream) its counter, so
  the draws for any image of any epoch are made alone, in any process, in any order.
- The other functions hash names to one number, which is a draw itself or the seed of a generator of PyTorch.

Changing a value here changes the weights of every later training, and moves images between training and validation.
"""

import hashlib
import os
from enum import Enum, IntEnum

import numpy as np

_WORD = 2**64 - 1


class Stream(IntEnum):
    """What a `generator` draws for. Two streams of one (seed, epoch, index) are independent."""

    VIEWS = 0  # an image's training crop: scale, position, mirror, colour shift
    ORDER = 1  # the order of the images in an epoch
    BOXES = 2  # which of an image's boxes a box net learns


class Division(Enum):
    """What an image's name decides. Two divisions of one name are independent."""

    VALIDATION = "0"  # is the image for validation, where a data set comes undivided
    HELD_OUT = "held out"  # does the training image judge the learning rate's schedule instead


def generator(seed: int, epoch: int, index: int, stream: Stream) -> np.random.Generator:
    """Return the generator for image `index` (0 where a draw is for a whole epoch) in `epoch`."""
    key = np.array([seed & _WORD, epoch & _WORD], np.uint64)
    counter = np.array([0, 0, index, stream], np.uint64)  # the lowest word counts the draws
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def numbered_generator(seed: int, *numbers: int) -> np.random.Generator:
    """Return the generator of a task that is no epoch, such as a repetition and a class (all `numbers` >= 0)."""
    return np.random.default_rng([seed & _WORD, *numbers])


def layer_seed(seed: int, layer: str) -> int:
    """Return the seed, a signed 64-bit integer, of the initial weights of the layer with this name."""
    digest = hashlib.sha256(f"{seed} {layer}".encode()).digest()  # hash() differs from process to process
    return int.from_bytes(digest[:8], "little", signed=True)


def step_key(seed: int, epoch: int, step: int) -> int:
    """Return the key, a signed 64-bit integer, from which dropout derives a key for each image of a training step."""
    digest = hashlib.blake2b(f"{seed},{epoch},{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def name_draw(division: Division, name: str) -> float:
    """Return a number in [0, 1) for the image `name`: uniform over names, the same for every seed."""
    digest = hashlib.sha256(os.fsencode(f"{division.value} {name}")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
