"""One crop in three ways: Pillow's, by matrices of weights, by the Triton kernel (in its interpreter without a GPU)."""

import mmap
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vggnet.images.geometry import crop_of_rescaled, rescaled_size
from vggnet.images.gpu.cropping import CropBoxes, choose_cropper, crops_by_kernel, crops_by_matrices, why_no_kernel

CPU = torch.device("cpu")
HERE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FAR = 2**31 + 4096


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def by_pillow(pixels: np.ndarray, view: tuple[int, int, int, bool], crop: int) -> np.ndarray:
    scale, left, top, mirrored = view
    cut = crop_of_rescaled(Image.fromarray(pixels), scale, left, top, crop)
    return cut[:, ::-1] if mirrored else cut


def gap(one: np.ndarray | torch.Tensor, other: np.ndarray | torch.Tensor) -> int:
    one, other = (np.asarray(each.cpu() if isinstance(each, torch.Tensor) else each, int) for each in (one, other))
    assert one.shape == other.shape
    return int(np.abs(one - other).max())


@st.composite
def views(draw: st.DrawFn, crop: int) -> tuple[np.ndarray, tuple[int, int, int, bool]]:
    width, height, scale = draw(st.integers(4, 70)), draw(st.integers(4, 70)), draw(st.integers(crop, 40))
    full = rescaled_size(width, height, scale)
    left, top = draw(st.integers(0, full[0] - crop)), draw(st.integers(0, full[1] - crop))
    return noise(width, height, draw(st.integers(0, 99))), (scale, left, top, draw(st.booleans()))


@settings(max_examples=15, deadline=None)
@given(st.data(), st.integers(1, 12))
def test_three_ways_to_a_crop(data, crop):
    drawn = [data.draw(views(crop)) for _ in range(data.draw(st.integers(1, 3)))]
    images = [torch.from_numpy(pixels).to(HERE).permute(2, 0, 1) for pixels, _ in drawn]  # interleaved in memory
    images[0] = images[0].contiguous()  # planar
    boxes = CropBoxes.of_views(
        [(pixels.shape[1], pixels.shape[0]) for pixels, _ in drawn],
        np.array([view for _, view in drawn], np.float32),
        crop,
    )
    by_matrices, by_kernel = crops_by_matrices(images, boxes, crop), crops_by_kernel(images, boxes, crop)
    assert by_matrices.dtype == by_kernel.dtype == torch.uint8
    # each rounds twice, by half a level at most, so any two are at most two apart
    assert gap(by_matrices, by_kernel) <= 2
    for place, (pixels, view) in enumerate(drawn):
        # noise is the worst case: Pillow filters a tall image along its columns first
        assert gap(by_matrices[place], by_pillow(pixels, view, crop)) <= 2
        assert gap(by_kernel[place], by_pillow(pixels, view, crop)) <= 2


def test_two_ties_one_after_the_other():
    """Sums are halves here; single and double precision round them apart in both passes: two levels."""
    red = [[66, 13, 147, 42], [103, 134, 175, 32], [69, 106, 25, 7], [205, 122, 26, 1]]
    green = [[54, 179, 148, 240], [198, 246, 200, 110], [245, 39, 188, 239], [118, 184, 180, 19]]
    blue = [[156, 72, 134, 172], [223, 190, 148, 221], [215, 66, 185, 226], [1, 158, 8, 209]]
    image = torch.tensor([red, green, blue], dtype=torch.uint8, device=HERE)
    boxes = CropBoxes.of_views([(4, 4)], np.array([[14, 0, 0, 0]], np.float32), 11)
    assert gap(crops_by_matrices([image], boxes, 11), crops_by_kernel([image], boxes, 11)) <= 2


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(1, 30))
def test_the_matrices_against_pillow(data, crop):
    pixels, view = data.draw(views(crop))
    boxes = CropBoxes.of_views([pixels.shape[1::-1]], np.array([view], np.float32), crop)
    found = crops_by_matrices([torch.from_numpy(pixels).permute(2, 0, 1)], boxes, crop)[0]
    assert gap(found, by_pillow(pixels, view, crop)) <= 2


