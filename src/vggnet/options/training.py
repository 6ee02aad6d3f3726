"""Options of nets, diagnose, train, ladder, quickstart. Field texts are the help texts; of shared ones: `common`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from vggnet.options.common import (
    BadImagesOption,
    BatchNormOption,
    BatchOption,
    CropOption,
    DataChangedOption,
    DataInput,
    DecoderOption,
    DeviceOption,
    DivideOption,
    EpochsOption,
    HoldoutOption,
    InitFromOption,
    InitMethod,
    InitOption,
    JsonOption,
    MicroBatchOption,
    Mirrored,
    MirrorTrainOption,
    NetOption,
    OrientationOption,
    PatienceOption,
    PixelRangeOption,
    PrecisionOption,
    ResumeOption,
    SaveEveryOption,
    SeedOption,
    SigmaOption,
    StepOption,
    ThreadsOption,
    TrainWorkersOption,
    WeightDecayOption,
    WidthOption,
    option,
)


@dataclass(frozen=True)
class TrainOptions:
    """Train one net on images in folders (Sect. 3.1)."""

    data: DataInput
    net: NetOption = "D"
    out: Annotated[Path | None, option(default="runs/DATA-NET")] = None
    """The run folder."""
    resume: ResumeOption = False
    data_changed: DataChangedOption = False
    init: InitOption = "glorot"
    sigma: SigmaOption = 0.01
    init_from: InitFromOption = None
    new_head: bool = False
    """With --init-from: leave the last layer random, for other classes."""
    train_from: Annotated[str | None, option(default="all layers train", metavar="LAYER")] = None
    """With --init-from: the first layer that trains (fc8, fc6, conv5_1, ...); those before it stay as they are."""
    head_learning_rate: Annotated[float | None, option(default="as the others")] = None
    """Of the last layer alone. A new head learns well at ten times the rate of the others."""
    train_scale: Annotated[tuple[int, ...], option(default="crop x 256/224", metavar="S [S]")] = ()
    """S: one number (fixed) or smallest and largest (drawn for each image)."""
    crop: CropOption = None
    width: WidthOption = 1.0
    batch_norm: BatchNormOption = False
    dropout: float = 0.5
    """On fc6 and fc7."""
    divide: DivideOption = False
    mirror: MirrorTrainOption = None
    orientation: OrientationOption = None
    pixel_range: PixelRangeOption = None
    epochs: EpochsOption = 74
    batch: BatchOption = 256
    learning_rate: Annotated[
        float | None, option(default="0.01; 0.001 where --init-from is of the same configuration")
    ] = None
    """Of all layers, until the first plateau."""
    weight_decay: WeightDecayOption = 5e-4
    patience: PatienceOption = 6
    seed: SeedOption = 0
    holdout: HoldoutOption = 0.1
    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: TrainWorkersOption = None
    decoder: DecoderOption = "auto"
    micro_batch: MicroBatchOption = None
    threads: ThreadsOption = None
    step: StepOption = "auto"
    save_every: SaveEveryOption = 300.0


@dataclass(frozen=True)
class LadderOptions:
    """Train the shallow net, then the deeper ones from it; can be stopped and continued at any point."""

    data: DataInput
    out: Path
    """A folder for all runs and the table (ladder.json)."""
    preset: Literal["desk", "paper"] = "desk"
    """desk: every pixel size scaled to the crop, sizes for one machine; paper: the paper's own stages and lengths."""
    shallow: Annotated[str, option(metavar="NET")] = "A"
    """The net that the deeper ones take layers from: A (the paper) or B (the review)."""
    nets: Annotated[tuple[str, ...], option(metavar="NET...")] = ("D", "E")
    """The deeper nets."""
    crop: Annotated[int | None, option(default="desk 224, or less where the images are smaller; paper 224")] = None
    """Side of the square the nets see, a multiple of 32."""
    width: Annotated[float | None, option(default="desk 1 on a GPU and 0.25 on a CPU, paper 1")] = None
    """Scales the channels of all layers; 1 is the paper's."""
    epochs: Annotated[int | None, option(default="desk 20, paper 74")] = None
    """Of each stage."""
    batch: Annotated[int | None, option(default="desk 64, paper 256")] = None
    """Images per update, whatever the memory and the number of GPUs."""
    init: Annotated[InitMethod | None, option(default="desk glorot, paper gaussian")] = None
    """Of the layers that are not taken over."""
    batch_norm: BatchNormOption = False
    mirror: Mirrored = True
    """Mirror half of the training crops; or none, for digits and text. Tests then leave mirrored views out, too."""
    orientation: OrientationOption = None
    pixel_range: PixelRangeOption = None
    seed: SeedOption = 0
    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    data_changed: Annotated[bool, option("Go on with the images as they are now (the classes must be the same).")] = (
        False
    )
    workers: TrainWorkersOption = None
    decoder: DecoderOption = "auto"
    threads: ThreadsOption = None
    step: StepOption = "auto"
    json: JsonOption = None


@dataclass(frozen=True)
class QuickstartOptions:
    """Net A, then net D from A, on the embedded data set, in minutes on a laptop; then three predictions."""

    out: Path = Path("quickstart")
    """A folder for the runs and the table; continued where it was left."""
    device: DeviceOption = "auto"
    workers: TrainWorkersOption = None
    decoder: DecoderOption = "auto"
    threads: ThreadsOption = None
    step: StepOption = "auto"


@dataclass(frozen=True)
class DiagnoseOptions:
    """Show each layer's signal and gradient on real images, and say whether the net can learn from there."""

    data: DataInput = "scenes"
    net: NetOption = "D"
    init: InitOption = "glorot"
    sigma: SigmaOption = 0.01
    init_from: InitFromOption = None
    crop: CropOption = None
    width: WidthOption = 1.0
    batch_norm: BatchNormOption = False
    divide: DivideOption = False
    images: int = 16
    """How many are shown to the net."""
    learning_rate: float = 0.01
    """The rate that the first updates are judged at."""
    seed: SeedOption = 0
    json: JsonOption = None


@dataclass(frozen=True)
class NetsOptions:
    """Depth, parameters, multiply-adds and receptive field of the nets of Table 1."""

    num_classes: int = 1000
    """Outputs of the last layer."""
    width: WidthOption = 1.0
    crop: int = 224
    """Side of the input in pixels."""
    batch_norm: bool = False
    """With batch normalisation."""
    json: JsonOption = None
