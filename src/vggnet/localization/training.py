"""`vggnet localize train`: a classification net becomes one that draws boxes (App. A).

The loop is the classifier's; what differs is the task: crops with the box that they see, a Euclidean loss, and test 1
on the held-out images, which moves the schedule. Preprocessing, crop, width and scale come from the net that it starts
from, since its weights expect them.
"""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vggnet.console import say
from vggnet.data.ilsvrc import find_base
from vggnet.data.learnt import Learnt
from vggnet.description import ModelDescription
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.metrics import Count
from vggnet.hardware import training_workers
from vggnet.images.loading import CropLoader
from vggnet.localization.baselines import baselines
from vggnet.localization.boxes import Windows
from vggnet.localization.judging import center_test
from vggnet.localization.objects import Objects, objects_of, open_localizable
from vggnet.localization.regression import draw_boxes, outputs_of, regression_losses, targets_of
from vggnet.network.initialization import initialize
from vggnet.network.staging import explain, stage_from
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import load_model, read_description
from vggnet.options.flat import changed
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.paper.configurations import Architecture
from vggnet.paper.recipes import FIXED_SCALE_PX, scaled_px
from vggnet.training.agreement import continued, settle_together
from vggnet.training.continuing import as_started, check_as_started
from vggnet.training.distributed import join_world
from vggnet.training.loop import Inputs
from vggnet.training.lost_images import HELD_OUT, TRAIN, VAL
from vggnet.training.plan import default_run, mirror_of, policy_of, reading_of, recipe_of
from vggnet.training.prepare_images import AsStarted, Pictures, prepare_pictures
from vggnet.training.runs import RunFolder
from vggnet.training.session import Session, open_session

SOURCE = "source"  # in config.json: the description of the net that the run started from


@dataclass
class LocalizationTask:
    """Box regression on `train`, judged by test 1 on `judged`."""

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
            boxes = draw_boxes(self.train, self.session.options.seed, epoch, indices)
            targets = torch.from_numpy(targets_of(boxes, batch.labels.numpy(), windows))
            targets, numbers = (each.to(images.device, non_blocking=True) for each in (targets, batch.indices))
            yield Inputs(images, targets, numbers)

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return regression_losses(outputs, targets, self.description.boxes)

    def judge(self, model: VGG) -> dict[str, float]:
        self.session.lost.report(TRAIN, self.images)
        error, loss, overlap = self.test(model, self.judged, HELD_OUT)
        return {"error": 100 * error.rate, "loss": loss, "iou": overlap}

    def test(self, model: VGG, objects: Objects, part: str) -> tuple[Count, float, float]:
        """Test 1 over all ranks: wrong images, mean loss, mean overlap.

        UserError where too many of the images (called `part`) cannot be read any more.
        """
        world, scale = self.session.world, self.session.recipe.judged_scale
        share = world.share(np.arange(len(objects)))
        result = center_test(model, objects, objects.labels, scale, self.computing, share)
        lost = np.setdiff1d(share, result.indices).tolist()
        bad = [BadImage(objects.split.path(index), "it cannot be read") for index in lost]
        self.session.lost.add(part, bad, len(objects))
        self.session.lost.report(part, len(objects))
        sums = [len(result.indices), result.wrong.sum(), result.losses.sum(), result.overlaps.sum()]
        images, wrong, loss, overlap = world.total([float(value) for value in sums])
        return Count(round(wrong), round(images)), loss / max(images, 1), overlap / max(images, 1)


@dataclass(frozen=True)
class LocalizeResult:
    """A finished training: its run, and test 1 on val (None without val boxes) beside boxes that need no learning."""

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


def train_localizer(options: LocalizeTrainOptions) -> LocalizeResult:
    """From options to a finished run. Raises UserError."""
    with join_world(options.machine.device) as world:
        options, source = settle_together(options, world, _settled, workers=training_workers())
        with open_session(options, world, _prepare, partial(_build, source)) as session:
            return _train(session, options, source)


def _settled(options: LocalizeTrainOptions) -> tuple[LocalizeTrainOptions, ModelDescription]:
    """The options with nothing left open, and the net to start from."""
    if (out := options.out) is not None:
        options = continued(options, out)
        if options.resume:
            options = as_started(options, out)
    source = _source(options)
    options = _resolve(options, source)
    assert options.out is not None
    options = continued(options, options.out)
    check_as_started(options)
    _architecture(options, source, 4)  # a net that does not exist is known before anything is read
    return options, source


def _source(options: LocalizeTrainOptions) -> ModelDescription:
    """The net to start from; a run that goes on knows it already, and does not need its file any more."""
    config = RunFolder(options.out).config if options.resume and options.out is not None else None
    if config is not None and SOURCE in config:
        return ModelDescription.from_json(json.dumps(config[SOURCE]), str(options.out))
    return read_description(options.init_from)


