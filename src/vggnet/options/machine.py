"""Options of every training that say where and how it computes, and not what is learnt."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from vggnet.options.choices import DecoderName, ExchangeFormat, OnDivergence, StepName
from vggnet.options.common import BadImagesOption, DeviceOption, PrecisionOption, ReportOption, option

DecoderOption = Annotated[
    DecoderName,
    option(
        "How training images are decoded. processes: on the CPU, at full size. scaled: on the CPU; JPEGs that are at "
        "least twice as large as S are decoded at 1/2, 1/4 or 1/8 of their size. This is faster, and the pixels differ "
        "by a few gray levels. gpu: by nvJPEG (NVIDIA only). The pixels differ by a few gray levels here, too; its "
        "speed is not yet measured. auto: processes. A run that is continued keeps its decoder. Tests always decode "
        "images at full size."
    ),
]
MicroBatchOption = Annotated[
    int | None,
    option(
        "Images that go through the net at once; a smaller number needs less memory. The gradients of all passes of a "
        "batch are added, so the update is the same up to rounding. Batch normalisation computes mean and variance "
        "over one micro-batch, so its update differs.",
        default="as many as fit into the memory that is free at the start",
    ),
]
ThreadsOption = Annotated[
    int | None,
    option("CPU threads that compute. Give fewer if other programs need the cores.", default="one for each core"),
]
StepOption = Annotated[
    StepName,
    option(
        "How a GPU computes a training step. fused: cuDNN's convolutions and vggnet's own kernels (not for nets with "
        "batch normalisation); its speed is not yet measured. compiled: torch.compile. plain: PyTorch's operators. "
        "auto: compiled, or plain where that fails. A CPU always computes plain."
    ),
]
SaveEveryOption = Annotated[
    float, option("Save the state of the training at intervals of this many seconds, and at the end of each epoch.")
]
OnDivergenceOption = Annotated[
    OnDivergence,
    option(
        "What to do when a loss or a gradient is not finite. stop: end with a message; the run keeps the weights of "
        "the last finished epoch. lower-rate: go back to the last save, divide the learning rate by 10 and go on, at "
        "most three times."
    ),
]
ProcessesOption = Annotated[
    int,
    option(
        "Number of processes (ranks) on this machine. Give one for each GPU, or several on a CPU, where each has a "
        "part of the cores. They share each batch. For several machines use torchrun in place of this option "
        "(docs/scaling.md)."
    ),
]
MaxRestartsOption = Annotated[
    int,
    option(
        "When a process is killed, start all again from the last save, at most this many times. torchrun has an option "
        "of its own for this."
    ),
]
ExchangeOption = Annotated[
    ExchangeFormat,
    option(
        "Number format of the gradients that processes exchange. bf16 halves the bytes, and rounds the gradients. "
        "With one process it has no effect."
    ),
]
KeepOption = Annotated[
    int,
    option(
        "How many of the last saves are kept in the run. If the newest is damaged, the run continues from the one "
        "before."
    ),
]
TrainWorkersOption = Annotated[
    int | None,
    option(
        "Processes that read images, or threads with --decoder gpu; 0 reads them in the main process.",
        default="on a GPU one for each core, at most 16; on a CPU one for every two cores, at most 8",
    ),
]


@dataclass(frozen=True)
class MachineOptions:
    """Where and how the training computes."""

    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: TrainWorkersOption = None
    decoder: DecoderOption = "auto"
    micro_batch: MicroBatchOption = None
    threads: ThreadsOption = None
    step: StepOption = "auto"
    on_divergence: OnDivergenceOption = "stop"
    processes: ProcessesOption = 1
    max_restarts: MaxRestartsOption = 0
    exchange: ExchangeOption = "fp32"
    save_every: SaveEveryOption = 300.0
    keep: KeepOption = 2
    report: ReportOption = True


# --device, not --machine.device
Machine = Annotated[MachineOptions, tyro.conf.OmitArgPrefixes]
