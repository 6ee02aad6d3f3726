"""Options that several commands share, each with its help and what happens without it."""

from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from vggnet.options.choices import (
    BadImages,
    ImageCheck,
    InferencePrecisionName,
    InitMethod,
    Orientation,
    PrecisionName,
)
from vggnet.options.models import Models


def option(text: str | None = None, *, default: str | None = None, metavar: str | None = None) -> Any:
    """Return an annotation that tells the command line how to show an option in its help.

    Args:
        text: the help text; None takes the docstring below the field.
        default: in words, what happens when the option is not given; None shows the field's value.
        metavar: the name of the value in the help.
    """
    hint = None if default is None else f"(default: {default})"
    return tyro.conf.arg(help=text, help_behavior_hint=hint, metavar=metavar)


# `cli` makes `--mirror True` of --mirror, and `--mirror False` of --no-mirror
SWITCHES = ("batch-norm", "mirror", "new-head", "report")


def switch(name: str, text: str | None = None, *, default: str) -> Any:
    """Return an annotation as `option` does, for an option of SWITCHES: --NAME is on, --no-NAME off."""
    assert name in SWITCHES
    return option(text, default=default, metavar=f"| --no-{name}")


def _inputs(metavar: str) -> Any:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="(required)")


# what the commands are about
DATA_HELP = (
    "The images: a folder with train/CLASS/*.jpg and val/CLASS/*.jpg, or with CLASS/*.jpg (a fifth of the images is "
    "then set aside for validation); the download of ILSVRC or Tiny ImageNet; a tar or zip file of such a folder; "
    "a parquet file with columns of images and labels; a folder that `vggnet data pack` wrote; or a name: scenes, "
    "cifar10, imagenette, hf:OWNER/NAME, ... (docs/data.md)."
)
DataInput = Positional[Annotated[str, option(DATA_HELP)]]
ModelInput = Positional[
    Annotated[
        Path, Models(), option("A run folder, a model folder, a weight file, or a name such as vgg16 or oxford/D.")
    ]
]
ModelInputs = Positional[Annotated[tuple[str, ...], Models(), _inputs("MODEL...")]]
ModelsAndData = Positional[Annotated[tuple[str, ...], Models("all but last"), _inputs("MODEL... DATA")]]
ModelAndImages = Positional[Annotated[tuple[str, ...], Models("first"), _inputs("MODEL IMAGE...")]]

# the net
NET_HELP = "A, A-LRN, B, C, D or E of Table 1, or 5x5, the control net of Sect. 4.1."
WIDTH_HELP = "Multiply the number of channels of every hidden layer by this; 1 is the paper's net."
BATCH_NORM_HELP = "Add batch normalisation after every convolutional layer (not after FC layers). The paper has none."
NetOption = Annotated[str, option(NET_HELP, metavar="NET")]
WidthOption = Annotated[float, option(WIDTH_HELP)]
BatchNormOption = Annotated[bool, tyro.conf.FlagConversionOff, switch("batch-norm", BATCH_NORM_HELP, default="off")]
DivideOption = Annotated[
    bool,
    option(
        "After subtracting the mean, also divide the pixels by the training set's standard deviation; the paper only "
        "subtracts the mean. With --init-from, mean and deviation are those of that model.",
        default="off",
    ),
]
CropOption = Annotated[
    int | None,
    option(
        "Side in pixels of the square crop that the net is trained on; a multiple of 32.",
        default="224, or less if the images are smaller; with --init-from, the crop of that model",
    ),
]
InitOption = Annotated[
    InitMethod,
    option(
        "How the initial weights are drawn. gaussian: with the same standard deviation in all layers (--sigma), as in "
        "the paper; deep nets then also need --init-from. glorot, he: scaled by the size of each layer."
    ),
]
SigmaOption = Annotated[
    float,
    option(
        "Standard deviation of the weights of --init gaussian. The paper writes a variance of 0.01, which is a "
        "standard deviation of 0.1. With 0.1 the outputs of a net of width 1 explode; with 0.01 net A learns.",
    ),
]
InitFromOption = Annotated[
    Path | None,
    Models(),
    option(
        "Start from the weights of this run folder, model folder, weight file or name (vgg16, oxford/D, ...). From the "
        "same net, all layers are copied. From another net, usually a shallower one, the first four convolutional "
        "layers and the FC layers are copied (Sect. 3.1); the new net must have these layers. In both cases, if DATA "
        "has other classes, the last layer starts from random weights.",
        default="none: all layers start from random weights",
        metavar="MODEL",
    ),
]

