"""The one training loop (Sect. 3.1). What is learnt is a `Task` passed in; classification and box regression share it.

Notable:
- The gradient is that of the whole global batch, the mean over its images, whatever the micro-batch and the number of
  ranks. A last batch with fewer images is divided by the full batch size: every image weighs the same.
- Nothing random is kept: crops follow from (seed, epoch, image), dropout from (seed, epoch, step, image). So a run that
  was killed and resumed takes the very steps of one that was not, and the micro-batch, ranks and workers change
  rounding only (with batch normalisation also its statistics, which are those of one pass). Epochs are counted on from
  the trainings behind the starting weights, so that no stage repeats the draws of the one before.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vggnet.backends.choose_training import compiled, step_form
from vggnet.backends.dropout import image_keys
from vggnet.console import progress as show_progress
from vggnet.console import say, warn
from vggnet.errors import Diverged
from vggnet.hardware import keep_freed_memory
from vggnet.images.augmentation import epoch_order
from vggnet.network.vgg import VGG
from vggnet.options.choices import StepName, TrainPrecision
from vggnet.paper.recipes import Recipe
from vggnet.training.checkpoints import TrainingProgress, share_state, write_state
from vggnet.training.distributed import Votes, World
from vggnet.training.divergence import Watch, diverged, not_finite
from vggnet.training.epoch_results import AfterEpoch, describe_epoch, is_best_so_far, write_results
from vggnet.training.optimization import Plateau, build_optimizer
from vggnet.training.runs import RunFolder
from vggnet.training.stopping import Interrupted, StopRequested, StopRequests, stop_requests
from vggnet.training.watching import watch

TOLD_EVERY_S = 0.5  # how often progress is shown and the loss is looked at


@dataclass
class Inputs:
    """One rank's part of a batch on its way into the net: images (n, 3, crop, crop), targets (n, ...).

    `indices` int64 (n,) are the images' numbers in the training set. All on the device.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor


