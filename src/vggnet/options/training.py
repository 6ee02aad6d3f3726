"""Options of nets, diagnose, train, ladder, quickstart. Shared help texts: `common`.

To add an option of a training: a field here (where and how it computes: `machine`); a keyword in `api.training`; the
numbers that it takes, in `ranges` and `training.configs`. Its value goes from here into `training.plan`, which fills
what was not given (`training.fine_tuning`: for nets that begin from another). A field of `paper.recipes.Recipe` with
the option's name takes it to the loop; others go there through `training.tasks.LoopSettings`, which `training.session`
fills. `training.continuing` says which options may differ on --resume.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vggnet.options.choices import InitMethod
from vggnet.options.common import (
    BATCH_HELP,
    BATCH_NORM_HELP,
    EPOCHS_HELP,
    NET_HELP,
    PATIENCE_HELP,
    WIDTH_HELP,
    BatchNormOption,
    CheckOption,
    CropOption,
    DataChangedOption,
    DataInput,
    DeviceOption,
    DivideOption,
    HoldoutOption,
    InitFromOption,
    InitOption,
    JsonOption,
    LeaveOutOption,
    Mirrored,
    MirrorTrainOption,
    NetOption,
    OrientationOption,
    PixelRangeOption,
    ResumeOption,
    SeedOption,
    SigmaOption,
    WeightDecayOption,
    WidthOption,
    option,
    switch,
)
from vggnet.options.machine import Machine, MachineOptions

_NEW_HEAD = "with --init-from of the same net and a new last layer"
_BY_PRESET = "set by --preset."  # of the ladder


@dataclass(frozen=True)
class TrainOptions:
    """Train one net on your images (Sect. 3.1)."""

    data: DataInput
    net: Annotated[
        str | None,
        option(NET_HELP, default="D; with --init-from, the net of that model", metavar="NET"),
    ] = None
    out: Annotated[Path | None, option(default="runs/DATA-NET")] = None
    """The run folder: weights, metrics and options of this training are written there."""
    resume: ResumeOption = False
    data_changed: DataChangedOption = False
    init: InitOption = "glorot"
    sigma: SigmaOption = 0.01
    init_from: InitFromOption = None
    new_head: Annotated[
        bool | None,
        tyro.conf.FlagConversionOff,
        switch(
            "new-head",
            "With --init-from. --new-head: the last layer starts from random weights; --no-new-head: it is copied from "
            "the source net.",
            default="--new-head if DATA has other classes than the source net, else --no-new-head",
        ),
    ] = None
    train_from: Annotated[str | None, option(default="the first: all layers are trained", metavar="LAYER")] = None
    """With --init-from: train this layer and all after it (fc8, fc6, conv5_1, ...); layers before it are frozen."""
    head_learning_rate: Annotated[
        float | None,
        option(default=f"that of the other layers; {_NEW_HEAD}, ten times that"),
    ] = None
    """Learning rate of the last layer."""
    train_scale: Annotated[
        tuple[int, ...],
        option(
            "S: training images are rescaled so that their smaller side has this many pixels. With two numbers S is "
            "drawn between them for each image (scale jitter).",
            default="--crop x 256/224: 256 for 224, 73 for 64",
            metavar="S [S]",
        ),
    ] = ()
    crop: CropOption = None
    width: Annotated[float | None, option(WIDTH_HELP, default="1; with --init-from, the width of that model")] = None
    batch_norm: Annotated[
        bool | None,
        tyro.conf.FlagConversionOff,
        switch("batch-norm", BATCH_NORM_HELP, default="off; with --init-from, as in that model"),
    ] = None
    dropout: float = 0.5
    """Probability that a unit of fc6 or fc7 is dropped."""
    divide: DivideOption = False
    mirror: MirrorTrainOption = None
    orientation: OrientationOption = None
    pixel_range: PixelRangeOption = None
    epochs: Annotated[int | None, option(EPOCHS_HELP, default=f"74; {_NEW_HEAD}, 30")] = None
    batch: Annotated[int | None, option(BATCH_HELP, default=f"256; {_NEW_HEAD}, 32")] = None
    learning_rate: Annotated[
        float | None,
        option(
            "Learning rate at the start. --head-learning-rate gives the last layer another one. --patience says when "
            "the rates drop.",
            default="0.01; with --init-from of the same net 0.001; if its last layer is also new, 0.003, or 0.01 with "
            "batch normalisation",
        ),
    ] = None
    weight_decay: WeightDecayOption = 5e-4
    patience: Annotated[int | None, option(PATIENCE_HELP, default=f"6; {_NEW_HEAD}, 4")] = None
    seed: SeedOption = 0
    holdout: HoldoutOption = 0.1
    check: CheckOption = None
    leave_out: LeaveOutOption = None
    machine: Machine = field(default_factory=MachineOptions)
    json: JsonOption = None


@dataclass(frozen=True)
class LadderOptions:
    """Train a shallow net, then deeper nets that start with its layers (Sect. 3.1). The same command continues where it
    was stopped."""

    data: DataInput
    out: Path
    """A folder for the runs of all stages and for ladder.json, the table of their errors."""
    preset: Annotated[
        Literal["desk", "paper"],
        option(
            "desk: a short experiment for one machine, each deeper net at S = crop x 256/224 and then with scale "
            "jitter; paper: the paper's stages and lengths."
        ),
    ] = "desk"
    shallow: Annotated[str, option(metavar="NET")] = "A"
    """The net that is trained first and that the deeper ones start from: A as in the paper, or B."""
    nets: Annotated[tuple[str, ...], option(metavar="NET...")] = ("D", "E")
    """The deeper nets, which are trained one after another."""
    crop: Annotated[
        int | None,
        option(
            "Side in pixels of the square crops that the nets are trained on; a multiple of 32.",
            default=f"{_BY_PRESET} desk: 224, or less if the images are smaller; paper: 224",
        ),
    ] = None
    width: Annotated[
        float | None, option(WIDTH_HELP, default=f"{_BY_PRESET} desk: 1 on a GPU, 0.25 on a CPU; paper: 1")
    ] = None
    epochs: Annotated[int | None, option(default=f"{_BY_PRESET} desk: 20; paper: 74")] = None
    """Epochs of each stage, at most."""
    batch: Annotated[int | None, option(default=f"{_BY_PRESET} desk: 64; paper: 256")] = None
    """Images per update of the weights, over all GPUs together."""
    init: Annotated[
        InitMethod | None,
        option(
            "How the initial weights of layers that are not copied from a shallower net are drawn.",
            default=f"{_BY_PRESET} desk: glorot; paper: gaussian, standard deviation 0.01",
        ),
    ] = None
    batch_norm: BatchNormOption = False
    mirror: Mirrored = True
    """Mirror half of the training crops, or none (for digits and text). If none, tests mirror no images either."""
    orientation: OrientationOption = None
    pixel_range: Annotated[tuple[int, int] | None, option(default="0 65535", metavar="LOW HIGH")] = None
    """For images of 16 bits a channel: the values that stand for black and for white. Stored with the weights."""
    seed: SeedOption = 0
    data_changed: Annotated[bool, option(default="off")] = False
    """Continue although images were added, removed or changed since the start. The classes must be the same."""
    check: CheckOption = None
    leave_out: LeaveOutOption = None
    machine: Machine = field(default_factory=MachineOptions)
    json: JsonOption = None


@dataclass(frozen=True)
class QuickstartOptions:
    """Train net A, then net D, which starts with layers of A, on a data set that needs no download. This takes minutes.
    Then show three predictions."""

    out: Path = Path("quickstart")
    """A folder for both runs and the table of their errors. The same command continues where it was stopped."""
    machine: Machine = field(default_factory=MachineOptions)


@dataclass(frozen=True)
class DiagnoseOptions:
    """Tell whether a net can be trained from its initial weights, by the signal and gradient of each layer on images.

    DATA may also be the file diverged.json of a run, the record of a batch whose loss or gradient was not finite."""

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
    """How many images the net is measured on."""
    learning_rate: float = 0.01
    """Report how large the first update of the weights would be with this learning rate."""
    seed: SeedOption = 0
    device: DeviceOption = "auto"
    json: JsonOption = None


@dataclass(frozen=True)
class NetsOptions:
    """List the nets of Table 1 with depth, parameters, multiply-adds and receptive field.

    With --pretrained, list the published models that can be given by name."""

    pretrained: Annotated[bool, option(default="off")] = False
    """List the models that can be given by name in place of a run: source, size, input, error, licence."""
    num_classes: int = 1000
    """Number of classes, which is the number of outputs of the last layer."""
    width: WidthOption = 1.0
    crop: int = 224
    """Side of the square input in pixels."""
    batch_norm: BatchNormOption = False
    json: JsonOption = None
