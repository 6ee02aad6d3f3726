"""Batches decoded and cut on a device: those of the worker processes but for a gray level. Here without streams."""

import dataclasses
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from waiting import wait_until

from vggnet.data.splits import Split
from vggnet.description import AS_STORED, ImageReading
from vggnet.images.augmentation import Augmentation
from vggnet.images.color import ColorStatistics
from vggnet.images.gpu.cropping import crops_by_kernel, crops_by_matrices
from vggnet.images.gpu.decoding import by_torchvision
from vggnet.images.gpu.loading import DeviceLoader
from vggnet.images.loading import Batch, TrainingLoader

CPU = torch.device("cpu")
STATISTICS = ColorStatistics((0, 0, 0), (1, 1, 1), (900.0, 90.0, 9.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
AUGMENTATION = Augmentation(5, (36, 48), 32, STATISTICS)
ORDER = [np.arange(0, 7), np.array([], np.int64), np.arange(7, 20)]


def loader_of(split: Split, workers: int = 2, augmentation: Augmentation = AUGMENTATION, **more: Any) -> DeviceLoader:
    return DeviceLoader(split, augmentation, device=CPU, workers=workers, **more)


def batches_of_processes(
    split: Split, epoch: int, order: list[np.ndarray], augmentation: Augmentation = AUGMENTATION
) -> list[Batch]:
    return list(TrainingLoader(split, augmentation, workers=0).batches(epoch, order))


def close(ours: Batch, theirs: Batch) -> bool:
    """The same images and views; pixels but for halves that are rounded the other way."""
    fields = ("shift", "labels", "indices", "views")
    assert ours.pixels.dtype == torch.uint8
    return (
        all(torch.equal(getattr(ours, each), getattr(theirs, each)) for each in fields)
        and [(bad.path, bad.reason) for bad in ours.bad] == [(bad.path, bad.reason) for bad in theirs.bad]
        and ours.pixels.shape == theirs.pixels.shape
        and (len(ours) == 0 or (ours.pixels.int() - theirs.pixels.int()).abs().max() <= 2)
    )


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("vggnet")]


@pytest.fixture
def split(make_image, tmp_path):
    """JPEGs of several kinds, and among them what no GPU decodes; some are bad."""
    files = [f"d/{i:02d}.jpg" for i in range(20)]
    for number, file in enumerate(files):
        make_image(file, size=(40 + number % 7, 34 + number % 5), seed=number, subsampling=number % 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned, where that is asked for
    make_image(files[1], size=(60, 40), exif=exif)
    Image.open(tmp_path / files[2]).convert("CMYK").save(tmp_path / files[2])
    Image.open(tmp_path / files[3]).convert("L").save(tmp_path / files[3])
    Image.open(tmp_path / files[4]).save(tmp_path / files[4], "PNG")
    make_image(files[5], progressive=True)
    make_image(files[6], keep_rgb=True)
    content = (tmp_path / files[8]).read_bytes()
    (tmp_path / files[8]).write_bytes(content[: len(content) // 2])
    (tmp_path / files[9]).write_bytes(b"")
    (tmp_path / files[10]).unlink()
    make_image(files[11], size=(2000, 10))
    (tmp_path / files[12]).write_bytes(content[:300] + bytes(300) + b"\xff\xd9")  # its markers are lost
    return Split(str(tmp_path), tuple(files), np.arange(20) % 4)


@pytest.mark.parametrize(("workers", "hold_bytes"), [(0, 20_000), (3, 0), (3, 10**6)])
def test_batches_are_those_of_the_processes(split, workers, hold_bytes):
    with (
        TrainingLoader(split, AUGMENTATION, workers=0) as theirs,
        loader_of(split, workers, hold_bytes=hold_bytes) as ours,
    ):
        for epoch in range(3):
            pairs = list(zip(ours.batches(epoch, ORDER), theirs.batches(epoch, ORDER), strict=True))
            assert [len(one) for one, _ in pairs] == [7, 0, 8]
            assert all(close(one, other) for one, other in pairs)
            assert [len(one.bad) for one, _ in pairs] == [0, 0, 5]
    assert threads() == []


@pytest.mark.parametrize("hold_bytes", [0, 10**6])
def test_photographs_are_turned_upright_as_by_the_processes(make_image, tmp_path, hold_bytes):
    files = [f"d/{number}.jpg" for number in range(9)]
    for number, file in enumerate(files):
        exif = Image.Exif()
        exif[0x0112] = number  # 0 and 1 to 8
        make_image(file, size=(60, 40), seed=number, exif=exif)
    (tmp_path / files[5]).write_bytes((tmp_path / files[6]).read_bytes()[:-2])  # not complete: the CPU's to judge
    split = Split(str(tmp_path), tuple(files), np.zeros(9, np.int64), reading=ImageReading("apply"))
    with (
        TrainingLoader(split, AUGMENTATION, workers=0) as theirs,
        loader_of(split, hold_bytes=hold_bytes) as ours,
    ):
        for epoch in range(2):
            (one,), (other,) = (list(each.batches(epoch, [np.arange(9)])) for each in (ours, theirs))
            assert close(one, other)
            assert len(one) + len(one.bad) == 9
    (stored,) = batches_of_processes(split.read_as(AS_STORED), 0, [np.arange(9)])
    (turned,) = batches_of_processes(split, 0, [np.arange(9)])
    differs = [not torch.equal(a, b) for a, b in zip(stored.pixels, turned.pixels, strict=True)]
    assert differs == [int(index) >= 2 for index in stored.indices]


def test_batches_cut_by_the_kernel(split):
    (theirs,) = batches_of_processes(split, 1, [np.arange(8)])
    with loader_of(split, cropper=crops_by_kernel) as loader:
        (ours,) = loader.batches(1, [np.arange(8)])
    assert close(ours, theirs)


def test_an_image_may_come_twice_and_no_mirror_is_none(split):
    order, plain = [np.array([7, 2, 7, 7])], dataclasses.replace(AUGMENTATION, mirror=False)
    (theirs,) = batches_of_processes(split, 0, order, plain)
    with loader_of(split, augmentation=plain, hold_bytes=10**6) as loader:
        (ours,) = loader.batches(0, order)
    assert close(ours, theirs)
    assert not ours.views[:, 3].any()


def test_held_images_need_their_files_no_more(split, tmp_path):
    good = [np.array([0, 1, 2, 3, 13, 14])]
    with loader_of(split, hold_bytes=10**6) as loader, loader_of(split) as other:
        list(loader.batches(0, good))
        expected = list(other.batches(1, good))
        shutil.rmtree(tmp_path / "d")
        assert all(
            torch.equal(one.pixels, two.pixels) for one, two in zip(loader.batches(1, good), expected, strict=True)
        )


def test_never_more_is_held_than_fits(split):
    sizes = [3 * (40 + i % 7) * (34 + i % 5) for i in range(13, 20)]
    with loader_of(split, hold_bytes=sum(sizes[:3]) + 10) as loader:
        list(loader.batches(0, [np.arange(13, 20)]))
        assert loader._held.used_bytes == sum(sizes[:3])


def unable(pixels):
    raise RuntimeError("an unusual file")


@pytest.mark.parametrize("wrong", [unable, lambda pixels: pixels[:, 1:]])
def test_what_the_device_does_not_decode_is_decoded_here_and_not_tried_again(split, wrong):
    refused, tried = Path(split.path(14)).read_bytes(), []

    def picky(files, device):
        tried.append(len(files))
        decoded = by_torchvision(files, device)
        return [
            wrong(pixels) if file.numpy().tobytes() == refused else pixels
            for file, pixels in zip(files, decoded, strict=True)
        ]

    order = [np.arange(13, 20)]
    with loader_of(split, decoder=picky) as loader:
        for epoch in range(2):
            (theirs,) = batches_of_processes(split, epoch, order)
            (ours,) = loader.batches(epoch, order)
            assert close(ours, theirs)
    # a batch that the decoder refuses is halved until the file at fault is alone
    assert tried == ([7, 3, 1, 2, 1, 1, 4, 6] if wrong is unable else [7, 6])


def test_large_batches_are_decoded_in_parts(split):
    counted = []

    def counting(files, device):
        counted.append(len(files))
        return by_torchvision(files, device)

    (theirs,) = batches_of_processes(split, 0, [np.arange(13, 20)])
    with loader_of(split, decoder=counting, decoded_bytes=3 * 45 * 40 * 2) as loader:
        (ours,) = loader.batches(0, [np.arange(13, 20)])
    assert close(ours, theirs)
    assert sum(counted) == 7
    assert max(counted) == 2


def test_leaving_early_leaves_no_threads_and_the_next_epoch_is_its_own(split):
    order = [np.array([i]) for i in (0, 1, 13, 14, 15, 16, 17, 18, 19) * 5]
    (theirs,) = batches_of_processes(split, 1, [np.arange(3)])
    with loader_of(split) as loader:
        left = loader.batches(0, order)
        next(left)
        (ours,) = loader.batches(1, [np.arange(3)])
        assert close(ours, theirs)
        again = loader.batches(2, order)
        next(again)
    assert threads() == []


def test_an_exception_in_the_thread_reaches_the_reader(split):
    def break_down(*_: object) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    class BrokenSplit(Split):
        def file(self, index: int) -> str:
            return break_down() or ""

    with loader_of(split, cropper=break_down) as loader, pytest.raises(RuntimeError, match="illegal memory access"):
        list(loader.batches(0, ORDER))
    broken = BrokenSplit(split.root, split.files, split.labels)
    with loader_of(broken) as loader, pytest.raises(RuntimeError, match="illegal memory access"):
        list(loader.batches(0, ORDER))
    assert threads() == []


def test_it_runs_some_batches_ahead_and_no_more(split):
    made = []
    with loader_of(split, cropper=lambda *given: made.append(1) or crops_by_matrices(*given)) as loader:
        batches = loader.batches(0, [np.array([13])] * 20)
        next(batches)
        wait_until(lambda: len(made) == 5)
        time.sleep(0.05)  # for a sixth, which must not come
        assert len(made) == 5  # one was read, three lie ready, one waits for room


READ_FOR_EVER = """
import signal, sys
import numpy as np, torch
from vggnet.images.augmentation import Augmentation
from vggnet.images.gpu.loading import DeviceLoader
from vggnet.data.splits import Split

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits an ignored SIGINT
split = Split(sys.argv[1], ("d/00.jpg",))
loader = DeviceLoader(split, Augmentation(0, (36,), 32, None), device=torch.device("cpu"), workers=2)
if sys.argv[2] == "closed":
    with loader:
        for number, batch in enumerate(loader.batches(0, [np.zeros(4, np.int64)] * 10**5)):
            print(number, flush=True)
else:
    batches = loader.batches(0, [np.zeros(4, np.int64)] * 10**5)
    print(len(next(batches)), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("how", [pytest.param("closed", marks=pytest.mark.slow), "forgotten"])
def test_ctrl_c_ends_the_program(split, how):
    command = [sys.executable, "-c", READ_FOR_EVER, split.root, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline()  # it reads
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert said.decode().rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT


@pytest.mark.gpu
@pytest.mark.parametrize("hold_bytes", [0, 10**9])
def test_on_a_gpu(split, hold_bytes):
    device = torch.device("cuda:0")
    wanted = [np.array([0, 1, 2, 3, 4, 5, 6, 7]), np.arange(8, 20)] * 20
    with (
        TrainingLoader(split, AUGMENTATION, workers=0) as theirs,
        DeviceLoader(split, AUGMENTATION, device=device, workers=4, hold_bytes=hold_bytes) as ours,
    ):
        for epoch in range(3):
            again = list(ours.batches(epoch, wanted))
            for one, other, twin in zip(ours.batches(epoch, wanted), theirs.batches(epoch, wanted), again, strict=True):
                assert one.pixels.device == device
                busy = torch.randn(2000, 2000, device=device)
                for _ in range(20):
                    busy = busy @ busy  # the reader's stream is behind: what it is given must stay as it is
                assert torch.equal(one.pixels, twin.pixels)
                assert torch.equal(one.views, other.views)
                assert [bad.reason for bad in one.bad] == [bad.reason for bad in other.bad]
                gap = (one.pixels.cpu().int() - other.pixels.int()).abs().float()
                assert gap.mean() < 20  # decoders differ most on noise with few chroma samples; other crops by 50
