"""Who reads the crops of a training, processes or the GPU: chosen at its start, and kept when it goes on."""

import os

from vggnet.console import note
from vggnet.data.splits import Split
from vggnet.errors import UserError
from vggnet.images.augmentation import Augmentation
from vggnet.images.gpu.decoding import why_not, why_not_worth_it
from vggnet.images.gpu.loading import DeviceLoader
from vggnet.images.loading import CropLoader, TrainingLoader
from vggnet.options.choices import Decoder, DecoderName
from vggnet.training.distributed import World
from vggnet.training.memory import device_holding_bytes, holding_bytes
from vggnet.training.runs import RunFolder


def choose_decoder(requested: DecoderName, split: Split, run: RunFolder, world: World, workers: int) -> Decoder:
    """Who decodes: as asked for, as at the run's start, or what is faster here. All ranks call, and agree.

    UserError where it is to be the GPU, and that cannot. One line says why a GPU is not taken by itself.
    """
    before = None if run.config is None else run.config.get("decoder", "processes")  # older runs knew no other
    wanted = before if requested == "auto" and before is not None else requested
    if wanted == "processes" or (wanted == "auto" and world.device.type != "cuda"):
        return "processes"
    reason = why_not(world.device) if world.device.type == "cuda" else f"the training runs on {world.device.type}"
    if wanted == "gpu":
        if reason is not None:
            how = "--decoder gpu" if requested == "gpu" else "the run was started with --decoder gpu, which"
            advice = "--decoder processes works everywhere; its pixels differ by some gray levels"
            if before is not None:
                advice = "Continue it where that works, or start another run with --decoder processes"
            raise UserError(f"{how} does not work here: {reason}. {advice}")
        return "gpu"
    processes = min(workers, (os.cpu_count() or 1) // world.size)
    reason = reason or why_not_worth_it(split, world.device, processes)
    if not world.any(reason is not None):
        return "gpu"
    note(f"images are decoded by processes, not by the GPU: {reason or 'another rank could not, or not as fast'}")
    return "processes"


def training_loader(
    split: Split, augmentation: Augmentation, decoder: Decoder, world: World, workers: int
) -> CropLoader:
    """What reads the crops of a training: to be closed by the caller."""
    if decoder == "gpu":
        hold_bytes = device_holding_bytes(world.device)
        return DeviceLoader(split, augmentation, device=world.device, workers=workers, hold_bytes=hold_bytes)
    hold_bytes = holding_bytes(world.size)
    pin = world.device.type == "cuda"
    return TrainingLoader(split, augmentation, workers=workers, pin=pin, hold_bytes=hold_bytes)