class Task(Protocol):
    """What is learnt. All methods see one rank's images only; sums over ranks are the loop's work."""

    @property
    def images(self) -> int:
        """Of one epoch, over all ranks."""
        ...

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        """The inputs for each array of image indices, in this order, decoded ahead."""
        ...

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """For fp32 outputs (n, K): each image's loss (n,), and whether it counts as wrong (n,)."""
        ...

    def judge(self, model: VGG) -> dict[str, float]:
        """Figures on the images that the schedule is judged on; `error` is the one that counts. All ranks call."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """How a training runs, beside its recipe.

    Only `seed` and `epochs_before`, which all draws follow from, change what is learnt by more than rounding.
    """

    seed: int
    micro_batch: int
    precision: TrainPrecision
    save_every_s: float = 300.0
    step: StepName = "auto"
    epochs_before: int = 0  # that the starting weights were trained for: draws go on from there, and repeat none
    after_epoch: AfterEpoch | None = None


class Loop:
    """Trains `model` by `recipe` on `task` into `run`; `run_to_end` starts or continues it."""

    def __init__(
        self, model: VGG, recipe: Recipe, task: Task, run: RunFolder, world: World, settings: LoopSettings
    ) -> None:
        self.model, self.recipe, self.task, self.run = model, recipe, task, run
        self.world, self.settings = world, settings
        self.optimizer = build_optimizer(model, recipe, model.description.feature_scale)
        self._watch = Watch(self.optimizer, world.device)
        self.schedule = Plateau(recipe)
        self.progress = TrainingProgress()
        self._activity = "starting"
        self.batch = min(recipe.batch, task.images)
        self.steps_per_epoch = math.ceil(task.images / self.batch)
        self._sums = torch.zeros(3, dtype=torch.float64, device=world.device)  # loss, wrong, images of this epoch
        if world.device.type == "cpu":
            keep_freed_memory()
        elif world.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # a training has two shapes of batches at most: timing them pays
        self.form = step_form(model, world.device, settings.precision, settings.step)  # what a step runs
        self._trained: nn.Module = self.form
        if world.size > 1:
            ids = [world.device] if world.device.type == "cuda" else None
            self._trained = DistributedDataParallel(self.form, device_ids=ids, gradient_as_bucket_view=True)
        self._net: Callable[..., Tensor] = self._trained
        if self.form.compiles and settings.step != "plain":
            self._net = compiled(self._trained, world.device)

    def restore(self) -> bool:
        """Continue from the run folder's state, if it holds one: the first rank reads it, and the others receive it."""
        progress = self.world.from_first(lambda: self.run.progress)
        if progress is None:
            return False
        self.progress = progress
        if progress.finished:
            return True
        share_state(self.run.state, self.model, self.optimizer, self.world)
        if name := not_finite(self.model.state_dict()):
            raise self._diverged(f"{name} is not finite in the saved state")
        self.schedule.restore(progress.schedule)
        if self.world.is_first:  # the sums over all ranks go on at the first
            sums = [progress.epoch_loss, progress.epoch_wrong, progress.epoch_images]
            self._sums.copy_(torch.tensor(sums, dtype=torch.float64))
        return True

    @property
    def _draws(self) -> int:
        """The number of this epoch that its draws follow from, counted on from the trainings before this one."""
        return self.settings.epochs_before + self.progress.epoch

    def run_to_end(self) -> TrainingProgress:
        """Train until the schedule ends. On Ctrl-C or SIGTERM the state is saved and `Interrupted` raised."""
        self._started = time.monotonic() - self.progress.wall_s
        self._saved = time.monotonic()
        going = not self.progress.finished
        with stop_requests(alone=self.world.size == 1) as stop, watch(self.world, self._place):
            while going:
                wait_share, rate = self._run_epoch(stop)
                going = self._end_epoch(wait_share, rate, stop)
        return self.progress

    def _place(self) -> str:
        """Where this rank is, for the others."""
        return f"epoch {self.progress.epoch + 1}, batch {self.progress.step}, {self._activity}"

    def _run_epoch(self, stop: StopRequests) -> tuple[float, float]:
        """Run the rest of the epoch. Return the share of time spent waiting for images, and images/s."""
        epoch, first_step = self.progress.epoch, self.progress.step
        order = epoch_order(self.settings.seed, self._draws, self.task.images)
        batches = [order[i * self.batch : (i + 1) * self.batch] for i in range(self.steps_per_epoch)]
        inputs = self.task.batches(self._draws, [self.world.share(batch) for batch in batches[first_step:]])
        self._trained.train()
        votes = Votes(self.world, 2)
        begin = time.monotonic()
        told, waited, images = begin, 0.0, 0
        with show_progress(f"epoch {epoch + 1}/{self.recipe.epochs}") as tick:
            for step in range(first_step, self.steps_per_epoch):
                asked = time.monotonic()
                part = self._next(inputs, stop)
                waited += time.monotonic() - asked
                self._step(part, step)
                if self.world.device.type == "cpu":  # a GPU is asked below, from time to time
                    self._check()
                self.progress.step = step + 1
                images += len(batches[step])
                now = time.monotonic()
                last = step + 1 == self.steps_per_epoch
                if now - told >= TOLD_EVERY_S or last:
                    told = now  # not at every step: reading the loss makes a GPU wait for its queue
                    tick(step + 1, self.steps_per_epoch, self._line(images / (now - begin), waited / (now - begin)))
                save_due = self.world.is_first and now - self._saved >= self.settings.save_every_s
                stopping, saving = votes([bool(stop), save_due], last=last)
                if stopping or saving:
                    self._save()
                if stopping:
                    raise Interrupted
        elapsed = max(time.monotonic() - begin, 1e-9)
        return waited / elapsed, images / elapsed

    def _check(self) -> None:
        """Raise Diverged where a loss or a gradient was not finite; the weights are then the last finite ones."""
        if self._watch.has_diverged():
            raise self._diverged("the loss or its gradient is no longer finite")

    def _diverged(self, what: str) -> Diverged:
        return diverged(what, self.progress, self.run.path, self.schedule.learning_rate)

    def _next(self, inputs: Iterator[Inputs], stop: StopRequests) -> Inputs:
        """Return the next batch. A process that trains alone can be stopped while it waits for a batch."""
        self._activity = "reading images"
        try:
            with stop.waiting(self.world.size == 1):
                return next(inputs)
        except StopRequested:
            self._save()
            raise Interrupted from None
        except Exception:
            self._save_at_failure()
            raise
        finally:
            self._activity = "computing"

    def _line(self, rate: float, waiting: float) -> str:
        self._check()
        loss, wrong, images = (float(value) for value in self._sums)
        mean_loss, error = loss / max(images, 1), 100 * wrong / max(images, 1)
        rate_text = f"lr {self.schedule.learning_rate:.3g}, {rate:.1f} images/s, waiting {waiting:.0%}"
        return f"loss {mean_loss:.3f}, error {error:.1f} %, {rate_text}"

    def _step(self, inputs: Inputs, step: int) -> None:
        """Update the weights once, with the gradient of the whole global batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate * group["rate_factor"]
        self.optimizer.zero_grad(set_to_none=True)
        count = len(inputs.images)
        parts = max(1, math.ceil(count / self.settings.micro_batch))
        keys = image_keys(self.settings.seed, self._draws, step, inputs.indices)
        for number, rows in enumerate(map(slice_of, np.array_split(np.arange(count), parts))):
            with self._synchronised(number == parts - 1):
                self._accumulate(inputs.images[rows], inputs.targets[rows], keys[rows])
        self._watch.look(self._sums[0])
        self.optimizer.step()

    def _synchronised(self, last: bool) -> AbstractContextManager[None]:
        """Return a context in which ranks exchange gradients after the last micro-batch of a step only."""
        if isinstance(self._trained, DistributedDataParallel) and not last:
            return self._trained.no_sync()
        return nullcontext()

    def _accumulate(self, images: Tensor, targets: Tensor, keys: Tensor) -> None:
        if len(images) == 0:
            # a rank without images in a short last batch still takes part in the exchange, with nothing to say
            crop = self.model.architecture.crop_px
            (self._forward(images.new_zeros(1, 3, crop, crop), keys.new_zeros(1)).sum() * 0).backward()
            return
        losses, wrong = self.task.losses(self._forward(images, keys), targets)
        # averaging over the ranks divides by their number: the factor makes it the mean over the global batch
        (losses.sum() * (self.world.size / self.batch)).backward()
        # no float() and no torch.tensor() here: on a GPU they wait until it has done all that is queued
        count = losses.new_full((), len(losses))
        self._sums += torch.stack([losses.detach().sum(), wrong.sum(), count]).double()

    def _forward(self, *inputs: Tensor) -> Tensor:
        """Return the net's outputs (n, K), fp32, for images and, in training, their keys for dropout."""
        reduced = self.settings.precision == "bf16"
        with torch.autocast(self.world.device.type, dtype=torch.bfloat16, enabled=reduced):
            outputs: Tensor = self._net(*inputs)
        return outputs.flatten(1).float()

    def _judge(self, stop: StopRequests) -> dict[str, float]:
        """Return the task's figures. A process that trains alone can be stopped meanwhile; resumed, it judges again."""
        self._activity = "judging"
        try:
            with stop.waiting(self.world.size == 1):
                return self.task.judge(self.model)
        except StopRequested:
            self._save()
            raise Interrupted from None
        except Exception:
            self._save_at_failure()
            raise

    def _end_epoch(self, wait_share: float, rate: float, stop: StopRequests) -> bool:
        """Judge, write weights and metrics, move the schedule. Return whether training goes on."""
        progress = self.progress
        loss, wrong, images = self.world.total([float(value) for value in self._sums])
        if not math.isfinite(loss):
            raise self._diverged("the loss is no longer finite")
        if progress.epoch == 0:
            self._save()  # before best, last and metrics: where these are, there is a state
        judged = self._judge(stop)
        if unknown := [name for name, value in judged.items() if not math.isfinite(value)]:
            raise self._diverged(f"on the held-out images the {unknown[0]} is not finite")
        row = {
            "epoch": progress.epoch + 1,
            "learning_rate": self.schedule.learning_rate,
            "train_loss": loss / images,
            "train_error": 100 * wrong / images,
            **judged,
            "images_per_s": rate,
            "waiting_share": wait_share,
        }
        is_best = is_best_so_far(judged, progress.best)
        if is_best:
            progress.best = {"epoch": progress.epoch + 1, **judged}
        progress.rows.append(row)
        notes = len(self.schedule.log)
        going = self.schedule.after_epoch(progress.epoch + 1, judged["error"])
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.finished = not going
        self._sums.zero_()
        if self.world.is_first:
            self._write_epoch(is_best)
        self._save()
        say(describe_epoch(row, judged, self.recipe.epochs, is_best=is_best))
        for note in self.schedule.log[notes:]:
            say(f"  {note}")
        if (report := self.settings.after_epoch) and self.world.is_first:
            report(self.run.path, progress, self.recipe.epochs)
        return going

    def _write_epoch(self, is_best: bool) -> None:
        self.model.description = replace(self.model.description, epochs_seen=self._draws)
        write_results(self.run, self.model, self.progress.rows, is_best=is_best)

    def _save_at_failure(self) -> None:
        """Save the state where images cannot be read between two steps; the weights are whole then.

        Not with several ranks, which can only save together.
        """
        if self.world.size == 1:
            with suppress(OSError, Diverged):  # the failure itself is what the user needs to see
                self._save()
                place = f"epoch {self.progress.epoch + 1}, {self.progress.step} of {self.steps_per_epoch} batches"
                warn(f"the state is saved: {place}")

    def _save(self) -> None:
        """Write the state; all ranks call, since the sums of the epoch lie on all of them."""
        self._check()
        if name := not_finite(self.model.state_dict()):
            raise self._diverged(f"{name} is no longer finite")
        self._activity = "saving"
        progress = self.progress
        sums = self.world.total([float(value) for value in self._sums])
        progress.epoch_loss, progress.epoch_wrong, progress.epoch_images = sums
        progress.wall_s = time.monotonic() - self._started
        progress.schedule = self.schedule.state()
        if self.world.is_first:
            write_state(self.run.state, self.model, self.optimizer, progress)
        self._saved = time.monotonic()
        self.world.wait()


def slice_of(rows: np.ndarray) -> slice:
    """Return consecutive row numbers as a slice, so that indexing copies nothing."""
    return slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
