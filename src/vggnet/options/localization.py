"""Options of localize train, evaluate and predict. Field texts are the help texts; of shared ones, see `common`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from vggnet.options.choices import Boxes, InitMethod, Merging, Orientation
from vggnet.options.common import (
    BadBoxesOption,
    BadImagesOption,
    BatchOption,
    DataChangedOption,
    DeviceOption,
    EpochsOption,
    HoldoutOption,
    InferencePrecisionOption,
    JsonOption,
    MirrorOption,
    MirrorTrainOption,
    ModelAndImages,
    ModelsAndData,
    PatienceOption,
    PixelRangeOption,
    PredictWorkersOption,
    ResumeOption,
    SeedOption,
    TestScalesOption,
    WeightDecayOption,
    WorkersOption,
    option,
)
from vggnet.options.machine import Machine, MachineOptions

_AnnotationsOption = Annotated[
    Path | None,
    option(
        "Where DATA itself has no boxes: a csv, a COCO json, an XML file or a folder of them (VOC, ILSVRC).",
        default="DATA's own",
    ),
]
_ValAnnotationsOption = Annotated[
    Path | None, option("Those of the val images, where they are apart.", default="as --annotations")
]
_MergingOption = Annotated[
    Merging,
    option("How close boxes become one: as OverFeat does (the paper's), or by their edges (docs/localisation.md)."),
]
_ClassifierViewsOption = Annotated[
    tuple[str, ...],
    option(
        "What the classifiers see to choose the five classes: of dense, crops (5x5 and mirrors), center, ten.",
        default="dense",
        metavar="VIEW...",
    ),
]
_ClassifierScaleOption = Annotated[
    tuple[str, ...],
    option(
        "The classifiers' Q for that: numbers; or own, each one's three of Table 5, which follow from its S.",
        default="those of the box nets",
        metavar="Q...",
    ),
]


_OrientationOption = Annotated[
    Orientation | None,
    option(
        "Of photographs with an EXIF orientation: apply turns them upright, for boxes that were drawn so; ignore takes "
        "the pixels as they are stored. Stored with the weights; whatever uses the net reads images in the same way.",
        default="apply; ignore for the ILSVRC download, whose boxes refer to stored pixels",
    ),
]


@dataclass(frozen=True)
class LocalizeTrainOptions:
    """Train a net that draws boxes, from a classification run (App. A)."""

    data: Positional[
        Annotated[
            str,
            option(
                "As for train, with boxes: the ILSVRC download, or class folders with boxes.csv beside them "
                "(image,class,xmin,ymin,xmax,ymax); or with --annotations."
            ),
        ]
    ]
    init_from: Annotated[Path, option(metavar="MODEL")]
    """The classification run or weight file to start from; the last layer starts at random."""
    net: Annotated[str | None, option(default="that of --init-from", metavar="NET")] = None
    """A net other than that of --init-from: a deeper one takes the layers that staged initialisation takes."""
    boxes: Boxes = "pcr"
    """pcr: a box for each class; scr: one box for all classes."""
    layers: Literal["all", "fc"] = "all"
    """Which layers are fine-tuned: all, or the fully connected ones only."""
    out: Annotated[Path | None, option(default="runs/DATA-NET-BOXES")] = None
    """The run folder."""
    resume: ResumeOption = False
    data_changed: DataChangedOption = False
    annotations: _AnnotationsOption = None
    val_annotations: _ValAnnotationsOption = None
    train_scale: Annotated[
        tuple[int, ...], option(default="that of --init-from, in proportion to the crop", metavar="S [S]")
    ] = ()
    """S: one number (fixed) or smallest and largest (drawn for each image)."""
    crop: Annotated[int | None, option(default="that of --init-from")] = None
    """Side of the square the net sees. A larger one sees the same objects on a finer map; fc6 is resized."""
    dropout: float = 0.0
    """On fc6 and fc7. Classification has 0.5; coordinates are learnt much slower with it (docs/localisation.md)."""
    mirror: MirrorTrainOption = None
    orientation: _OrientationOption = None
    pixel_range: PixelRangeOption = None
    epochs: EpochsOption = 20
    batch: BatchOption = 256
    learning_rate: float = 1e-2
    """Of coordinates in units of the crop; see docs/localisation.md. The paper's 0.001 is for an unknown unit."""
    weight_decay: WeightDecayOption = 5e-4
    patience: PatienceOption = 6
    init: InitMethod = "glorot"
    """How the last layer is drawn."""
    seed: SeedOption = 0
    holdout: HoldoutOption = 0.1
    bad_boxes: BadBoxesOption = "stop"
    machine: Machine = field(default_factory=MachineOptions)
    json: JsonOption = None


@dataclass(frozen=True)
class LocalizeEvaluateOptions:
    """Localisation error on val images (Tables 8 and 9); several runs are fused."""

    inputs: ModelsAndData
    """Runs of localize train, then the images with boxes (their val split)."""
    classifier: Annotated[tuple[Path, ...], option(default="none, test 1 (Table 8) only", metavar="MODEL...")] = ()
    """Classification runs or weight files: their five best classes name and rate the boxes of test 2 (Table 9)."""
    classifier_views: _ClassifierViewsOption = ()
    classifier_scale: _ClassifierScaleOption = ()
    test_scale: TestScalesOption = ()
    mirror: MirrorOption = None
    test_scale_by_net: Annotated[
        tuple[str, ...], option(default="--test-scale, for all nets", metavar="Q[,Q...]...")
    ] = ()
    """Each box net's own Q, in the nets' order: 256 352,384 is 256 for the first, 352 and 384 for the second."""
    merging: _MergingOption = "overfeat"
    annotations: _AnnotationsOption = None
    val_annotations: _ValAnnotationsOption = None
    device: DeviceOption = "auto"
    precision: InferencePrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    bad_boxes: BadBoxesOption = "stop"
    workers: WorkersOption = None
    json: JsonOption = None


@dataclass(frozen=True)
class LocalizePredictOptions:
    """Draw the five best (class, box) pairs on images."""

    inputs: ModelAndImages
    """A run of localize train, then images or folders of images."""
    classifier: Annotated[tuple[Path, ...], tyro.conf.arg(help_behavior_hint="(required)", metavar="MODEL...")] = ()
    """Classification runs or weight files: their best classes name and rate the boxes."""
    classifier_views: _ClassifierViewsOption = ()
    classifier_scale: _ClassifierScaleOption = ()
    out: Path = Path("boxes")
    """A folder for the pictures with their boxes, and boxes.json."""
    test_scale: TestScalesOption = ()
    mirror: MirrorOption = None
    merging: _MergingOption = "overfeat"
    top: int = 5
    """Boxes an image."""
    device: DeviceOption = "auto"
    precision: InferencePrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: PredictWorkersOption = None
    json: JsonOption = None


@dataclass(frozen=True)
class LocalizeOptions:
    """Where in the image: train nets that draw boxes, test them, use them (App. A)."""

    command: tyro.conf.OmitArgPrefixes[
        tyro.conf.OmitSubcommandPrefixes[
            Annotated[LocalizeTrainOptions, tyro.conf.subcommand("train")]
            | Annotated[LocalizeEvaluateOptions, tyro.conf.subcommand("evaluate")]
            | Annotated[LocalizePredictOptions, tyro.conf.subcommand("predict")]
        ]
    ]
