"""The forward passes behind each kind of view: from rescaled images to posteriors.

Notable:
- Class scores are averaged over a dense map's positions *before* the soft-max. Posteriors are averaged over mirrors,
  crops and everything else after it (Sect. 3.2).
- Means and soft-max are in fp32 whatever the net's precision.
- Pixels lie on the device as bytes. Mirrors and crops are made on the device, and nothing makes a GPU wait for this
  process.
- Images of unequal size share a padded batch. `padding_kept_zero` keeps each as if it were alone, and only the part of
  a map that belongs to the image counts (`Scorer.own_maps`).

Shapes: N images of a batch, n items, C channels or crops, K classes, D numbers of an image.
"""

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.backends.choose_inference import fast_inference
from vggnet.errors import UserError
from vggnet.evaluation.batching import WASTE, Batcher, CountingBatcher, Item, batch_limit_px
from vggnet.evaluation.masking import Size, padding_kept_zero
from vggnet.evaluation.other_classifiers import OtherArchitecture, OtherClassifier
from vggnet.evaluation.views import GRID, View
from vggnet.images.geometry import center_crop_corner, crop_grid, ten_crop_corners
from vggnet.images.normalization import normalize
from vggnet.network.taps import features, taps
from vggnet.network.vgg import VGG, evaluating
from vggnet.options.choices import Precision
from vggnet.paper.configurations import Architecture


