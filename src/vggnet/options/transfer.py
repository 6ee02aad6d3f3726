"""Options of features and transfer. Field texts are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vggnet.options.common import BadImages, ModelsAndData, PrecisionName


@dataclass(frozen=True)
class FeaturesOptions:
    """Write L2-normalised descriptors of images: a layer's activations, averaged over positions and mirror (App. B)."""

    inputs: ModelsAndData
    """Runs, model folders or weight files (several are stacked), then images or class folders."""
    out: Path = Path("features.npz")
    """The file: .npz (descriptors, files, labels, classes) or .csv."""
    layer: str = "fc7"
    """A layer by its name (fc7, fc6, pool5, conv4_3, ...): its activations, after the ReLU."""
    test_scale: tuple[int, ...] = ()
    """Q, one or more; by default the net's S."""
    pool: Literal["stack", "average"] = "stack"
    """What becomes of several Q: side by side, or averaged."""
    device: str = "auto"
    """As for train."""
    precision: PrecisionName = "auto"
    """As for train."""
    bad_images: BadImages = "stop"
    """As for train."""
    workers: int | None = None
    """As for train."""


@dataclass(frozen=True)
class TransferOptions:
    """Linear SVMs on a net's descriptors of other images, by the paper's protocols (App. B)."""

    inputs: ModelsAndData
    """As for features; for voc and actions one year's folder of the devkit."""
    protocol: Literal["caltech", "voc", "actions"] = "caltech"
    """caltech: random splits, mean class recall; voc: average precision; actions: the image and the person's box."""
    train_per_class: int | None = None
    """caltech: training images a class; by default 30."""
    test_per_class: int | None = None
    """caltech: test images a class, at most; by default 50."""
    splits: int | None = None
    """caltech: random splits; by default 3."""
    train_set: str | None = None
    """voc, actions: by default trainval where there is a test set, else train."""
    test_set: str | None = None
    """voc, actions: by default test, else val."""
    against: tuple[str, ...] = ()
    """caltech: baselines on the same splits, tested in pairs: pixels, random (the net untrained), or a model."""
    costs: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)
    """The SVM's C, chosen among these."""
    validation: float = 0.2
    """The part of the training images that C is chosen on."""
    seed: int = 0
    """Of the splits and the SVM."""
    json: Path | None = None
    """Write the numbers there, too; without a value (or -), to standard output."""
    layer: str = "fc7"
    """As for features."""
    test_scale: tuple[int, ...] = ()
    """As for features."""
    pool: Literal["stack", "average"] = "stack"
    """As for features."""
    device: str = "auto"
    """As for train."""
    precision: PrecisionName = "auto"
    """As for train."""
    bad_images: BadImages = "stop"
    """As for train."""
    workers: int | None = None
    """As for train."""
