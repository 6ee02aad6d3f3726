"""From options to a net that can start: what depends on the data is filled in, and said before the first epoch."""

import dataclasses
import os
from pathlib import Path

import torch

from vggnet.console import duration, say
from vggnet.contract import ModelDescription, Preprocessing
from vggnet.errors import UserError
from vggnet.hardware import cpu_name
from vggnet.images.datasets import open_data
from vggnet.network.initialization import initialize
from vggnet.network.staging import Transfer, explain, stage_from
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import load_model, read_description
from vggnet.options.training import TrainOptions
from vggnet.paper.configurations import Architecture
from vggnet.paper.recipes import FIXED_SCALE_PX, LATER_STAGE_RATE, Recipe, scaled_px
from vggnet.pictures import Pictures, choose_crop
from vggnet.training.distributed import World
from vggnet.training.loop import Loop, seconds_per_image


def resolve(options: TrainOptions) -> TrainOptions:
    """Fill in what depends on the data: crop, S, learning rate, run folder, workers."""
    crop = options.crop
    if options.sigma != TrainOptions.sigma and options.init != "gaussian":
        raise UserError(f"--sigma {options.sigma:g} is the deviation of --init gaussian, not of {options.init}")
    if options.train_from is not None and options.init_from is None and not options.resume:
        raise UserError("--train-from keeps layers as they are, which needs trained ones: give --init-from, too")
    if options.new_head and options.init_from is None and not options.resume:
        raise UserError("--new-head puts a new last layer on a trained net: give --init-from, too")
    if crop is None and options.init_from is not None:
        source = read_description(options.init_from).architecture
        crop = None if source.convolutions_only else source.crop_px
    if crop is None:
        opened = open_data(options.data, seed=options.seed)
        assert opened.train is not None
        crop = choose_crop(opened.train)
    scale = options.train_scale or (scaled_px(FIXED_SCALE_PX, crop),)
    rate = options.learning_rate
    if rate is None:
        rate = Recipe.learning_rate
        if options.init_from is not None and _same_net(options.net, options.init_from):
            rate = LATER_STAGE_RATE
    out = options.out or default_out(options)
    workers = default_workers() if options.workers is None else options.workers
    return dataclasses.replace(
        options, crop=crop, train_scale=tuple(scale), learning_rate=rate, out=out, workers=workers
    )


def default_out(options: TrainOptions) -> Path:
    """The run folder where none is named."""
    return Path("runs") / f"{Path(options.data).name}-{options.net}"


def _same_net(net: str, source: Path) -> bool:
    return read_description(source).architecture.net == net


