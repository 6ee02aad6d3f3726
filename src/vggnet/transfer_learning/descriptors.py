"""Describe images by a layer's activations, averaged over the whole image, of unit length (App. B).

Notable: over several Q a layer's means are averaged (the paper's way for VOC), stacked (Caltech), or their maximum is
taken. Parts that are stacked (scales, nets, the image and a person's box) are scaled to unit length first, so that none
outweighs the others, and so is the whole.

Shapes: n images, C channels of the layer, D numbers of a descriptor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from vggnet.data.splits import Split
from vggnet.description import ModelDescription
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.computing import ON_CPU, Computing
from vggnet.evaluation.policy import Shown
from vggnet.evaluation.protocols import default_scale
from vggnet.evaluation.scoring import score
from vggnet.network.taps import check_names
from vggnet.network.vgg import VGG
from vggnet.network.weights import read_description
from vggnet.options.choices import BadImages, Pool, PrecisionName
from vggnet.options.transfer import FeaturesOptions, TransferOptions
from vggnet.transfer_learning.layer_means import LayerView, activation, layer_means, layer_store

Model = str | Path
Progress = Callable[[int, int, str], Any]  # images done, images in all, which net


@dataclass(frozen=True)
class DescriptorSettings:
    """The layer (of a weight layer its activations after the ReLU), the Q, and how scales are combined.

    `mirror`: whether the mirror image is averaged in. None: as each net was trained.
    """

    layer: str = "fc7"
    test_scale: tuple[int, ...] = ()
    pool: Pool = "stack"
    mirror: bool | None = None
    computing: Computing = ON_CPU

    @property
    def tap(self) -> str:
        """Return the layer's name among `network.taps`: after the ReLU where `layer` is a weight layer."""
        return activation(self.layer)

    def views(self, description: ModelDescription) -> tuple[LayerView, ...]:
        """Return the views of one net. Raises UserError for a layer that it lacks, or a Q too small for the layer."""
        architecture = description.architecture
        if architecture.convolutions_only and self.layer == "fc7":
            raise UserError("this model has convolutions only, no fc7: give `layer` pool5, or one before it")
        check_names(architecture, [self.tap])
        scales = self.test_scale or (default_scale(description),)
        if len(set(scales)) < len(scales):
            raise UserError(f"`test_scale` {' '.join(map(str, scales))}: each Q once")
        mirror = description.policy.chosen(self.mirror).mirror
        views = tuple(LayerView("dense", scale, mirror, self.tap) for scale in scales)
        for view in views:
            view.check(architecture)
        return views


@dataclass(frozen=True, eq=False)
class Descriptors:
    """float32 (n, D) of unit length, for the images at `indices` (n,) of a split; and the bad images."""

    values: np.ndarray
    indices: np.ndarray
    bad: tuple[BadImage, ...] = ()


def settings_of(
    layer: str = "fc7",
    test_scale: Sequence[int] = (),
    pool: Pool = "stack",
    device: str = "auto",
    precision: PrecisionName = "auto",
    workers: int | None = None,
    bad_images: BadImages = "stop",
    mirror: bool | None = None,
) -> DescriptorSettings:
    """Return settings, with what was left open chosen by the machine. Raises UserError for a choice that is none."""
    if pool not in get_args(Pool):
        raise UserError(f"`pool` {pool}: stack, average or max")
    if precision not in get_args(PrecisionName):
        raise UserError(f"`precision` {precision}: use auto, bf16 or fp32")  # layers are not computed in int8
    computing = Computing.of(device, precision, workers, bad_images)
    return DescriptorSettings(layer, tuple(test_scale), pool, mirror, computing)


def settings_from(options: FeaturesOptions | TransferOptions) -> DescriptorSettings:
    """Return the settings that a command's options ask for."""
    return settings_of(
        options.layer,
        options.test_scale,
        options.pool,
        options.device,
        options.precision,
        options.workers,
        options.bad_images,
        options.mirror,
    )


def shown_models(models: Sequence[Model], settings: DescriptorSettings) -> list[Shown]:
    """Return how each model was trained and how images are shown to it, for `input_notes` and for JSON."""
    policies = [(str(model), read_description(model).policy) for model in models]
    return [Shown(name, policy, policy.chosen(settings.mirror)) for name, policy in policies]


