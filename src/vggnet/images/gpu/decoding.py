"""Decode JPEGs in batches on a GPU (nvJPEG; torchvision's decoder in tests on a CPU), and apply EXIF orientations.

nvJPEG's pixels differ from Pillow's by some gray levels (another inverse cosine transform, another interpolation of
the chroma). Data-centre GPUs decode in hardware. On other GPUs nvJPEG uses one CPU thread, which is slower than several
processes. Its speed is not yet measured (docs/speed.md), so a training uses it only with `--decoder gpu`.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vggnet.data.image_files import File, open_file, refuse_special, size_of
from vggnet.errors import BadImage, reason_of

Decoder = Callable[[Sequence[Tensor], torch.device], Sequence[Tensor]]  # of whole batches; raises RuntimeError
_RGB = 3  # torchvision's ImageReadMode
_MOST_DIFFERENCE = 16  # gray levels, of a smooth picture: more is another picture


def by_torchvision(files: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """Call the operators behind `torchvision.io.decode_jpeg`, which itself prints a deprecation warning at each call.

    Warnings cannot be switched off for one thread, and this runs in a thread. On a GPU the operator decodes on its own
    stream without synchronising, into memory that the current stream may still be reading (for the crops of earlier
    images). So the current stream is synchronised first.
    """
    import torchvision.io  # noqa: F401 (loads the operators)

    if device.type == "cuda":
        with torch.cuda.device(device):  # on whose current stream the pixels are awaited
            torch.cuda.current_stream().synchronize()
            decoded: list[Tensor] = torch.ops.image.decode_jpegs_cuda(list(files), _RGB, device)
        return decoded
    return [torch.ops.image.decode_jpeg(file, _RGB, False) for file in files]


def decode_jpegs(
    files: Sequence[Tensor], device: torch.device, decoder: Decoder = by_torchvision
) -> list[Tensor | None]:
    """Decode each file, uint8 (bytes,) on the CPU, to uint8 (3, H, W) on `device`; None where decoding fails.

    The decoder fails for a whole batch, so a batch is halved until the files at fault are alone.
    """
    if not files:
        return []
    try:
        return list(decoder(files, device))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        if len(files) == 1:
            return [None]
    half = len(files) // 2
    return decode_jpegs(files[:half], device, decoder) + decode_jpegs(files[half:], device, decoder)


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


def nvjpeg_unavailable(device: torch.device, decoder: Decoder = by_torchvision) -> str | None:
    """Return why `decoder` cannot be used on `device`; None if a JPEG made for the purpose comes out right."""
    shade = np.linspace(0, 255, 48).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(shade, shade[:32, None], shade[::-1]), axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    exact = np.asarray(Image.open(file)).astype(int)
    try:
        (found,) = decoder([torch.from_numpy(np.frombuffer(file.getvalue(), np.uint8).copy())], device)
        same = found.shape == (3, 32, 48) and np.abs(found.permute(1, 2, 0).cpu().numpy() - exact).max()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AttributeError, ImportError) as error:  # no nvJPEG, no GPU, no such operator any more
        return reason_of(error)
    return None if same is not False and same <= _MOST_DIFFERENCE else "the decoder gives another picture than Pillow"


def read_file(file: File) -> np.ndarray | None:
    """Return the file's content, uint8 (bytes,); None where it cannot be read."""
    try:
        refuse_special(file)
        with open_file(file) as raw:
            content = np.empty(size_of(file), np.uint8)
            return content[: raw.readinto(content.data)]  # a third faster than np.fromfile
    except (OSError, BadImage):
        return None
