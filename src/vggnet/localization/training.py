"""Train a net that predicts boxes, from a classification net (App. A): `vggnet localize train`.

The training loop is that of classification. The task differs: crops with the boxes that they see, a loss of
coordinates, and test 1 on the held-out images, which moves the schedule.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vggnet.console import say
from vggnet.description import ModelDescription
from vggnet.errors import BadImage
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.metrics import Count
from vggnet.images.loading import CropLoader
from vggnet.localization.baselines import baselines
from vggnet.localization.boxes import Windows
from vggnet.localization.judging import center_test
from vggnet.localization.objects import Objects, objects_of
from vggnet.localization.plan import SOURCE, LocalizePlan, plan_localizer
from vggnet.localization.regression import draw_boxes, regression_losses, targets_of
from vggnet.network.initialization import initialize
from vggnet.network.staging import explain, stage_from
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import load_model
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.training.distributed import join_world
from vggnet.training.epoch_results import AfterEpoch, AfterStep
from vggnet.training.lost_images import HELD_OUT, TRAIN, VAL
from vggnet.training.prepare_run import prepare_run
from vggnet.training.session import Session, start_session
from vggnet.training.stopping import unless_stopped
from vggnet.training.tasks import Inputs


@dataclass
class LocalizationTask:
    """Box regression on `train`; test 1 on `judged` moves the schedule."""

    session: Session
    loader: CropLoader
    train: Objects
    judged: Objects
    computing: Computing

    @property
    def images(self) -> int:
        return len(self.train)

    @property
    def description(self) -> ModelDescription:
        return self.session.model.description

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        crop = self.description.architecture.crop_px
        for batch, images in self.session.inputs(self.loader.batches(epoch, batches), self.images):
            indices = batch.indices.numpy()
            windows = Windows.of_views(self.train.sizes[indices], batch.views.numpy(), crop)
            boxes = draw_boxes(self.train, self.session.plan.options.seed, epoch, indices)
            targets = torch.from_numpy(targets_of(boxes, batch.labels.numpy(), windows))
            targets, numbers = (each.to(images.device, non_blocking=True) for each in (targets, batch.indices))
            yield Inputs(images, targets, numbers)

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return regression_losses(outputs, targets, self.description.boxes, self.session.plan.options.loss)

    def judge(self, model: VGG) -> dict[str, float]:
        self.session.lost.report(TRAIN, self.images)
        error, loss, overlap = self.test(model, self.judged, HELD_OUT)
        return {"error": 100 * error.rate, "loss": loss, "iou": overlap}

    def test(self, model: VGG, objects: Objects, part: str) -> tuple[Count, float, float]:
        """Run test 1 on all ranks. Return the wrong images, the mean loss and the mean overlap.

        Raises UserError where too many of the images, which messages call `part`, can no longer be read.
        """
        world, scale = self.session.world, self.session.recipe.judged_scale
        share = world.share(np.arange(len(objects)))
        result = unless_stopped(
            world, lambda: center_test(model, objects, objects.labels, scale, self.computing, share)
        )
        lost = np.setdiff1d(share, result.indices).tolist()
        bad = [BadImage(objects.split.path(index), "it cannot be read") for index in lost]
        self.session.lost.add(part, bad, len(objects))
        self.session.lost.report(part, len(objects))
        sums = [len(result.indices), result.wrong.sum(), result.losses.sum(), result.overlaps.sum()]
        images, wrong, loss, overlap = world.total([float(value) for value in sums])
        return Count(round(wrong), round(images)), loss / max(images, 1), overlap / max(images, 1)


@dataclass(frozen=True)
class LocalizeResult:
    """A finished training: the run, its error in test 1 on val (None without val boxes), and those of the baselines."""

    run: Path
    error: Count | None
    mean_iou: float
    baselines: dict[str, Count]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; errors are in percent, and None without val boxes."""
        return {
            "run": str(self.run),
            "test1": self.error.to_dict() if self.error is not None else None,
            "mean_iou": self.mean_iou if self.error is not None else None,
            "baselines": {name: count.to_dict() for name, count in self.baselines.items()},
        }