def _resolve(options: LocalizeTrainOptions, source: ModelDescription) -> LocalizeTrainOptions:
    net = options.net or source.architecture.net
    given = source.architecture.crop_px
    crop = options.crop or given
    scale = options.train_scale or tuple(round(px * crop / given) for px in source.train_scale)
    scale = scale or (scaled_px(FIXED_SCALE_PX, crop),)
    out = options.out or default_run(options.data, f"{net}-{options.boxes}")
    reading = reading_of(options, out, source.policy, "ignore" if _is_ilsvrc(options) else "apply")
    return changed(
        options,
        net=net,
        crop=crop,
        train_scale=tuple(scale),
        mirror=mirror_of(options, out, source.policy),
        out=out,
        orientation=reading.orientation,
        pixel_range=reading.pixel_range,
        workers=training_workers(options.machine.workers),
    )


def _is_ilsvrc(options: LocalizeTrainOptions) -> bool:
    """Whether the boxes are those of the ILSVRC download, which refer to the pixels as they are stored."""
    folder = Path(options.data).expanduser()
    return options.annotations is None and folder.is_dir() and find_base(folder) is not None


def _prepare(options: LocalizeTrainOptions, learnt: Learnt | None, started: AsStarted | None) -> Pictures:
    opened = open_localizable(options.data, options.annotations, options.val_annotations)
    if opened.train is None:
        raise UserError(f"{options.data}: no training image has a box")
    return prepare_pictures(
        options.data,
        holdout=options.holdout,
        bad_images=options.machine.bad_images,
        workers=options.machine.workers or 0,
        reading=policy_of(options).reading,
        opened=opened,
        learnt_before=learnt,
        started=started,
    )


def _build(
    source: ModelDescription, options: LocalizeTrainOptions, pictures: Pictures, resumed: RunFolder | None
) -> VGG:
    """The box net with its starting weights; prints which layer came from where."""
    classes = pictures.data.classes
    description = ModelDescription(
        architecture=_architecture(options, source, outputs_of(options.boxes, len(classes))),
        preprocessing=source.preprocessing,
        classes=classes,
        class_titles=pictures.data.titles,
        train_scale=options.train_scale,
        recipe=dataclasses.asdict(recipe_of(options)) | {"layers": options.layers},
        boxes=options.boxes,
        policy=policy_of(options),
        epochs_seen=source.epochs_seen,
        feature_scale=source.feature_scale,
    )
    model = on_meta(description).to_empty(device="cpu")
    initialize(model, options.init, seed=options.seed)
    if resumed is None:
        given = load_model(options.init_from)
        transfers = stage_from(model, given.state_dict(), given.description, new_head=True)
        say("weights:")
        for line in explain(transfers):
            say(f"  {line}")
    if options.layers == "fc":
        model.freeze_before("fc6")
    return model


def _architecture(options: LocalizeTrainOptions, source: ModelDescription, outputs: int) -> Architecture:
    assert options.net is not None
    assert options.crop is not None
    changes = {"net": options.net, "outputs": outputs, "crop_px": options.crop, "dropout": options.dropout}
    return dataclasses.replace(source.architecture, **changes)  # type: ignore[arg-type]


def _train(session: Session, options: LocalizeTrainOptions, source: ModelDescription) -> LocalizeResult:
    pictures, workers = session.pictures, session.workers
    lost = {error.path for _, error in pictures.lost}
    train, judged = (
        objects_of(split, bad_boxes=options.bad_boxes, workers=workers, name=name, unreadable=lost)
        for split, name in ((pictures.train, "train"), (pictures.judge, "held out"))
    )
    computing = Computing(session.world.device, session.settings.precision, workers, options.machine.bad_images)
    learnt = "all layers" if options.layers == "all" else "the fully connected layers"
    outputs = session.model.architecture.outputs
    with session.loader(train.split) as loader:
        task = LocalizationTask(session, loader, train, judged, computing)
        session.train(
            task,
            {SOURCE: json.loads(source.to_json())},
            f"boxes     {options.boxes}: {outputs} outputs; {learnt} are fine-tuned",
        )
        return _report(task, options)


def _report(task: LocalizationTask, options: LocalizeTrainOptions) -> LocalizeResult:
    """Test 1 of the best epoch on val, beside the boxes that need no learning; said, and written into the run."""
    session = task.session
    run, scale = session.run, session.recipe.judged_scale
    if session.pictures.val is None:
        say("no val images with boxes: nothing to report an error on")
        return LocalizeResult(run.path, None, float("nan"), {})
    val = objects_of(session.pictures.val, bad_boxes=options.bad_boxes, workers=session.workers, name="val")
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
