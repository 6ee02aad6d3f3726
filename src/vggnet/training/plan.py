"""Resolve a training's options: what the user left open, what depends on the data, what a resumed run must repeat."""

import dataclasses
import os
from pathlib import Path
from typing import TypeVar

from vggnet.data.opening import open_data
from vggnet.description import FULL_RANGE, ImageReading, InputPolicy
from vggnet.errors import UserError
from vggnet.hardware import training_workers
from vggnet.network.weights import read_description
from vggnet.options.choices import Orientation
from vggnet.options.flat import changed
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.options.training import TrainOptions
from vggnet.paper.configurations import Architecture
from vggnet.paper.recipes import FIXED_SCALE_PX, LATER_STAGE_RATE, Recipe, scaled_px
from vggnet.training.agreement import continued
from vggnet.training.continuing import READ_BEFORE, as_started, check_as_started
from vggnet.training.prepare_images import choose_crop
from vggnet.training.runs import RunFolder


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
        opened = open_data(options.data)
        assert opened.train is not None
        crop = choose_crop(opened.train)
    scale = options.train_scale or (scaled_px(FIXED_SCALE_PX, crop),)
    rate = options.learning_rate
    if rate is None:
        rate = Recipe.learning_rate
        if options.init_from is not None and _same_net(options.net, options.init_from):
            rate = LATER_STAGE_RATE
    out = options.out or default_out(options)
    # a run that goes on has its own policy, and the file of its source may be gone
    starts = options.init_from is not None and not (options.resume and RunFolder(out).config is not None)
    source_policy = read_description(options.init_from).policy if starts and options.init_from is not None else None
    reading = reading_of(options, out, source_policy)
    return changed(
        options,
        crop=crop,
        train_scale=tuple(scale),
        learning_rate=rate,
        out=out,
        workers=training_workers(options.machine.workers),
        mirror=mirror_of(options, out, source_policy),
        orientation=reading.orientation,
        pixel_range=reading.pixel_range,
    )


def default_out(options: TrainOptions) -> Path:
    """The run folder where none is named."""
    return default_run(options.data, options.net)


def _same_net(net: str, source: Path) -> bool:
    return read_description(source).architecture.net == net


def architecture_of(options: TrainOptions, classes: int) -> Architecture:
    assert options.crop is not None
    return Architecture(options.net, classes, options.width, options.crop, options.batch_norm, options.dropout)


Options = TypeVar("Options", TrainOptions, LocalizeTrainOptions)


def recipe_of(options: TrainOptions | LocalizeTrainOptions) -> Recipe:
    """The recipe that resolved options ask for: an option is called as what it sets."""
    assert options.crop is not None
    values = dataclasses.asdict(options)
    recipe = Recipe(**{field.name: values[field.name] for field in dataclasses.fields(Recipe) if field.name in values})
    recipe.check_crop(options.crop)
    return recipe


def reading_of(
    options: TrainOptions | LocalizeTrainOptions,
    out: Path,
    source: InputPolicy | None,
    orientation: Orientation = "apply",
) -> ImageReading:
    """Return how a training decodes its images: as its options say, else as the run to continue does.

    A new run does `orientation`. It takes the range of 16-bit pixels from the net that it starts from, whose `source`
    policy is given, since its weights expect such pixels.
    """
    started = RunFolder(out).config if options.resume else None
    pixel_range = FULL_RANGE if source is None else source.pixel_range
    if started is not None:
        before = READ_BEFORE | started
        orientation, pixel_range = before["orientation"], tuple(before["pixel_range"])
    return ImageReading(options.orientation or orientation, options.pixel_range or pixel_range)


def mirror_of(options: TrainOptions | LocalizeTrainOptions, out: Path, source: InputPolicy | None) -> bool:
    """Return whether a training mirrors crops: as its options say, else as the run to continue does.

    A new run mirrors them as the net that it starts from was trained, whose `source` policy is given.
    """
    if options.mirror is not None:
        return options.mirror
    started = RunFolder(out).config if options.resume else None
    return (source is None or source.mirror) if started is None else bool(started.get("mirror", True))


def policy_of(options: TrainOptions | LocalizeTrainOptions) -> InputPolicy:
    """Return what resolved options say of the net's input."""
    assert options.mirror is not None
    assert options.orientation is not None
    assert options.pixel_range is not None
    return InputPolicy(options.mirror, options.orientation, options.pixel_range)


def default_run(data: str, kind: str) -> Path:
    """Return the run folder where none is named, called as the data is, also where that is given as . or photos/."""
    return Path("runs") / f"{os.path.basename(os.path.abspath(os.path.expanduser(data))) or 'root'}-{kind}"


def settled(options: TrainOptions) -> TrainOptions:
    """The options with nothing left open. UserError for what cannot be, or is not as the run to continue has it.

    So a net or a crop that does not exist is known before anything is read.
    """
    out = options.out or default_out(options)
    options = continued(options, out)
    if options.resume:
        options = as_started(options, out)
    options = resolve(options)
    check_as_started(options)
    architecture_of(options, 1)
    recipe_of(options)
    return options
