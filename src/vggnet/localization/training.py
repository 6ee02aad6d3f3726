"""`vggnet localize train`: a classification net becomes one that draws boxes (App. A).

The loop is the classifier's; what differs is the task: crops with the box that they see, a Euclidean loss, and test 1
on the held-out images, which moves the schedule. Preprocessing, crop, width and scale come from the net that it starts
from, since its weights expect them.
"""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vggnet.console import say
from vggnet.contract import ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.metrics import Count
from vggnet.files import write_whole
from vggnet.images.augmentation import epoch_order
from vggnet.images.boxes import Windows
from vggnet.images.loading import CropLoader
from vggnet.localization.baselines import baselines
from vggnet.localization.dense import Computing
from vggnet.localization.judging import center_test
from vggnet.localization.objects import Objects, objects_of, open_localizable
from vggnet.localization.regression import draw_boxes, outputs_of, regression_losses, targets_of
from vggnet.network.initialization import initialize
from vggnet.network.staging import explain, stage_from
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import load_model, read_description
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.paper.configurations import Architecture
from vggnet.paper.recipes import FIXED_SCALE_PX, Recipe, scaled_px
from vggnet.pictures import Pictures, prepare_pictures
from vggnet.sessions import (
    choose_decoder,
    in_turn,
    on_device,
    run_loop,
    saved_options,
    settle,
    take_run,
    training_loader,
    use_threads,
    write_start,
)
from vggnet.startup import announce, default_workers
from vggnet.training.distributed import World, join_world
from vggnet.training.loop import Inputs, Loop
from vggnet.training.runs import RunFolder, check_same_options

SOURCE = "source"  # in config.json: the description of the net that the run started from
REPORT = "val.json"


@dataclass
class LocalizationTask:
    """Box regression on `train`, judged by test 1 on `judged`."""

    train: Objects
    judged: Objects
    loader: CropLoader
    description: ModelDescription
    recipe: Recipe
    seed: int
    world: World
    computing: Computing

    @property
    def images(self) -> int:
        return len(self.train)

    def order(self, epoch: int) -> np.ndarray:
        return epoch_order(self.seed, epoch, len(self.train))

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        crop, device = self.description.architecture.crop_px, self.world.device
        read = self.loader.batches(epoch, batches)
        for batch, images in on_device(read, self.description.preprocessing, device, self.computing.skip_bad):
            indices = batch.indices.numpy()
            windows = Windows.of_views(self.train.sizes[indices], batch.views.numpy(), crop)
            boxes = draw_boxes(self.train, self.seed, epoch, indices)
            targets = torch.from_numpy(targets_of(boxes, batch.labels.numpy(), windows))
            yield Inputs(images, targets.to(device))

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return regression_losses(outputs, targets, self.description.boxes)

    def judge(self, model: VGG) -> dict[str, float]:
        error, loss, overlap = self.test(model, self.judged)
        return {"error": 100 * error.rate, "loss": loss, "iou": overlap}

    def test(self, model: VGG, objects: Objects) -> tuple[Count, float, float]:
        """Test 1 over all ranks: wrong images, mean loss, mean overlap."""
        share = self.world.share(np.arange(len(objects)))
        result = center_test(model, objects, objects.labels, self.recipe.judged_scale, self.computing, share)
        sums = [len(result.indices), result.wrong.sum(), result.losses.sum(), result.overlaps.sum()]
        images, wrong, loss, overlap = self.world.total([float(value) for value in sums])
        return Count(round(wrong), round(images)), loss / max(images, 1), overlap / max(images, 1)


@dataclass(frozen=True)
class LocalizeResult:
    """A finished training: its run, and test 1 on val (None without val boxes) beside boxes that need no learning."""

    run: Path
    error: Count | None
    mean_iou: float
    baselines: dict[str, Count]


def train_localizer(options: LocalizeTrainOptions) -> LocalizeResult:
    """From options to a finished run. Raises UserError."""
    with join_world(options.device) as world, ExitStack() as stack:
        source = _source(options)
        options = _resolve(options, source)
        assert options.out is not None
        started = RunFolder(options.out)
        if started.config is not None and options.resume:
            check_same_options(started, saved_options(options))
        recipe = _recipe(options)
        _architecture(options, source, 4)  # a net that does not exist is known before anything is read
        run = take_run(options.out, options.resume, world, stack)
        pictures = in_turn(world, lambda: _prepare(options))
        return _train(options, source, recipe, world, run, pictures)


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
    return dataclasses.replace(
        options,
        net=net,
        crop=crop,
        train_scale=tuple(scale),
        mirror=options.mirror and bool(source.recipe.get("mirror", True)),
        out=options.out or Path("runs") / f"{Path(options.data).name}-{net}-{options.boxes}",
        workers=default_workers() if options.workers is None else options.workers,
    )


def _recipe(options: LocalizeTrainOptions) -> Recipe:
    recipe = Recipe(
        train_scale=options.train_scale,
        epochs=options.epochs,
        batch=options.batch,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        patience=options.patience,
        mirror=options.mirror,
    )
    assert options.crop is not None
    recipe.check_crop(options.crop)
    return recipe


