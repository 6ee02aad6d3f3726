"""The paper's crops for training loops of your own: transforms for torchvision's data sets, and a data set.

They draw and compute as `TrainingLoader` does (Sect. 3.1): isotropic rescaling to S, a random square, a mirror image
in half of the cases, Krizhevsky's colour shift.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from vggnet.data.opening import open_data
from vggnet.data.splits import ImageData, Split
from vggnet.description import ImageReading, ModelDescription, Preprocessing
from vggnet.errors import UserError
from vggnet.evaluation.matching import positions_among
from vggnet.evaluation.preprocessing import AnyImage, center_square, open_rgb
from vggnet.evaluation.protocols import default_scale
from vggnet.images.augmentation import Augmentation
from vggnet.images.color import STORED_AS, ColorStatistics
from vggnet.images.geometry import rescale
from vggnet.images.normalization import normalize
from vggnet.network.vgg import VGG, refuse_path
from vggnet.paper.recipes import FIXED_SCALE_PX, scaled_px
from vggnet.randomness import Stream, generator


@dataclass(frozen=True)
class TrainTransform:
    """From an image to one random training crop as the net's input, float32 (3, crop, crop)."""

    augmentation: Augmentation
    preprocessing: Preprocessing
    reading: ImageReading

    def __call__(self, image: AnyImage, draws: np.random.Generator | None = None) -> Tensor:
        """Return a crop of a file, an image of Pillow or pixels uint8 (H, W, 3).

        `draws`: a generator of numpy. None: one seeded by PyTorch's global generator, so that `torch.manual_seed` and
        DataLoader's seeds decide.
        """
        rgb = open_rgb(image, self.reading)
        view = self.augmentation.draw(_seeded_by_torch() if draws is None else draws, *rgb.size)
        pixels = self.augmentation.pixels(rgb, view)
        shift = torch.from_numpy(view.shift)[None]
        return _as_input(pixels, self.preprocessing, shift)


@dataclass(frozen=True)
class TestTransform:
    """From an image to its centre crop as the net's input, float32 (3, crop, crop)."""

    __test__ = False  # for pytest
    scale: int
    crop: int
    preprocessing: Preprocessing
    reading: ImageReading

    def __call__(self, image: AnyImage) -> Tensor:
        """Return the centre crop of a file, an image of Pillow or pixels uint8 (H, W, 3)."""
        rgb = rescale(open_rgb(image, self.reading), self.scale)
        square = torch.from_numpy(center_square(np.array(rgb), self.crop))
        return _as_input(square, self.preprocessing)


def transforms(
    model: VGG,
    *,
    train: bool,
    scale: int | tuple[int, ...] | None = None,
    mirror: bool | None = None,
    colors: ColorStatistics | None = None,
) -> TrainTransform | TestTransform:
    """Return a transform for torchvision's data sets: the paper's training crops, or the centre crop of the test.

    Args:
        model: the net, whose preprocessing, crop and way to read images are used.
        train: True: a random crop with the paper's augmentation. False: the centre crop, without randomness.
        scale: S, or the two ends of the range that S is drawn from; in the test Q. (default: as the net was trained;
            256 at a crop of 224 where that is not known)
        mirror: whether half of the crops are mirrored. (default: as the net was trained)
        colors: the colours of the training images, for the colour shift. (default: those of the net's training; a net
            that was not trained by vggnet draws no colour shift)

    Returns:
        A callable: from a file, an image of Pillow or pixels uint8 (H, W, 3) to float32 (3, crop, crop).

    Raises:
        UserError: for a scale that is smaller than the crop.

    Example:
        >>> from torchvision.datasets import ImageFolder
        >>> model = vggnet.load("runs/A")
        >>> folder = ImageFolder("photos/train", vggnet.transforms(model, train=True))
        >>> folder[0][0].shape
        torch.Size([3, 32, 32])
    """
    refuse_path(model, "transforms")
    about = model.description
    reading, crop = about.policy.reading, about.architecture.crop_px
    given = () if scale is None else (scale,) if isinstance(scale, int) else tuple(scale)
    if not train:
        if len(given) > 1:
            raise UserError(f"`scale` {given}: the test has one Q; a range is for `train` True")
        scale_px = given[0] if given else default_scale(about)
        _check_scale((scale_px,), crop)
        return TestTransform(scale_px, crop, about.preprocessing, reading)
    train_scale = given or about.train_scale or (scaled_px(FIXED_SCALE_PX, crop),)
    _check_scale(train_scale, crop)
    mirrored = about.policy.mirror if mirror is None else mirror
    deviation = float(about.recipe.get("color_deviation", Augmentation.color_deviation))
    augmentation = Augmentation(0, train_scale, crop, colors or _colors_of(about), mirrored, deviation)
    return TrainTransform(augmentation, about.preprocessing, reading)


