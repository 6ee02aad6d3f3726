"""Resolve precision, micro-batch and decoder of a prepared run, and make what its loop needs: a `Session`.

A training is a `Session` that is given a task; `classification` and `localization.training` define the tasks.
"""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vggnet.console import counted, duration, say
from vggnet.data.learnt import read_learnt, write_learnt
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
from vggnet.options.choices import Decoder, Precision
from vggnet.options.flat import flat
from vggnet.paper.configurations import Architecture
from vggnet.paper.recipes import Recipe
from vggnet.training.agreement import check_same_start, plain
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.choose_decoder import choose_decoder, training_loader
from vggnet.training.continuing import NOT_WRITTEN
from vggnet.training.distributed import World
from vggnet.training.epoch_results import AfterEpoch, AfterStep
from vggnet.training.loop import Loop
from vggnet.training.lost_images import TRAIN, LostImages
from vggnet.training.meeting import launch_names
from vggnet.training.memory import FITTING, choose_micro_batch
from vggnet.training.plan import TrainPlan
from vggnet.training.prepare_images import Pictures
from vggnet.training.prepare_run import PreparedRun
from vggnet.training.printing import announce, print_resumed
from vggnet.training.runs import RunFolder
from vggnet.training.tasks import LoopSettings, Task


@dataclass(frozen=True)
class Session:
    """A training that can start or go on: its run folder is taken, its images are checked, its net is on the device.

    `resuming`: the run folder holds a state, and the net is still to be filled with it.
    """

    plan: TrainPlan[Any]
    world: World
    run: RunFolder
    resuming: bool
    pictures: Pictures
    model: VGG
    settings: LoopSettings
    decoder: Decoder
    lost: LostImages

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    def loader(self, split: Split) -> CropLoader:
        """Return a loader of random crops of `split`, which the caller closes."""
        recipe, crop = self.recipe, self.model.architecture.crop_px
        statistics = self.statistics
        augmentation = Augmentation(
            self.plan.options.seed, recipe.train_scale, crop, statistics, recipe.mirror, recipe.color_deviation
        )
        return training_loader(split, augmentation, self.decoder, self.world, self.plan.workers)

    @property
    def statistics(self) -> ColorStatistics:
        """The colours of the training images at the run's start, whichever of the images can be read now."""
        saved = (self.run.config or {}).get("statistics") if self.plan.options.resume else None
        return self.pictures.statistics if saved is None else ColorStatistics.from_dict(saved)

    def inputs(self, batches: Iterator[Batch], images: int) -> Iterator[tuple[Batch, Tensor]]:
        """Yield each batch, and its crops as the net's input (n, 3, crop, crop) on the device.

        UserError where one of the training's `images` became unreadable since they were checked, unless such images
        are skipped.
        """
        device, preprocessing = self.world.device, self.model.description.preprocessing
        for batch in batches:
            self.lost.add(TRAIN, batch.bad, images)
            pixels = batch.pixels.to(device, non_blocking=True)
            yield batch, normalize(pixels, preprocessing, batch.shift)

    def train(self, task: Task, stored: dict[str, Any], *lines: str) -> TrainingProgress:
        """Start, or go on where the run stopped, and train to the end.

        Args:
            task: What is learnt.
            stored: JSON values that config.json of a new run holds beside the options.
            lines: What is printed of a new run below the common facts.
        """
        loop = Loop(self.model, self.recipe, task, self.run, self.world, self.settings)
        loop.image_name = lambda index: self.pictures.train.files[index]
        self._check_images(task.images)
        if self.world.is_first:  # after Loop() has accepted the settings: a refused start must leave no run behind
            learnt, learnt_before = self.pictures.learnt, self.pictures.learnt_before
            if not self.resuming:
                self._write_start(stored | {"train_images": task.images})
                if learnt is not None:
                    write_learnt(self.run.path, learnt, learnt_before)
            elif self.plan.options.data_changed:
                changed = {"train_images": task.images, "statistics": self.statistics.to_dict()}
                self.run.write_config((self.run.config or {}) | changed, self.pictures.listed)
                if learnt is not None:
                    write_learnt(self.run.path, learnt | read_learnt(self.run.path), learnt_before)
            if self.resuming:
                self.run.publish()
            self.lost.write()
        if self.resuming and loop.restore():
            print_resumed(loop)
        else:
            announce(loop, self.pictures)
            if self.decoder == "scaled":
                say("decoder   scaled: large JPEGs at 1/2, 1/4 or 1/8 of their size for training, whole for tests")
            for line in lines:
                say(line)
        begin = time.monotonic()
        progress = loop.run_to_end()
        say(f"trained {counted(progress.epoch, 'epoch')}; this call took {duration(time.monotonic() - begin)}")
        return progress

    def _check_images(self, images: int) -> None:
        """Raise UserError where the run to continue was started with another number of training images."""
        before = (self.run.config or {}).get("train_images", images)  # earlier versions did not store it
        if self.resuming and before != images and not self.plan.options.data_changed:
            raise UserError(
                f"`resume`: the run in {self.run.path} was started with {counted(before, 'training image')}, now there "
                f"are {images:,}: put back what was added or removed, or accept it with `data_changed`"
            )

    def _write_start(self, stored: dict[str, Any]) -> None:
        """Write config.json of a new run: its options, the program's choices, and `stored`."""
        options = self.plan.options
        chosen = {
            "decoder": self.decoder,
            "epochs_before": self.settings.epochs_before,
            "feature_scale": self.model.description.feature_scale,
            "micro_batch": options.machine.micro_batch or self.settings.micro_batch,
            "threads": options.machine.threads or torch.get_num_threads(),
            "resolved_precision": self.settings.precision,
            "statistics": self.pictures.statistics.to_dict(),
        }
        given = {name: plain(value) for name, value in flat(options).items() if name not in NOT_WRITTEN}
        source = options.init_from
        more: dict[str, Any] = {"init_from_sha256": None if source is None else hash_of(source)}
        if launch_names():
            more["launch"] = launch_names()
        self.run.write_config(given | chosen | more | stored, self.pictures.listed)

    def best(self) -> VGG:
        """Return the net of the best epoch. The first rank reads it, and the others receive it."""
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


