"""Train a classifier (Sect. 3.1): its task for the loop, and its error on val at the end."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from vggnet.console import note, say
from vggnet.data.splits import Split
from vggnet.errors import UserError
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.metrics import Count, Errors, count_errors
from vggnet.evaluation.scoring import Scores, score
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View
from vggnet.images.loading import CropLoader
from vggnet.network.vgg import VGG
from vggnet.network.weights import read_description
from vggnet.options.training import TrainOptions
from vggnet.training.distributed import join_world
from vggnet.training.epoch_results import AfterEpoch, AfterStep
from vggnet.training.lost_images import HELD_OUT, TRAIN, VAL
from vggnet.training.plan import TrainPlan, plan_training
from vggnet.training.prepare_run import prepare_run
from vggnet.training.session import Session, start_session
from vggnet.training.start_net import build_model
from vggnet.training.stopping import unless_stopped
from vggnet.training.tasks import Inputs

CHANCE_LOSS, CHANCE_ERROR = 0.995, 0.9  # of a guess's: a net that has begun to learn is below in one of them


@dataclass
class ClassificationTask:
    """Multinomial logistic regression (Sect. 3.1) on the training images, judged by the centre crop of others."""

    session: Session
    loader: CropLoader

    @property
    def images(self) -> int:
        return len(self.session.pictures.train)

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        for batch, images in self.session.inputs(self.loader.batches(epoch, batches), self.images):
            labels, indices = (each.to(images.device, non_blocking=True) for each in (batch.labels, batch.indices))
            yield Inputs(images, labels, indices)

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return F.cross_entropy(outputs, targets, reduction="none"), outputs.argmax(1) != targets

    def judge(self, model: VGG) -> dict[str, float]:
        self.session.lost.report(TRAIN, self.images)
        views = [View("center", self.session.recipe.judged_scale)]
        counts = self.errors(model, self.session.pictures.judge, views, HELD_OUT)
        (count, loss) = next(iter(counts.values()))
        if _is_chance(count.top1, loss, model.architecture.outputs):
            note(_advice(self.session))
        return {"error": 100 * count.top1.rate, "loss": loss}

    def errors(
        self, model: VGG, split: Split, views: list[View], part: str, keep: Callable[[Scores], None] | None = None
    ) -> dict[View, tuple[Errors, float]]:
        """Return wrong answers and mean loss by view, over all ranks, every image counted once.

        `keep` is called with this rank's posteriors. UserError where too many images of the split (called `part`)
        cannot be read any more.
        """
        assert split.labels is not None
        session = self.session
        bad_images = session.plan.options.machine.bad_images
        computing = Computing(session.world.device, session.settings.precision, session.plan.workers, bad_images)
        own_images = session.world.share(np.arange(len(split)))
        scores = unless_stopped(session.world, lambda: score(model, split, views, computing, indices=own_images))
        session.lost.add(part, scores.bad, len(split))
        session.lost.report(part, len(split))
        if keep is not None:
            keep(scores)
        counts = {}
        for view, posteriors in scores.values.items():
            labels = split.labels[scores.indices]
            own = count_errors(posteriors, labels)
            right = posteriors[np.arange(len(labels)), labels]
            loss = float(-np.log(np.maximum(right, 1e-12)).sum())
            top5_wrong = own.top5.wrong if own.top5 else 0
            sums = session.world.total([own.top1.images, own.top1.wrong, top5_wrong, loss])
            images, top1_wrong, top5_wrong = (round(value) for value in sums[:3])
            top5 = Count(top5_wrong, images) if own.top5 else None
            counts[view] = (Errors(Count(top1_wrong, images), top5), sums[3] / max(images, 1))
        return counts


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Attributes:
        run: The run folder.
        errors: The errors on val by view, "center" and "dense": `errors["dense"].top1.rate` is a part of 1. Empty
            without labelled val images.
        epochs: The number of epochs trained.
        wall_s: The time that the training took, in seconds.
    """

    run: Path
    errors: dict[str, Errors]
    epochs: int
    wall_s: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; errors are in percent."""
        val = {kind: errors.to_dict() for kind, errors in self.errors.items()}
        return {"run": str(self.run), "epochs": self.epochs, "wall_s": round(self.wall_s, 1), "val": val}


def train_classifier(
    options: TrainOptions, after_epoch: AfterEpoch | None = None, after_step: AfterStep | None = None
) -> TrainResult:
    """Train a classifier (`vggnet train`), from options to a finished run. Raises UserError."""
    with join_world(options.machine.device) as world:
        plan = plan_training(options, world)
        world.from_first(partial(_check_classes, plan))
        with prepare_run(plan, world) as prepared:
            model = build_model(plan, prepared.pictures, prepared.started if prepared.resuming else None)
            session = start_session(prepared, model, after_epoch, after_step)
            with session.loader(session.pictures.train) as loader:
                task = ClassificationTask(session, loader)
                preprocessing = dataclasses.asdict(model.description.preprocessing)
                progress = session.train(task, {"preprocessing": preprocessing})
                return TrainResult(session.run.path, _report(task), progress.epoch, progress.wall_s)


def _check_classes(plan: TrainPlan[TrainOptions]) -> None:
    """Raise UserError where the data have one class only."""
    if len(plan.data.classes) == 1:
        raise UserError(
            f"{plan.options.data}: one class only, {plan.data.classes[0]!r}: there is nothing to tell it from. Give "
            "the folder that holds a folder for each class"
        )


def _is_chance(wrong: Count, loss: float, classes: int) -> bool:
    """Whether answers are no better than a guess. The loss alone does not tell: that of an overfit net grows, too."""
    return loss > CHANCE_LOSS * math.log(classes) and wrong.rate > CHANCE_ERROR * (1 - 1 / classes)


def _advice(session: Session) -> str:
    """Return advice for a net that has not begun to learn."""
    options, architecture = session.plan.options, session.model.architecture
    return (
        f"the net is no better than chance so far (held-out loss ln {architecture.outputs} or above). If this lasts, "
        f"`vggnet diagnose {options.data} --net {architecture.net} --crop {architecture.crop_px} "
        f"--width {architecture.width:g} --init {options.init}` shows the signal of each layer; "
        "`init` glorot, or `init_from` a shallower net, lets deep nets start"
    )


def _store(session: Session, val: Split, scores: Scores) -> None:
    """Store the first rank's posteriors, so that `evaluate` and reports need no second forward pass."""
    if not session.world.is_first:
        return
    computing = Computing(session.world.device, session.settings.precision)
    store = Store.of(session.run.path, read_description(session.run.path), val, computing)
    with suppress(UserError):  # an image was replaced meanwhile: `evaluate` computes its posteriors anew
        for view, posteriors in scores.values.items():
            store.add(view, scores.indices, posteriors)


def _report(task: ClassificationTask) -> dict[str, Errors]:
    """Print the best epoch's error on val with its protocol, write it into the run, and return it by view."""
    session = task.session
    val, scale = session.pictures.val, session.recipe.judged_scale
    if val is None or val.labels is None:
        say("no labelled val images: nothing to report an error on")
        return {}
    mirror = session.model.description.policy.mirror
    views = [View("center", scale), View("dense", scale, mirror)]
    counts = task.errors(session.best(), val, views, VAL, partial(_store, session, val))
    said = {str(view.kind): count for view, (count, _) in counts.items()}
    for kind, count in said.items():
        how = {"center": "centre crop", "dense": f"dense {'with' if mirror else 'without'} mirror"}[kind]
        say(f"val top-1 error, {how}, Q={scale}: {count.top1.describe()}")
    if session.world.is_first:
        session.run.write_report(
            {
                str(view.kind): {"scale": scale, "mirror": view.mirror, **dataclasses.asdict(count)}
                for view, (count, _) in counts.items()
            }
        )
    return said