def test_a_photograph():
    from sklearn.datasets import load_sample_image

    pixels = load_sample_image("china.jpg")  # 640 x 427
    rows = [(256, 100, 20, True), (300, 0, 75, False), (427, 300, 203, False), (512, 500, 250, True)]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().to(HERE)
    boxes = CropBoxes.of_views([(640, 427)] * 4, np.array(rows, np.float32), 112)
    by_matrices, by_kernel = (cut([image] * 4, boxes, 112) for cut in (crops_by_matrices, crops_by_kernel))
    for place, view in enumerate(rows):
        expected = by_pillow(pixels, view, 112)
        for found in (by_matrices[place], by_kernel[place]):
            assert gap(found, expected) <= 1
            # the same but for halves, which are frequent at such ratios: Pillow's weights have 22 bits
            assert (np.asarray(found.cpu()) != expected).mean() < 0.02
    assert gap(by_kernel[2], by_pillow(pixels, rows[2], 112)) == 0  # at its own size nothing is filtered


@pytest.mark.parametrize("strides", [(FAR // 2, 100, 1), (1000, FAR // 8, 1), (1000, 20, FAR // 8)])
def test_offsets_beyond_32_bits(strides):
    memory = np.frombuffer(mmap.mmap(-1, FAR + 8192), np.uint8)  # only the pages that are touched are real
    planes = np.lib.stride_tricks.as_strided(memory, (3, 9, 9), strides)
    pixels = noise(9, 9, 0)
    planes[:] = pixels.transpose(2, 0, 1)
    image = torch.as_strided(torch.from_numpy(memory), (3, 9, 9), strides)
    boxes = CropBoxes.of_views([(9, 9)], np.array([[9, 1, 2, 0]], np.float32), 7)
    if HERE.type == "cpu":
        assert gap(crops_by_kernel([image], boxes, 7)[0], pixels[2:, 1:8]) == 0
    assert gap(crops_by_matrices([image], boxes, 7)[0], pixels[2:, 1:8]) == 0


@pytest.mark.usefixtures("nothing_noted")
def test_a_cpu_takes_the_matrices_and_a_gpu_the_kernel_where_it_is_right(capsys):
    assert choose_cropper(CPU) is crops_by_matrices
    assert choose_cropper(torch.device("cuda"), lambda device: why_no_kernel(HERE)) is crops_by_kernel
    assert choose_cropper(torch.device("cuda"), lambda device: "no such target") is crops_by_matrices
    assert capsys.readouterr().err == "crops are cut without the Triton kernel: no such target\n"


def test_why_there_is_no_kernel(monkeypatch):
    black = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    assert why_no_kernel(CPU, lambda *_: black) == "the kernel gives other pixels than PyTorch here"

    def refuse(*_: object) -> None:
        raise RuntimeError("ptxas failed\nand more")

    assert why_no_kernel(CPU, refuse) == "ptxas failed"
    monkeypatch.setitem(sys.modules, "triton", None)
    assert why_no_kernel(CPU) == "Triton is not installed"


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vggnet.images.gpu.cropping_kernel import _crop

kinds = {"table": "*i64", "boxes": "*fp64", "out": "*u8", "side": "constexpr", "block": "constexpr"}
for generation in map(int, sys.argv[1:]):
    source = ASTSource(fn=_crop, signature=kinds, constexprs={"side": 224, "block": 256})
    print(generation, len(triton.compile(source, target=GPUTarget("cuda", generation, 32)).asm["cubin"]) > 0)
"""


@pytest.mark.parametrize("generations", [["90"], pytest.param(["75", "80"], marks=pytest.mark.slow)])
def test_the_kernel_compiles_for_gpus_that_are_not_here(tmp_path, generations):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COMPILE, *generations]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [word for each in generations for word in (each, "True")]


@pytest.mark.gpu
def test_many_large_images_on_a_gpu():
    device = torch.device("cuda")
    generator = np.random.default_rng(0)
    pixels = [noise(int(w), int(h), i) for i, (w, h) in enumerate(generator.integers(100, 900, (60, 2)))]
    images = [torch.from_numpy(each).permute(2, 0, 1).contiguous().to(device) for each in pixels]
    rows = []
    for place, each in enumerate(pixels):
        scale = int(generator.integers(224, 513))
        full = rescaled_size(each.shape[1], each.shape[0], scale)
        corner = (int(generator.integers(0, full[0] - 223)), int(generator.integers(0, full[1] - 223)))
        rows.append((scale, *corner, bool(place % 2)))
    boxes = CropBoxes.of_views([each.shape[1::-1] for each in pixels], np.array(rows, np.float32), 224)
    found = crops_by_kernel(images, boxes, 224)
    assert gap(found, crops_by_matrices(images, boxes, 224)) <= 2
    for place, (each, view) in enumerate(zip(pixels, rows, strict=True)):
        assert gap(found[place], by_pillow(each, view, 224)) <= 2