def start_session(
    prepared: PreparedRun[Any],
    model: VGG,
    after_epoch: AfterEpoch | None = None,
    after_step: AfterStep | None = None,
) -> Session:
    """Return the session that trains `model`, given on the CPU. All ranks call.

    Resolves what depends on the device and its memory: precision, micro-batch and decoder. A run that goes on has them
    as at its start.
    """
    plan, world, run, pictures = prepared.plan, prepared.world, prepared.run, prepared.pictures
    started, machine = prepared.started, plan.options.machine
    model = model.to(world.device)
    world.from_first(lambda: run.check_space(model.architecture.parameters, machine.keep))
    precision = choose_precision(started.get("resolved_precision", machine.precision), world.device)
    splits = {"training": pictures.train, "judging": pictures.judge, "val": pictures.val}
    check_same_start(world, splits, model.description, precision)
    lost = LostImages(run, world, skip=machine.bad_images == "skip", known=pictures.skipped + pictures.lost)
    if prepared.resuming:
        scale = started.get("feature_scale", 1.0)
        model.description = dataclasses.replace(model.description, feature_scale=scale)
    # a run of a version that did not count them replays the draws, as it was started
    before = started.get("epochs_before", 0) if prepared.resuming else model.description.epochs_seen
    settings = LoopSettings(
        plan.options.seed,
        _micro_batch(prepared, model.architecture, precision),
        precision,
        save_every_s=machine.save_every,
        keep=machine.keep,
        on_divergence=machine.on_divergence,
        exchange=machine.exchange,
        step=machine.step,
        epochs_before=before,
        after_epoch=after_epoch,
        after_step=after_step,
    )
    decoder = choose_decoder(machine.decoder, run, world)
    if prepared.resuming:
        world.from_first(run.check_weights)
    return Session(plan, world, run, prepared.resuming, pictures, model, settings, decoder, lost)


def _micro_batch(prepared: PreparedRun, architecture: Architecture, precision: Precision) -> int:
    """Return how many images go through the net at once on each rank; another number than at the start is stored."""
    plan, world, started = prepared.plan, prepared.world, prepared.started
    given, before = plan.options.machine.micro_batch, started.get("micro_batch")
    if given is not None and before is not None and given != before:
        normed = ", and so is what batch normalisation computes" if architecture.batch_norm else ""
        say(f"note: `micro_batch` {given} from here on, {before} before: rounding is another{normed}")
        world.from_first(partial(prepared.run.change_config, {"micro_batch": given}))
    local_batch = -(-min(plan.recipe.batch, len(prepared.pictures.train)) // world.size)
    if given is None:
        fitting = choose_micro_batch(architecture, local_batch, precision, world.device, world.size)
        return world.least(fitting)  # the same on all ranks, as batch normalisation needs it
    # more than the batch would only be timed, and take memory for it
    return min(given, started.get(FITTING, given), local_batch)
