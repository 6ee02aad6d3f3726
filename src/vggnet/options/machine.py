"""Options of every training that say where and how it computes, and not what is learnt."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from vggnet.options.common import (
    BadImagesOption,
    DecoderOption,
    DeviceOption,
    ExchangeOption,
    KeepOption,
    MaxRestartsOption,
    MicroBatchOption,
    OnDivergenceOption,
    PrecisionOption,
    ProcessesOption,
    ReportOption,
    SaveEveryOption,
    StepOption,
    ThreadsOption,
    TrainWorkersOption,
)


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
