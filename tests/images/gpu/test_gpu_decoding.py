"""JPEGs decoded in batches: what the decoder refuses is found; where there is no decoder, the reason."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vggnet.images.gpu.decoding import by_torchvision, decode_jpegs, nvjpeg_unavailable, read_file

CPU = torch.device("cpu")


def jpeg(seed: int, width: int = 40, height: int = 30) -> torch.Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return torch.from_numpy(np.frombuffer(file.getvalue(), np.uint8).copy())


def by_pillow(file: torch.Tensor) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file.numpy().tobytes()))).transpose(2, 0, 1)


@pytest.mark.parametrize("broken", [(), (0,), (3, 4), tuple(range(7))])
def test_only_the_broken_ones_are_refused(broken):
    files = [jpeg(seed, 40 + seed) for seed in range(7)]
    for place in broken:
        files[place] = files[place][:200]
    found = decode_jpegs(files, CPU)
    for place, (file, pixels) in enumerate(zip(files, found, strict=True)):
        if place in broken:
            assert pixels is None
        else:
            assert np.array_equal(pixels.numpy(), by_pillow(file))
    assert decode_jpegs([], CPU) == []


def test_no_memory_is_the_callers_matter():
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        decode_jpegs([jpeg(0), jpeg(1)], CPU, full)
    with pytest.raises(torch.OutOfMemoryError):
        nvjpeg_unavailable(CPU, full)


def test_whether_a_device_decodes():
    assert nvjpeg_unavailable(CPU) is None
    for wrong in (lambda image: 255 - image, lambda image: image[:, :-1], lambda image: image.flip(0)):
        reason = nvjpeg_unavailable(CPU, lambda *given, wrong=wrong: [wrong(by_torchvision(*given)[0])])
        assert reason == "the decoder gives another picture than Pillow"

    def refuse(*_: object) -> None:
        raise RuntimeError("not compiled with nvJPEG support\nand a long story")

    assert nvjpeg_unavailable(CPU, refuse) == "not compiled with nvJPEG support"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_a_reason():
    assert nvjpeg_unavailable(torch.device("cuda"))


@pytest.mark.gpu
def test_on_a_gpu_queued_work_is_awaited_before_memory_is_decoded_into():
    """torchvision's and nvJPEG's own streams wait for nobody: freed memory that queued work still reads is reused."""
    device = torch.device("cuda:0")
    files = [jpeg(0, 400, 300)] * 8
    pixels = torch.full((8, 3, 300, 400), 7, dtype=torch.uint8, device=device)
    busy = torch.randn(2000, 2000, device=device)
    for _ in range(50):
        busy = busy @ busy
    sums = pixels.int().sum((1, 2, 3))  # queued behind `busy`
    del pixels
    decode_jpegs(files, device)
    assert sums.tolist() == [7 * 3 * 300 * 400] * 8


@pytest.mark.gpu
def test_on_a_gpu(photographs: list[Path]):
    device = torch.device("cuda:0")
    assert nvjpeg_unavailable(device) is None
    paths = photographs[:16]
    files = [torch.from_numpy(read_file(str(path))) for path in paths]
    files[3] = files[3][:100]
    for place, (path, pixels) in enumerate(zip(paths, decode_jpegs(files, device), strict=True)):
        if place == 3:
            assert pixels is None
            continue
        assert pixels is not None
        exact = np.asarray(Image.open(path).convert("RGB")).astype(int).transpose(2, 0, 1)
        assert np.abs(pixels.cpu().numpy() - exact).mean() < 3