def train_localizer(
    options: LocalizeTrainOptions, after_epoch: AfterEpoch | None = None, after_step: AfterStep | None = None
) -> LocalizeResult:
    """Train a box net, or continue its training, to the end. Raises UserError."""
    with join_world(options.machine.device) as world:
        plan = plan_localizer(options, world)
        with prepare_run(plan, world) as prepared:
            model = build_box_net(plan, resumed=prepared.resuming)
            return _train(start_session(prepared, model, after_epoch, after_step), plan)


def build_box_net(plan: LocalizePlan, *, resumed: bool) -> VGG:
    """Return the box net with its starting weights, on the CPU; print which layer came from where.

    A `resumed` net will be filled with a saved state: it takes no weights from the source, whose file may be gone.
    """
    options, source = plan.options, plan.source
    description = ModelDescription(
        architecture=plan.architecture,
        preprocessing=source.preprocessing,
        classes=plan.data.classes,
        class_titles=plan.data.titles,
        train_scale=plan.recipe.train_scale,
        recipe=dataclasses.asdict(plan.recipe) | {"layers": options.layers, "loss": options.loss},
        boxes=options.boxes,
        policy=plan.policy,
        epochs_seen=source.epochs_seen,
        feature_scale=source.feature_scale,
    )
    model = on_meta(description).to_empty(device="cpu")
    initialize(model, options.init, seed=options.seed)
    if not resumed:
        given = load_model(options.init_from)
        transfers = stage_from(model, given.state_dict(), given.description, new_head=True)
        say("weights:")
        for line in explain(transfers):
            say(f"  {line}")
    if options.layers == "fc":
        model.freeze_before("fc6")
    return model


def _train(session: Session, plan: LocalizePlan) -> LocalizeResult:
    options, pictures = plan.options, session.pictures
    lost = {error.path for _, error in pictures.lost}
    train, judged = (
        objects_of(split, bad_boxes=options.bad_boxes, workers=plan.workers, name=name, unreadable=lost)
        for split, name in ((pictures.train, "train"), (pictures.judge, "held out"))
    )
    computing = Computing(session.world.device, session.settings.precision, plan.workers, options.machine.bad_images)
    learnt = "all layers" if options.layers == "all" else "the fully connected layers"
    boxes = f"boxes     {options.boxes}: {plan.architecture.outputs} outputs; {learnt} are fine-tuned; {_loss(options)}"
    with session.loader(train.split) as loader:
        task = LocalizationTask(session, loader, train, judged, computing)
        session.train(task, {SOURCE: plan.source.to_dict()}, boxes)
        return _report(task, options)


def _loss(options: LocalizeTrainOptions) -> str:
    return "Euclidean loss" if options.loss == "euclidean" else f"loss {options.loss}, which is not the paper's"


def _report(task: LocalizationTask, options: LocalizeTrainOptions) -> LocalizeResult:
    """Run test 1 on val with the weights of the best epoch; print the result and the baselines, and write val.json."""
    session = task.session
    run, scale = session.run, session.recipe.judged_scale
    if session.pictures.val is None:
        say("no val images with boxes: nothing to report an error on")
        return LocalizeResult(run.path, None, float("nan"), {})
    val = objects_of(session.pictures.val, bad_boxes=options.bad_boxes, workers=session.plan.workers, name="val")
    error, _, overlap = task.test(session.best(), val, VAL)
    readable = task.train.subset(np.flatnonzero(task.train.sizes.all(1)))
    free = baselines(readable, val, len(task.description.classes))
    say(f"val error of test 1 (true class, centre crop, Q={scale}): {error.describe()}")
    say(f"  mean overlap {overlap:.3f}; boxes that need no learning:")
    for name, count in free.items():
        say(f"  {100 * count.rate:5.1f} %  {name}")
    if session.world.is_first:
        run.write_report(
            {
                "scale": scale,
                "test1": dataclasses.asdict(error),
                "mean_iou": overlap,
                "baselines": {name: dataclasses.asdict(count) for name, count in free.items()},
            }
        )
    return LocalizeResult(run.path, error, overlap, free)
