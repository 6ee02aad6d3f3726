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
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from vggnet.backends.dropout import image_keys
from vggnet.backends.form import Form
from vggnet.console import progress as show_progress
from vggnet.console import say, warn
from vggnet.errors import Diverged
from vggnet.hardware import keep_freed_memory
from vggnet.images.augmentation import epoch_order
from vggnet.network.vgg import VGG
from vggnet.paper.recipes import Recipe
from vggnet.training.checkpoints import TrainingProgress, share_state
from vggnet.training.distributed import Votes, World
from vggnet.training.divergence import Watch, diverged, not_finite
from vggnet.training.epoch_results import describe_epoch, is_best_so_far
from vggnet.training.gradients import Gradients
from vggnet.training.optimization import Plateau, build_optimizer
from vggnet.training.replay import Place, write_replay
from vggnet.training.runs import RunFolder
from vggnet.training.saving import Saver
from vggnet.training.stopping import Interrupted, StopRequested, StopRequests, stop_requests
from vggnet.training.tasks import Inputs, LoopSettings, Task
from vggnet.training.watching import watch

MOST_LOWERED = 3  # times that --on-divergence lower-rate divides the rate
TOLD_EVERY_S = 0.5  # how often progress is shown and the loss is looked at


class Loop:
    """Trains `model` by `recipe` on `task` into `run`; `run_to_end` starts or continues it."""

    def __init__(
        self, model: VGG, recipe: Recipe, task: Task, run: RunFolder, world: World, settings: LoopSettings
    ) -> None:
        self.model, self.recipe, self.task, self.run = model, recipe, task, run
        self.world, self.settings = world, settings
        self.optimizer = build_optimizer(model, recipe, model.description.feature_scale)
        self._watch = Watch(self.optimizer, world)
        self._counted_from = 0  # the step that the watch has counted from, over all epochs
        self.image_name: Callable[[int], str] | None = None  # for the replay of a batch; set by the session
        self.schedule = Plateau(recipe)
        self.progress = TrainingProgress()
        self._saver = Saver(run, keep=settings.keep)
        self._judging_s = 0.0  # how long it took the last time
        self._activity = "starting"
        self.batch = min(recipe.batch, task.images)
        self.steps_per_epoch = math.ceil(task.images / self.batch)
        if world.device.type == "cpu":
            keep_freed_memory()
        elif world.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # a training has two shapes of batches at most: timing them pays
        self._gradients = Gradients(model, task, run, world, settings, self.batch)
        self._sums = self._gradients.sums  # of this epoch

    @property
    def form(self) -> Form:
        """What a step runs."""
        return self._gradients.form

    def restore(self) -> bool:
        """Continue from the run folder's state, if it holds one: the first rank reads it, and the others receive it."""
        progress = self.world.from_first(lambda: self.run.progress)
        if progress is None:
            return False
        self.progress = progress
        if progress.finished:
            return True
        share_state(self._state_file, self.model, self.optimizer, self.world)
        if name := not_finite(self.model.state_dict()):
            raise self._diverged(f"{name} is not finite in the saved state")
        self.schedule.restore(progress.schedule)
        if self.world.is_first:  # the sums over all ranks go on at the first
            sums = [progress.epoch_loss, progress.epoch_wrong, progress.epoch_images]
            self._sums.copy_(torch.tensor(sums, dtype=torch.float64))
        return True

    def _state_file(self) -> Path:
        save = self.run.save
        assert save is not None
        return save.state

    @property
    def _draws(self) -> int:
        """The number of this epoch that its draws follow from, counted on from the trainings before this one."""
        return self.settings.epochs_before + self.progress.epoch

    def run_to_end(self) -> TrainingProgress:
        """Train until the schedule ends. On Ctrl-C or SIGTERM the state is saved and `Interrupted` raised."""
        self._started = time.monotonic() - self.progress.wall_s
        self._saved = time.monotonic()
        going = not self.progress.finished
        with self._saver, stop_requests(alone=self.world.size == 1) as stop, watch(self.world, self._place):
            if self.settings.on_divergence == "lower-rate" and self.world.from_first(lambda: self.run.save is None):
                self._save()  # to go back to
            self._count_steps()
            while going:
                try:
                    wait_share, rate = self._run_epoch(stop)
                    going = self._end_epoch(wait_share, rate, stop)
                except Diverged as error:
                    self._go_back(error)
        return self.progress

    def _count_steps(self) -> None:
        """Let the watch count from here."""
        self._watch.restart()
        self._counted_from = self.progress.epoch * self.steps_per_epoch + self.progress.step

    def _go_back(self, error: Diverged) -> None:
        """Go back to the last save, with a lower rate. Raise the error where that was not asked for, or done before."""
        lowered = self.schedule.lowered + 1
        if self.settings.on_divergence == "stop" or lowered > MOST_LOWERED:
            raise error
        self._saver.wait()
        self.optimizer.state.clear()
        self._sums.zero_()
        self.restore()
        self.schedule.lowered = lowered
        self._count_steps()
        place = f"epoch {self.progress.epoch + 1}, after {self.progress.step} of {self.steps_per_epoch} batches"
        say(f"{error.what.partition(';')[0]}: back to {place}; learning rate now {self.schedule.learning_rate:.3g}")
        self._save()

    def _place(self) -> str:
        """Where this rank is, for the others."""
        return f"epoch {self.progress.epoch + 1}, batch {self.progress.step}, {self._activity}"

    def _run_epoch(self, stop: StopRequests) -> tuple[float, float]:
        """Run the rest of the epoch. Return the share of time spent waiting for images, and images/s."""
        epoch, first_step = self.progress.epoch, self.progress.step
        order = epoch_order(self.settings.seed, self._draws, self.task.images)
        batches = [order[i * self.batch : (i + 1) * self.batch] for i in range(self.steps_per_epoch)]
        inputs = self.task.batches(self._draws, [self.world.share(batch) for batch in batches[first_step:]])
        self._gradients.trained.train()
        votes = Votes(self.world, 2)
        begin = time.monotonic()
        told, waited, images = begin, 0.0, 0
        if self._gradients.exchange is not None:
            self._gradients.exchange.restart()
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
                    tick(step + 1, self.steps_per_epoch, self._line(images, waited, now - begin))
                save_due = self.world.is_first and now - self._saved >= self.settings.save_every_s
                stopping, saving = votes([bool(stop), save_due], last=last)
                if stopping or saving:
                    self._save()
                if stopping:
                    raise self._interrupted(stop)
                if self.settings.after_step:
                    self.settings.after_step(self.progress)
        elapsed = max(time.monotonic() - begin, 1e-9)
        return waited / elapsed, images / elapsed

    def _check(self) -> None:
        """Raise Diverged where a loss or a gradient was not finite; the weights are then the last finite ones."""
        if self._watch.has_diverged():
            replay = self._write_replay() if self.world.is_first else None
            raise self._diverged("the loss or its gradient is no longer finite", replay)

    def _diverged(self, what: str, replay: Path | None = None) -> Diverged:
        return diverged(what, self.progress, self.run.path, self.schedule.learning_rate, replay)

    def _write_replay(self) -> Path | None:
        """Write down the batch whose loss or gradient was not finite, and the weights before it."""
        epoch, step = divmod(self._counted_from + self._watch.good_steps(), self.steps_per_epoch)
        draws = self.settings.epochs_before + epoch
        batch = epoch_order(self.settings.seed, draws, self.task.images)[step * self.batch : (step + 1) * self.batch]
        place = Place(epoch, step, draws, self.settings.seed, self.schedule.learning_rate, self.settings.precision)
        with suppress(OSError):  # a full disk must not hide the error itself
            return write_replay(self.run.path, self.model, place, batch, self.image_name)
        return None

    def _next(self, inputs: Iterator[Inputs], stop: StopRequests) -> Inputs:
        """Return the next batch. A process that trains alone can be stopped while it waits for a batch."""
        with self._saved_when_it_ends("reading images", stop):
            return next(inputs)

    @contextmanager
    def _saved_when_it_ends(self, activity: str, stop: StopRequests) -> Iterator[None]:
        """Run the block; save the state if an error or a request to stop ends it.

        With several ranks the block is not interrupted by such a request: all ranks have to end at the same step.
        """
        self._activity = activity
        try:
            with stop.waiting(self.world.size == 1):
                yield
        except StopRequested:
            self._save()
            raise self._interrupted(stop) from None
        except Exception:
            self._save_at_failure()
            raise
        finally:
            self._activity = "computing"

    def _interrupted(self, stop: StopRequests) -> Interrupted:
        """Return the exception of a training that was asked to stop, once its state is on the disk. All ranks call."""
        self._saver.wait()
        (terminated,) = self.world.total([float(stop.terminated)])  # waits for the first rank, which has written
        return Interrupted(terminated=terminated > 0)

    def _line(self, done: int, waited_s: float, elapsed_s: float) -> str:
        """Return the text of the progress line, after `done` images of this call."""
        self._check()
        loss, wrong, images = (float(value) for value in self._sums)
        mean_loss, error = loss / max(images, 1), 100 * wrong / max(images, 1)
        rate_text = f"lr {self.schedule.learning_rate:.3g}, {done / elapsed_s:.1f} images/s"
        rate_text += f", waiting {waited_s / elapsed_s:.0%}"
        if self._gradients.exchange is not None:
            rate_text += f", exchange {self._gradients.exchange.waited_s() / elapsed_s:.0%}"
        return f"loss {mean_loss:.3f}, error {error:.1f} %, {rate_text}"

    def _step(self, inputs: Inputs, step: int) -> None:
        """Update the weights once, with the gradient of the whole global batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate * group["rate_factor"]
        self.optimizer.zero_grad(set_to_none=True)
        keys = image_keys(self.settings.seed, self._draws, step, inputs.indices)
        self._gradients.add(inputs, keys)
        self._watch.look(self._sums[0])
        self.optimizer.step()

    def _judge(self, stop: StopRequests) -> dict[str, float]:
        """Return the task's figures. The training can be stopped meanwhile; resumed, it judges again."""
        begin = time.monotonic()
        late = begin - self._saved + self._judging_s >= self.settings.save_every_s
        if any(self.world.total([float(late and self.world.is_first)])):
            self._save()
        try:
            with self._saved_when_it_ends("judging", stop):
                return self.task.judge(self.model)
        finally:
            self._judging_s = time.monotonic() - begin

    def _end_epoch(self, wait_share: float, rate: float, stop: StopRequests) -> bool:
        """Judge, write weights and metrics, move the schedule. Return whether training goes on."""
        progress = self.progress
        loss, wrong, images = self.world.total([float(value) for value in self._sums])
        if not math.isfinite(loss):
            raise self._diverged("the loss is no longer finite")
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
        notes, seen = len(self.schedule.log), self._draws + 1
        going = self.schedule.after_epoch(progress.epoch + 1, judged["error"])
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.finished = not going
        self._sums.zero_()
        self._save(epochs_seen=seen, is_best=is_best)
        say(describe_epoch(row, judged, self.recipe.epochs, is_best=is_best))
        for note in self.schedule.log[notes:]:
            say(f"  {note}")
        if (report := self.settings.after_epoch) and self.world.is_first:
            self._saver.wait()  # it reads what is saved
            report(self.run.path, progress, self.recipe.epochs)
        return going

    def _save_at_failure(self) -> None:
        """Save the state where images cannot be read between two steps; the weights are whole then.

        Not with several ranks, which can only save together.
        """
        if self.world.size == 1:
            with suppress(OSError, Diverged):  # the failure itself is what the user needs to see
                self._save()
                self._saver.wait()
                place = f"epoch {self.progress.epoch + 1}, {self.progress.step} of {self.steps_per_epoch} batches"
                warn(f"the state is saved: {place}")

    def _save(self, *, epochs_seen: int | None = None, is_best: bool = False) -> None:
        """Begin to save; all ranks call, since the sums of the epoch lie on all of them. Arguments: as `Saver.save`."""
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
            self._saver.save(self.model, self.optimizer, progress, epochs_seen=epochs_seen, is_best=is_best)
        self._saved = time.monotonic()
