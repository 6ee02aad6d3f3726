"""Plan a training: decide everything that can be decided before its images are checked.

The first rank resolves the options and the other ranks receive them. How a training starts or goes on:

1. Nothing is in `--out`: a new run. Options that were not given follow from the images and from `--init-from`.
2. `--resume`, and config.json is in `--out`: the run goes on. Options that were not given are those of its start. An
   option that was given and differs is an error, unless it is in `FREE_ON_RESUME` (`continuing`).
3. No `--resume`, but the same launch of `torchrun` started the run in `--out`, and has restarted: as 2.
4. `--resume`, and nothing is in `--out`: as 1, so that one command serves for the start and for all that follows.
5. Something else is in `--out`, or a run without `--resume`: an error of `runs.open_run`, which takes the folder.

In cases 2 and 3 the weights come from the newest save. A run that was stopped before it saved anything has none: its
starting weights are made again, as in case 1.
"""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from vggnet.data.leaving_out import leave_out
from vggnet.data.opening import open_data
from vggnet.data.splits import ImageData, Split
from vggnet.description import FULL_RANGE, InputPolicy
from vggnet.errors import BadImage, UserError
from vggnet.hardware import training_workers
from vggnet.images.decoding import decode
from vggnet.network.weights import read_description
from vggnet.options.choices import Orientation
from vggnet.options.flat import changed, flat
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.options.training import TrainOptions
from vggnet.paper.configurations import PAPER_CROP_PX, TOTAL_STRIDE_PX, Architecture
from vggnet.paper.recipes import FIXED_SCALE_PX, Recipe, scaled_px
from vggnet.training.agreement import check_same_options, continued, of_this_machine
from vggnet.training.continuing import READ_BEFORE, as_started, check_as_started
from vggnet.training.distributed import World
from vggnet.training.fine_tuning import DEFAULT_NET, with_head, with_recipe, with_source
from vggnet.training.runs import RunFolder

SIDES_SAMPLED = 50  # images that the crop is chosen by

Options = TypeVar("Options", TrainOptions, LocalizeTrainOptions)
Extra = TypeVar("Extra")


@dataclass(frozen=True)
class Resolved(Generic[Options]):
    """Options of a training with no value left open.

    The same on all ranks, but for where files lie and for the number of workers.

    Attributes:
        options: With every value filled in, as config.json stores them.
        architecture: Of the net, with one output: the data decide how many there are.
        policy: How images become the net's input.
    """

    options: Options
    out: Path
    workers: int
    architecture: Architecture
    recipe: Recipe
    policy: InputPolicy


@dataclass(frozen=True)
class TrainPlan(Resolved[Options]):
    """All that a training is given: resolved options, the architecture with all its outputs, and the opened data."""

    data: ImageData

    @classmethod
    def of(cls, resolved: Resolved[Options], data: ImageData, outputs: int) -> "TrainPlan[Options]":
        """Return the plan of a training of a net with `outputs` outputs on `data`."""
        architecture = dataclasses.replace(resolved.architecture, outputs=outputs)
        return TrainPlan(**vars(resolved) | {"architecture": architecture}, data=data)


def plan_training(options: TrainOptions, world: World, data: ImageData | None = None) -> TrainPlan[TrainOptions]:
    """Plan a classifier's training. All ranks call. `data` is that of the options where the caller has opened it.

    Raises:
        UserError: for options that contradict each other, the run to continue, the data, or those of another rank.
    """
    # where the first rank needs the images to choose the crop, it opens them
    opened: list[ImageData] = [] if data is None else [data]
    resolved, _ = resolve_together(options, world, lambda given: (resolve_training(given, opened), None))
    data = world.in_turn(lambda: opened[0] if opened else open_images(resolved.options))
    return TrainPlan.of(resolved, data, len(data.classes))


def resolve_training(given: TrainOptions, opened: list[ImageData] | None = None) -> Resolved[TrainOptions]:
    """Resolve the options of a classifier's training. Data that had to be opened for it are appended to `opened`.

    A net or a crop that does not exist is an error before any image is read.
    """
    opened = [] if opened is None else opened

    def data() -> ImageData:
        if not opened:
            opened.append(open_images(options))
        return opened[0]

    out = given.out or default_run(given.data, given.net or _source_net(given))
    options = continued(given, out)
    if options.resume:
        options = as_started(options, out)
    _check_combination(options)
    # a run that goes on has its options and its policy, and the file of its source may be gone
    goes_on = options.resume and RunFolder(out).config is not None
    source = None if goes_on or options.init_from is None else read_description(options.init_from)
    options = with_source(options, source)
    crop = options.crop
    if crop is None and source is not None and not source.architecture.convolutions_only:
        crop = source.architecture.crop_px
    if crop is None:
        architecture_of(options, PAPER_CROP_PX)
        train = data().train
        crop = PAPER_CROP_PX if train is None else choose_crop(train)
    options = with_recipe(with_head(options, source, data), source)
    policy = policy_of(options, out, None if source is None else source.policy)
    return resolved_with(changed(options, crop=crop), out, architecture_of(options, crop), policy)


