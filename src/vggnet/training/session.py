"""What every training shares around the loop: its run folder taken, its images and its net made ready, its lines said.

A training is a `Session` with a task in it; `classification` and `localization.training` state what differs.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vggnet.console import counted, duration, say
from vggnet.data.learnt import Learnt, read_learnt, write_learnt
from vggnet.data.splits import Split
from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.hardware import choose_precision
from vggnet.images.augmentation import Augmentation
from vggnet.images.color import ColorStatistics
from vggnet.images.loading import Batch, CropLoader
from vggnet.images.normalization import normalize
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import hash_of, load_model
from vggnet.options.choices import Decoder
from vggnet.options.flat import flat
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.options.training import TrainOptions
from vggnet.paper.recipes import Recipe
from vggnet.provenance import cpu_name
from vggnet.training.agreement import RunOfFirst, check_same_start, plain
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.choose_decoder import choose_decoder, training_loader
from vggnet.training.continuing import NOT_WRITTEN
from vggnet.training.distributed import World
from vggnet.training.image_list import ImageList
from vggnet.training.loop import Loop, LoopSettings, Task
from vggnet.training.lost_images import TRAIN, LostImages
from vggnet.training.meeting import launch_names
from vggnet.training.memory import choose_micro_batch
from vggnet.training.plan import Options, recipe_of
from vggnet.training.prepare_images import AsStarted, Pictures, learnt_before
from vggnet.training.runs import RunFolder, open_run
from vggnet.training.timing import seconds_per_image


@dataclass(frozen=True)
class Session:
    """A training that can start or go on: its run folder is taken, its images are checked, its net is on the device.

    `resuming`: the run folder holds a state, and the net is still to be filled with it.
    """

    options: TrainOptions | LocalizeTrainOptions
    recipe: Recipe
    world: World
    run: RunFolder
    resuming: bool
    pictures: Pictures
    model: VGG
    settings: LoopSettings
    decoder: Decoder
    lost: LostImages

    @property
    def workers(self) -> int:
        return self.options.machine.workers or 0

    def loader(self, split: Split) -> CropLoader:
        """What reads the crops of `split`: to be closed by the caller."""
        recipe, crop = self.recipe, self.model.architecture.crop_px
        statistics = self.statistics
        augmentation = Augmentation(
            self.options.seed, recipe.train_scale, crop, statistics, recipe.mirror, recipe.color_deviation
        )
        return training_loader(split, augmentation, self.decoder, self.world, self.workers)

    @property
    def statistics(self) -> ColorStatistics:
        """Of the training images, as at the run's start: they do not change with the images that can be read."""
        saved = (self.run.config or {}).get("statistics") if self.options.resume else None
        return self.pictures.statistics if saved is None else ColorStatistics.from_json_dict(saved)

    def inputs(self, batches: Iterator[Batch], images: int) -> Iterator[tuple[Batch, Tensor]]:
        """Each batch, and its crops as the net's input (n, 3, crop, crop) on the device.

        UserError where one of the training's `images` became unreadable since they were checked, unless such images
        are skipped.
        """
        device, preprocessing = self.world.device, self.model.description.preprocessing
        for batch in batches:
            self.lost.add(TRAIN, batch.bad, images)
            pixels = batch.pixels.to(device, non_blocking=True)
            yield batch, normalize(pixels, preprocessing, batch.shift)

    def train(self, task: Task, kept: dict[str, Any], *said: str) -> TrainingProgress:
        """Start, or go on where the run stopped, and train to the end.

        `kept` (JSON values) is written down beside the options when the run starts, and `said` printed below the rest.
        """
        loop = Loop(self.model, self.recipe, task, self.run, self.world, self.settings)
        self._check_images(task.images)
        if self.world.is_first:  # after Loop() has accepted the settings: a refused start must leave no run behind
            learnt, learnt_before = self.pictures.learnt, self.pictures.learnt_before
            if not self.resuming:
                self._write_start(kept | {"train_images": task.images})
                write_learnt(self.run.path, learnt, learnt_before)
            elif self.options.data_changed:
                changed = {"train_images": task.images, "statistics": self.statistics.to_json_dict()}
                self.run.write_config((self.run.config or {}) | changed, self.pictures.listed)
                write_learnt(self.run.path, learnt | read_learnt(self.run.path), learnt_before)
            self.lost.write()
        if self.resuming and loop.restore():
            _say_resumed(loop)
        else:
            _announce(self, loop)
            for line in said:
                say(line)
        begin = time.monotonic()
        progress = loop.run_to_end()
        say(f"trained {counted(progress.epoch, 'epoch')}; this call took {duration(time.monotonic() - begin)}")
        return progress

    def _check_images(self, images: int) -> None:
        """UserError where the run to continue was started with another number of training images."""
        before = (self.run.config or {}).get("train_images", images)  # older runs did not write it down
        if self.resuming and before != images and not self.options.data_changed:
            raise UserError(
                f"--resume: the run in {self.run.path} was started with {counted(before, 'training image')}, now there "
                f"are {images:,}: put back what was added or removed, or accept it with --data-changed"
            )

    def _write_start(self, kept: dict[str, Any]) -> None:
        """What the run is started with: its options, what the program chose, and `kept`."""
        chosen = {
            "decoder": self.decoder,
            "epochs_before": self.settings.epochs_before,
            "feature_scale": self.model.description.feature_scale,
            "micro_batch": self.options.machine.micro_batch or self.settings.micro_batch,
            "threads": self.options.machine.threads or torch.get_num_threads(),
            "resolved_precision": self.settings.precision,
            "statistics": self.pictures.statistics.to_json_dict(),
        }
        options = {name: plain(value) for name, value in flat(self.options).items() if name not in NOT_WRITTEN}
        source = self.options.init_from
        more: dict[str, Any] = {"init_from_sha256": None if source is None else hash_of(source)}
        if launch_names():
            more["launch"] = launch_names()
        self.run.write_config(options | chosen | more | kept, self.pictures.listed)

    def best(self) -> VGG:
        """The net of the best epoch: the first rank reads it, and the others receive it."""
        read: list[VGG] = []

        def describe() -> str:
            read.append(load_model(self.run.best, device=self.world.device))
            return read[0].description.to_json()

        description = self.world.from_first(describe)
        if not read:
            empty = on_meta(ModelDescription.from_json(description, str(self.run.best)))
            read.append(empty.to_empty(device=self.world.device).eval())
        self.world.broadcast(read[0].state_dict().values())
        return read[0]