def check_models(models: Sequence[Model]) -> None:
    """Raise UserError where no model is given, or one cannot be read."""
    if not models:
        raise UserError("give at least one model: a run or model folder, or a weight file")
    for model in models:
        read_description(model)


def describe_images(
    models: Sequence[str | Path | VGG],
    splits: Sequence[Split],
    settings: DescriptorSettings,
    on_progress: Progress | None = None,
    wanted: np.ndarray | None = None,
) -> Descriptors:
    """Return descriptors of images (those at `wanted`, by default all) by one or more nets, stacked.

    `splits` hold the same n examples in different parts (the image, a person's box), which are stacked too; mostly
    there is one. The means of nets given as paths are stored on disk. Raises UserError, and BadImage where bad images
    stop.
    """
    parts: list[np.ndarray] = []
    wanted = np.arange(len(splits[0])) if wanted is None else np.asarray(wanted, np.int64)
    present = np.zeros(len(splits[0]), bool)
    present[wanted] = True
    bad: dict[str, BadImage] = {}
    for model in models:
        description = model.description if isinstance(model, VGG) else read_description(model)
        views = settings.views(description)
        for split in splits:
            means, there, found = _layer_means(model, split, views, settings, wanted, on_progress)
            present &= there
            bad |= {error.path: error for error in found}
            parts.append(_combined([means[view] for view in views], settings.pool))
    if not present.any():
        raise UserError(f"{splits[0].root}: not one of {len(present)} images could be described")
    values = unit(np.concatenate([part[present] for part in parts], axis=1))
    return Descriptors(values, np.flatnonzero(present), tuple(bad.values()))


def mean_activations(
    model: Model, split: Split, settings: DescriptorSettings, on_progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray, list[BadImage]]:
    """Return one net's mean activations (n, D) at one Q, not of unit length; the rest as `_layer_means`."""
    (view,) = settings.views(read_description(model))
    means, present, bad = _layer_means(model, split, [view], settings, np.arange(len(split)), on_progress)
    return means[view], present, bad


def _layer_means(
    model: str | Path | VGG,
    split: Split,
    views: Sequence[LayerView],
    settings: DescriptorSettings,
    wanted: np.ndarray,
    on_progress: Progress | None,
) -> tuple[dict[LayerView, np.ndarray], np.ndarray, list[BadImage]]:
    """Return {view: (n, C)}, which images have all of them (n,), and the bad images."""
    name = model.architecture.net if isinstance(model, VGG) else str(model)

    def tick(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(done, total, name)

    if isinstance(model, VGG):
        return _without_store(model, split, views, settings, wanted, tick)
    store = layer_store(model, read_description(model), split, settings.tap, settings.computing)
    bad = store.fill(views, wanted=wanted, on_progress=tick)
    means, present = {}, np.ones(len(split), bool)
    for view in views:
        means[view], there = store.read(view)
        present &= there
    return means, present, bad


def _without_store(
    model: VGG,
    split: Split,
    views: Sequence[LayerView],
    settings: DescriptorSettings,
    wanted: np.ndarray,
    tick: Callable[[int, int], None],
) -> tuple[dict[LayerView, np.ndarray], np.ndarray, list[BadImage]]:
    """Return what `_layer_means` does, of a net in memory: it has no hash of its weights that a store could use."""
    values = partial(layer_means, settings.tap)
    scores = score(model, split, views, settings.computing, on_progress=tick, indices=wanted, values=values)
    means = {view: np.zeros((len(split), view.columns(model.architecture)), np.float32) for view in views}
    for view in views:
        means[view][scores.indices] = scores.values[view]
    present = np.zeros(len(split), bool)
    present[scores.indices] = True
    return means, present, scores.bad


def _combined(means: Sequence[np.ndarray], pool: Pool) -> np.ndarray:
    """Return (n, C), or (n, C x scales) for "stack", of unit length, from (n, C) of each scale."""
    if pool == "stack":
        return unit(np.concatenate([unit(each) for each in means], axis=1))
    return unit(np.mean(means, axis=0) if pool == "average" else np.max(means, axis=0))


def unit(values: np.ndarray) -> np.ndarray:
    """Return the rows of (n, D) at L2 norm 1, float32; rows of zeros stay."""
    norms = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    return (values / np.where(norms > 0, norms, 1)).astype(np.float32)