def _prepare(options: LocalizeTrainOptions) -> Pictures:
    opened = open_localizable(options.data, options.annotations, options.val_annotations, options.seed)
    if opened.train is None:
        raise UserError(f"{options.data}: no training image has a box")
    return prepare_pictures(
        options.data,
        holdout=options.holdout,
        seed=options.seed,
        bad_images=options.bad_images,
        workers=options.workers or 0,
        opened=opened,
    )


def describe(
    options: LocalizeTrainOptions, source: ModelDescription, recipe: Recipe, pictures: Pictures
) -> ModelDescription:
    """The box net's contract."""
    classes = pictures.data.classes
    return ModelDescription(
        architecture=_architecture(options, source, outputs_of(options.boxes, len(classes))),
        preprocessing=source.preprocessing,
        classes=classes,
        class_titles=pictures.data.titles,
        train_scale=options.train_scale,
        recipe=dataclasses.asdict(recipe) | {"layers": options.layers},
        boxes=options.boxes,
    )


def _architecture(options: LocalizeTrainOptions, source: ModelDescription, outputs: int) -> Architecture:
    assert options.net is not None
    assert options.crop is not None
    changes = {"net": options.net, "outputs": outputs, "crop_px": options.crop, "dropout": options.dropout}
    return dataclasses.replace(source.architecture, **changes)  # type: ignore[arg-type]


def _build(options: LocalizeTrainOptions, description: ModelDescription, resuming: bool) -> VGG:
    """The net with its starting weights; prints which layer came from where."""
    model = on_meta(description).to_empty(device="cpu")
    initialize(model, options.init, seed=options.seed)
    if not resuming:
        given = load_model(options.init_from)
        transfers = stage_from(model, given.state_dict(), given.description, new_head=True)
        say("weights:")
        for line in explain(transfers):
            say(f"  {line}")
    if options.layers == "fc":
        model.freeze_before("fc6")
    return model


def _train(
    options: LocalizeTrainOptions,
    source: ModelDescription,
    recipe: Recipe,
    world: World,
    run: RunFolder,
    pictures: Pictures,
) -> LocalizeResult:
    resuming = options.resume and run.state.exists()
    use_threads(options.threads, run, world)
    description = describe(options, source, recipe, pictures)
    model = _build(options, description, resuming).to(world.device).to_fast_layout()
    run.check_space(model.architecture.parameters)
    settings = settle(
        model,
        run,
        world,
        seed=options.seed,
        batch=min(recipe.batch, len(pictures.train)),
        micro_batch=options.micro_batch,
        precision=options.precision,
        save_every_s=options.save_every,
    )
    workers = options.workers or 0
    decoder = choose_decoder(options.decoder, pictures.train, run, world, workers)
    train, judged = (
        objects_of(split, bad_boxes=options.bad_boxes, workers=workers, name=name)
        for split, name in ((pictures.train, "train"), (pictures.judge, "held out"))
    )
    computing = Computing(world.device, settings.precision, workers, options.bad_images == "skip")  # type: ignore[arg-type]
    with training_loader(
        train.split,
        pictures.statistics,
        recipe,
        world,
        decoder=decoder,
        crop=description.architecture.crop_px,
        seed=options.seed,
        workers=workers,
    ) as loader:
        task = LocalizationTask(train, judged, loader, description, recipe, options.seed, world, computing)
        loop = Loop(model, recipe, task, run, world, settings)
        if world.is_first and not resuming:  # not before boxes and settings are accepted: what is refused is no run
            write_start(options, run, settings, decoder, source=json.loads(source.to_json()))

        def introduce() -> None:
            announce(model, pictures, world, loop)
            learnt = "all layers" if options.layers == "all" else "the fully connected layers"
            say(f"boxes     {options.boxes}: {description.architecture.outputs} outputs; {learnt} are fine-tuned")

        run_loop(loop, resuming, introduce)
        return _report(task, pictures, run, options)


def _report(
    task: LocalizationTask, pictures: Pictures, run: RunFolder, options: LocalizeTrainOptions
) -> LocalizeResult:
    """Test 1 of the best epoch on val, beside the boxes that need no learning; said, and written into the run."""
    if pictures.val is None:
        say("no val images with boxes: nothing to report an error on")
        return LocalizeResult(run.path, None, float("nan"), {})
    val = objects_of(pictures.val, bad_boxes=options.bad_boxes, workers=task.computing.workers, name="val")
    task.world.wait()
    best = load_model(run.best, device=task.world.device).to_fast_layout()
    error, _, overlap = task.test(best, val)
    free = baselines(task.train, val, len(task.description.classes))
    say(f"val error of test 1 (true class, centre crop, Q={task.recipe.judged_scale}): {error.describe()}")
    say(f"  mean overlap {overlap:.3f}; boxes that need no learning:")
    for name, count in free.items():
        say(f"  {100 * count.rate:5.1f} %  {name}")
    if task.world.is_first:
        content = {
            "scale": task.recipe.judged_scale,
            "test1": dataclasses.asdict(error),
            "mean_iou": overlap,
            "baselines": {name: dataclasses.asdict(count) for name, count in free.items()},
        }
        write_whole(run.path / REPORT, json.dumps(content, indent=2) + "\n")
    return LocalizeResult(run.path, error, overlap, free)