# its training
Mirrored = Annotated[bool, tyro.conf.FlagConversionOff, switch("mirror", default="--mirror")]
ReportOption = Annotated[
    bool,
    tyro.conf.FlagConversionOff,
    switch(
        "report",
        "Write report.html into the folder of the results: errors, curves, mistakes, images. In a training of more "
        "than five minutes, the report is also written after each epoch, with the curves so far.",
        default="--report",
    ),
]
_RESUME_HELP = (
    "Continue the run in --out from its last saved state; if nothing was saved yet, start it. Give the options of the "
    "start again{again}. These may be left out, and are then taken from the run: options that name {named}, "
    "--orientation, and options whose default is auto or depends on the data, the machine or --init-from. An option "
    "with one fixed value as default (such as --init, --dropout and --seed) must be repeated if it had another value "
    "at the start. These may differ from the start: the folder of the images (and of boxes), --device, --workers, "
    "--processes, --max-restarts, --step, --micro-batch, --save-every, --keep, --on-divergence, --bad-images, "
    "--report and --json. Another value of any other option is an error."
)
ResumeOption = Annotated[
    bool,
    option(_RESUME_HELP.format(again="", named="a model, a layer or a list of images"), default="off"),
]
ResumeBoxesOption = Annotated[
    bool,
    option(_RESUME_HELP.format(again=", --init-from among them", named="a net or a list of images"), default="off"),
]
DataChangedOption = Annotated[
    bool,
    option(
        "With --resume: continue although images were added, removed or changed since the start of the run. The "
        "classes must be the same.",
        default="off",
    ),
]
EPOCHS_HELP = (
    "The largest number of epochs (passes over all training images). Training ends earlier if the held-out error no "
    "longer improves at the last learning rate."
)
BATCH_HELP = (
    "Images per update of the weights, over all GPUs together. The last batch of an epoch may hold fewer images. The "
    "sum of its gradients is divided by --batch, not by the number of its images, so it changes the weights less."
)
PATIENCE_HELP = (
    "Divide the learning rate by 10 when the held-out error has not improved for this many epochs. The rate drops up "
    "to three times, at the latest after 60, 80 and 93 percent of --epochs. After the third drop, training ends when "
    "the error has again not improved for this many epochs."
)
EpochsOption = Annotated[int, option(EPOCHS_HELP)]
BatchOption = Annotated[int, option(BATCH_HELP)]
WeightDecayOption = Annotated[float, option("Factor of the L2 penalty on weights and biases; 0.0005 in the paper.")]
PatienceOption = Annotated[int, option(PATIENCE_HELP)]
HoldoutOption = Annotated[
    float,
    option(
        "Fraction (0 to 1) of the training images that is held out, not trained on. Its error decides when the "
        "learning rate drops, when training ends, and which epoch is best. The images are chosen by their file names, "
        "not by --seed. With 0 the val images decide, as in the paper."
    ),
]
OrientationOption = Annotated[
    Orientation | None,
    option(
        "For photographs with an EXIF orientation. apply: turn them upright; ignore: use the pixels as they are "
        "stored. The choice is stored with the weights, and every command that uses the net follows it.",
        default="apply",
    ),
]
PIXEL_RANGE_HELP = (
    "For images of 16 bits a channel: the values that stand for black and for white, such as 0 4095 for 12-bit "
    "cameras. Images of 8 bits are not changed by it. The range is stored with the weights."
)
PixelRangeOption = Annotated[
    tuple[int, int] | None,
    option(
        PIXEL_RANGE_HELP,
        default="0 65535; with --init-from, the range of that model",
        metavar="LOW HIGH",
    ),
]

