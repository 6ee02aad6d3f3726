"""JPEGs decoded in a batch on the device: nvJPEG through torchvision on a GPU; on a CPU, for tests, torchvision's own.

nvJPEG's pixels differ from Pillow's by some gray levels (another inverse cosine transform, another interpolation of
the chroma). On data-centre GPUs it has a decoder in hardware; elsewhere it uses one CPU thread, which is slower than
many processes. So whether it pays is measured, on images of the data set itself.
"""

import io
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vggnet.data.image_files import refuse_special
from vggnet.data.splits import Split
from vggnet.errors import BadImage, reason_of
from vggnet.images.decoding import decode
from vggnet.images.gpu.jpeg import plain_size

_RGB = 3  # torchvision's ImageReadMode
_LOOKED_AT, _PLAIN_SHARE = 64, 0.5
_TIMED_HERE = 8  # images
_MOST_DIFFERENCE = 16  # gray levels, of a smooth picture: more is another picture


def decode_jpegs(files: Sequence[Tensor], device: torch.device) -> list[Tensor | None]:
    """uint8 (3, H, W) on `device` of each file (uint8 (bytes,), on the CPU); None where the decoder refuses one.

    The decoder refuses a batch as a whole, so that is halved until the culprits stand alone.
    """
    if not files:
        return []
    try:
        return list(_decoded(files, device))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        if len(files) == 1:
            return [None]
    half = len(files) // 2
    return decode_jpegs(files[:half], device) + decode_jpegs(files[half:], device)


def _decoded(files: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """By the operators under `torchvision.io.decode_jpeg`: it warns at each call that it will be replaced one day.

    Warnings cannot be switched off for one thread, and this is called in one. On a GPU the operator decodes on a stream
    of its own which waits for no other, into memory that was freed on the current one: work that is still queued there
    (the crops of the images before) would find other pixels, so it is awaited first.
    """
    import torchvision.io  # noqa: F401 (loads the operators)

    if device.type == "cuda":
        with torch.cuda.device(device):  # on whose current stream the pixels are awaited
            torch.cuda.current_stream().synchronize()
            decoded: list[Tensor] = torch.ops.image.decode_jpegs_cuda(list(files), _RGB, device)
        return decoded
    return [torch.ops.image.decode_jpeg(file, _RGB, False) for file in files]


def turn_upright(pixels: Tensor, orientation: int) -> Tensor:
    """Apply an EXIF orientation, 1 to 8, to pixels (3, H, W); sideways ones become (3, W, H)."""
    turns: dict[int, Callable[[Tensor], Tensor]] = {
        2: lambda x: x.flip(2),
        3: lambda x: x.flip(1, 2),
        4: lambda x: x.flip(1),
        5: lambda x: x.transpose(1, 2),
        6: lambda x: x.rot90(-1, (1, 2)),
        7: lambda x: x.transpose(1, 2).flip(1, 2),
        8: lambda x: x.rot90(1, (1, 2)),
    }
    return turns[orientation](pixels).contiguous() if orientation in turns else pixels


def why_not(device: torch.device) -> str | None:
    """Why JPEGs cannot be decoded on `device`; None where one of them comes out right there."""
    shade = np.linspace(0, 255, 48).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(shade, shade[:32, None], shade[::-1]), axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    exact = np.asarray(Image.open(file)).astype(int)
    try:
        (found,) = _decoded([torch.from_numpy(np.frombuffer(file.getvalue(), np.uint8).copy())], device)
        same = found.shape == (3, 32, 48) and np.abs(found.permute(1, 2, 0).cpu().numpy() - exact).max()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AttributeError, ImportError) as error:  # no nvJPEG, no GPU, no such operator any more
        return reason_of(error)
    return None if same is not False and same <= _MOST_DIFFERENCE else "the decoder gives another picture than Pillow"


def why_not_worth_it(split: Split, device: torch.device, processes: int) -> str | None:
    """Why `processes` that decode on the CPU suit these images better; None where the device does.

    Some images are looked at, and those that are plain JPEGs decoded in both ways.
    """
    places = np.unique(np.linspace(0, len(split) - 1, min(len(split), _LOOKED_AT)).astype(int))
    paths = [split.path(place) for place in places.tolist()]
    plain = [(path, file) for path in paths if (file := read_file(path)) is not None and plain_size(file)]
    if len(plain) < _PLAIN_SHARE * len(paths):
        return f"{len(plain)} of {len(paths)} images that were looked at are plain JPEGs"
    files = [torch.from_numpy(file) for _, file in plain]
    there = _rate(files, device)
    here = _rate_here([path for path, _ in plain[:_TIMED_HERE]]) * max(1, processes)
    if there >= here:
        return None
    return f"the GPU decodes {there:.0f} images/s, {max(1, processes)} processes about {here:.0f}"


def _rate(files: Sequence[Tensor], device: torch.device) -> float:
    """Images/s of the device's decoder, once it is warm."""
    for _ in range(2):
        begin = time.perf_counter()
        decode_jpegs(files, device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return len(files) / max(time.perf_counter() - begin, 1e-9)


def _rate_here(paths: Sequence[str]) -> float:
    """Images/s of one process."""
    begin = time.perf_counter()
    for path in paths:
        decode(path)
    return len(paths) / max(time.perf_counter() - begin, 1e-9)


def read_file(path: str) -> np.ndarray | None:
    """The file's content, uint8 (bytes,); None where it cannot be read."""
    try:
        refuse_special(path)
        with open(path, "rb", buffering=0) as file:
            content = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
            return content[: file.readinto(content.data)]  # a third faster than np.fromfile
    except (OSError, BadImage):
        return None
