"""Options of features and transfer. The text below a field is its help; texts that commands share are in `common`."""

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
from vggnet.options.models import Models

_LayerOption = Annotated[
    str,
    option(
        "The layer whose activations, after the ReLU, describe an image: fc7, fc6, pool5, conv4_3, ...", metavar="LAYER"
    ),
]
_PoolOption = Annotated[
    Pool,
    option(
        "How descriptors of several Q are combined. stack: one after another; average: the mean of each "
        "element; max: the largest of each element."
    ),
]


@dataclass(frozen=True)
class FeaturesOptions:
    """Write descriptors of images (App. B): the activations of a layer, averaged over all positions (with --mirror also
    over the image and its mirror image), and then L2-normalised."""

    inputs: ModelsAndData
    """Runs, model folders, weight files or names (their descriptors are stacked), then images or class folders."""
    out: Path = Path("features.npz")
    """The file to write: .npz (arrays descriptors, files, labels, classes) or .csv."""
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
    """Train linear SVMs on descriptors of your images, and measure their mean class recall or mean average precision,
    by the protocols of App. B."""

    inputs: Annotated[
        ModelsAndData,
        option(
            "Runs, model folders, weight files or names (their descriptors are stacked), then a data set with labels, "
            "as for train. The splits are drawn from its train and val images together. For voc and actions, DATA is "
            "the folder of one year in VOC's devkit, such as VOCdevkit/VOC2007."
        ),
    ]
    protocol: Annotated[
        TransferProtocol,
        option(
            "caltech: mean class recall over random splits; voc: mean average precision of classes; actions: mean "
            "average precision of the actions of persons, each given by a box."
        ),
    ] = "caltech"
    train_per_class: Annotated[int | None, option(default="30")] = None
    """caltech: training images of each class."""
    test_per_class: Annotated[int | None, option(default="50")] = None
    """caltech: test images of each class, at most."""
    splits: Annotated[int | None, option(default="3")] = None
    """caltech: number of random splits."""
    train_set: Annotated[str | None, option(metavar="SET", default="trainval if there is a test set, else train")] = (
        None
    )
    """voc, actions: the training set."""
    test_set: Annotated[str | None, option(metavar="SET", default="test if there is one, else val")] = None
    """voc, actions: the test set."""
    cost_sets: Annotated[
        tuple[str, ...],
        option(default="none: C is chosen on the fraction --validation of the training images", metavar="SET SET"),
    ] = ()
    """voc, actions: choose C by training SVMs on the first set and testing them on the second, such as train val."""
    regions: Regions = "both"
    """actions: describe the image, the person's box, or both, stacked (Table 12 has rows for both and for image)."""
    results: Annotated[Path | None, option(default="not written", metavar="FOLDER")] = None
    """voc, actions: write test scores for VOC's evaluation server. The test set may then have no labels."""
    competition: Annotated[
        Competition | None,
        option(default="comp2 for voc, comp10 for actions"),
    ] = None
    """The competition in the names of the result files. comp1 and comp9 are for nets trained on VOC's images alone."""
    against: Annotated[
        tuple[str, ...], Models(but=("pixels", "random")), option(default="none", metavar="BASELINE...")
    ] = ()
    """caltech: baselines on the same splits, with paired tests: pixels, random (the untrained net), or a model."""
    costs: Annotated[tuple[float, ...], option(metavar="C...")] = (0.01, 0.1, 1.0, 10.0, 100.0)
    """The values to choose from for C, the SVM's penalty for errors."""
    validation: float = 0.2
    """Fraction (0 to 1) of the training images that C is chosen on."""
    seed: int = 0
    """Seed of the splits and of the SVM."""
    out: Annotated[
        Path | None,
        option(
            "caltech: also train an SVM on the whole train part of DATA (not on val), and write the net with this "
            "SVM as its last layer, for predict, evaluate and export.",
            default="not written",
            metavar="MODEL",
        ),
    ] = None
    json: JsonOption = None
    layer: _LayerOption = "fc7"
    test_scale: TestScalesOption = ()
    mirror: MirrorOption = None
    pool: _PoolOption = "stack"
    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: WorkersOption = None
