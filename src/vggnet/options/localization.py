"""Options of localize train, evaluate, predict. The text below a field is its help; shared texts are in `common`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from vggnet.options.choices import Boxes, BoxLoss, InitMethod, Merging, Orientation
from vggnet.options.common import (
    MIRROR_TRAIN_HELP,
    MIRRORED_AS_TRAINED,
    PIXEL_RANGE_HELP,
    BadBoxesOption,
    BadImagesOption,
    BatchOption,
    BoxScalesOption,
    CheckOption,
    DataChangedOption,
    DeviceOption,
    EpochsOption,
    HoldoutOption,
    InferencePrecisionOption,
    JsonOption,
    LeaveOutOption,
    ModelAndImages,
    ModelsAndData,
    PatienceOption,
    PredictWorkersOption,
    ResumeBoxesOption,
    SeedOption,
    WeightDecayOption,
    WorkersOption,
    option,
    switch,
)
from vggnet.options.machine import Machine, MachineOptions
from vggnet.options.models import Models

_AnnotationsOption = Annotated[
    Path | None,
    option(
        "The boxes, if DATA itself has none: a csv, a COCO json, an XML file, or a folder of XML files (VOC, ILSVRC).",
        default="the boxes of DATA",
    ),
]
_ValAnnotationsOption = Annotated[
    Path | None, option("The boxes of the val images, if --annotations does not have them.", default="as --annotations")
]
_MergingOption = Annotated[
    Merging,
    option(
        "How boxes that are near to each other are merged. overfeat: by the distance of their centres and their "
        "intersection, as in the paper; centroid: by the distance of their coordinates (docs/localisation.md)."
    ),
]
_ClassifierViewsOption = Annotated[
    tuple[str, ...],
    option(
        "The views by which the classifiers choose classes: dense, crops, center or ten (see `vggnet evaluate`).",
        default="dense",
        metavar="VIEW...",
    ),
]
_ClassifierScaleOption = Annotated[
    tuple[str, ...],
    option(
        "Q of the classifiers' views: one or more numbers; or `own`, for the three Q of Table 5, computed from each "
        "classifier's S.",
        default="those of the box nets",
        metavar="Q...",
    ),
]


_OrientationOption = Annotated[
    Orientation | None,
    option(
        "For photographs with an EXIF orientation. apply: turn them upright, for boxes that were drawn on upright "
        "images; ignore: use the pixels as they are stored. The choice is stored with the weights, and every command "
        "that uses the net follows it.",
        default="apply; ignore for the ILSVRC download, whose boxes refer to stored pixels",
    ),
]
_MirrorOption = Annotated[
    bool | None,
    tyro.conf.FlagConversionOff,
    switch("mirror", MIRROR_TRAIN_HELP, default="as the --init-from model was trained"),
]
_PixelRangeOption = Annotated[
    tuple[int, int] | None,
    option(PIXEL_RANGE_HELP, default="the range of the --init-from model", metavar="LOW HIGH"),
]


_BOTH_IMAGES = (
    "Show the nets each image and its mirror image, or the image alone. Posteriors of both are averaged; boxes from "
    "the mirror image are mapped back and merged with the others."
)
_PredictMirrorOption = Annotated[
    bool | None, tyro.conf.FlagConversionOff, switch("mirror", _BOTH_IMAGES, default=MIRRORED_AS_TRAINED)
]
_TestMirrorOption = Annotated[
    bool | None,
    tyro.conf.FlagConversionOff,
    switch("mirror", f"{_BOTH_IMAGES} Test 1 uses the image alone.", default=MIRRORED_AS_TRAINED),
]


@dataclass(frozen=True)
class LocalizeTrainOptions:
    """Train a net that predicts boxes. It starts from a classification net (App. A)."""

    data: Positional[
        Annotated[
            str,
            option(
                "Images as for train, with boxes: the ILSVRC download; a folder with boxes.csv at its top "
                "(image,class,xmin,ymin,xmax,ymax); or any images with --annotations."
            ),
        ]
    ]
    init_from: Annotated[
        Path,
        Models(),
        option(
            "The classification run, model folder, weight file or name (vgg16, ...) to start from. The last layer "
            "starts from random weights.",
            metavar="MODEL",
        ),
    ]
    net: Annotated[
        str | None,
        option(
            "Train this net instead of the net of --init-from. A deeper net starts with the first four convolutional "
            "layers, fc6 and fc7 of that net (Sect. 3.1).",
            default="the net of the --init-from model",
            metavar="NET",
        ),
    ] = None
    boxes: Boxes = "pcr"
    """pcr: a box for each class; scr: one box for all classes."""
    loss: Annotated[
        BoxLoss,
        option(
            "What is minimised. euclidean: the paper's Euclidean loss, half the squared distance between the predicted "
            "and the true coordinates; smooth-l1: the sum of the absolute differences of the coordinates, quadratic "
            "where a difference is below a tenth of the crop's side; giou: the Euclidean loss plus (1 - generalised "
            "intersection over union). The last two are not in the paper (docs/localisation.md)."
        ),
    ] = "euclidean"
    layers: Literal["all", "fc"] = "all"
    """Which layers are trained: all, or only the fully connected ones."""
    out: Annotated[Path | None, option(default="runs/DATA-NET-BOXES")] = None
    """The run folder: weights, metrics and options of this training are written there."""
    resume: ResumeBoxesOption = False
    data_changed: DataChangedOption = False
    annotations: _AnnotationsOption = None
    val_annotations: _ValAnnotationsOption = None
    train_scale: Annotated[
        tuple[int, ...],
        option(
            "S: training images are rescaled so that their smaller side has this many pixels. With two numbers S "
            "is drawn between them for each image (scale jitter).",
            default="S of the --init-from model, in proportion to the crop; if that is unknown, as for vgg16, crop x "
            "256/224",
            metavar="S [S]",
        ),
    ] = ()
    crop: Annotated[
        int | None,
        option(
            "Side of the training crops in pixels. If the --init-from model has another crop, fc6's kernels are "
            "resized.",
            default="the crop of the --init-from model",
        ),
    ] = None
    dropout: Annotated[
        float,
        option(
            "Probability that a unit of fc6 or fc7 is dropped. With the 0.5 of classification, boxes are learnt much "
            "more slowly (docs/localisation.md)."
        ),
    ] = 0.0
    mirror: _MirrorOption = None
    orientation: _OrientationOption = None
    pixel_range: _PixelRangeOption = None
    epochs: EpochsOption = 20
    batch: BatchOption = 256
    learning_rate: Annotated[
        float,
        option(
            "Learning rate at the start. It is for box coordinates in fractions of the crop's side. The paper has "
            "0.001 and does not state the unit of its coordinates."
        ),
    ] = 1e-2
    weight_decay: WeightDecayOption = 5e-4
    patience: PatienceOption = 6
    init: InitMethod = "glorot"
    """How random weights are drawn: those of the last layer and, with --net, of all layers that are not copied."""
    seed: SeedOption = 0
    holdout: HoldoutOption = 0.1
    check: CheckOption = None
    leave_out: LeaveOutOption = None
    bad_boxes: BadBoxesOption = "stop"
    machine: Machine = field(default_factory=MachineOptions)
    json: JsonOption = None


@dataclass(frozen=True)
class LocalizeEvaluateOptions:
    """Measure localisation errors on val images (Tables 8 and 9). Several runs are measured one by one. With
    --classifier they are also fused."""

    inputs: ModelsAndData
    """Runs of localize train, then the data. Errors are measured on its val images that have boxes."""
    classifier: Annotated[
        tuple[Path, ...],
        Models(),
        option(
            "Classifiers (runs, model folders, weight files or names) for test 2 (Table 9), which takes the boxes of "
            "their five most probable classes. Test 1 (Table 8) takes the box of the true class and needs no "
            "classifier.",
            default="none: only test 1",
            metavar="MODEL...",
        ),
    ] = ()
    classifier_views: _ClassifierViewsOption = ()
    classifier_scale: _ClassifierScaleOption = ()
    test_scale: BoxScalesOption = ()
    mirror: _TestMirrorOption = None
    test_scale_by_net: Annotated[
        tuple[str, ...], option(default="--test-scale, for all nets", metavar="Q[,Q...]...")
    ] = ()
    """Q of each box net, in their order: 256 352,384 gives the first net 256, the second 352 and 384."""
    merging: _MergingOption = "overfeat"
    annotations: _AnnotationsOption = None
    val_annotations: _ValAnnotationsOption = None
    device: DeviceOption = "auto"
    precision: InferencePrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    bad_boxes: BadBoxesOption = "stop"
    workers: WorkersOption = None
    report: Annotated[
        bool,
        tyro.conf.FlagConversionOff,
        switch(
            "report",
            "Write report.html, with the errors and the boxes that miss their objects, into the first run folder.",
            default="--report",
        ),
    ] = True
    json: JsonOption = None


@dataclass(frozen=True)
class LocalizePredictOptions:
    """Draw boxes on images: one for each of the most probable classes."""

    inputs: ModelAndImages
    """A run of localize train, then images or folders of images."""
    classifier: Annotated[
        tuple[Path, ...], Models(), tyro.conf.arg(help_behavior_hint="(required)", metavar="MODEL...")
    ] = ()
    """Classifiers (runs, model folders, weight files or names). They choose and score the classes of the boxes."""
    classifier_views: _ClassifierViewsOption = ()
    classifier_scale: _ClassifierScaleOption = ()
    out: Path = Path("boxes")
    """The folder for the images with their boxes, and boxes.json."""
    test_scale: BoxScalesOption = ()
    mirror: _PredictMirrorOption = None
    merging: _MergingOption = "overfeat"
    top: int = 5
    """Number of classes, and so of boxes, for each image."""
    device: DeviceOption = "auto"
    precision: InferencePrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: PredictWorkersOption = None
    json: JsonOption = None


@dataclass(frozen=True)
class LocalizeOptions:
    """Locate objects (App. A): train nets that predict boxes, measure their errors, draw the boxes of images."""

    command: tyro.conf.OmitArgPrefixes[
        tyro.conf.OmitSubcommandPrefixes[
            Annotated[LocalizeTrainOptions, tyro.conf.subcommand("train")]
            | Annotated[LocalizeEvaluateOptions, tyro.conf.subcommand("evaluate")]
            | Annotated[LocalizePredictOptions, tyro.conf.subcommand("predict")]
        ]
    ]
