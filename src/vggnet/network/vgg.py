"""The nets of Table 1 as PyTorch modules, fully convolutional from the start (Sect. 3.2).

A net's children are its layers, named and ordered as in the paper:

    conv1_1  relu1_1  conv1_2  relu1_2  pool1  ...  pool5  fc6  relu6  drop6  fc7  relu7  drop7  fc8

with `norm1_1` after conv1_1 where the net has batch normalisation, and `lrn1_1` after relu1_1 in net A-LRN. All are
PyTorch's own modules, and a forward pass is one after the other, so whatever hooks, cuts, traces or iterates modules
sees the whole net. `backends/` computes the same function faster.

The fully connected layers are convolutions: fc6's weight is (4096, 512, 7, 7). A 224 x 224 crop gives a 1 x 1 class
score map, a larger image a larger one: training, dense evaluation and features are the same forward pass. There is no
adaptive pooling: it is not dense evaluation beyond the crop size, and its CUDA backward is not deterministic.

Shapes: N images, C channels, H x W pixels, K outputs, H' x W' positions of the class score map.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.paper.configurations import (
    LRN_ALPHA,
    LRN_BETA,
    LRN_K,
    LRN_NEIGHBOURS,
    TOTAL_STRIDE_PX,
    Architecture,
    Layer,
)

# names of their own: TorchScript reads the comments that mypy needs here
is_scripting = torch.jit.is_scripting  # type: ignore[attr-defined]
is_tracing = torch.jit.is_tracing  # type: ignore[attr-defined]


class VGG(nn.Module):
    """One column of Table 1. `model(images)` is the class score map (N, K, H', W'), `model.logits(images)` is (N, K).

    Weights are PyTorch's defaults until `initialize` or `load_model` fills them; `vggnet.build` makes a net and draws
    them.
    """

    __jit_unused_properties__ = ("architecture",)
    if TYPE_CHECKING:  # at run time TorchScript would take these for attributes to compile
        conv1_1: nn.Conv2d
        fc6: nn.Conv2d
        fc7: nn.Conv2d
        fc8: nn.Conv2d
    initialization = "PyTorch's default"  # in words; `initialize` sets it
    file_sha256: str | None = None  # of the weight file that the net was loaded from; `load_model` sets it

    def __init__(self, description: ModelDescription) -> None:
        super().__init__()
        self.description = description
        for layer in self.architecture.layers():
            self._add_layer(layer)
        self._least_px = self.architecture.fc_kernel * TOTAL_STRIDE_PX

    def _add_layer(self, layer: Layer) -> None:
        """Add a weight layer and what follows it, as children."""
        sizes = (layer.in_channels, layer.out_channels, layer.kernel)
        self.add_module(layer.name, nn.Conv2d(*sizes, padding=layer.padding))
        if self.architecture.batch_norm and layer.stage:
            self.add_module(layer.norm, nn.BatchNorm2d(layer.out_channels))
        if layer.relu:
            self.add_module(layer.relu, nn.ReLU())
        if layer.normalized:
            self.add_module(layer.lrn, nn.LocalResponseNorm(LRN_NEIGHBOURS, LRN_ALPHA, LRN_BETA, LRN_K))
        if layer.pool:
            self.add_module(layer.pool, nn.MaxPool2d(2))
        if layer.drop:
            self.add_module(layer.drop, nn.Dropout(self.architecture.dropout))

    @property
    def architecture(self) -> Architecture:
        return self.description.architecture

    def forward(self, images: Tensor) -> Tensor:
        """Return the class score map (N, K, H', W') of preprocessed images (N, 3, H, W).

        H' = floor(H / 32) - fc_kernel + 1: 1 x 1 at crop size. Raises UserError for an image that is too small, naming
        the least size, and for a net without a head.
        """
        if not is_scripting():  # TorchScript cannot raise UserError
            self._check(images)
        x = images
        for layer in self.children():  # as `walk`: TorchScript cannot compile a generator
            x = layer(x)
        return x

    def _check(self, images: Tensor) -> None:
        # a trace would turn the sizes into constants, with a warning for each
        if not is_tracing():
            check_images(images, self._least_px)
        if self.architecture.convolutions_only:
            raise_without_head()

    def logits(self, images: Tensor) -> Tensor:
        """Return class scores (N, K) of preprocessed images (N, 3, H, W): the mean of the score map's positions.

        The scores before the soft-max, with gradients, in the net's own mode: for losses, metrics and other libraries.
        """
        return self(images).mean((2, 3))

    def scores(self, images: Tensor) -> Tensor:
        """Return class scores (N, K) as in evaluation: without gradients or dropout, whatever mode the net is in."""
        with torch.no_grad(), evaluating(self):
            return self.logits(images)

    def posteriors(self, images: Tensor) -> Tensor:
        """Return class posteriors (N, K): the soft-max of `scores`, in fp32 or wider."""
        scores = self.scores(images)
        return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(1)

    def walk(self, images: Tensor, pooling: nn.Module | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, activation) layer by layer, with `pooling` in the place of every max-pooling where it is given.

        A generator: layers after the last one that is asked for are not computed.
        """
        x = images
        for name, layer in self.named_children():
            x = pooling(x) if pooling is not None and name.startswith("pool") else layer(x)
            yield name, x

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the pool5 map (N, 512, floor(H / 32), floor(W / 32)) of preprocessed images (N, 3, H, W)."""
        check_images(images, TOTAL_STRIDE_PX)
        return next(activation for name, activation in self.walk(images) if name == "pool5")

    def forward_head(self, pool5: Tensor) -> Tensor:
        """Return the class score map (N, K, h - fc_kernel + 1, w - fc_kernel + 1) of a pool5 map (N, 512, h, w)."""
        if self.architecture.convolutions_only:
            raise_without_head()
        kernel = self.architecture.fc_kernel
        rows, columns = pool5.shape[-2:]
        if min(rows, columns) < kernel:
            raise UserError(f"the pool5 map is {rows}x{columns}, fc6 needs at least {kernel}x{kernel}")
        x = pool5
        for layer in list(self.children())[self._first_of_head() :]:
            x = layer(x)
        return x

    def _first_of_head(self) -> int:
        """Return the position of fc6 among the children."""
        return list(self._modules).index("fc6")

    def freeze_before(self, first: str) -> Self:
        """Let only the layer `first` and those after it train; frozen norms keep their statistics. Returns the net.

        Raises UserError for a layer that does not exist.
        """
        names = [layer.name for layer in self.architecture.layers()]
        if first not in names:
            raise UserError(f"net {self.architecture.net} has no layer {first!r} to train from: {', '.join(names)}")
        for place, layer in enumerate(self.architecture.layers()):
            for name in (layer.name, layer.norm):
                if name in self._modules:
                    self.get_submodule(name).requires_grad_(place >= names.index(first))
        return self.train(self.training)

    def to_empty(self, *, device: str | torch.device | int | None, recurse: bool = True) -> Self:
        """Return the net with memory for its weights, which is not filled.

        PyTorch's own way goes through its Python references for `meta`, whose import of SymPy takes seconds.
        """
        return self._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device), recurse=recurse)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all layers; frozen norms stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self


class Classifier(nn.Module):
    """`model` as a classifier of other libraries: from preprocessed images (N, 3, H, W) to class scores (N, K)."""

    def __init__(self, model: VGG) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).mean((2, 3))


def as_classifier(model: VGG) -> Classifier:
    """Return a module that gives `model.logits`: (N, K), with gradients, for losses, metrics and other libraries.

    Example:
        >>> classifier = vggnet.as_classifier(vggnet.build("A", num_classes=10, width=0.1, crop=32))
        >>> classifier(torch.zeros(2, 3, 40, 50)).shape
        torch.Size([2, 10])
    """
    refuse_path(model, "as_classifier")
    return Classifier(model)


@torch.fx.wrap
def check_images(images: Tensor, least_px: int) -> None:
    """Raise UserError unless `images` are preprocessed, (N, 3, H, W), and at least `least_px` on each side."""
    if images.dim() != 4 or images.shape[1] != 3:
        raise UserError(f"the net takes images as (N, 3, H, W), not as {tuple(images.shape)}")
    if not images.is_floating_point():
        raise UserError(f"the net takes preprocessed images, not {images.dtype}: vggnet.preprocess makes them")
    height, width = images.shape[-2:]
    if min(height, width) < least_px:
        map_size = f"{height // TOTAL_STRIDE_PX}x{width // TOTAL_STRIDE_PX}"
        needed = least_px // TOTAL_STRIDE_PX
        raise UserError(
            f"the pool5 map of a {height}x{width} image would be {map_size}, fc6 needs {needed}x{needed}: "
            f"the smallest side must be at least {least_px}"
        )


def refuse_path(model: Any, function: str) -> None:
    """Raise UserError for a path or name given to a function that takes a net in memory."""
    if isinstance(model, (str, Path)):
        raise UserError(f"{function} takes a net, and {str(model)!r} is a path or a name: vggnet.load({str(model)!r})")


def raise_without_head() -> None:
    """Raise UserError: a net of convolutions only cannot name classes."""
    raise UserError(
        "this model has convolutions only, no FC layers that name classes. Its features up to pool5 work; for "
        "classes, train a net from it (`vggnet train --init-from MODEL --new-head`)"
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` in evaluation mode within the block; afterwards every submodule has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def on_meta(description: ModelDescription) -> VGG:
    """Return the net without memory for its weights, for callers that fill them all: nothing is drawn twice."""
    with torch.device("meta"):
        return VGG(description)


def without_head(model: VGG) -> VGG:
    """Return a copy of the net without its FC layers; it shares no memory with `model`."""
    description = model.description
    architecture = replace(description.architecture, outputs=0, convolutions_only=True)
    trunk = on_meta(replace(description, architecture=architecture, classes=(), class_titles=(), boxes=""))
    state = model.state_dict()
    trunk.load_state_dict({name: state[name].clone() for name in trunk.state_dict()}, assign=True)
    trunk.initialization = model.initialization
    return trunk.train(model.training)