class ViewScorer(ABC):
    """How the views of images become posteriors, whatever the net. Subclasses say how the net computes."""

    device: torch.device
    precision: Precision
    limit_px: int
    waste = WASTE  # largest share of padding in a batch of whole images

    @property
    @abstractmethod
    def architecture(self) -> Architecture | OtherArchitecture:
        """Return what views must know of the net."""

    @abstractmethod
    def inputs(self, pixels: Tensor) -> Tensor:
        """Return the net's input (N, 3, H, W) on its device, from uint8 (N, H, W, 3) on any device."""

    @abstractmethod
    def crop_scores(self, images: Tensor) -> Tensor:
        """Return class scores (N, K), fp32, of crops (N, 3, crop, crop)."""

    @abstractmethod
    def whole_scores(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Return class scores (N, K), fp32, of whole images, each of its own size within (N, 3, H, W)."""

    def batcher(self, view: View) -> Batcher | CountingBatcher:
        """Return what collects the images of one view into batches."""
        if view.kind == "dense":
            return Batcher(self.limit_px, copies=view.copies, waste=self.waste)
        crops = view.copies * {"crops": GRID**2, "ten": 5, "center": 1}[view.kind]
        return CountingBatcher(max(1, self.limit_px // (crops * self.architecture.crop_px**2)))

    def posteriors(self, view: View, items: Sequence[Item]) -> Tensor:
        """Return posteriors (n, K), fp32, on the device, of images that are rescaled to the view's scale."""
        if view.kind != "dense":
            return self._cropped(view, items)
        return self.whole_images(view, items, lambda images, sizes: self.whole_scores(images, sizes).softmax(1))

    def whole_images(
        self, view: View, items: Sequence[Item], compute: Callable[[Tensor, Sequence[Size]], Tensor]
    ) -> Tensor:
        """Return (n, D): what `compute` gives for each image, averaged with its mirror image where the view has one.

        `compute` takes the net's input (N, 3, H, W) and the images' sizes in it, and returns (N, D).
        """
        sizes = [item.size for item in items]
        images = self.inputs(stack_images(items, sizes))
        if not view.mirror:
            return compute(images, sizes)
        mirrored = mirror_images(images, sizes)
        if 2 * images.shape[0] * images.shape[2] * images.shape[3] > self.limit_px:
            # A single image may exceed half the limit (see `batching`): it and its mirror image go one after the other.
            return (compute(images, sizes) + compute(mirrored, sizes)) / 2
        both = compute(torch.cat([images, mirrored]), [*sizes, *sizes])
        return (both[: len(items)] + both[len(items) :]) / 2

    def _cropped(self, view: View, items: Sequence[Item]) -> Tensor:
        crop = self.architecture.crop_px
        at_once = max(1, self.limit_px // (crop * crop * view.copies))
        crops: list[Tensor] = []
        places: list[int] = []  # of each of the view's crops in `crops`: equal ones go through the net once
        for item in items:
            own: dict[tuple[int, int], int] = {}
            for x, y in corners(view, *item.size, crop):
                if (x, y) not in own:
                    own[x, y] = len(crops)
                    crops.append(item.pixels[y : y + crop, x : x + crop])
                places.append(own[x, y])
        parts = []
        for start in range(0, len(crops), at_once):
            images = self.inputs(torch.stack(crops[start : start + at_once]))
            parts.append(self._crop_posteriors(images, view.mirror))
        posteriors = torch.cat(parts)
        if len(crops) < len(places):
            posteriors = posteriors[torch.tensor(places, device=self.device)]
        return posteriors.unflatten(0, (len(items), -1)).mean(1)  # (n, C, K) -> (n, K)

    def _crop_posteriors(self, images: Tensor, mirrored: bool) -> Tensor:
        """Return posteriors (N, K) of crops (N, 3, crop, crop), averaged with those of their mirror images."""
        if not mirrored:
            return self.crop_scores(images).softmax(1)
        both = self.crop_scores(torch.cat([images, images.flip(3)])).softmax(1)
        return (both[: len(images)] + both[len(images) :]) / 2


@dataclass(frozen=True)
class Scorer(ViewScorer):
    """A VGG prepared for inference, with its device, precision and limit of pixels per batch."""

    model: VGG
    device: torch.device
    precision: Precision
    limit_px: int

    @property
    def architecture(self) -> Architecture:
        return self.model.architecture

    def inputs(self, pixels: Tensor) -> Tensor:
        own = {
            "bf16": torch.bfloat16,
            "bf16-cudnn": torch.bfloat16,
            "int8": torch.float32,
        }  # an int8 net rounds its input itself
        dtype = own.get(self.precision) or self.model.conv1_1.weight.dtype
        return normalize(pixels.to(self.device), self.model.description.preprocessing, dtype=dtype)

    def crop_scores(self, images: Tensor) -> Tensor:
        return _wide(self.model(images)).flatten(1)

    def whole_scores(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        return self.means(images, sizes)

    def means(self, images: Tensor, sizes: Sequence[Size], layer: str | None = None) -> Tensor:
        """Return (N, C), fp32: the mean of `layer` (None: the class scores) over each image's own positions."""
        maps = self.maps(images, sizes, layer)
        if len(set(sizes)) == 1:
            return maps.mean((2, 3))
        return torch.stack([own.mean((1, 2)) for own in self.own_maps(maps, sizes, layer)])

    def maps(self, images: Tensor, sizes: Sequence[Size], layer: str | None = None) -> Tensor:
        """Return the maps (N, C, rows, columns) of `layer` (None: the class scores) in fp32.

        Where sizes differ, positions beyond an image hold no result: `own_maps` cuts them off. `layer` is a name of
        `network.taps`.
        """
        if len(set(sizes)) == 1:
            return _wide(_activations(self.model, images, layer))
        with padding_kept_zero(self.model, sizes, self.device):
            return _wide(_activations(self.model, images, layer))

    def own_maps(self, maps: Tensor, sizes: Sequence[Size], layer: str | None = None) -> Iterator[Tensor]:
        """Yield from `maps` each image's own part (C, rows, columns)."""
        tap = taps(self.model.architecture)[layer or "fc8"]
        for each, size in zip(maps, sizes, strict=True):
            rows, columns = tap.map_size(*size)
            yield each[:, :rows, :columns]


@dataclass(frozen=True)
class OtherScorer(ViewScorer):
    """A classifier of another library, ready for inference. Images of one shape share a batch: nothing is padded."""

    classifier: OtherClassifier
    device: torch.device
    precision: Precision
    limit_px: int
    waste = 0.0

    @property
    def architecture(self) -> OtherArchitecture:
        return self.classifier.architecture

    def inputs(self, pixels: Tensor) -> Tensor:
        about = self.classifier.description
        weights = next(self.classifier.module.parameters(), torch.empty(0))
        images = normalize(pixels.to(self.device), about.preprocessing, dtype=weights.dtype)
        # contiguous: code such as `x.view(len(x), -1)` takes no channels_last memory
        return (images.flip(1) if about.order == "BGR" else images).contiguous()

    def crop_scores(self, images: Tensor) -> Tensor:
        return self.classifier.scores(images)

    def whole_scores(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        return self.classifier.scores(images)


@contextmanager
def ready_to_score(model: VGG, device: str | torch.device, precision: Precision) -> Iterator[Scorer]:
    """Prepare a net for inference: on the device, in evaluation mode and without gradients within the block.

    Compute with `Scorer.model`: it may be a faster copy of `model` (`backends.choose_inference`). On a GPU fp32 means
    fp32, without TF32. Raises UserError for a precision that does not exist.
    """
    with _inferring(model, torch.device(device), precision) as place:
        ready = fast_inference(model, place, precision)
        yield Scorer(ready, place, precision, batch_limit_px(model.architecture, place))


@contextmanager
def other_ready_to_score(
    classifier: OtherClassifier, device: str | torch.device, precision: Precision
) -> Iterator[OtherScorer]:
    """Prepare a classifier of another library as `ready_to_score` does a net; afterwards it is where it was before."""
    if precision not in ("fp32", "bf16"):
        raise UserError(
            f"`precision` {precision} is for vggnet's own nets, not for {classifier.name}: use fp32 or bf16"
        )
    before = next((parameter.device for parameter in classifier.module.parameters()), None)
    try:
        with _inferring(classifier.module, torch.device(device), precision) as place:
            yield OtherScorer(classifier, place, precision, batch_limit_px(None, place))
    finally:
        if before is not None:
            classifier.module.to(before)


@contextmanager
def _inferring(module: nn.Module, device: torch.device, precision: Precision) -> Iterator[torch.device]:
    """Run the block as evaluation computes: the module on the device, in its evaluation mode, without gradients."""
    if precision not in typing.get_args(Precision):
        raise UserError(f"`precision` {precision!r}: use {', '.join(typing.get_args(Precision))}")
    module.to(device)
    with ExitStack() as stack:
        stack.enter_context(evaluating(module))
        stack.enter_context(torch.inference_mode())
        if device.type == "cuda":
            stack.enter_context(_true_fp32())
        if precision in ("bf16", "bf16-cudnn"):
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        yield device


@contextmanager
def _true_fp32() -> Iterator[None]:
    """Switch off TF32 and cuDNN's timing of algorithms: batches have too many shapes for the timing to pay."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32
    cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32 = False, False, False
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32 = before


def corners(view: View, height: int, width: int, crop: int) -> list[tuple[int, int]]:
    """Return (left, top) of a view's crops in a rescaled image of height x width, without their mirror images."""
    if view.kind == "crops":
        return crop_grid(width, height, crop, GRID)
    if view.kind == "ten":
        return ten_crop_corners(width, height, crop)
    return [center_crop_corner(width, height, crop)]


def _activations(model: VGG, images: Tensor, layer: str | None) -> Tensor:
    """Return a layer's map (None: the class scores).

    The layers that descriptors mostly use come from the net's own forward pass: a net prepared for speed has a faster
    one than `features`, which goes through the layers one by one.
    """
    if layer is None:
        scores: Tensor = model(images)
        return scores
    if layer not in ("pool5", "relu6", "relu7"):
        return features(model, images, [layer])[layer]
    x = model.forward_features(images)
    for name in {"pool5": (), "relu6": ("fc6",), "relu7": ("fc6", "fc7")}[layer]:
        x = F.relu(getattr(model, name)(x))
    return x


def _wide(scores: Tensor) -> Tensor:
    """Return numbers in fp32, or as they are where they are wider."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def stack_images(items: Sequence[Item], sizes: Sequence[Size]) -> Tensor:
    """Return pixels in one tensor (n, H, W, 3), each image in the upper left corner, zeros beyond it."""
    if len(set(sizes)) == 1:
        return torch.stack([item.pixels for item in items])
    rows, columns = (max(side) for side in zip(*sizes, strict=True))
    together = items[0].pixels.new_zeros(len(items), rows, columns, 3)
    for place, item in zip(together, items, strict=True):
        place[: item.size[0], : item.size[1]] = item.pixels
    return together


def mirror_images(images: Tensor, sizes: Sequence[Size]) -> Tensor:
    """Return each image of (N, 3, H, W) flipped within its own width, zeros beyond it."""
    if len({width for _, width in sizes}) == 1:
        return images.flip(3)
    mirrored = torch.empty_like(images)
    for target, image, (_, width) in zip(mirrored, images, sizes, strict=True):
        target[:, :, :width] = image[:, :, :width].flip(2)
        target[:, :, width:] = 0
    return mirrored
