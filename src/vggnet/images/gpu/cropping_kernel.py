"""The Triton kernel of `cropping.crops_by_kernel`: the crops of a batch of images in one launch.

A program computes some pixels of one crop. As Pillow does, it filters along rows, rounds to gray levels and filters
along columns. Rows that several of its pixels need are filtered anew for each; their source pixels are in the cache. An
output pixel's position in the source is computed in double precision, the weights in single precision.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_PIXELS = 256  # of a program
_INTERPRETED_PIXELS = 4096  # where programs run one after another, in NumPy


@triton.jit
def _taps(begin, step, position, size):  # type: ignore[no-untyped-def]
    """Return first and last (exclusive) source pixel of output `position`, and the first's distance to its centre."""
    center = begin + (position.to(tl.float64) + 0.5) * step
    reach = tl.maximum(step, 1.0)  # the triangle is widened where the image shrinks: antialiasing
    first = tl.maximum((center - reach + 0.5).to(tl.int32), 0)
    last = tl.minimum((center + reach + 0.5).to(tl.int32), size)
    return first, last, (first.to(tl.float64) + 0.5 - center).to(tl.float32)


@triton.jit
def _weight(first, last, distance, narrowness, tap):  # type: ignore[no-untyped-def]
    """Return the weight of source pixel `first + tap`, not normalised; `narrowness` is 1 / half the triangle's base."""
    triangle = tl.maximum(1.0 - tl.abs(distance + tap) * narrowness, 0.0)
    return tl.where(first + tap < last, triangle, 0.0)


@triton.jit
def _rounded(value):  # type: ignore[no-untyped-def]
    """Round to the nearest gray level, halves up."""
    return tl.floor(value + 0.5)


@triton.jit
def _crop(table, boxes, out, side: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    image = tl.program_id(0).to(tl.int64)  # all offsets that begin here are of 64 bits
    pixel = tl.program_id(1) * block + tl.arange(0, block)
    inside = pixel < side * side
    pixel = tl.minimum(pixel, side * side - 1)
    row, column = pixel // side, pixel % side

    facts = table + 7 * image  # address, strides by channel, row and column, height, width, mirrored: see `launch`
    source = tl.load(facts).to(tl.pointer_type(tl.uint8))
    to_channel, to_row, to_column = tl.load(facts + 1), tl.load(facts + 2), tl.load(facts + 3)
    height, width = tl.load(facts + 4).to(tl.int32), tl.load(facts + 5).to(tl.int32)
    seen = tl.where(tl.load(facts + 6) != 0, side - 1 - column, column)
    left, step_x = tl.load(boxes + 4 * image), tl.load(boxes + 4 * image + 1)
    top, step_y = tl.load(boxes + 4 * image + 2), tl.load(boxes + 4 * image + 3)

    first_x, last_x, distance_x = _taps(left, step_x, seen, width)
    first_y, last_y, distance_y = _taps(top, step_y, row, height)
    reach_x, reach_y = tl.maximum(step_x, 1.0).to(tl.float32), tl.maximum(step_y, 1.0).to(tl.float32)
    taps_x, taps_y = (2 * reach_x).to(tl.int32) + 1, (2 * reach_y).to(tl.int32) + 1  # at most
    narrow_x, narrow_y = 1.0 / reach_x, 1.0 / reach_y
    sum_x, sum_y = tl.zeros([block], tl.float32), tl.zeros([block], tl.float32)
    for tap in range(taps_x):
        sum_x += _weight(first_x, last_x, distance_x, narrow_x, tap)
    for tap in range(taps_y):
        sum_y += _weight(first_y, last_y, distance_y, narrow_y, tap)

    red, green, blue = tl.zeros([block], tl.float32), tl.zeros([block], tl.float32), tl.zeros([block], tl.float32)
    for tap_y in range(taps_y):
        weight_y = _weight(first_y, last_y, distance_y, narrow_y, tap_y)
        line = source + (first_y + tap_y).to(tl.int64) * to_row
        red_x, green_x, blue_x = tl.zeros_like(red), tl.zeros_like(red), tl.zeros_like(red)
        for tap_x in range(taps_x):
            weight_x = _weight(first_x, last_x, distance_x, narrow_x, tap_x)
            place = line + (first_x + tap_x).to(tl.int64) * to_column
            read = inside & (first_x + tap_x < last_x) & (first_y + tap_y < last_y)
            red_x += weight_x * tl.load(place, mask=read, other=0).to(tl.float32)
            green_x += weight_x * tl.load(place + to_channel, mask=read, other=0).to(tl.float32)
            blue_x += weight_x * tl.load(place + 2 * to_channel, mask=read, other=0).to(tl.float32)
        red += weight_y * _rounded(red_x / sum_x)
        green += weight_y * _rounded(green_x / sum_x)
        blue += weight_y * _rounded(blue_x / sum_x)

    target = out + (image * side * side + pixel) * 3
    tl.store(target, _rounded(red / sum_y).to(tl.uint8), mask=inside)
    tl.store(target + 1, _rounded(green / sum_y).to(tl.uint8), mask=inside)
    tl.store(target + 2, _rounded(blue / sum_y).to(tl.uint8), mask=inside)


def launch(table: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Return crops, uint8 (N, side, side, 3), on the device of the tables; the work is queued on its current stream.

    Args:
        table: int64 (N, 7): each image's address, its strides (bytes) along channels, rows and columns, its height and
            width, and whether it is mirrored.
        boxes: float64 (N, 4): left, columns per output pixel, top, rows per output pixel.

    The images must not change until the launch is done.
    """
    images, device = len(table), table.device
    out = torch.empty((images, side, side, 3), dtype=torch.uint8, device=device)
    if images:
        pixels = _PIXELS if device.type == "cuda" else _INTERPRETED_PIXELS
        with torch.cuda.device_of(out):  # Triton launches on the current one
            _crop[images, triton.cdiv(side * side, pixels)](table, boxes, out, side, pixels)
    return out
