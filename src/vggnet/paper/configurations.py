"""Table 1 as data, and what it implies: layers, depth, parameters, multiply-adds, receptive field.

Source: Simonyan and Zisserman, arXiv 1409.1556v6, Table 1 and Sect. 4.1 (the 5x5 control net). Layer names are the
paper's: `conv3_2` is the second convolution of the third stage; `fc6`, `fc7`, `fc8` are the fully connected layers.
Every stage ends in a 2x2 max-pooling of stride 2, so the pool5 map of an H x W image is floor(H/32) x floor(W/32).
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from vggnet.errors import UserError

PAPER_CROP_PX = 224
TOTAL_STRIDE_PX = 32  # five poolings of stride 2
CHANNELS = (64, 128, 256, 512, 512)  # by stage
# Krizhevsky's local response normalisation (Sect. 2.3), with alpha divided by the number of neighbours as Caffe and
# PyTorch do: y = x / (k + alpha / n * sum of x^2 over n neighbouring channels)^beta
LRN_NEIGHBOURS, LRN_ALPHA, LRN_BETA, LRN_K = 5, 1e-4, 0.75, 2.0
HIDDEN_UNITS = 4096  # of fc6 and fc7


@dataclass(frozen=True)
class Configuration:
    """One column of Table 1: for each stage the kernel sizes of its convolutions."""

    name: str
    kernels: tuple[tuple[int, ...], ...]
    response_normalization: bool = False  # LRN after the first convolution

    @property
    def depth(self) -> int:
        """Weight layers: convolutions and the three fully connected ones."""
        return sum(map(len, self.kernels)) + 3


CONFIGURATIONS = {
    configuration.name: configuration
    for configuration in (
        Configuration("A", ((3,), (3,), (3, 3), (3, 3), (3, 3))),
        Configuration("A-LRN", ((3,), (3,), (3, 3), (3, 3), (3, 3)), response_normalization=True),
        Configuration("B", ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3))),
        Configuration("C", ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1))),
        Configuration("D", ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))),
        Configuration("E", ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3))),
        Configuration("5x5", ((5,), (5,), (5,), (5,), (5,))),  # Sect. 4.1: B, each pair of 3x3 as one 5x5
    )
}


@dataclass(frozen=True)
class Layer:
    """A weight layer of a net, and the names of the layers around it."""

    name: str
    stage: int  # 1 to 5; 0 for a fully connected layer
    in_channels: int
    out_channels: int
    kernel: int
    padding: int
    last_of_stage: bool  # a pooling follows
    normalized: bool = False  # local response normalisation follows its ReLU (net A-LRN's first layer)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The weight's shape: (out_channels, in_channels, kernel, kernel)."""
        return self.out_channels, self.in_channels, self.kernel, self.kernel

    @property
    def place(self) -> str:
        """The part of the name that the layers around it share: "3_2" of conv3_2, "7" of fc7."""
        return self.name.removeprefix("conv").removeprefix("fc")

    @property
    def norm(self) -> str:
        """The batch normalisation after it: norm3_2."""
        return f"norm{self.place}"

    @property
    def relu(self) -> str | None:
        """The ReLU after it: relu3_2, relu7; None for fc8, whose outputs are the scores."""
        return None if self.name == "fc8" else f"relu{self.place}"

    @property
    def lrn(self) -> str:
        """The local response normalisation after it, where it is `normalized`: lrn1_1."""
        return f"lrn{self.place}"

    @property
    def pool(self) -> str | None:
        """The max-pooling after it: pool3; None where no stage ends."""
        return f"pool{self.stage}" if self.last_of_stage else None

    @property
    def drop(self) -> str | None:
        """The dropout after it: drop6, drop7; None for convolutions and fc8."""
        return None if self.stage or self.name == "fc8" else f"drop{self.place}"

    @property
    def fan_in(self) -> int:
        return self.in_channels * self.kernel**2

    @property
    def weights(self) -> int:
        return self.out_channels * self.fan_in