def default_workers() -> int:
    """Processes that read images: they share the cores with the arithmetic where there is no GPU."""
    cores = os.cpu_count() or 1
    return min(16, cores) if torch.cuda.is_available() else max(1, min(8, cores // 2))


def recipe_of(options: TrainOptions) -> Recipe:
    """The recipe that resolved options ask for."""
    assert options.crop is not None
    assert options.learning_rate is not None
    recipe = Recipe(
        train_scale=options.train_scale,
        epochs=options.epochs,
        batch=options.batch,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        patience=options.patience,
        mirror=options.mirror,
        head_learning_rate=options.head_learning_rate,
    )
    recipe.check_crop(options.crop)
    return recipe


def architecture_of(options: TrainOptions, classes: int) -> Architecture:
    assert options.crop is not None
    return Architecture(options.net, classes, options.width, options.crop, options.batch_norm, options.dropout)


def build_model(options: TrainOptions, pictures: Pictures, preprocessing: Preprocessing | None = None) -> VGG:
    """The net with its starting weights; prints which layer came from where.

    `preprocessing` is a continued run's. Otherwise it is the source's where weights come from one: its conv1_1, which
    is always taken, knows no other pixels. Else it is the images' own mean.
    """
    source = load_model(options.init_from) if options.init_from is not None else None
    statistics = pictures.statistics
    measured = Preprocessing(statistics.mean, statistics.deviation if options.divide else (1.0, 1.0, 1.0))
    if source is not None:
        preprocessing = source.description.preprocessing
    description = ModelDescription(
        architecture=architecture_of(options, len(pictures.data.classes)),
        preprocessing=preprocessing or measured,
        classes=pictures.data.classes,
        class_titles=pictures.data.titles,
        train_scale=options.train_scale,
        recipe=dataclasses.asdict(recipe_of(options)),
    )
    model = on_meta(description).to_empty(device="cpu")
    initialize(model, options.init, sigma=options.sigma, seed=options.seed)
    if source is not None:
        transfers = stage_from(model, source.state_dict(), source.description, new_head=options.new_head)
        say("weights:")
        for line in explain(transfers):
            say(f"  {line}")
        kept = source.description.preprocessing
        say(f"input     as the source's: mean {_rounded(kept.mean)}, deviation {_rounded(kept.deviation)}")
        _check_kept(transfers, options.train_from)
    if options.train_from is not None:
        model.freeze_before(options.train_from)
        trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
        say(f"trained   from {options.train_from} on: {trained:,} of {model.architecture.parameters:,} parameters")
    return model


def _check_kept(transfers: list[Transfer], train_from: str | None) -> None:
    """Refuse to keep a layer as it is that the source does not have: it would stay as it was drawn."""
    names = [transfer.layer for transfer in transfers]
    if train_from not in names:  # no such option, or no such layer, which the net itself says
        return
    for transfer in transfers[: names.index(train_from)]:
        if transfer.source is None:
            raise UserError(
                f"--train-from {train_from} would keep {transfer.layer} as it was drawn, since the source net has no "
                f"such layer: give --train-from {transfer.layer}, or an earlier one"
            )


def announce(model: VGG, pictures: Pictures, world: World, loop: Loop) -> None:
    """What the user should know before the first epoch."""
    architecture, recipe, settings = model.architecture, loop.recipe, loop.settings
    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else cpu_name()
    spent = seconds_per_image(loop.form, settings, world.device)
    expected = spent / world.size * loop.task.images * recipe.epochs
    scale = " to ".join(map(str, recipe.train_scale))
    val = f"{len(pictures.val)} val" if pictures.val is not None else "no val"
    name = f"net {architecture.net}" + (" with batch normalisation" if architecture.batch_norm else "")
    say(f"{name}, width {architecture.width:g}, crop {architecture.crop_px}: {architecture.parameters:,} parameters")
    say(f"device    {device}, {world.size} process{'es' * (world.size > 1)}, {settings.precision}")
    classes = len(pictures.data.classes)
    say(f"data      {pictures.data.name}: {classes} classes, {len(pictures.train)} train, {val} images")
    say(f"judged on {pictures.judged_on}" + (f"; {pictures.skipped} bad images skipped" if pictures.skipped else ""))
    say(f"scales    S = {scale}, crop {architecture.crop_px}, mean {_rounded(model.description.preprocessing.mean)}")
    local = -(-loop.batch // world.size)
    parts = -(-local // settings.micro_batch)
    parts_text = f"{world.size} x {parts} x up to {settings.micro_batch}"
    say(f"batch     {loop.batch} images = {parts_text}; {loop.steps_per_epoch} batches an epoch")
    if recipe.batch > loop.batch:
        say(f"          (--batch {recipe.batch} is more than the {loop.batch} training images)")
    if architecture.batch_norm:
        say(f"          batch normalisation sees its micro-batch of {settings.micro_batch}")
    say(
        f"schedule  at most {recipe.epochs} epochs, learning rate {recipe.learning_rate:g}, divided by 10 up to 3 times"
    )
    say(f"time      about {duration(expected)} at most for the arithmetic")
    say(f"output    {loop.run.path}")


def _rounded(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.1f}" for value in values)
