"""The net of Table 1, fully convolutional from the start (Sect. 3.2).

Notable:
- The FC layers are convolutions (fc6's weight is (4096, 512, 7, 7)), so one forward pass serves training, dense
  evaluation and features. `FullyConnected` runs them as linear layers, which they are at crop size.
- In a stage's last layer max-pooling comes before the ReLU: both are monotonic, so the result is the same to the bit,
  on a quarter of the elements.
- No adaptive pooling: it is not dense evaluation beyond the crop size, and its CUDA backward is not deterministic.

Shapes: N images, C channels, H x W pixels, K outputs, H' x W' positions of the class score map.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.contract import ModelDescription
from vggnet.errors import UserError
from vggnet.network.dropout import dropout
from vggnet.network.response_normalization import ResponseNormalization
from vggnet.paper.configurations import TOTAL_STRIDE_PX, Architecture, Layer


class FullyConnected(nn.Conv2d):
    """A fully connected layer as a convolution without padding; (N, C, h, w) -> (N, K, h - k + 1, w - k + 1).

    Run as a linear layer on each position's C k k inputs: at crop size that is what it is, and on larger maps this is
    two to five times faster than a 7x7 convolution (fp32 and bf16, Xeon with AMX, 2 cores).
    """

    def forward(self, input: Tensor) -> Tensor:
        weight, kernel = self.weight, self.weight.shape[-1]
        patches = input.unfold(2, kernel, 1).unfold(3, kernel, 1).permute(0, 2, 3, 1, 4, 5)  # (N, H', W', C, k, k)
        if not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last):
            # The weight (fc6's is 400 MB) is never copied: it is read in the order in which it lies in memory, and the
            # activation, which is small, follows.
            weight, patches = weight.permute(0, 2, 3, 1), patches.permute(0, 1, 2, 4, 5, 3)
        outputs = F.linear(patches.reshape(-1, weight[0].numel()), weight.flatten(1), self.bias)
        return outputs.unflatten(0, patches.shape[:3]).permute(0, 3, 1, 2)


class VGG(nn.Module):
    """One column of Table 1 as a module.

    Its children are named and ordered as in the paper (conv1_1, ..., fc6, fc7, fc8; `norm1_1` after conv1_1 with batch
    normalisation), and so are its parameters. Weights are PyTorch's defaults until `initialize` or `load_model`
    fills them; `initialization.build` makes a net and draws them.
    """

    conv1_1: nn.Conv2d
    fc6: FullyConnected
    fc7: FullyConnected
    fc8: FullyConnected
    response_normalization: ResponseNormalization | None
    initialization = "PyTorch's default"  # in words; `initialize` sets it
    file_sha256: str | None = None  # of the weight file that the net was loaded from; `load_model` sets it

    def __init__(self, description: ModelDescription) -> None:
        super().__init__()
        self.description = description
        self._convolutions = tuple(self.architecture.convolutions())
        for layer in self._convolutions:
            sizes = (layer.in_channels, layer.out_channels, layer.kernel)
            self.add_module(layer.name, nn.Conv2d(*sizes, padding=layer.padding))
            if self.architecture.batch_norm:
                self.add_module(norm_name(layer.name), nn.BatchNorm2d(layer.out_channels))
        for layer in self.architecture.fully_connected():
            self.add_module(layer.name, FullyConnected(layer.in_channels, layer.out_channels, layer.kernel))
        self.response_normalization = (
            ResponseNormalization() if self.architecture.configuration.response_normalization else None
        )

    @property
    def architecture(self) -> Architecture:
        return self.description.architecture

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Tensor:
        """Preprocessed images (N, 3, H, W) -> class score map (N, K, H', W'), H' = floor(H / 32) - fc_kernel + 1.

        1 x 1 at crop size. In training dropout draws by `keys` (`dropout.image_keys`, (N,)), and from PyTorch's own
        generator without. Raises UserError for an image that is too small, naming the least size.
        """
        self._check_size(images, self.architecture.fc_kernel)
        return self.forward_head(self.forward_features(images), keys)

    def forward_features(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) -> the pool5 map (N, 512, floor(H / 32), floor(W / 32)), after its ReLU."""
        self._check_size(images, 1)
        x = images
        for layer in self._convolutions:
            x = self._convolve(layer, x)
        return x

    def forward_head(self, pool5: Tensor, keys: Tensor | None = None) -> Tensor:
        """pool5 map (N, 512, h, w) -> class score map (N, K, h - fc_kernel + 1, w - fc_kernel + 1).

        `keys` as in `forward`.
        """
        if self.architecture.convolutions_only:
            raise UserError(
                "this model has convolutions only: it has no head that could name classes. Its features up to pool5 "
                "work; for classes, train a net from it (--init-from MODEL --new-head)"
            )
        kernel = self.architecture.fc_kernel
        rows, columns = pool5.shape[-2:]
        if min(rows, columns) < kernel:
            raise UserError(f"the pool5 map is {rows}x{columns}, fc6 needs at least {kernel}x{kernel}")
        x = self._drop(F.relu(self.fc6(pool5)), keys, 6)
        x = self._drop(F.relu(self.fc7(x)), keys, 7)
        return self.fc8(x)

    def _drop(self, x: Tensor, keys: Tensor | None, layer: int) -> Tensor:
        rate = self.architecture.dropout
        if keys is None or not self.training:
            return F.dropout(x, rate, self.training)
        return dropout(x, rate, keys, layer)

    def freeze_before(self, first: str) -> Self:
        """Let only the layer `first` and those after it train; frozen norms keep their statistics. Returns the net.

        Raises UserError for a layer that does not exist.
        """
        names = [layer.name for layer in self.architecture.layers()]
        if first not in names:
            raise UserError(f"net {self.architecture.net} has no layer {first!r} to train from: {', '.join(names)}")
        frozen = names[: names.index(first)]
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.split(".")[0].replace("norm", "conv") not in frozen)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As of any module, but frozen norms stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self

    def scores(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) -> class scores (N, K): the score map averaged over positions (Sect. 3.2).

        Without gradients and as in evaluation (no dropout, running statistics), whatever mode the net is in.
        """
        with torch.no_grad(), evaluating(self):
            return self(images).mean((2, 3))

    def posteriors(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) -> class posteriors (N, K): the soft-max of `scores`, in fp32 or wider."""
        scores = self.scores(images)
        return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(1)

    def to_fast_layout(self) -> "VGG":
        """Put the convolutions' weights in channels_last, in place, and leave the FC layers' as they are.

        Faster on CPUs and GPUs with bf16; gives the same values to rounding. Returns the net.
        """
        for layer in self._convolutions:
            weight = self.get_parameter(f"{layer.name}.weight")
            # not contiguous(): it leaves a 1x1 weight's strides as they are, and its gradient's would be others
            weight.data = torch.empty_like(weight.data, memory_format=torch.channels_last).copy_(weight.data)
        return self

    def _convolve(self, layer: Layer, x: Tensor) -> Tensor:
        """One convolution and what follows it. Nothing is in place on a convolution's output: hooks may keep it."""
        x = getattr(self, layer.name)(x)
        if self.architecture.batch_norm:
            x = getattr(self, norm_name(layer.name))(x)
        if self.response_normalization is not None and layer is self._convolutions[0]:
            x = self.response_normalization(F.relu(x))
            return F.max_pool2d(x, 2) if layer.last_of_stage else x
        return F.relu(F.max_pool2d(x, 2) if layer.last_of_stage else x)

    def _check_size(self, images: Tensor, needed: int) -> None:
        """Refuse what is no batch of images, or has a pool5 map smaller than needed x needed."""
        if images.dim() != 4 or images.shape[1] != 3:
            raise UserError(f"the net takes images as (N, 3, H, W), not as {tuple(images.shape)}")
        if not images.is_floating_point():
            raise UserError(f"the net takes preprocessed images, not {images.dtype}: vggnet.preprocess makes them")
        height, width = images.shape[-2:]
        if min(height, width) < needed * TOTAL_STRIDE_PX:
            map_size = f"{height // TOTAL_STRIDE_PX}x{width // TOTAL_STRIDE_PX}"
            raise UserError(
                f"the pool5 map of a {height}x{width} image would be {map_size}, fc6 needs {needed}x{needed}: "
                f"the smallest side must be at least {needed * TOTAL_STRIDE_PX}"
            )


def norm_name(convolution: str) -> str:
    """The batch normalisation that follows a convolution: conv3_2 -> norm3_2."""
    return convolution.replace("conv", "norm")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every submodule gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def on_meta(description: ModelDescription) -> VGG:
    """The net without memory for its weights, for whoever fills them all: nothing is drawn twice."""
    with torch.device("meta"):
        return VGG(description)
