"""What every training shares around the loop: its run folder, saved options, threads, micro-batch and images."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from vggnet.console import duration, note, say
from vggnet.contract import Preprocessing
from vggnet.errors import UserError
from vggnet.hardware import choose_precision
from vggnet.images.color import ColorStatistics, normalize
from vggnet.images.device_decoding import why_not, why_not_worth_it
from vggnet.images.device_loading import DeviceLoader
from vggnet.images.loading import Batch, CropLoader, TrainingLoader
from vggnet.images.splits import Split
from vggnet.network.vgg import VGG
from vggnet.options.common import Decoder, DecoderName, PrecisionName, StepName
from vggnet.paper.recipes import Recipe
from vggnet.pictures import describe_bad
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.distributed import World
from vggnet.training.loop import Loop, LoopSettings
from vggnet.training.memory import choose_micro_batch, device_holding_bytes, holding_bytes
from vggnet.training.runs import RunFolder, open_run

# what a continued run may have otherwise than when it was started: nothing of it changes what is learnt
FREE_ON_RESUME = {"resume", "out", "workers", "save_every", "device", "init_from", "step"}
CHOSEN_AT_START = {"micro_batch", "threads", "decoder"}  # by the program where the user did not; reused on resume

Prepared = TypeVar("Prepared")
Options = TypeVar("Options")


def take_run(out: Path, resume: bool, world: World, stack: ExitStack) -> RunFolder:
    """The run folder; the first rank holds its lock until `stack` ends."""
    if world.is_first:
        run = stack.enter_context(open_run(out, resume=resume))
    world.wait()
    return run if world.is_first else RunFolder(out)


def as_started(options: Options, out: Path) -> Options:
    """Options of a run to continue: what the user leaves open is as the run was started with."""
    saved = RunFolder(out).config or {}
    missing: dict[str, Any] = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        if field.name in saved and getattr(options, field.name) in (None, ()):
            value = saved[field.name]
            missing[field.name] = tuple(value) if isinstance(value, list) else value
    if missing.get("init_from") is not None:
        missing["init_from"] = Path(missing["init_from"])
    return dataclasses.replace(options, **missing)  # type: ignore[type-var]


def in_turn(world: World, prepare: Callable[[], Prepared]) -> Prepared:
    """`prepare` on the first rank, which checks the images; then on the others, which find its results in the cache."""
    prepared = prepare() if world.is_first else None
    world.wait()
    return prepare() if prepared is None else prepared


def saved_options(options: Any) -> dict[str, Any]:
    """The options (a dataclass) that a continued run must repeat, as JSON values."""
    values = dataclasses.asdict(options)
    return {name: plain(value) for name, value in values.items() if name not in FREE_ON_RESUME | CHOSEN_AT_START}


def plain(value: object) -> object:
    """A value of an option as JSON has it."""
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def use_threads(threads: int | None, run: RunFolder, world: World) -> None:
    """Set the CPU threads: those of the run's start on resume, since sums that are split otherwise round otherwise."""
    threads = (run.config or {}).get("threads") or threads
    if threads and world.device.type == "cpu":
        torch.set_num_threads(threads)


def settle(
    model: VGG,
    run: RunFolder,
    world: World,
    *,
    seed: int,
    batch: int,
    micro_batch: int | None,
    precision: PrecisionName,
    save_every_s: float,
    step: StepName = "auto",
) -> LoopSettings:
    """The loop's settings: precision by the device, micro-batch as given, as at the run's start, or by memory."""
    saved = run.config or {}
    resolved = choose_precision(saved.get("resolved_precision", precision), world.device)
    micro_batch = micro_batch or saved.get("micro_batch")
    if micro_batch is None:
        micro_batch = choose_micro_batch(model.architecture, -(-batch // world.size), resolved, world.device)
    return LoopSettings(seed, micro_batch, resolved, save_every_s, step)


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
            raise UserError(f"{how} does not work here: {reason}. {advice}")
        return "gpu"
    processes = min(workers, (os.cpu_count() or 1) // world.size)
    reason = reason or why_not_worth_it(split, world.device, processes)
    if not world.any(reason is not None):
        return "gpu"
    note(f"images are decoded by processes, not by the GPU: {reason or 'another rank could not, or not as fast'}")
    return "processes"


def training_loader(
    split: Split,
    statistics: ColorStatistics,
    recipe: Recipe,
    world: World,
    *,
    decoder: Decoder,
    crop: int,
    seed: int,
    workers: int,
) -> CropLoader:
    """What reads the crops of a training: to be closed by the caller."""
    same: dict[str, Any] = {
        "seed": seed,
        "train_scale": recipe.train_scale,
        "crop": crop,
        "statistics": statistics,
        "workers": workers,
        "mirror": recipe.mirror,
    }
    if decoder == "gpu":
        return DeviceLoader(split, device=world.device, hold_bytes=device_holding_bytes(world.device), **same)
    return TrainingLoader(split, pin=world.device.type == "cuda", hold_bytes=holding_bytes(world.size), **same)


def write_start(options: Any, run: RunFolder, settings: LoopSettings, decoder: Decoder, **more: Any) -> None:
    """Write down what the run is started with: its options, what the program chose, and `more` (JSON values)."""
    chosen = {
        "decoder": decoder,
        "micro_batch": settings.micro_batch,
        "threads": torch.get_num_threads(),
        "resolved_precision": settings.precision,
    }
    run.write_config(saved_options(options) | {"init_from": plain(options.init_from)} | chosen | more)


def on_device(
    batches: Iterator[Batch], preprocessing: Preprocessing, device: torch.device, skip_bad: bool
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch, and its crops as the net's input (n, 3, crop, crop) on the device.

    UserError where an image became unreadable since it was checked, unless such images are skipped.
    """
    for batch in batches:
        if batch.bad and not skip_bad:
            raise UserError(f"an image became unreadable during training:\n{describe_bad(batch.bad)}")
        pixels = batch.pixels.to(device, non_blocking=True)
        yield batch, normalize(pixels, preprocessing, batch.shift.to(device, non_blocking=True))


def run_loop(loop: Loop, resuming: bool, introduce: Callable[[], None]) -> TrainingProgress:
    """Go on where the run stopped, or say what is about to be trained (`introduce`) and start; train to the end."""
    if resuming and loop.restore():
        say_resumed(loop, loop.run)
    else:
        introduce()
    begin = time.monotonic()
    progress = loop.run_to_end()
    say(f"trained {progress.epoch} epochs; this call took {duration(time.monotonic() - begin)}")
    return progress


def say_resumed(loop: Loop, run: RunFolder) -> None:
    """Where a continued run goes on."""
    progress = loop.progress
    if progress.finished:
        say(f"{run.path}: this run is finished ({progress.epoch} epochs); nothing is left to train")
    else:
        where = f"epoch {progress.epoch + 1}, after {progress.step} of {loop.steps_per_epoch} batches"
        say(f"{run.path}: continuing in {where}")
