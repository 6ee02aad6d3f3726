"""A layer's mean activations over whole images, and their store on disk, as posteriors have theirs (App. B).

Notable: the layer is computed densely over the uncropped image at scale Q, averaged over its positions and over the
image and its mirror (over the image alone where the view is without mirror).

Shapes: n images, C channels of the layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vggnet.errors import UserError
from vggnet.evaluation.batching import Batcher, Item
from vggnet.evaluation.forward import Presenter, mirror_images, stack_images
from vggnet.evaluation.masking import padding_kept_zero
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View
from vggnet.network.taps import features, taps
from vggnet.paper.configurations import Architecture


@dataclass(frozen=True, order=True)
class LayerView(View):
    """A layer's mean activations over the whole image at one scale; `tap` is its name among the net's taps."""

    tap: str = "relu7"

    @property
    def key(self) -> str:
        return f"{self.tap}-{self.scale}{self._without}"

    def check(self, architecture: Architecture) -> None:
        """Raise UserError where an image at this scale is too small for the layer, naming the least Q."""
        least = taps(architecture)[self.tap].least_px
        if self.scale < least:
            raise UserError(f"test scale {self.scale}: too small for {self.tap}: Q must be at least {least}")


@dataclass(frozen=True)
class LayerPresenter(Presenter):
    """Batches of whole images to their layers' means."""

    def batcher(self, view: View) -> Batcher:
        return Batcher(self.limit_px, copies=view.copies)

    def columns(self, view: View) -> int:
        assert isinstance(view, LayerView)
        return taps(self.model.architecture)[view.tap].channels

    def posteriors(self, view: View, items: Sequence[Item]) -> Tensor:
        """Images rescaled to the view's scale -> mean activations (n, C) of image and mirror, fp32, on the device."""
        assert isinstance(view, LayerView)
        sizes = [item.size for item in items]
        images = self.inputs(stack_images(items, sizes))
        if not view.mirror:
            return self._means(view, images, sizes)
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


def activation(layer: str) -> str:
    """The tap behind a weight layer's activations: fc7 -> relu7, conv5_3 -> relu5_3; others stay."""
    kind, place = layer.rstrip("0123456789_"), layer.lstrip("abcdefghijklmnopqrstuvwxyz")
    return f"relu{place}" if kind in ("conv", "norm", "fc") and layer != "fc8" else layer