@dataclass(frozen=True)
class Architecture:
    """A configuration of Table 1 with the options that the paper does not vary.

    `outputs` is the number of classes K (or of box coordinates), `width` scales the channels of convolutions and FC
    layers, `crop_px` is the crop that gives a 1x1 class score map (224 in the paper). `convolutions_only` is a net
    without FC layers, as feature extractors are published: it ends at pool5 and has no outputs (`outputs` is 0).
    """

    net: str = "D"
    outputs: int = 1000
    width: float = 1.0
    crop_px: int = PAPER_CROP_PX
    batch_norm: bool = False
    dropout: float = 0.5
    convolutions_only: bool = False

    def __post_init__(self) -> None:
        if self.net not in CONFIGURATIONS:
            near = difflib.get_close_matches(self.net.upper(), CONFIGURATIONS, n=1, cutoff=0.3)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UserError(f"net {self.net!r} is not in Table 1; the nets are {', '.join(CONFIGURATIONS)}.{hint}")
        if self.convolutions_only and self.outputs:
            raise UserError(f"a net of convolutions only ends at pool5: it has no outputs, not {self.outputs}")
        if self.outputs < 1 and not self.convolutions_only:
            raise UserError(f"a net needs at least one output, not {self.outputs}")
        if not 0 < self.width <= 8:
            raise UserError(
                f"`width` {self.width} is out of range: it scales all channels, 1 is the paper's, at most 8"
            )
        if self.crop_px < TOTAL_STRIDE_PX or self.crop_px % TOTAL_STRIDE_PX:
            nearest = max(1, round(self.crop_px / TOTAL_STRIDE_PX)) * TOTAL_STRIDE_PX
            raise UserError(
                f"`crop` {self.crop_px} is not a multiple of {TOTAL_STRIDE_PX} (five poolings halve it): try {nearest}"
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"`dropout` {self.dropout} is out of range: it must be at least 0 and below 1")

    @property
    def configuration(self) -> Configuration:
        return CONFIGURATIONS[self.net]

    @property
    def depth(self) -> int:
        return self.configuration.depth

    @property
    def fc_kernel(self) -> int:
        """Side of the pool5 map at crop size, which is fc6's kernel: 7 at a crop of 224."""
        return self.crop_px // TOTAL_STRIDE_PX

    def _scaled(self, channels: int) -> int:
        return max(1, round(channels * self.width))

    def convolutions(self) -> Iterator[Layer]:
        """Yield the convolutions in the paper's order."""
        in_channels = 3
        for stage, (kernels, channels) in enumerate(zip(self.configuration.kernels, CHANNELS, strict=True), start=1):
            out_channels = self._scaled(channels)
            for position, kernel in enumerate(kernels, start=1):
                last = position == len(kernels)
                lrn = self.configuration.response_normalization and stage == position == 1
                sizes = (in_channels, out_channels, kernel, kernel // 2)
                yield Layer(f"conv{stage}_{position}", stage, *sizes, last, lrn)
                in_channels = out_channels

    def fully_connected(self) -> Iterator[Layer]:
        """Yield fc6, fc7 and fc8 as convolutions; fc6's kernel covers the pool5 map of a crop (Sect. 3.2).

        Yields nothing for `convolutions_only`.
        """
        if self.convolutions_only:
            return
        hidden = self._scaled(HIDDEN_UNITS)
        yield Layer("fc6", 0, self._scaled(CHANNELS[-1]), hidden, self.fc_kernel, 0, False)
        yield Layer("fc7", 0, hidden, hidden, 1, 0, False)
        yield Layer("fc8", 0, hidden, self.outputs, 1, 0, False)

    def layers(self) -> Iterator[Layer]:
        """Yield all weight layers in the paper's order."""
        yield from self.convolutions()
        yield from self.fully_connected()

    @property
    def parameters(self) -> int:
        """Return the number of weights and biases (Table 2), with two more per channel for batch normalisation."""
        total = sum(layer.weights + layer.out_channels for layer in self.layers())
        return total + (2 * sum(layer.out_channels for layer in self.convolutions()) if self.batch_norm else 0)

    def multiply_adds(self, height: int | None = None, width: int | None = None) -> int:
        """Return the multiply-adds of a forward pass over an H x W image (by default the crop), without biases."""
        rows, columns = height or self.crop_px, width or self.crop_px
        total = 0
        for layer in self.convolutions():
            total += layer.weights * rows * columns
            if layer.last_of_stage:
                rows, columns = rows // 2, columns // 2
        positions = max(0, rows - self.fc_kernel + 1) * max(0, columns - self.fc_kernel + 1)
        return total + positions * sum(layer.weights for layer in self.fully_connected())

    @property
    def receptive_field_px(self) -> int:
        """Return the side (pixels) of the image square that one unit of the last pooling sees."""
        field, step = 1, 1
        for layer in self.convolutions():
            field += (layer.kernel - 1) * step
            if layer.last_of_stage:
                field += step
                step *= 2
        return field
