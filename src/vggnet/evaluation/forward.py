"""From rescaled images to posteriors: the forward passes behind each kind of view.

Notable: scores are averaged over a dense map's positions *before* the soft-max, posteriors over mirrors, crops and
everything else after it (Sect. 3.2). Means and soft-max are in fp32 whatever the net's arithmetic. Pixels lie on the
device as bytes; mirrors and crops are made there, and nothing makes a GPU wait for this process.

Shapes: n images, K classes, C crops an image.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from vggnet.backends.choose_inference import fast_inference
from vggnet.errors import UserError
from vggnet.evaluation.batching import Batcher, CountingBatcher, Item, batch_limit_px
from vggnet.evaluation.masking import padding_kept_zero
from vggnet.evaluation.views import GRID, View
from vggnet.images.geometry import center_crop_corner, crop_grid, ten_crop_corners
from vggnet.images.normalization import normalize
from vggnet.network.vgg import VGG, evaluating
from vggnet.options.choices import Precision


@dataclass(frozen=True)
class Presenter:
    """A net as it computes fastest there, where and how it computes, and how many pixels it takes at once."""

    model: VGG
    device: torch.device
    precision: Precision
    limit_px: int

    def batcher(self, view: View) -> Batcher | CountingBatcher:
        """What collects the images of one view into batches."""
        if view.kind == "dense":
            return Batcher(self.limit_px, copies=view.copies)
        crops = view.copies * {"crops": GRID**2, "ten": 5, "center": 1}[view.kind]
        return CountingBatcher(max(1, self.limit_px // (crops * self.model.architecture.crop_px**2)))

    def columns(self, view: View) -> int:
        """How many numbers a view of an image gives (K)."""
        return self.model.architecture.outputs

    def posteriors(self, view: View, items: Sequence[Item]) -> Tensor:
        """Images rescaled to the view's scale -> posteriors (n, K), fp32, on the device."""
        return self._dense(view, items) if view.kind == "dense" else self._cropped(view, items)

    def inputs(self, pixels: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) on any device -> the net's input (N, 3, H, W) on its own."""
        own = {"bf16": torch.bfloat16, "int8": torch.float32}  # int8 nets round their input themselves
        dtype = own.get(self.precision) or self.model.conv1_1.weight.dtype
        return normalize(pixels.to(self.device), self.model.description.preprocessing, dtype=dtype)

    def _dense(self, view: View, items: Sequence[Item]) -> Tensor:
        sizes = [item.size for item in items]
        images = self.inputs(stack_images(items, sizes))
        if not view.mirror:
            return self._dense_scores(images, sizes).softmax(1)
        mirrored = mirror_images(images, sizes)
        if 2 * images.shape[0] * images.shape[2] * images.shape[3] > self.limit_px:  # one large image: by halves
            halves = [self._dense_scores(half, sizes).softmax(1) for half in (images, mirrored)]
            return (halves[0] + halves[1]) / 2
        both = self._dense_scores(torch.cat([images, mirrored]), [*sizes, *sizes]).softmax(1)
        return (both[: len(items)] + both[len(items) :]) / 2

    def _dense_scores(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Class scores (N, K), the mean over each image's own positions."""
        if len(set(sizes)) == 1:
            return _wide(self.model(images)).mean((2, 3))
        with padding_kept_zero(self.model, sizes, self.device):
            maps = _wide(self.model(images))
        outside = self.model.architecture.fc_kernel - 1
        return torch.stack(
            [
                scores[:, : height // 32 - outside, : width // 32 - outside].mean((1, 2))
                for scores, (height, width) in zip(maps, sizes, strict=True)
            ]
        )

    def _cropped(self, view: View, items: Sequence[Item]) -> Tensor:
        crop = self.model.architecture.crop_px
        at_once = max(1, self.limit_px // (crop * crop * view.copies))
        crops: list[Tensor] = []
        for item in items:
            crops += [item.pixels[y : y + crop, x : x + crop] for x, y in corners(view, *item.size, crop)]
        parts = []
        for start in range(0, len(crops), at_once):
            images = self.inputs(torch.stack(crops[start : start + at_once]))
            parts.append(self._crop_posteriors(images, view.mirror))
        return torch.cat(parts).unflatten(0, (len(items), -1)).mean(1)  # (n, C, K) -> (n, K)

    def _crop_posteriors(self, images: Tensor, mirrored: bool) -> Tensor:
        """Crops (N, 3, crop, crop) -> posteriors (N, K), averaged with their mirrors'."""
        if not mirrored:
            return _wide(self.model(images)).flatten(1).softmax(1)
        both = _wide(self.model(torch.cat([images, images.flip(3)]))).flatten(1).softmax(1)
        return (both[: len(images)] + both[len(images) :]) / 2


@contextmanager
def presenting(
    model: VGG, device: str | torch.device, precision: Precision, kind: type[Presenter] = Presenter
) -> Iterator[Presenter]:
    """The net ready to score: moved to the device, in evaluation mode and without gradients for as long as it lasts.

    What computes is `Presenter.model`, which may be a copy made for speed (`network.inference`): use that one.
    fp32 is fp32 on a GPU too (no TF32). Raises UserError for a precision that does not exist.
    """
    if precision not in ("fp32", "bf16", "int8"):
        raise UserError(f"precision {precision!r} does not exist; evaluation runs in fp32, bf16 or int8")
    device = torch.device(device)
    model.to(device)
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.inference_mode())
        if device.type == "cuda":
            stack.enter_context(_true_fp32())
        if precision == "bf16":
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        ready = fast_inference(model, device, precision)
        yield kind(ready, device, precision, batch_limit_px(model.architecture, device))


@contextmanager
def _true_fp32() -> Iterator[None]:
    """No TF32 for a while, and no timing of algorithms: batches have too many shapes for that to pay."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32
    cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32 = False, False, False
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32 = before


def corners(view: View, height: int, width: int, crop: int) -> list[tuple[int, int]]:
    """(left, top) of a view's crops in a rescaled image of height x width; mirrors double them."""
    if view.kind == "crops":
        return crop_grid(width, height, crop, GRID)
    if view.kind == "ten":
        return ten_crop_corners(width, height, crop)
    return [center_crop_corner(width, height, crop)]


def _wide(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def stack_images(items: Sequence[Item], sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Pixels in one tensor (n, H, W, 3), each in the upper left corner; what lies beyond is masked later."""
    if len(set(sizes)) == 1:
        return torch.stack([item.pixels for item in items])
    rows, columns = (max(side) for side in zip(*sizes, strict=True))
    together = items[0].pixels.new_zeros(len(items), rows, columns, 3)
    for place, item in zip(together, items, strict=True):
        place[: item.size[0], : item.size[1]] = item.pixels
    return together


def mirror_images(images: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Each image (N, 3, H, W) flipped within its own width."""
    if len({width for _, width in sizes}) == 1:
        return images.flip(3)
    mirrored = torch.empty_like(images)
    for target, image, (_, width) in zip(mirrored, images, sizes, strict=True):
        target[:, :, :width] = image[:, :, :width].flip(2)
        target[:, :, width:] = 0
    return mirrored
