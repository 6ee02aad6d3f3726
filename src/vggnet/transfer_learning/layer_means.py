"""A layer's mean activations over whole images (App. B).

Notable: the layer is computed densely over the uncropped image at scale Q, averaged over its positions and over the
image and its mirror image (over the image alone where the view is without mirror). The means are stored on disk as
posteriors are, in the folder `descriptors`.

Shapes: n images, C channels of the layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from vggnet.data.splits import Split
from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.batching import Item
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.forward import Scorer
from vggnet.evaluation.other_classifiers import OtherArchitecture
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View
from vggnet.network.taps import taps
from vggnet.paper.configurations import Architecture


@dataclass(frozen=True, order=True)
class LayerView(View):
    """The whole image at one scale, as a dense view, of which layer `tap` (a name of `network.taps`) is wanted."""

    tap: str = "relu7"

    @property
    def key(self) -> str:
        return f"{self.tap}-{self.scale}{self._without}"

    def columns(self, architecture: Architecture | OtherArchitecture) -> int:
        """Return the layer's number of channels (C)."""
        assert isinstance(architecture, Architecture), "only a VGG has layers with names"
        return taps(architecture)[self.tap].channels

    def check(self, architecture: Architecture | OtherArchitecture) -> None:
        """Raise UserError where an image at this scale is too small for the layer, naming the least Q."""
        assert isinstance(architecture, Architecture), "only a VGG has layers with names"
        least = taps(architecture)[self.tap].least_px
        if self.scale < least:
            raise UserError(f"test scale {self.scale}: too small for {self.tap}: Q must be at least {least}")


def layer_means(tap: str, scorer: Scorer, view: View, items: Sequence[Item]) -> Tensor:
    """Return mean activations (n, C) of layer `tap`, fp32, on the device, of images rescaled to the view's scale."""
    return scorer.whole_images(view, items, lambda images, sizes: scorer.means(images, sizes, tap))


def layer_store(path: str | Path, description: ModelDescription, split: Split, tap: str, computing: Computing) -> Store:
    """Return the store of a layer's means of one net. Raises as `Store.of`."""
    return Store.of(path, description, split, computing, content="descriptors", values=partial(layer_means, tap))


def activation(layer: str) -> str:
    """Return the tap behind a weight layer's activations: fc7 -> relu7, conv5_3 -> relu5_3; other names stay."""
    kind, place = layer.rstrip("0123456789_"), layer.lstrip("abcdefghijklmnopqrstuvwxyz")
    return f"relu{place}" if kind in ("conv", "norm", "fc") and layer != "fc8" else layer
