"""What a net's descriptors are compared with on the same images.

`pixels` is the image at 32x32 as it is, `random` the same net as it was drawn; or any other model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
    """Those of the baselines called `names` that are models. Raises UserError for a name that is no baseline."""
    models = [name for name in names if name not in BASELINES]
    for name in models:
        if not Path(name).exists():
            raise UserError(f"--against {name}: pixels, random, or a model")
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
    """Descriptors of the `wanted` images by the baseline called `name`: pixels, random, or a model's path."""
    if name == "pixels":
        reading = read_description(models[0]).policy.reading
        return _pixels(split.read_as(reading), settings, wanted)
    if name == "random":
        return describe_images([_untrained(model, seed) for model in models], [split], settings, on_progress, wanted)
    return describe_images([name], [split], settings, on_progress, wanted)


def _untrained(model: Model, seed: int) -> VGG:
    """The same net with the same preprocessing, its weights as they are drawn (Glorot)."""
    net = on_meta(read_description(model)).to_empty(device="cpu")
    initialize(net, "glorot", seed=seed)
    return net.eval()


@dataclass(frozen=True)
class _Thumbnail:
    """An image at 32x32; runs where images are decoded."""

    def __call__(self, image: Image.Image) -> np.ndarray:
        return np.array(image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR))


def _pixels(split: Split, settings: DescriptorSettings, wanted: np.ndarray) -> Descriptors:
    """Raw pixels, centred on gray, of unit length."""
    values, indices, bad = [], [], []
    for result in whole_images(split, wanted, settings.computing.workers, _Thumbnail()):
        if isinstance(result, BadImage):
            bad.append(settings.computing.skipped(result))
        else:
            indices.append(result[0])
            values.append(result[1].astype(np.float32).ravel() - 127.5)
    return Descriptors(unit(np.stack(values)), np.array(indices), tuple(bad))
