"""Build the net that a classifier's training starts from: new weights, or those of another net (Sect. 3.1)."""

import dataclasses
import math
from typing import Any

import torch

from vggnet.console import counted, say
from vggnet.description import ModelDescription, Preprocessing
from vggnet.errors import Diverged, UserError
from vggnet.images.augmentation import Augmentation, epoch_order
from vggnet.images.color import STORED_AS
from vggnet.images.loading import TrainingLoader
from vggnet.images.normalization import normalize
from vggnet.images.workers import chunks
from vggnet.network.initialization import initialize
from vggnet.network.staging import LayerOrigin, explain, stage_from
from vggnet.network.vgg import VGG, evaluating, on_meta
from vggnet.network.weights import load_model
from vggnet.options.training import TrainOptions
from vggnet.paper.recipes import Recipe
from vggnet.training.fine_tuning import has_other_classes
from vggnet.training.plan import TrainPlan
from vggnet.training.prepare_images import Pictures

FITTED_ON, FITTED_AT_ONCE = 64, 8  # images that a new head's features are measured on, and in one pass


def build_model(plan: TrainPlan[TrainOptions], pictures: Pictures, resumed: dict[str, Any] | None = None) -> VGG:
    """Return the net with its starting weights, on the CPU; print which layer came from where.

    The preprocessing is that of the source net, if there is one: its conv1_1, which is always taken, expects such
    pixels. Otherwise it follows from the training images.

    Args:
        resumed: config.json of a run whose saved state the net will be filled with. The file of its source net is not
            read, since it may be gone.
    """
    options = plan.options
    source = load_model(options.init_from) if options.init_from is not None and resumed is None else None
    statistics = pictures.statistics
    preprocessing = Preprocessing(statistics.mean, statistics.deviation if options.divide else (1.0, 1.0, 1.0))
    if source is not None:
        _check_divides(source.description, options.divide)
        preprocessing = source.description.preprocessing
    elif at_start := (resumed or {}).get("preprocessing"):
        preprocessing = Preprocessing(tuple(at_start["mean"]), tuple(at_start["deviation"]))
    description = ModelDescription(
        architecture=plan.architecture,
        preprocessing=preprocessing,
        classes=plan.data.classes,
        class_titles=plan.data.titles,
        train_scale=plan.recipe.train_scale,
        recipe=dataclasses.asdict(plan.recipe) | {STORED_AS: statistics.to_dict()},
        policy=plan.policy,
        epochs_seen=source.description.epochs_seen if source is not None else 0,
        feature_scale=source.description.feature_scale if source is not None else 1.0,
    )
    model = on_meta(description).to_empty(device="cpu")
    initialize(model, options.init, sigma=options.sigma, seed=options.seed)
    if source is not None:
        transfers = stage_from(model, source.state_dict(), source.description, new_head=bool(options.new_head))
        say("weights:")
        for line in explain(transfers):
            say(f"  {line}")
        if options.new_head and has_other_classes(source.description, plan.data.classes):
            own, given = counted(len(plan.data.classes), "class"), source.architecture.outputs
            say(f"head      fc8 is new: {plan.data.name} has {own}, other ones than the {given} of the source net")
        kept = source.description.preprocessing
        say(f"input     as of the source net: mean {_rounded(kept.mean)}, deviation {_rounded(kept.deviation)}")
        if source.description.epochs_seen:
            seen = counted(source.description.epochs_seen, "epoch")
            say(f"order     images, crops and dropout continue after the {seen} of the source net")
        _check_kept(transfers, options.train_from)
        if source.architecture.convolutions_only:
            fit_head(model, pictures, plan.recipe, options.seed)
    if options.train_from is not None:
        model.freeze_before(options.train_from)
        trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
        say(f"trained   from {options.train_from} on: {trained:,} of {model.architecture.parameters:,} parameters")
    return model


def _check_divides(source: ModelDescription, divide: bool) -> None:
    """Raise UserError for `divide` where the source net expects pixels that are not divided."""
    if divide and set(source.preprocessing.deviation) == {1.0}:
        raise UserError(
            "`divide`: the net of `init_from` expects pixels minus the mean only, and its conv1_1 is taken: leave "
            "`divide` out, or start without `init_from`"
        )


def fit_head(model: VGG, pictures: Pictures, recipe: Recipe, seed: int) -> None:
    """Fit a new fc6 to the features that a trained trunk gives it, whatever their size; print the size.

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


def _check_kept(transfers: list[LayerOrigin], train_from: str | None) -> None:
    """Raise UserError for a layer that is not trained and that the source does not have: it would stay random."""
    names = [transfer.layer for transfer in transfers]
    if train_from not in names:  # no such option, or no such layer, which the net itself says
        return
    for transfer in transfers[: names.index(train_from)]:
        if transfer.source is None:
            raise UserError(
                f"`train_from` {train_from} would keep {transfer.layer} as it was drawn, since the source net has no "
                f"such layer: give `train_from` {transfer.layer}, or an earlier one"
            )


def _rounded(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.1f}" for value in values)