@contextmanager
def open_session(
    options: Options,
    world: World,
    prepare: Callable[[Options, Learnt | None, AsStarted | None], Pictures],
    build: Callable[[Options, Pictures, RunFolder | None], VGG],
) -> Iterator[Session]:
    """Take the run folder of resolved options, make images and net ready, and settle what the user left open.

    `prepare` runs on the first rank first. `build` gives the net on the CPU; it is given the run folder where the net
    will be filled with a saved state.
    """
    assert options.out is not None
    recipe = recipe_of(options)
    with ExitStack() as stack:
        run = _take_run(options.out, options.resume, world, stack)
        learnt = world.from_first(partial(learnt_before, options.init_from, options.out))
        started = (run.config or {}) if options.resume else {}
        at_start = _images_at_start(run, options, world) if started else None
        pictures = world.in_turn(partial(prepare, options, learnt, at_start))
        resuming = world.from_first(lambda: options.resume and run.state.exists())
        # as at the run's start: sums that are split otherwise round otherwise
        threads = options.machine.threads or started.get("threads")
        if threads and world.device.type == "cpu":
            torch.set_num_threads(threads)
        model = build(options, pictures, run if resuming else None).to(world.device)
        world.from_first(lambda: run.check_space(model.architecture.parameters))
        precision = choose_precision(started.get("resolved_precision", options.machine.precision), world.device)
        splits = {"training": pictures.train, "judging": pictures.judge, "val": pictures.val}
        check_same_start(world, splits, model.description, precision)
        lost = LostImages(run, world, skip=options.machine.bad_images == "skip", known=pictures.skipped + pictures.lost)
        micro_batch = started.get("micro_batch") if options.machine.micro_batch is None else options.machine.micro_batch
        local_batch = -(-min(recipe.batch, len(pictures.train)) // world.size)
        if micro_batch is not None:
            micro_batch = min(micro_batch, local_batch)  # more would only be timed, and take memory for it
        else:
            micro_batch = choose_micro_batch(model.architecture, local_batch, precision, world.device, world.size)
        if resuming:
            scale = started.get("feature_scale", 1.0)
            model.description = dataclasses.replace(model.description, feature_scale=scale)
        # a run of a version that did not count them replays the draws, as it was started
        before = started.get("epochs_before", 0) if resuming else model.description.epochs_seen
        settings = LoopSettings(
            options.seed, micro_batch, precision, options.machine.save_every, options.machine.step, before
        )
        decoder = choose_decoder(options.machine.decoder, run, world)
        if resuming:
            world.from_first(run.check_weights)
        yield Session(options, recipe, world, run, resuming, pictures, model, settings, decoder, lost)


def _images_at_start(run: RunFolder, options: Options, world: World) -> AsStarted:
    """What the first rank's run folder holds of the images; a list that is lost is none where others are accepted."""

    def read() -> bytes | None:
        try:
            return run.images
        except UserError as error:
            if not options.data_changed:
                raise
            say(f"note: {error}")
            return None

    written = world.from_first(read)
    return AsStarted(None if written is None else ImageList.of_bytes(written), options.data_changed)


def _take_run(out: Path, resume: bool, world: World, stack: ExitStack) -> RunFolder:
    """The run folder; the first rank holds its lock until `stack` ends."""
    taken: list[RunFolder] = []

    def take() -> dict[str, Any] | None:
        taken.append(stack.enter_context(open_run(out, resume=resume)))
        return taken[0].config

    config = world.from_first(take)
    return taken[0] if taken else RunOfFirst(out, config)


def _say_resumed(loop: Loop) -> None:
    """Where a continued run goes on."""
    progress = loop.progress
    if progress.finished:
        say(f"{loop.run.path}: this run is finished ({counted(progress.epoch, 'epoch')}); nothing is left to train")
    else:
        where = f"epoch {progress.epoch + 1}, after {progress.step} of {loop.steps_per_epoch} batches"
        say(f"{loop.run.path}: continuing in {where}")


def _announce(session: Session, loop: Loop) -> None:
    """What the user should know before the first epoch."""
    model, pictures, world = session.model, session.pictures, session.world
    architecture, recipe, settings = model.architecture, loop.recipe, loop.settings
    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else cpu_name()
    spent = seconds_per_image(loop.form, settings, world.device)
    expected = spent / world.size * loop.task.images * recipe.epochs
    scale = " to ".join(map(str, recipe.train_scale))
    val = f"{len(pictures.val)} val" if pictures.val is not None else "no val"
    name = f"net {architecture.net}" + (" with batch normalisation" if architecture.batch_norm else "")
    say(f"{name}, width {architecture.width:g}, crop {architecture.crop_px}: {architecture.parameters:,} parameters")
    say(f"device    {device}, {counted(world.size, 'process')}, {settings.precision}")
    classes = counted(len(pictures.data.classes), "class")
    say(f"data      {pictures.data.name}: {classes}, {len(pictures.train)} train, {val} images")
    skipped = f"; {counted(len(pictures.skipped), 'bad image')} skipped" if pictures.skipped else ""
    say(f"judged    on {pictures.judged_on}{skipped}")
    mean = " ".join(f"{value:.1f}" for value in model.description.preprocessing.mean)
    mirrored = "half of the crops" if recipe.mirror else "no crop, and tests of this net use no mirrored images"
    say(f"images    smallest side S = {scale} px, crop {architecture.crop_px} px, minus the mean RGB {mean}")
    say(f"mirrored  {mirrored}")
    local = -(-loop.batch // world.size)
    parts = -(-local // settings.micro_batch)
    in_parts = [f"by {world.size} processes"] * (world.size > 1)
    in_parts += [f"in {parts} passes of up to {settings.micro_batch}"] * (parts > 1)
    batch = " ".join([counted(loop.batch, "image"), *in_parts])
    say(f"batch     {batch}; {counted(loop.steps_per_epoch, 'batch')} an epoch")
    if recipe.batch > loop.batch:
        say(f"          (--batch {recipe.batch} is more than the {counted(loop.batch, 'training image')})")
    if architecture.batch_norm:
        say(f"          statistics of batch normalisation over {counted(settings.micro_batch, 'image')}")
    head = recipe.head_learning_rate
    rate = f"{recipe.learning_rate:g}" + (f" (last layer {head:g})" if head is not None else "")
    latest = [math.ceil(part * recipe.epochs) for part in recipe.latest_drops]
    drops = ", ".join(str(epoch) for epoch in latest if epoch < recipe.epochs)
    when = f"; at the latest after epoch {drops}" if drops else ""
    say(f"schedule  at most {counted(recipe.epochs, 'epoch')}, learning rate {rate}, divided by 10 up to 3 times")
    say(f"          after {counted(recipe.patience, 'epoch')} without improvement{when}")
    say(f"time      at most about {duration(expected)} of computation, without reading images")
    say(f"output    {loop.run.path}")
