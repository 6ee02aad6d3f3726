"""Describe images by baselines, which a net's descriptors are compared with.

`pixels` is the image at 32x32, `random` the same net with random weights. Any other model is a baseline, too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vggnet.data.splits import Split
from vggnet.errors import BadImage, UserError
from vggnet.images.whole_images import whole_images
from vggnet.network.initialization import initialize
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import read_description
from vggnet.transfer_learning.descriptors import Descriptors, DescriptorSettings, Model, Progress, describe_images, unit

THUMBNAIL_PX = 32
BASELINES = ("pixels", "random")


def other_models(names: Sequence[str]) -> list[str]:
    """Return the baselines in `names` that are models. Raises UserError for a name that is no baseline."""
    models = [name for name in names if name not in BASELINES]
    for name in models:
        if not Path(name).exists():
            raise UserError(f"`against` {name}: pixels, random, or a model")
    return models


def describe_baseline(
    name: str,
    models: Sequence[Model],
    split: Split,
    settings: DescriptorSettings,
    seed: int,
    on_progress: Progress | None,
    wanted: np.ndarray,
) -> Descriptors:
    """Return the descriptors of the `wanted` images by the baseline `name`: pixels, random, or the path of a model."""
    if name == "pixels":
        reading = read_description(models[0]).policy.reading
        return _pixels(split.read_as(reading), settings, wanted)
    if name == "random":
        return describe_images([_untrained(model, seed) for model in models], [split], settings, on_progress, wanted)
    return describe_images([name], [split], settings, on_progress, wanted)


def _untrained(model: Model, seed: int) -> VGG:
    """Return the same net with the same preprocessing and random weights (Glorot)."""
    net = on_meta(read_description(model)).to_empty(device="cpu")
    initialize(net, "glorot", seed=seed)
    return net.eval()


def _thumbnail(image: Image.Image) -> np.ndarray:
    """Return the image at 32x32, uint8 (32, 32, 3); runs in a worker."""
    return np.array(image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR))


def _pixels(split: Split, settings: DescriptorSettings, wanted: np.ndarray) -> Descriptors:
    """Return the pixels at 32x32, centred on gray, at unit length."""
    values, indices, bad = [], [], []
    for result in whole_images(split, wanted, settings.computing.workers, _thumbnail):
        if isinstance(result, BadImage):
            bad.append(settings.computing.skipped(result))
        else:
            indices.append(result[0])
            values.append(result[1].astype(np.float32).ravel() - 127.5)
    return Descriptors(unit(np.stack(values)), np.array(indices), tuple(bad))
