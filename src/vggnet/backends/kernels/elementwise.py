"""The passes between convolutions as Triton kernels: each reads and writes every map once.

Run one by one (mask, bias sum, pooling, its backward, its indices in int64) they take a third of a training step's
time. Maps are channels_last, so a map is a matrix of pixels x channels; a program takes some channels of some pixels.
Pixels are counted in 32 bits (divided faster), values in 64. Sums over pixels are taken in fp32, a partial sum for each
program and then all partial sums, in a fixed order: the same inputs give the same bits. `reference` defines what each
function computes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vggnet.backends.kernels.reference import OFF

_PIXELS, _CHANNELS = 64, 64  # of one tile
_TILES = 8  # that a program sums up one after another
_OFF = tl.constexpr(OFF)


@triton.jit
def _larger(one, other):  # type: ignore[no-untyped-def]
    """Maximum of two values; NaN wins, as in PyTorch."""
    return tl.maximum(one, other, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _window(activation, pixel, channel, channels, height, width):  # type: ignore[no-untyped-def]
    """Pointers to the two left elements (upper and lower row) of each 2x2 window."""
    rows, columns = height // 2, width // 2
    image, place = pixel // (rows * columns), pixel % (rows * columns)
    corner = (image * height + 2 * (place // columns)) * width + 2 * (place % columns)
    upper = activation + corner.to(tl.int64)[:, None] * channels + channel[None, :]
    lower = activation + (corner + width).to(tl.int64)[:, None] * channels + channel[None, :]
    return upper, lower


@triton.jit
def pool_bias_relu_kernel(  # type: ignore[no-untyped-def]
    activation,
    bias,
    pooled,
    choice,
    count,
    channels,
    height,
    width,
    pixels_: tl.constexpr,
    channels_: tl.constexpr,
    chosen: tl.constexpr,
):
    pixel = tl.program_id(0) * pixels_ + tl.arange(0, pixels_)
    channel = tl.program_id(1) * channels_ + tl.arange(0, channels_)
    inside = (pixel < count)[:, None] & (channel < channels)[None, :]
    upper, lower = _window(activation, pixel, channel, channels, height, width)
    one, two = tl.load(upper, mask=inside, other=0), tl.load(upper + channels, mask=inside, other=0)
    three, four = tl.load(lower, mask=inside, other=0), tl.load(lower + channels, mask=inside, other=0)
    best = _larger(_larger(one, two), _larger(three, four))
    value = best.to(tl.float32) + tl.load(bias + channel, mask=channel < channels, other=0).to(tl.float32)[None, :]
    target = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    tl.store(pooled + target, tl.where(value <= 0, 0.0, value).to(pooled.dtype.element_ty), mask=inside)
    if chosen:  # the first of equal values
        which = tl.where(one == best, 0, tl.where(two == best, 1, tl.where(three == best, 2, 3)))
        tl.store(choice + target, tl.where(value <= 0, _OFF, which).to(tl.uint8), mask=inside)


@triton.jit
def pool_backward_kernel(  # type: ignore[no-untyped-def]
    gradient,
    choice,
    spread,
    sums,
    count,
    channels,
    height,
    width,
    pixels_: tl.constexpr,
    channels_: tl.constexpr,
    tiles: tl.constexpr,
):
    channel = tl.program_id(1) * channels_ + tl.arange(0, channels_)
    total = tl.zeros([pixels_, channels_], tl.float32)
    for tile in range(tiles):
        pixel = (tl.program_id(0) * tiles + tile) * pixels_ + tl.arange(0, pixels_)
        inside = (pixel < count)[:, None] & (channel < channels)[None, :]
        source = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
        value = tl.load(gradient + source, mask=inside, other=0)
        which = tl.load(choice + source, mask=inside, other=_OFF).to(tl.int32)
        upper, lower = _window(spread, pixel, channel, channels, height, width)
        nothing = tl.zeros_like(value)
        tl.store(upper, tl.where(which == 0, value, nothing), mask=inside)
        tl.store(upper + channels, tl.where(which == 1, value, nothing), mask=inside)
        tl.store(lower, tl.where(which == 2, value, nothing), mask=inside)
        tl.store(lower + channels, tl.where(which == 3, value, nothing), mask=inside)
        total += tl.where(which == _OFF, nothing, value).to(tl.float32)
    target = tl.program_id(0).to(tl.int64) * channels + channel
    tl.store(sums + target, tl.sum(total, axis=0), mask=channel < channels)


@triton.jit
def relu_backward_kernel(  # type: ignore[no-untyped-def]
    gradient, output, masked, sums, count, channels, pixels_: tl.constexpr, channels_: tl.constexpr, tiles: tl.constexpr
):
    channel = tl.program_id(1) * channels_ + tl.arange(0, channels_)
    total = tl.zeros([pixels_, channels_], tl.float32)
    for tile in range(tiles):
        pixel = (tl.program_id(0) * tiles + tile) * pixels_ + tl.arange(0, pixels_)
        inside = (pixel < count)[:, None] & (channel < channels)[None, :]
        place = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
        value = tl.load(gradient + place, mask=inside, other=0)
        value = tl.where(tl.load(output + place, mask=inside, other=0) <= 0, tl.zeros_like(value), value)
        tl.store(masked + place, value, mask=inside)
        total += value.to(tl.float32)
    target = tl.program_id(0).to(tl.int64) * channels + channel
    tl.store(sums + target, tl.sum(total, axis=0), mask=channel < channels)


def pool(activation: Tensor) -> Tensor:
    """Return max-pooling over 2x2 of an activation (N, C, H, W) after its ReLU, without a gradient."""
    return _pool(activation, torch.zeros(activation.shape[1], device=activation.device), chosen=False)[0]


def pool_bias_relu(activation: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `reference.pool_bias_relu`."""
    return _pool(activation, bias, chosen=True)


