"""conv1_1 as Triton kernels: the one layer whose time is memory traffic, not arithmetic.

Its patch is 27 numbers (3x3x3), its output 64: it takes as long as writing the output, or reading its gradient. cuDNN's
tensor-core kernels need eight input channels, so they compute on padding. Their backward pass reads the largest map of
the net three times: to mask the gradient, to sum it up for the bias, and to convolve it with the image. Here that is
one pass, which computes the output again for its mask, because reading it would take longer. Images may have any
strides and any float type.

A program gathers the patches of some pixels as a matrix, pixels x taps, and multiplies it. Sums over pixels are a
partial sum for each program and then all partial sums, in a fixed order: the same inputs give the same bits.
`reference` defines what each function computes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

PATCHES = 4096  # numbers of one tile's patches, all taps: what fits into the fast memory of a GPU three times
_INTERPRETED_PATCHES = 65536  # where programs run one after another, in NumPy
_CHANNELS = 64  # of one tile, at most
_TILES = 64  # that a program of the backward pass sums up one after another, at most
PROGRAMS = 1024  # for which it takes fewer: enough for any GPU


@triton.jit
def _patches(  # type: ignore[no-untyped-def]
    images,
    to_image,
    to_channel,
    to_row,
    to_column,
    pixel,
    count,
    height,
    width,
    kernel: tl.constexpr,
    taps_: tl.constexpr,
):
    """The inputs under the kernel at each pixel: (taps, pixels), a tap being row, column and channel; zero outside.

    A thread has all taps of its pixel, so it computes its place in the image once.
    """
    tap = tl.arange(0, taps_)
    down, right = tap // (3 * kernel) - kernel // 2, tap // 3 % kernel - kernel // 2
    image, place = pixel // (height * width), pixel % (height * width)
    row, column = place // width, place % width
    y, x = row[None, :] + down[:, None], column[None, :] + right[:, None]
    inside = (pixel < count)[None, :] & (tap < 3 * kernel * kernel)[:, None]
    inside = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    center = image.to(tl.int64) * to_image + (row * to_row + column * to_column)
    offset = down * to_row + right * to_column + tap % 3 * to_channel
    return tl.load(images + (center[None, :] + offset[:, None]), mask=inside, other=0)


@triton.jit
def _product(one, other, interpreted: tl.constexpr):  # type: ignore[no-untyped-def]
    """Matrix product in fp32 of operands of one type. Triton's interpreter multiplies the bits of bf16 as integers."""
    if interpreted:
        one, other = one.to(tl.float32), other.to(tl.float32)
    return tl.dot(one, other, input_precision="ieee")


@triton.jit
def _matrix(weight, channel, channels, kernel: tl.constexpr, taps_: tl.constexpr):  # type: ignore[no-untyped-def]
    """The weight as taps x channels."""
    tap = tl.arange(0, taps_)
    known = (tap < 3 * kernel * kernel)[:, None] & (channel < channels)[None, :]
    return tl.load(weight + tap[:, None] * channels + channel[None, :], mask=known, other=0)