class Dataset(torch_data.Dataset[tuple[Tensor, int]]):
    """The images of a data set as the net's input, with their labels, for PyTorch's DataLoader.

    With `train`, image i of epoch e is the crop that `vggnet.train` shows for the same seed: it depends on (seed,
    epoch, image) only, not on workers or order. `set_epoch` sets the epoch; workers of a DataLoader see it, too.

    Args:
        data: a folder or a name, as for `vggnet.train`.
        model: the net, whose preprocessing, crop and way to read images are used.
        part: train or val.
        train: random crops as in training, or centre crops. (default: random crops of the part train)
        seed: of the random crops.
        scale, mirror, colors: as `vggnet.transforms` takes them.

    Attributes:
        classes: the names of the classes: the model's where it names them, else the data's.
        class_to_idx: their positions, which are the labels.
        targets: the label of each image.

    Raises:
        UserError: for data that cannot be opened, and for a class that the model does not know. BadImage for an image
            that cannot be read, when it is asked for.

    Example:
        >>> model = vggnet.load("runs/A")
        >>> train, val = vggnet.Dataset("photos", model), vggnet.Dataset("photos", model, part="val")
        >>> image, label = train[0]
        >>> image.shape, label, train.classes[label], len(val)
        (torch.Size([3, 32, 32]), 0, 'class0', 12)
    """

    def __init__(
        self,
        data: str,
        model: VGG,
        *,
        part: Literal["train", "val"] = "train",
        train: bool | None = None,
        seed: int = 0,
        scale: int | tuple[int, ...] | None = None,
        mirror: bool | None = None,
        colors: ColorStatistics | None = None,
    ) -> None:
        opened = open_data(str(data))
        split = _part(opened, part).read_as(model.description.policy.reading)
        assert split.labels is not None
        own = model.description.classes
        self.classes = own or opened.classes
        places = positions_among(model.description, "the model", opened) if own else np.arange(len(opened.classes))
        self.class_to_idx = {name: place for place, name in enumerate(self.classes)}
        self.targets: list[int] = places[split.labels].tolist()
        self.split, self.seed = split, seed
        random = part == "train" if train is None else train
        self.transform: Any = transforms(model, train=random, scale=scale, mirror=mirror, colors=colors)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random crops are returned from now on."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        place = range(len(self))[index]  # -1 is the last one
        image = open_rgb(self.split.file(place), self.split.reading)
        if isinstance(self.transform, TestTransform):
            return self.transform(image), self.targets[place]
        draws = generator(self.seed, int(self._epoch), place, Stream.VIEWS)
        return self.transform(image, draws), self.targets[place]


def _part(data: ImageData, part: str) -> Split:
    if part not in ("train", "val"):
        raise UserError(f"`part` {part!r}: train or val")
    found = data.train if part == "train" else data.val
    if found is None or found.labels is None or not len(found):
        raise UserError(f"{data.name}: no images in the part {part}")
    return found


def _check_scale(scale: tuple[int, ...], crop: int) -> None:
    if not 1 <= len(scale) <= 2 or scale[0] > scale[-1]:
        raise UserError(f"`scale` {scale}: one number, or the lower and the upper end of a range")
    if scale[0] < crop:
        raise UserError(f"`scale` {scale[0]}: the net's crop of {crop} does not fit: give at least {crop}")


def _colors_of(about: ModelDescription) -> ColorStatistics | None:
    """Return the colours of the images that the net was trained on; None where they are not stored."""
    stored = about.recipe.get(STORED_AS)
    if stored is None:
        return None
    try:
        return ColorStatistics.from_dict(stored)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the model's description: {STORED_AS}: not colour statistics ({error})") from error


def _seeded_by_torch() -> np.random.Generator:
    key = int(torch.empty((), dtype=torch.int64).random_())
    return np.random.Generator(np.random.Philox(key))


def _as_input(pixels: Tensor, preprocessing: Preprocessing, shift: Tensor | None = None) -> Tensor:
    return normalize(pixels[None], preprocessing, shift)[0].contiguous()
