"""Options that several commands share, each with its help and what happens without it."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

InitMethod = Literal["glorot", "gaussian", "he"]
PrecisionName = Literal["auto", "bf16", "fp32"]
StepName = Literal["auto", "fused", "compiled", "plain"]
InferencePrecisionName = Literal["auto", "bf16", "fp32", "int8"]
BadImages = Literal["stop", "skip"]
Orientation = Literal["apply", "ignore"]
Decoder = Literal["processes", "gpu"]
DecoderName = Literal["auto", "processes", "gpu"]


def option(text: str | None = None, *, default: str | None = None, metavar: str | None = None) -> Any:
    """How help shows an option: its text (else the field's own), what happens without it in words, its value's name."""
    hint = None if default is None else f"(default: {default})"
    return tyro.conf.arg(help=text, help_behavior_hint=hint, metavar=metavar)


def _inputs(metavar: str) -> Any:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="(required)")


# what the commands are about
DATA_HELP = (
    "A folder (train/CLASS/*.jpg and val/CLASS/*.jpg, CLASS/*.jpg, or ILSVRC's or Tiny ImageNet's download) or a name: "
    "scenes, cifar10, imagenette, ..."
)
DataInput = Positional[Annotated[str, option(DATA_HELP)]]
ModelInput = Positional[Annotated[Path, option("A run, model folder or weight file.")]]
ModelsAndData = Positional[Annotated[tuple[str, ...], _inputs("MODEL... DATA")]]
ModelAndImages = Positional[Annotated[tuple[str, ...], _inputs("MODEL IMAGE...")]]

# the net
NetOption = Annotated[str, option("A, A-LRN, B, C, D, E or 5x5 (Table 1, Sect. 4.1).", metavar="NET")]
WidthOption = Annotated[float, option("Scales the channels of all layers; 1 is the paper's.")]
BatchNormOption = Annotated[bool, option("Batch normalisation after every convolution (not in the paper).")]
DivideOption = Annotated[
    bool, option("Divide the inputs by the training set's deviation, too; the paper only subtracts the mean.")
]
CropOption = Annotated[
    int | None,
    option(
        "Side of the square the net sees, a multiple of 32.",
        default="that of --init-from; without, 224, or less where the images are smaller",
    ),
]
InitOption = Annotated[
    InitMethod, option("How weights are drawn; gaussian is the paper's, glorot needs no shallower net.")
]
SigmaOption = Annotated[
    float, option("The deviation of --init gaussian: 0.01, or 0.1 as the paper's text has it read literally.")
]
InitFromOption = Annotated[
    Path | None,
    option(
        "A run or weight file. Of a shallower net: its first four convolutional and its FC layers; of the same: all.",
        default="none, all layers are random",
        metavar="MODEL",
    ),
]

# its training
_PAIR = "| --no-mirror"  # `cli` makes `--mirror True` of --mirror, and `--mirror False` of --no-mirror
Mirrored = Annotated[
    bool, tyro.conf.FlagConversionOff, tyro.conf.arg(metavar=_PAIR, help_behavior_hint="(default: --mirror)")
]
ResumeOption = Annotated[
    bool,
    option(
        "Continue the run in --out; starts anew where nothing was saved yet. Images and options must be those of its "
        "start, wherever the images lie now; --device, --workers, --step, --save-every and --bad-images may differ."
    ),
]
DataChangedOption = Annotated[
    bool, option("With --resume: go on with the images as they are now (the classes must be the same).")
]
EpochsOption = Annotated[int, option("Passes over the training images.")]
BatchOption = Annotated[
    int,
    option(
        "Images per update, whatever the memory and the number of GPUs. The gradient of an epoch's short last batch is "
        "divided by this number, too."
    ),
]
WeightDecayOption = Annotated[float, option("L2 penalty on weights and biases; the paper's is 0.0005.")]
PatienceOption = Annotated[
    int,
    option(
        "Epochs without improvement after which the learning rate is divided by 10, three times in all; at the latest "
        "after 60, 80 and 93 percent of the epochs."
    ),
]
HoldoutOption = Annotated[
    float,
    option(
        "Part of the training images that judges schedule and best epoch, chosen by their names; 0 judges on val, as "
        "the paper did."
    ),
]
OrientationOption = Annotated[
    Orientation | None,
    option(
        "Of photographs with an EXIF orientation: apply turns them upright, ignore takes the pixels as they are "
        "stored. Stored with the weights; whatever uses the net reads images in the same way.",
        default="apply",
    ),
]
PixelRangeOption = Annotated[
    tuple[int, int] | None,
    option(
        "Which values of 16-bit pixels become black and white: 0 4095 for 12 bits. Stored with the weights, too.",
        default="that of --init-from; without, 0 65535",
        metavar="LOW HIGH",
    ),
]
DecoderOption = Annotated[
    DecoderName,
    option(
        "Who decodes the training images: processes on the CPU, or the gpu (nvJPEG, NVIDIA only), whose pixels differ "
        "by some gray levels. auto: the gpu where most images are JPEGs and it is faster; a continued run stays as it "
        "was."
    ),
]
MicroBatchOption = Annotated[
    int | None,
    option(
        "Images per pass. The gradient is the whole batch's either way, to rounding; with --batch-norm the statistics "
        "are those of one pass.",
        default="as the memory that is free at the start allows",
    ),
]
ThreadsOption = Annotated[
    int | None,
    option("CPU threads of the arithmetic. Fewer where other programs use the cores.", default="one a core"),
]
StepOption = Annotated[
    StepName,
    option(
        "On a GPU, how a step computes: fused (our kernels between cuDNN's convolutions; not with --batch-norm), "
        "compiled (torch.compile) or plain PyTorch; auto takes the first that works. A CPU's step is plain."
    ),
]
SaveEveryOption = Annotated[float, option("Seconds between saved states within an epoch.")]

# where and how anything is computed
SeedOption = Annotated[int, option("Of everything random.")]
DeviceOption = Annotated[str, option("auto, cpu, cuda or cuda:0.", metavar="DEVICE")]
PrecisionOption = Annotated[PrecisionName, option("bf16 where the hardware has it, or fp32.")]
InferencePrecisionOption = Annotated[
    InferencePrecisionName,
    option("bf16 where the hardware has it, or fp32; or int8, on a CPU and for models that `vggnet quantize` wrote."),
]
WorkersOption = Annotated[int | None, option("Processes that read images.", default="1, more beside a GPU")]
TrainWorkersOption = Annotated[
    int | None,
    option("Processes that read images (threads with --decoder gpu).", default="by the number of cores"),
]
BadImagesOption = Annotated[
    BadImages,
    option(
        "What to do about images that cannot be read: stop, or skip (they are listed and counted; a training stops "
        "where more than a tenth is lost while it runs)."
    ),
]
BadBoxesOption = Annotated[
    BadImages, option("What to do about boxes that are not on their images: stop, or skip (they are counted).")
]

# the test, and where results go
TestScalesOption = Annotated[
    tuple[int, ...],
    option(
        "Q, the smallest side after rescaling; one or more.",
        default="each net's S, its middle where S was jittered",
        metavar="Q...",
    ),
]
TestScaleOption = Annotated[
    int | None,
    option(
        "Q, the smallest side after rescaling.", default="the net's S, its middle where S was jittered", metavar="Q"
    ),
]
MirrorTrainOption = Annotated[
    bool | None,
    tyro.conf.FlagConversionOff,
    tyro.conf.arg(
        help="Mirror half of the training crops; or none, for digits and text. Tests of such a net show it no mirrors.",
        metavar=_PAIR,
        help_behavior_hint="(default: as --init-from was trained; without, --mirror)",
    ),
]
MirrorOption = Annotated[
    bool | None,
    tyro.conf.FlagConversionOff,
    tyro.conf.arg(
        help="Average the mirrored views in, or leave them out.",
        metavar=_PAIR,
        help_behavior_hint="(default: as the net was trained)",
    ),
]
JsonOption = Annotated[
    Path | None,
    option("Write the figures there, too; without a value (or -), to standard output.", default="not written"),
]