def _pool(activation: Tensor, bias: Tensor, *, chosen: bool) -> tuple[Tensor, Tensor]:
    """Compute `pool_bias_relu`; without `chosen` no choice is written, and the second result has no meaning."""
    activation = _channels_last(activation)
    images, channels, height, width = activation.shape
    pooled = torch.empty(
        (images, channels, height // 2, width // 2),
        dtype=activation.dtype,
        device=activation.device,
        memory_format=torch.channels_last,
    )
    choice = torch.empty_like(pooled, dtype=torch.uint8) if chosen else pooled  # a kernel needs some pointer
    pixels = pooled.numel() // channels
    grid = (triton.cdiv(pixels, _PIXELS), triton.cdiv(channels, _CHANNELS))
    with torch.cuda.device_of(activation):  # Triton launches on the current one
        pool_bias_relu_kernel[grid](
            activation, bias, pooled, choice, pixels, channels, height, width, _PIXELS, _CHANNELS, chosen
        )
    return pooled, choice


def pool_backward(gradient: Tensor, choice: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Compute `reference.pool_backward`."""
    gradient, choice = _channels_last(gradient), _channels_last(choice)
    images, channels, rows, columns = gradient.shape
    covered = (2 * rows, 2 * columns) == (height, width)  # an odd row or column is in no window
    spread = torch.empty(
        (images, channels, height, width),
        dtype=gradient.dtype,
        device=gradient.device,
        memory_format=torch.channels_last,
    )
    if not covered:
        spread.zero_()
    pixels = images * rows * columns
    sums, grid = _partial_sums(gradient, pixels)
    with torch.cuda.device_of(gradient):  # Triton launches on the current one
        pool_backward_kernel[grid](
            gradient, choice, spread, sums, pixels, channels, height, width, _PIXELS, _CHANNELS, _TILES
        )
    return spread, sums.sum(0)


def relu_backward(gradient: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `reference.relu_backward`."""
    gradient, output = _channels_last(gradient), _channels_last(output)
    masked = torch.empty_like(output)
    channels = output.shape[1]
    pixels = output.numel() // channels
    sums, grid = _partial_sums(gradient, pixels)
    with torch.cuda.device_of(gradient):  # Triton launches on the current one
        relu_backward_kernel[grid](gradient, output, masked, sums, pixels, channels, _PIXELS, _CHANNELS, _TILES)
    return masked, sums.sum(0)


def _channels_last(activation: Tensor) -> Tensor:
    return activation.contiguous(memory_format=torch.channels_last)


def _partial_sums(gradient: Tensor, pixels: int) -> tuple[Tensor, tuple[int, int]]:
    """Return memory for the programs' partial sums, (programs, C) in fp32, and the grid of programs."""
    channels = gradient.shape[1]
    programs = triton.cdiv(pixels, _PIXELS * _TILES)
    sums = torch.empty((programs, channels), dtype=torch.float32, device=gradient.device)
    return sums, (programs, triton.cdiv(channels, _CHANNELS))