@triton.jit
def forward_kernel(  # type: ignore[no-untyped-def]
    images,
    weight,
    bias,
    output,
    to_image,
    to_channel,
    to_row,
    to_column,
    count,
    channels,
    height,
    width,
    kernel: tl.constexpr,
    taps_: tl.constexpr,
    pixels_: tl.constexpr,
    channels_: tl.constexpr,
    activated: tl.constexpr,
    interpreted: tl.constexpr,
):
    pixel = tl.program_id(0) * pixels_ + tl.arange(0, pixels_)
    channel = tl.program_id(1) * channels_ + tl.arange(0, channels_)
    matrix = _matrix(weight, channel, channels, kernel, taps_)
    patches = _patches(images, to_image, to_channel, to_row, to_column, pixel, count, height, width, kernel, taps_)
    value = _product(tl.trans(patches.to(matrix.dtype)), matrix, interpreted)
    if activated:
        value += tl.load(bias + channel, mask=channel < channels, other=0).to(tl.float32)[None, :]
        value = tl.where(value <= 0, 0.0, value)
    target = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    inside = (pixel < count)[:, None] & (channel < channels)[None, :]
    tl.store(output + target, value.to(output.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(  # type: ignore[no-untyped-def]
    gradient,
    images,
    weight,
    bias,
    sums,
    to_image,
    to_channel,
    to_row,
    to_column,
    count,
    channels,
    height,
    width,
    tiles,
    kernel: tl.constexpr,
    taps_: tl.constexpr,
    pixels_: tl.constexpr,
    channels_: tl.constexpr,
    activated: tl.constexpr,
    interpreted: tl.constexpr,
):
    channel = tl.program_id(1) * channels_ + tl.arange(0, channels_)
    matrix = _matrix(weight, channel, channels, kernel, taps_)
    added = tl.load(bias + channel, mask=channel < channels, other=0).to(tl.float32)
    tap = tl.arange(0, taps_)
    taps: tl.constexpr = 3 * kernel * kernel
    total = tl.zeros([taps_, channels_], tl.float32)
    for tile in range(tiles):
        pixel = (tl.program_id(0) * tiles + tile) * pixels_ + tl.arange(0, pixels_)
        inside = (pixel < count)[:, None] & (channel < channels)[None, :]
        source = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
        value = tl.load(gradient + source, mask=inside, other=0)
        patches = _patches(images, to_image, to_channel, to_row, to_column, pixel, count, height, width, kernel, taps_)
        # a tap that is always one sums up the gradient itself: that of the bias. The matrix has zeros there
        patches = tl.where((tap == taps)[:, None], 1.0, patches.to(tl.float32)).to(matrix.dtype)
        if activated:
            output = _product(tl.trans(patches), matrix, interpreted) + added[None, :]
            value = tl.where(output <= 0, tl.zeros_like(value), value)
        total += _product(patches, value, interpreted)
    place = (tl.program_id(0).to(tl.int64) * (taps + 1) + tap)[:, None] * channels + channel[None, :]
    tl.store(sums + place, total, mask=(tap <= taps)[:, None] & (channel < channels)[None, :])


def convolution(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute `reference.image_convolution`."""
    count, (channels, _, kernel, _) = len(images), weight.shape
    height, width = images.shape[-2:]
    output = torch.empty(
        (count, channels, height, width),
        dtype=weight.dtype,
        device=images.device,
        memory_format=torch.channels_last,
    )
    matrix = _as_matrix(weight)
    pixels, tile = count * height * width, _tile(kernel, channels, images.device)
    grid = (triton.cdiv(pixels, tile["pixels_"]), triton.cdiv(channels, tile["channels_"]))
    values = (pixels, channels, height, width)
    tensors = (
        images,
        matrix,
        matrix if bias is None else bias,
        output,
    )  # a kernel needs some pointer
    with torch.cuda.device_of(images):  # Triton launches on the current one
        forward_kernel[grid](*tensors, *images.stride(), *values, **tile, activated=bias is not None)
    return output


def convolution_backward(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    programs: int = PROGRAMS,
    patches: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.image_convolution_backward`.

    programs: at least as many take a tile each before one takes several. patches: numbers of one tile's patches; None:
    by the device.
    """
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    kernel, matrix = weight.shape[-1], _as_matrix(weight)
    count, channels, height, width = gradient.shape
    pixels, tile = count * height * width, _tile(kernel, channels, images.device, patches)
    tiles = min(_TILES, triton.cdiv(pixels, tile["pixels_"] * programs))
    programs = triton.cdiv(pixels, tile["pixels_"] * tiles)
    sums = torch.empty((programs, 3 * kernel * kernel + 1, channels), dtype=torch.float32, device=gradient.device)
    grid = (programs, triton.cdiv(channels, tile["channels_"]))
    values = (pixels, channels, height, width, tiles)
    tensors = (gradient, images, matrix, matrix if bias is None else bias, sums)
    with torch.cuda.device_of(gradient):  # Triton launches on the current one
        backward_kernel[grid](*tensors, *images.stride(), *values, **tile, activated=bias is not None)
    total = sums.sum(0)
    return total[:-1].unflatten(0, (kernel, kernel, 3)).permute(3, 2, 0, 1), total[-1]


def _as_matrix(weight: Tensor) -> Tensor:
    """Return a weight (C, 3, k, k) as (k, k, 3, C), taps x channels: a program reads all channels of a tap."""
    return weight.permute(2, 3, 1, 0).contiguous()


def _tile(kernel: int, channels: int, device: torch.device, patches: int | None = None) -> dict[str, int | bool]:
    """Return the sizes of a program's matrices: powers of two of at least 16, as tensor cores need them."""
    taps, interpreted = triton.next_power_of_2(3 * kernel * kernel), device.type != "cuda"
    patches = patches or (_INTERPRETED_PATCHES if interpreted else PATCHES)
    return {
        "kernel": kernel,
        "taps_": taps,
        "pixels_": patches // taps,
        "channels_": min(_CHANNELS, max(16, triton.next_power_of_2(channels))),
        "interpreted": interpreted,
    }