def open_images(options: TrainOptions) -> ImageData:
    """Return the data of a training, without the images of `leave_out`. Raises UserError."""
    data = open_data(options.data)
    return data if options.leave_out is None else leave_out(data, options.leave_out)


def _source_net(options: TrainOptions) -> str:
    return DEFAULT_NET if options.init_from is None else read_description(options.init_from).architecture.net


def _check_combination(options: TrainOptions) -> None:
    """Raise UserError for options that have no effect without another one."""
    if options.sigma != TrainOptions.sigma and options.init != "gaussian":
        raise UserError(f"`sigma` {options.sigma:g} is the deviation of `init` gaussian, not of {options.init}")
    if options.train_from is not None and options.init_from is None and not options.resume:
        raise UserError("`train_from` keeps layers as they are, which needs trained ones: give `init_from`, too")
    if options.new_head and options.init_from is None and not options.resume:
        raise UserError("`new_head` puts a new last layer on a trained net: give `init_from`, too")


def resolved_with(options: Options, out: Path, architecture: Architecture, policy: InputPolicy) -> Resolved[Options]:
    """Return options with `out`, `policy`, S and the number of workers filled in, beside what follows from them.

    Raises:
        UserError: where the run to continue has other options, or S is smaller than the crop.
    """
    crop = architecture.crop_px
    workers = training_workers(options.machine.workers)
    options = changed(
        options,
        out=out,
        train_scale=tuple(options.train_scale) or (scaled_px(FIXED_SCALE_PX, crop),),
        mirror=policy.mirror,
        orientation=policy.orientation,
        pixel_range=policy.pixel_range,
        workers=workers,
    )
    check_as_started(options, out)
    return Resolved(options, out, workers, architecture, recipe_of(options, crop), policy)


def resolve_together(
    options: Options, world: World, resolve: Callable[[Options], tuple[Resolved[Options], Extra]]
) -> tuple[Resolved[Options], Extra]:
    """Return `resolve(options)` of the first rank, which sees the run folder, with this machine's paths and workers.

    Raises:
        UserError: on all ranks, where they were given other options.
    """
    check_same_options(options, world)
    resolved, extra = world.from_first(lambda: resolve(options))
    if world.is_first:
        return resolved, extra
    workers = training_workers(options.machine.workers)
    own = of_this_machine(options) | {"workers": workers}
    here = changed(resolved.options, **own)
    return dataclasses.replace(resolved, options=here, out=options.out or resolved.out, workers=workers), extra


def architecture_of(options: TrainOptions, crop: int) -> Architecture:
    """Return the net that the options name, with one output. UserError where there is no such net."""
    options = with_source(options, None)
    assert options.net is not None
    assert options.width is not None
    return Architecture(options.net, 1, options.width, crop, bool(options.batch_norm), options.dropout)


def recipe_of(options: TrainOptions | LocalizeTrainOptions, crop: int) -> Recipe:
    """Return the recipe of resolved options: each option has the name of the field that it sets."""
    values = flat(options)
    recipe = Recipe(**{field.name: values[field.name] for field in dataclasses.fields(Recipe) if field.name in values})
    recipe.check_crop(crop)
    return recipe


def policy_of(
    options: TrainOptions | LocalizeTrainOptions,
    out: Path,
    source: InputPolicy | None,
    orientation: Orientation = "apply",
) -> InputPolicy:
    """Return how images become the net's input: as the options say, else as in the run to continue.

    A new run mirrors crops and reads 16-bit pixels as the net that it starts from was trained (`source`), since its
    weights expect such pixels. It treats EXIF orientations by `orientation`.
    """
    started = RunFolder(out).config if options.resume else None
    if started is not None:
        before = READ_BEFORE | started
        mirror = bool(started.get("mirror", True))
        orientation, pixel_range = before["orientation"], tuple(before["pixel_range"])
    else:
        mirror, pixel_range = (True, FULL_RANGE) if source is None else (source.mirror, source.pixel_range)
    return InputPolicy(
        mirror if options.mirror is None else options.mirror,
        options.orientation or orientation,
        options.pixel_range or pixel_range,
    )


def default_run(data: str, kind: str) -> Path:
    """Return the run folder where none is named, called as the data is, also where that is given as . or photos/."""
    return Path("runs") / f"{os.path.basename(os.path.abspath(os.path.expanduser(data))) or 'root'}-{kind}"


def choose_crop(split: Split) -> int:
    """Return the paper's crop of 224, or for smaller images the multiple of 32 below their median smallest side."""
    sides = []
    for index in np.linspace(0, len(split) - 1, min(len(split), SIDES_SAMPLED)).astype(int):
        try:
            sides.append(min(decode(split.file(int(index))).size))
        except BadImage:
            continue  # reported by the check that follows
    median = float(np.median(sides)) if sides else PAPER_CROP_PX
    # images somewhat smaller than 224 are enlarged; of half that size they would be mostly blur
    if median >= 0.7 * PAPER_CROP_PX:
        return PAPER_CROP_PX
    return max(TOTAL_STRIDE_PX, int(median) // TOTAL_STRIDE_PX * TOTAL_STRIDE_PX)
