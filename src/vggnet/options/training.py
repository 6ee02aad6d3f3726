"""Options of nets, diagnose, train, ladder and quickstart. Field texts are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from vggnet.options.common import BadImages, DecoderName, InitMethod, Mirrored, PrecisionName, StepName


@dataclass(frozen=True)
class TrainOptions:
    """Train one net on images in folders (Sect. 3.1)."""

    data: Positional[str]
    """A folder (train/CLASS/*.jpg and val/CLASS/*.jpg, CLASS/*.jpg, or the ILSVRC download) or a name: scenes,
    cifar10, imagenette, ..."""
    net: str = "D"
    """A, A-LRN, B, C, D, E or 5x5 (Table 1, Sect. 4.1)."""
    out: Path | None = None
    """The run folder; by default runs/DATA-NET."""
    resume: bool = False
    """Continue the run in --out; starts anew where nothing was saved yet."""
    init: InitMethod = "glorot"
    """How weights are drawn; gaussian is the paper's, glorot needs no shallower net."""
    sigma: float = 0.01
    """The deviation of --init gaussian: 0.01, or 0.1 as the paper's text has it read literally."""
    init_from: Path | None = None
    """A run or weight file. Of a shallower net: its first four convolutional and its FC layers; of the same: all."""
    new_head: bool = False
    """With --init-from: leave the last layer random, for other classes."""
    train_from: str | None = None
    """With --init-from: the first layer that trains (fc8, fc6, conv5_1, ...); those before it stay as they are."""
    head_learning_rate: float | None = None
    """Of the last layer alone; by default the others'. A new head learns well at ten times their rate."""
    train_scale: tuple[int, ...] = ()
    """S: one number (fixed) or smallest and largest (drawn for each image); by default crop x 256/224."""
    crop: int | None = None
    """Side of the square the net sees, a multiple of 32; by default 224, less where the images are smaller."""
    width: float = 1.0
    """Scales the channels of all layers; 1 is the paper's."""
    batch_norm: bool = False
    """Batch normalisation after every convolution (not in the paper)."""
    dropout: float = 0.5
    """On fc6 and fc7."""
    divide: bool = False
    """Divide the inputs by the training set's deviation, too; the paper only subtracts the mean."""
    mirror: Mirrored = True
    """Mirror no training crops, for digits and text; else half of them are."""
    epochs: int = 74
    """Passes over the training images."""
    batch: int = 256
    """Images per update, whatever the memory and the number of GPUs."""
    learning_rate: float | None = None
    """By default 0.01, and 0.001 from a net of the same configuration."""
    weight_decay: float = 5e-4
    """The paper's is 0.0005."""
    patience: int = 6
    """Epochs without improvement after which the learning rate is divided by 10."""
    seed: int = 0
    """Of everything random."""
    holdout: float = 0.1
    """Part of the training images that judges the schedule and the best epoch; 0 judges on val, as the paper did."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:0."""
    precision: PrecisionName = "auto"
    """bf16 where the hardware has it, or fp32."""
    bad_images: BadImages = "stop"
    """What to do about images that cannot be read: stop, or skip (they are listed and counted)."""
    workers: int | None = None
    """Processes that read images (threads with --decoder gpu); chosen by the number of cores."""
    decoder: DecoderName = "auto"
    """Who decodes the training images: processes on the CPU, or the gpu (nvJPEG, NVIDIA only), whose pixels differ by
    some gray levels. auto: the gpu where most images are JPEGs and it is faster; a continued run stays as it was."""
    micro_batch: int | None = None
    """Images per pass; chosen by memory. The gradient is the whole batch's either way."""
    threads: int | None = None
    """CPU threads of the arithmetic; by default one a core. Fewer where other programs use the cores."""
    step: StepName = "auto"
    """On a GPU, how a step computes: fused (our kernels between cuDNN's convolutions; not with --batch-norm), compiled
    (torch.compile) or plain PyTorch; auto takes the first that works. A CPU's step is plain."""
    save_every: float = 300.0
    """Seconds between saved states within an epoch."""


@dataclass(frozen=True)
class LadderOptions:
    """Train the shallow net, then the deeper ones from it; can be stopped and continued at any point."""

    data: Positional[str]
    """As for train."""
    out: Path
    """A folder for all runs and the table."""
    preset: Literal["desk", "paper"] = "desk"
    """desk: every pixel size scaled to the crop, sizes for one machine; paper: the paper's own stages and lengths."""
    shallow: str = "A"
    """The net that the deeper ones take layers from: A (the paper) or B (the review)."""
    nets: tuple[str, ...] = ("D", "E")
    """The deeper nets."""
    crop: int | None = None
    """As for train; paper: 224."""
    width: float | None = None
    """By default 1 on a GPU and with --preset paper, 0.25 on a CPU."""
    epochs: int | None = None
    """Of each stage; by default desk 20, paper 74."""
    batch: int | None = None
    """By default desk 64, paper 256."""
    init: InitMethod | None = None
    """Of the layers that are not taken over; by default desk glorot, paper gaussian."""
    batch_norm: bool = False
    """As for train."""
    seed: int = 0
    """Of everything random."""
    device: str = "auto"
    """As for train."""
    precision: PrecisionName = "auto"
    """As for train."""
    bad_images: BadImages = "stop"
    """As for train."""
    workers: int | None = None
    """As for train."""
    threads: int | None = None
    """As for train."""
    json: Path | None = None
    """Write the table there, too."""


@dataclass(frozen=True)
class QuickstartOptions:
    """Net A, then net D from A, on the embedded data set, in minutes on a laptop; then three predictions."""

    out: Path = Path("quickstart")
    """A folder for the runs and the table; continued where it was left."""
    device: str = "auto"
    """As for train."""
    workers: int | None = None
    """As for train."""
    threads: int | None = None
    """As for train."""


@dataclass(frozen=True)
class DiagnoseOptions:
    """Show each layer's signal and gradient on real images, and say whether the net can learn from there."""

    data: Positional[str] = "scenes"
    """As for train."""
    net: str = "D"
    """As for train."""
    init: InitMethod = "glorot"
    """As for train."""
    sigma: float = 0.01
    """As for train."""
    init_from: Path | None = None
    """As for train."""
    crop: int | None = None
    """As for train."""
    width: float = 1.0
    """As for train."""
    batch_norm: bool = False
    """As for train."""
    divide: bool = False
    """As for train."""
    images: int = 16
    """How many are shown to the net."""
    learning_rate: float = 0.01
    """The rate that the first updates are judged at."""
    seed: int = 0
    """Of everything random."""
    json: Path | None = None
    """Write the figures there, too."""


@dataclass(frozen=True)
class NetsOptions:
    """Depth, parameters, multiply-adds and receptive field of the nets of Table 1."""

    num_classes: int = 1000
    """Outputs of the last layer."""
    width: float = 1.0
    """Scales the channels of all layers."""
    crop: int = 224
    """Side of the input in pixels."""
    batch_norm: bool = False
    """With batch normalisation."""
    json: Path | None = None
    """Write JSON there; without a value (or -), to standard output."""
