"""Choose how the images of a training are decoded, by processes (whole or scaled) or the GPU, and make the loader."""

from collections.abc import Callable

import torch

from vggnet.data.splits import Split
from vggnet.errors import UserError
from vggnet.images.augmentation import Augmentation
from vggnet.images.gpu.decoding import nvjpeg_unavailable
from vggnet.images.gpu.loading import DeviceLoader
from vggnet.images.loading import CropLoader, TrainingLoader
from vggnet.options.choices import Decoder, DecoderName
from vggnet.training.distributed import World
from vggnet.training.memory import device_holding_bytes, holding_bytes
from vggnet.training.runs import RunFolder


def choose_decoder(
    requested: DecoderName,
    run: RunFolder,
    world: World,
    unavailable: Callable[[torch.device], str | None] = nvjpeg_unavailable,
) -> Decoder:
    """Return the decoder: as requested; with `auto` as at the run's start, in a new run processes.

    Raises UserError where that is the GPU and `unavailable` says why it cannot decode.
    """
    # a run folder whose config names no decoder was trained by processes
    before: Decoder | None = None if run.config is None else run.config.get("decoder", "processes")
    wanted = (before or "processes") if requested == "auto" else requested
    if wanted != "gpu":
        return wanted
    on_gpu = world.device.type == "cuda"
    reason = unavailable(world.device) if on_gpu else f"the training runs on {world.device.type}"
    if reason is None:
        return "gpu"
    how = "`decoder` gpu" if requested == "gpu" else "the run was started with `decoder` gpu, which"
    advice = "`decoder` processes works everywhere; its pixels differ by some gray levels"
    if before is not None:
        advice = "Continue it where that works, or start another run with `decoder` processes"
    raise UserError(f"{how} does not work here: {reason}. {advice}")


def training_loader(
    split: Split, augmentation: Augmentation, decoder: Decoder, world: World, workers: int
) -> CropLoader:
    """Return the loader of a training's crops. The caller closes it."""
    if decoder == "gpu":
        hold_bytes = device_holding_bytes(world.device)
        return DeviceLoader(split, augmentation, device=world.device, workers=workers, hold_bytes=hold_bytes)
    hold_bytes = holding_bytes(world.size)
    pin = world.device.type == "cuda"
    scaled = decoder == "scaled"
    return TrainingLoader(split, augmentation, workers=workers, pin=pin, hold_bytes=hold_bytes, scaled=scaled)
