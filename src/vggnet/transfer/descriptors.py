"""Descriptors of images: a layer's activations over the whole image, averaged, stacked, of unit length (App. B).

Notable: the layer is computed densely over the uncropped image at scale Q, averaged over its positions and over the
image and its mirror. Over several Q the means are averaged (the paper's way for VOC) or stacked (Caltech). Parts that
are stacked (scales, nets, the image and a person's box) are of unit length each, so that none outweighs the others,
and so is the whole. What is kept on disk is the mean of one net's layer at one Q, as posteriors are kept.

Shapes: n images, C channels of the layer, D numbers of a descriptor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vggnet.contract import ModelDescription
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.batching import Batcher, Item
from vggnet.evaluation.masking import padding_kept_zero
from vggnet.evaluation.posteriors import Store
from vggnet.evaluation.presentation import Precision, Presenter, mirror_images, stack_images
from vggnet.evaluation.protocols import default_scale
from vggnet.evaluation.scoring import BadImages, score_in_shards
from vggnet.evaluation.views import View
from vggnet.images.splits import Split
from vggnet.network.taps import check_names, features, relu_name, taps
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model, read_description
from vggnet.paper.configurations import Architecture

Pool = Literal["stack", "average"]
Progress = Callable[[int, int, str], Any]  # images done, images in all, which net


@dataclass(frozen=True, order=True)
class LayerView(View):
    """A layer's mean activations over the whole image at one scale; `tap` is its name among the net's taps."""

    tap: str = "relu7"

    @property
    def key(self) -> str:
        return f"{self.tap}-{self.scale}"

    def check(self, architecture: Architecture) -> None:
        """Raise UserError where an image at this scale is too small for the layer, naming the least Q."""
        least = taps(architecture)[self.tap].least_px
        if self.scale < least:
            raise UserError(f"test scale {self.scale}: too small for {self.tap}: Q must be at least {least}")


@dataclass(frozen=True)
class LayerPresenter(Presenter):
    """Batches of whole images to their layers' means."""

    def batcher(self, view: View) -> Batcher:
        return Batcher(self.limit_px)

    def columns(self, view: View) -> int:
        assert isinstance(view, LayerView)
        return taps(self.model.architecture)[view.tap].channels

    def posteriors(self, view: View, items: Sequence[Item]) -> Tensor:
        """Images rescaled to the view's scale -> mean activations (n, C) of image and mirror, fp32, on the device."""
        assert isinstance(view, LayerView)
        sizes = [item.size for item in items]
        images = self.inputs(torch.from_numpy(stack_images(items, sizes)))
        mirrored = mirror_images(images, sizes)
        if 2 * images.shape[0] * images.shape[2] * images.shape[3] > self.limit_px:  # one large image: by halves
            return (self._means(view, images, sizes) + self._means(view, mirrored, sizes)) / 2
        both = self._means(view, torch.cat([images, mirrored]), [*sizes, *sizes])
        return (both[: len(items)] + both[len(items) :]) / 2

    def _means(self, view: LayerView, images: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """(N, C): each image's mean over its own positions."""
        if len(set(sizes)) == 1:
            return self._activations(view.tap, images).float().mean((2, 3))
        with padding_kept_zero(self.model, sizes, self.device):
            maps = self._activations(view.tap, images).float()
        tap = taps(self.model.architecture)[view.tap]
        places = [tap.map_size(*size) for size in sizes]
        return torch.stack(
            [each[:, :rows, :columns].mean((1, 2)) for each, (rows, columns) in zip(maps, places, strict=True)]
        )

    def _activations(self, tap: str, images: Tensor) -> Tensor:
        """The layer's map; the common ones on the net's own forward pass, which may be the faster."""
        if tap not in ("pool5", "relu6", "relu7"):
            return features(self.model, images, [tap])[tap]
        x = self.model.forward_features(images)
        for layer in {"pool5": (), "relu6": ("fc6",), "relu7": ("fc6", "fc7")}[tap]:
            x = F.relu(getattr(self.model, layer)(x))
        return x


class LayerStore(Store):
    """Layer means on disk, in the folder `descriptors` where posteriors have theirs."""

    content = "descriptors"
    presenter = LayerPresenter

    def columns(self, view: View) -> int:
        assert isinstance(view, LayerView)
        return taps(self.architecture)[view.tap].channels


@dataclass(frozen=True)
class DescriptorSettings:
    """Which layer (a weight layer means its activations, after the ReLU), at which Q, and how scales are combined."""

    layer: str = "fc7"
    test_scale: tuple[int, ...] = ()
    pool: Pool = "stack"
    device: str = "cpu"
    precision: Precision = "fp32"
    workers: int = 0
    bad_images: BadImages = "stop"

    def views(self, description: ModelDescription) -> tuple[LayerView, ...]:
        """The views of one net; UserError for a layer that it does not have or a Q that is too small for it."""
        architecture = description.architecture
        tap = activation(self.layer)
        if architecture.convolutions_only and self.layer == "fc7":
            raise UserError("this model has convolutions only, no fc7: give --layer pool5, or another up to it")
        check_names(architecture, [tap])
        scales = self.test_scale or (default_scale(description),)
        if len(set(scales)) < len(scales):
            raise UserError(f"--test-scale {' '.join(map(str, scales))}: each Q once")
        views = tuple(LayerView("dense", scale, tap) for scale in scales)
        for view in views:
            view.check(architecture)
        return views


@dataclass(frozen=True, eq=False)
class Descriptors:
    """float32 (n, D) of unit length, for the images at `indices` (n,) of a split; and the bad images."""

    values: np.ndarray
    indices: np.ndarray
    bad: tuple[BadImage, ...] = ()


def activation(layer: str) -> str:
    """The tap behind a weight layer's activations: fc7 -> relu7, conv5_3 -> relu5_3; others stay."""
    if layer.startswith("norm"):
        return layer.replace("norm", "relu")
    return layer if layer == "fc8" else relu_name(layer)


def describe_images(
    models: Sequence[str | Path | VGG],
    splits: Sequence[Split],
    settings: DescriptorSettings,
    on_progress: Progress | None = None,
    wanted: np.ndarray | None = None,
) -> Descriptors:
    """Descriptors of images (those at `wanted`, by default all) by one or more nets, stacked.

    `splits` show the same n examples in different parts (the image, a person's box), which are stacked too; mostly it
    is one. Nets given as paths keep their layers' means on disk. Raises UserError, and BadImage where bad images stop.
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


def _layer_means(
    model: str | Path | VGG,
    split: Split,
    views: Sequence[LayerView],
    settings: DescriptorSettings,
    wanted: np.ndarray,
    on_progress: Progress | None,
) -> tuple[dict[LayerView, np.ndarray], np.ndarray, list[BadImage]]:
    """{view: (n, C)}, which images have all of them, and the bad images."""
    name = model.architecture.net if isinstance(model, VGG) else str(model)

    def tell(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(done, total, name)

    if isinstance(model, VGG):
        return _without_store(model, split, views, settings, wanted, tell)
    path = model
    store = LayerStore.of(path, read_description(path), split, settings.device, settings.precision)
    bad = store.fill(
        lambda: load_model(path).to_fast_layout(),
        split,
        views,
        workers=settings.workers,
        on_progress=tell,
        bad_images=settings.bad_images,
        wanted=wanted,
    )
    means, present = {}, np.ones(len(split), bool)
    for view in views:
        means[view], there = store.read(view, len(split))
        present &= there
    return means, present, bad


def _without_store(
    model: VGG,
    split: Split,
    views: Sequence[LayerView],
    settings: DescriptorSettings,
    wanted: np.ndarray,
    tell: Callable[[int, int], None],
) -> tuple[dict[LayerView, np.ndarray], np.ndarray, list[BadImage]]:
    """As `_layer_means`, of a net in memory, which has no hash to be found again by."""
    columns = taps(model.architecture)[views[0].tap].channels
    means = {view: np.zeros((len(split), columns), np.float32) for view in views}
    present = np.zeros(len(split), bool)
    bad: list[BadImage] = []
    for shard in score_in_shards(
        model,
        split,
        views,
        shard=2**62,
        device=settings.device,
        precision=settings.precision,
        workers=settings.workers,
        on_progress=tell,
        bad_images=settings.bad_images,
        indices=wanted,
        presenter=LayerPresenter,
    ):
        for view in views:
            means[view][shard.indices] = shard.posteriors[view]
        present[shard.indices] = True
        bad += shard.bad
    return means, present, bad


def _combined(means: Sequence[np.ndarray], pool: Pool) -> np.ndarray:
    """(n, C) of each scale -> (n, C) or (n, C x scales), of unit length."""
    if pool == "average":
        return unit(np.mean(means, axis=0))
    if pool == "stack":
        return unit(np.concatenate([unit(each) for each in means], axis=1))
    raise UserError(f"--pool {pool}: stack or average")


def unit(values: np.ndarray) -> np.ndarray:
    """Rows of (n, D) at L2 norm 1, float32; rows of zeros stay."""
    norms = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    return (values / np.where(norms > 0, norms, 1)).astype(np.float32)
