"""From options to a classifier that can start: what depends on the data is filled in, and the weights are drawn."""

import dataclasses
import math
from pathlib import Path

import torch

from vggnet.console import counted, say
from vggnet.data.opening import open_data
from vggnet.description import ModelDescription, Preprocessing
from vggnet.errors import Diverged, UserError
from vggnet.images.augmentation import Augmentation, epoch_order
from vggnet.images.color import normalize
from vggnet.images.loading import TrainingLoader
from vggnet.images.workers import chunks
from vggnet.network.initialization import initialize
from vggnet.network.staging import Transfer, explain, stage_from
from vggnet.network.vgg import VGG, evaluating, on_meta
from vggnet.network.weights import load_model, read_description
from vggnet.options.training import TrainOptions
from vggnet.paper.configurations import Architecture
from vggnet.paper.recipes import FIXED_SCALE_PX, LATER_STAGE_RATE, Recipe, scaled_px
from vggnet.pictures import Pictures, choose_crop
from vggnet.sessions import default_run, default_workers, mirror_of, policy_of, reading_of, recipe_of
from vggnet.training.runs import RunFolder

FITTED_ON, FITTED_AT_ONCE = 64, 8  # images that a new head's features are measured on, and in one pass


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
    workers = default_workers() if options.workers is None else options.workers
    # a run that goes on has its own policy, and the file of its source may be gone
    starts = options.init_from is not None and not (options.resume and RunFolder(out).config is not None)
    source_policy = read_description(options.init_from).policy if starts and options.init_from is not None else None
    reading = reading_of(options, out, source_policy)
    return dataclasses.replace(
        options,
        crop=crop,
        train_scale=tuple(scale),
        learning_rate=rate,
        out=out,
        workers=workers,
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
        policy=policy_of(options),
        epochs_seen=source.description.epochs_seen if source is not None else 0,
        feature_scale=source.description.feature_scale if source is not None else 1.0,
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
        if source.description.epochs_seen:
            seen = counted(source.description.epochs_seen, "epoch")
            say(f"draws     order, crops and dropout go on after the {seen} that the source was trained for")
        _check_kept(transfers, options.train_from)
        if source.architecture.convolutions_only:
            fit_head(model, pictures, recipe_of(options), options.seed)
    if options.train_from is not None:
        model.freeze_before(options.train_from)
        trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
        say(f"trained   from {options.train_from} on: {trained:,} of {model.architecture.parameters:,} parameters")
    return model


def fit_head(model: VGG, pictures: Pictures, recipe: Recipe, seed: int) -> None:
    """Fit a new fc6 to the features that a trained trunk gives it, whatever their size; prints the size.

    It is measured on training crops as the nearest power of two to their root mean square, so that dividing weights by
    it rounds nothing. `training.optimization` adapts fc6's rate to it.
    """
    crop = model.architecture.crop_px
    augmentation = Augmentation(seed, recipe.train_scale, crop, pictures.statistics, recipe.mirror)
    chosen = epoch_order(seed, model.description.epochs_seen, len(pictures.train))[:FITTED_ON]
    squares, count = 0.0, 0
    with TrainingLoader(pictures.train, augmentation, workers=0) as loader, torch.no_grad(), evaluating(model):
        for batch in loader.batches(model.description.epochs_seen, chunks(chosen, FITTED_AT_ONCE)):
            images = normalize(batch.pixels, model.description.preprocessing, batch.shift)
            features = model.forward_features(images).double()
            squares, count = squares + float(features.square().sum()), count + features.numel()
    size = math.sqrt(squares / max(count, 1))
    if not math.isfinite(size):
        raise Diverged(f"the features of the source net are not finite; {Diverged.RETRAIN}")
    scale = 2.0 ** round(math.log2(size)) if size > 0 else 1.0
    with torch.no_grad():
        model.fc6.weight.div_(scale)
    model.description = dataclasses.replace(model.description, feature_scale=scale)
    say(f"fc6       drawn for features of size {size:.3g} (root mean square), and learns as if they were of size 1")


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


def _rounded(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.1f}" for value in values)
