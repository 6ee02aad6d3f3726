"""Batches: the same for any number of workers, bad images reported, processes gone when nobody reads."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from waiting import exists, wait_until

from vggnet.errors import BadImage, UserError
from vggnet.images.geometry import crop_of_rescaled
from vggnet.images.loading import Batch, TrainingLoader
from vggnet.images.whole_images import whole_images
from vggnet.images.workers import Workers


def same(one: Batch, other: Batch) -> bool:
    fields = ("pixels", "shift", "labels", "indices", "views")
    return all(torch.equal(getattr(one, each), getattr(other, each)) for each in fields)


def gone(children) -> bool:
    for child in children:
        child.join(timeout=5)
    return not any(child.is_alive() for child in children)


def test_a_batch_is_what_the_views_say(split, augmentation):
    order = [np.array([7, 3, 49]), np.array([0])]
    first, second = TrainingLoader(split, augmentation, workers=0).batches(2, order)
    assert (len(first), len(second)) == (3, 1)
    assert first.pixels.shape == (3, 32, 32, 3)
    assert first.pixels.dtype == torch.uint8
    assert first.indices.tolist() == [7, 3, 49]
    assert first.labels.tolist() == [3, 3, 1]
    for place, index in enumerate((7, 3, 49)):
        image = Image.open(split.path(index))
        view = augmentation.view(2, index, *image.size)
        crop = crop_of_rescaled(image, view.scale, view.left, view.top, 32)
        assert np.array_equal(first.pixels[place].numpy(), crop[:, ::-1] if view.mirrored else crop)
        assert np.array_equal(first.shift[place].numpy(), view.shift)
        assert first.views[place].tolist() == [view.scale, view.left, view.top, view.mirrored]


def test_workers_change_nothing_over_epochs(split, augmentation):
    order = [np.arange(40), np.array([], np.int64), np.arange(40, 50)]
    state = torch.random.get_rng_state()
    with (
        TrainingLoader(split, augmentation, workers=0) as alone,
        TrainingLoader(split, augmentation, workers=2) as several,
    ):
        for epoch in range(3):
            pairs = list(zip(alone.batches(epoch, order), several.batches(epoch, order), strict=True))
            assert len(pairs) == 3
            assert all(same(one, other) for one, other in pairs)
        children = multiprocessing.active_children()
        assert len(children) == 2  # the same ones in every epoch
    assert gone(children)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_left_out_and_reported(split, augmentation, workers):
    with open(split.path(3), "wb"):
        pass
    with TrainingLoader(split, augmentation, workers=workers) as loader:
        (batch,) = loader.batches(0, [np.arange(6)])
    assert batch.indices.tolist() == [0, 1, 2, 4, 5]
    assert batch.pixels.shape[0] == batch.labels.shape[0] == batch.views.shape[0] == 5
    (error,) = batch.bad
    assert isinstance(error, BadImage)
    assert error.path == split.path(3)
    assert "0 bytes" in error.reason


def test_leaving_early_leaves_no_processes(split, augmentation):
    with TrainingLoader(split, augmentation, workers=2) as loader:
        order = [np.array([i]) for i in range(50)]
        next(loader.batches(0, order))
        assert [len(batch) for batch in loader.batches(1, [np.arange(3)])] == [3]  # and the next epoch is its own
        children = multiprocessing.active_children()
    assert gone(children)
    images = whole_images(split, range(50), workers=2)
    next(images)
    children = multiprocessing.active_children()
    assert children
    images.close()
    assert gone(children)


@pytest.mark.parametrize("workers", [0, 2])
def test_whole_images(split, workers):
    with open(split.path(1), "w") as file:
        file.write("words")
    results = list(whole_images(split, np.array([4, 1, 0]), workers))
    assert isinstance(results[1], BadImage)
    for (index, pixels), expected in ((results[0], 4), (results[2], 0)):
        assert index == expected
        assert np.array_equal(pixels, np.asarray(Image.open(split.path(expected))))
    sizes = list(whole_images(split, [0], workers, prepare=lambda image: image.size))
    assert sizes == [(0, (40, 30))]
    assert list(whole_images(split, [], workers)) == []


def test_a_killed_worker_is_an_error(split):
    with Workers(_sleep_or_die, 1) as pool, pytest.raises(RuntimeError, match=r"^DataLoader worker"):
        list(pool.map([False, True]))
    with pytest.raises(UserError, match=r"0 .none. or more"):
        Workers(_sleep_or_die, -1)


def test_a_killed_worker_is_named_with_what_it_read(split):
    with Workers(_Sleeper(), 2) as pool, pytest.raises(RuntimeError, match=r"^DataLoader worker") as error:
        list(pool.map([0, "die", 0]))
    assert "which reads item die" in str(error.value)


class _Sleeper:
    """Stops or kills the process that comes to such an item."""

    def __call__(self, item):
        if item == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        return item

    def describe(self, item):
        return f"item {item}"


def test_a_process_that_hangs_is_named_once_and_waited_for():
    messages = []

    def on_silence(message):
        if "(stopped)" in message:  # a busy machine may be slow, too
            messages.append(message)
            os.kill(int(message.split("process ")[1].split()[0]), signal.SIGCONT)

    with Workers(_Sleeper(), 2, silent_s=0.4, on_silence=on_silence) as pool:
        assert list(pool.map([0, 1, "stop", 3])) == [0, 1, "stop", 3]
        assert list(pool.map([4, 5])) == [4, 5]
    (message,) = messages
    assert "(stopped), which reads item stop" in message
    assert message.startswith("no image has come for ")


def test_processes_that_hang_are_ended_with_the_others():
    with Workers(_Sleeper(), 3) as pool:
        results = pool.map([0, "stop", "stop", 3])
        assert next(results) == 0
        children = multiprocessing.active_children()
        assert len(children) == 3
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    assert not any(child.is_alive() for child in children)


def test_reading_processes_end_with_a_program_that_is_killed(tmp_path):
    """At once, and also one that hangs."""
    script = (
        "import os, signal, sys\n"
        "from vggnet.images.workers import Workers\n"
        "def read(item):\n"
        "    print(os.getpid(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGSTOP) if item else None\n"
        "pool = Workers(read, 2, ahead=1)\n"
        "list(pool.map([0, 1, 0, 1]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    readers = {int(process.stdout.readline()) for _ in range(2)}
    process.kill()
    process.communicate(timeout=60)
    try:  # they would look for their parent every 5 s, and one of them not at all
        wait_until(lambda: not any(map(exists, readers)), limit_s=3)
    finally:
        for reader in filter(exists, readers):
            os.kill(reader, signal.SIGKILL)


def _sleep_or_die(die: bool) -> bool:
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    return die


def test_shared_memory_is_used_again_only_when_it_was_read(split, augmentation):
    """Many more pieces than the workers have places for, a slow reader, and a round that was left early."""
    order = [np.random.default_rng(i).permutation(50)[: 20 + i % 30] for i in range(30)]
    expected = list(TrainingLoader(split, augmentation, workers=0).batches(1, order))
    with TrainingLoader(split, augmentation, workers=2) as loader:
        left = loader.batches(0, order)
        next(left)
        left.close()
        for number, (ours, theirs) in enumerate(zip(loader.batches(1, order), expected, strict=True)):
            if number % 7 == 0:
                time.sleep(0.05)  # the workers run ahead as far as they may
            assert same(ours, theirs)
