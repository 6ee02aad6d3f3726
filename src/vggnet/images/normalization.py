"""The step from 8-bit pixels to the net's input (Sect. 2.1)."""

import torch

from vggnet.description import Preprocessing


def normalize(
    pixels: torch.Tensor,
    preprocessing: Preprocessing,
    shift: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return (pixel + shift - mean) / deviation on the device of `pixels`.

    `pixels` uint8 (N, H, W, 3), `shift` float (N, 3) or None -> `dtype` (N, 3, H, W) in channels_last memory.
    Computed in float32 and rounded once.
    """
    images, height, width, _ = pixels.shape
    # made on the CPU: making it on a GPU would wait for the work queued there
    scale = (1.0 / torch.tensor(preprocessing.deviation)).to(pixels.device, non_blocking=True)
    offset = -torch.tensor(preprocessing.mean).to(pixels.device, non_blocking=True).expand(images, 3)
    if shift is not None:
        offset = offset + shift.to(pixels.device, torch.float32, non_blocking=True)
    # A whole row RGBRGB... at once: an innermost dimension of three channels cannot be vectorised.
    rows = pixels.reshape(images, height, width * 3).to(torch.float32)
    rows.add_(offset.repeat(1, width)[:, None])
    if preprocessing.deviation != (1.0, 1.0, 1.0):
        rows.mul_(scale.repeat(width))
    return rows.to(dtype).view(images, height, width, 3).permute(0, 3, 1, 2)