# where and how anything is computed
SeedOption = Annotated[
    int, option("Seed of everything that is random: initial weights, order of images, crops, dropout.")
]
DeviceOption = Annotated[
    str, option("Where the net computes: cpu, cuda, cuda:1, ...; auto takes a GPU if there is one.", metavar="DEVICE")
]
PrecisionOption = Annotated[
    PrecisionName,
    option("Number format of the computation. auto: bf16 if the hardware has instructions for it, else fp32."),
]
InferencePrecisionOption = Annotated[
    InferencePrecisionName,
    option(
        "Number format of the computation. auto: bf16 if the hardware has instructions for it, else fp32; int8: on a "
        "CPU, for models that `vggnet quantize` wrote; bf16-cudnn: bf16 on a GPU by cuDNN's fused operations, whose "
        "speed is not yet measured."
    ),
]
READ_BY = "Processes that read images; 0 reads them in the main process."
WorkersOption = Annotated[
    int | None,
    option(
        READ_BY,
        default="on a GPU one for each core, at most 16; on a CPU 1, or 0 if it has one or two cores",
    ),
]
PredictWorkersOption = Annotated[
    int | None,
    option(
        READ_BY,
        default="on a GPU one for each core, at most 16; on a CPU 1, or 0 if it has one or two cores; 0 for fewer than "
        "64 images",
    ),
]
BadImagesOption = Annotated[
    BadImages,
    option(
        "What to do with images that cannot be read. stop: end with a message; skip: leave them out, list and count "
        "them."
    ),
]
CheckOption = Annotated[
    ImageCheck | None,
    option(
        "What is checked before the training. decode: all images are decoded. headers: ten thousand images are "
        "decoded, and of the others only a few kilobytes are read. none: the same ten thousand are decoded, and the "
        "others are not read. With none, copies of training images in val are not looked for, and learnt.npz is not "
        "written. A later evaluation then cannot warn that it tests on training images.",
        default="decode; headers if there are more than a hundred thousand images",
    ),
]
LeaveOutOption = Annotated[
    Path | None,
    option(
        "Leave out the images that this csv lists. Its columns are part (train or val), image and reason. `vggnet data "
        "check` writes such a file.",
        default="no image is left out",
        metavar="LIST",
    ),
]
BadBoxesOption = Annotated[
    BadImages,
    option(
        "What to do with boxes that do not lie on their images. stop: end with a message; skip: leave them out and "
        "count them."
    ),
]

# the test, and where results go
_Q_HELP = "Q: images are rescaled so that their smaller side has this many pixels."
_Q_IS_S = "S of each net, or the middle of its range if S was jittered"
_Q_IS_S_OR_PUBLISHED = f"{_Q_IS_S}; for nets whose S is unknown, the Q at which their published error was measured"
TestScalesOption = Annotated[
    tuple[int, ...],
    option(f"{_Q_HELP} Give one or more.", default=f"{_Q_IS_S_OR_PUBLISHED}, else crop x 256/224", metavar="Q..."),
]
EvaluateScalesOption = Annotated[
    tuple[int, ...],
    option(
        f"{_Q_HELP} Give one or more.",
        default=f"{_Q_IS_S_OR_PUBLISHED}; if that is unknown, too, Q must be given",
        metavar="Q...",
    ),
]
BoxScalesOption = Annotated[
    tuple[int, ...], option(f"{_Q_HELP} Give one or more.", default=_Q_IS_S, metavar="Q...")  # S of a box net is known
]
TestScaleOption = Annotated[
    int | None,
    option(
        _Q_HELP,
        default="S of the net, or the middle of its range if S was jittered; if S is unknown, the Q at which the "
        "published error of the net was measured, else crop x 256/224",
        metavar="Q",
    ),
]
MIRROR_TRAIN_HELP = (
    "Mirror half of the training crops, or none of them (for digits and text). A net that is trained without mirrored "
    "crops is also tested without mirrored images."
)
MirrorTrainOption = Annotated[
    bool | None,
    tyro.conf.FlagConversionOff,
    switch(
        "mirror",
        MIRROR_TRAIN_HELP,
        default="--mirror; with --init-from, as that model was trained",
    ),
]
MIRRORED_AS_TRAINED = "--mirror for nets that were trained with mirrored crops"
MirrorOption = Annotated[
    bool | None,
    tyro.conf.FlagConversionOff,
    switch(
        "mirror",
        "Average the result of each image with that of its mirror image, or use the image alone.",
        default=MIRRORED_AS_TRAINED,
    ),
]
JsonOption = Annotated[
    Path | None,
    option(
        "Write the results as JSON to this file. Without a file name, write the JSON to standard output, and nothing "
        "else.",
        default="not written",
        metavar="[FILE]",
    ),
]
