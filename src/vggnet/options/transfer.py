"""Options of features and transfer. Field texts are the help texts; those of shared options are theirs (`common`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vggnet.options.choices import Competition, Pool, Regions, TransferProtocol
from vggnet.options.common import (
    BadImagesOption,
    DeviceOption,
    JsonOption,
    MirrorOption,
    ModelsAndData,
    PrecisionOption,
    TestScalesOption,
    WorkersOption,
    option,
)

_LayerOption = Annotated[
    str,
    option("A layer by its name (fc7, fc6, pool5, conv4_3, ...): its activations, after the ReLU.", metavar="LAYER"),
]
_PoolOption = Annotated[
    Pool,
    option("What becomes of several Q: side by side, averaged, or the largest of each number."),
]


@dataclass(frozen=True)
class FeaturesOptions:
    """Write L2-normalised descriptors of images: a layer's activations, averaged over positions and mirror (App. B)."""

    inputs: ModelsAndData
    """Runs, model folders or weight files (several are stacked), then images or class folders."""
    out: Path = Path("features.npz")
    """The file: .npz (descriptors, files, labels, classes) or .csv."""
    layer: _LayerOption = "fc7"
    test_scale: TestScalesOption = ()
    mirror: MirrorOption = None
    pool: _PoolOption = "stack"
    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: WorkersOption = None


@dataclass(frozen=True)
class TransferOptions:
    """Linear SVMs on a net's descriptors of other images, by the paper's protocols (App. B)."""

    inputs: ModelsAndData
    """As for features; for voc and actions one year's folder of the devkit."""
    protocol: TransferProtocol = "caltech"
    """caltech: random splits, mean class recall; voc: average precision; actions: the same for persons in images."""
    train_per_class: Annotated[int | None, option(default="30")] = None
    """caltech: training images a class."""
    test_per_class: Annotated[int | None, option(default="50")] = None
    """caltech: test images a class, at most."""
    splits: Annotated[int | None, option(default="3")] = None
    """caltech: random splits."""
    train_set: Annotated[str | None, option(default="trainval where there is a test set, else train")] = None
    """voc, actions: the set that is learnt from."""
    test_set: Annotated[str | None, option(default="test where it is there, else val")] = None
    """voc, actions: the set that is tested on."""
    cost_sets: Annotated[tuple[str, ...], option(default="none, --validation", metavar="SET SET")] = ()
    """voc, actions: C learns from the first and is judged on the second, both in the training set: train val."""
    regions: Regions = "both"
    """actions: descriptors of the image and the person's box, stacked, or of one of them (Table 12: both, image)."""
    results: Annotated[Path | None, option(default="not written", metavar="FOLDER")] = None
    """voc, actions: write the scores of the test set as VOC's server reads them; its set may have no labels here."""
    competition: Annotated[
        Competition | None,
        option(default="comp2 for voc, comp10 for actions: learnt from any images"),
    ] = None
    """In the result files' names; comp1 and comp9 are for nets that learnt from VOC's images alone."""
    against: Annotated[tuple[str, ...], option(default="none", metavar="BASELINE...")] = ()
    """caltech: baselines on the same splits, tested in pairs: pixels, random (the net untrained), or a model."""
    costs: Annotated[tuple[float, ...], option(metavar="C...")] = (0.01, 0.1, 1.0, 10.0, 100.0)
    """The SVM's C, chosen among these."""
    validation: float = 0.2
    """The part of the training images that C is chosen on."""
    seed: int = 0
    """Of the splits and the SVM."""
    json: JsonOption = None
    layer: _LayerOption = "fc7"
    test_scale: TestScalesOption = ()
    mirror: MirrorOption = None
    pool: _PoolOption = "stack"
    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: WorkersOption = None
