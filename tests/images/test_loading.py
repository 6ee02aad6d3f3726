"""Batches: the same for any number of workers, bad images reported, processes gone when nobody reads."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from forked import Forked
from PIL import Image
from waiting import exists, wait_until

from vggnet.errors import BadImage, UserError
from vggnet.images.geometry import crop_of_rescaled
from vggnet.images.loading import Batch, TrainingLoader
from vggnet.images.sharing import signals_held_back
from vggnet.images.whole_images import whole_images
from vggnet.images.workers import WorkerLost, Workers


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


class _Sleeper:
    """Stops or kills the process that comes to such an item: "die", "stop" each time, ("die", file) the first time."""

    def __call__(self, item):
        what = item
        if isinstance(item, tuple):
            what, file = item
            if file.exists():
                return what
            file.touch()
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        return what

    def describe(self, item):
        return f"item {item}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_is_named_and_replaced_once(tmp_path, workers):
    messages = []
    with Workers(_Sleeper(), workers, report=messages.append) as pool:
        items = [0, 1, ("die", tmp_path / "a"), 3, 4, ("die", tmp_path / "b"), 6, 7]
        assert list(pool.map(items)) == [0, 1, "die", 3, 4, "die", 6, 7]
        assert list(pool.map(range(20))) == list(range(20))
        assert len(multiprocessing.active_children()) == workers
    assert len(messages) == 2
    assert all("(ended by SIGKILL), which reads item ('die'" in message for message in messages)


def test_a_signal_that_schedulers_send_to_all_processes_ends_no_worker():
    """The main process decides: it saves first, with its workers or without them."""
    messages = []
    with Workers(_Sleeper(), 2, report=messages.append) as pool:
        assert list(pool.map([0, 1, 2])) == [0, 1, 2]
        for child in multiprocessing.active_children():
            child.terminate()
        assert list(pool.map(range(9))) == list(range(9))
    assert messages == []


def test_what_a_signals_handler_raises_is_not_lost_in_a_fork():
    """It is raised after the fork, once."""

    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    before = signal.signal(signal.SIGTERM, stop)
    inside = []

    def fork():
        with signals_held_back():
            signal.raise_signal(signal.SIGTERM)
            inside.append(1)

    try:
        with pytest.raises(Stop):
            fork()
        assert inside
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_program_that_has_not_closed_its_workers_ends():
    process = multiprocessing.get_context("fork").Process(target=_leave_workers)
    process.start()
    process.join(30)
    assert process.exitcode == 0


def _leave_workers():
    pool = Workers(_Sleeper(), 2)
    assert list(pool.map([0, 1, 2])) == [0, 1, 2]
    globals()["kept"] = pool


def test_an_item_that_kills_its_worker_twice_is_an_error():
    with Workers(_Sleeper(), 2, report=lambda _: None) as pool:
        results = pool.map([0, "die", 2])
        assert next(results) == 0
        with pytest.raises(WorkerLost, match=r"\(ended by SIGKILL\), which reads item die; the second time"):
            list(results)
        assert list(pool.map([1, 2, 3])) == [1, 2, 3]
    with pytest.raises(UserError, match=r"0 .none. or more"):
        Workers(_Sleeper(), -1)


def test_a_worker_killed_while_it_has_nothing_to_do_is_replaced():
    messages = []
    with Workers(_Sleeper(), 2, report=messages.append) as pool:
        assert list(pool.map([0, 1, 2])) == [0, 1, 2]
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        assert list(pool.map(range(9))) == list(range(9))
    assert all("(ended by SIGKILL)" in message for message in messages)


def test_an_exception_of_the_function_comes_as_it_is_with_the_workers_traceback():
    with Workers(_refuse, 1) as pool:
        for item, kind, words in (
            ("bad", BadImage, "a.jpg: empty"),
            ("local", RuntimeError, "Local: words"),
            ("unsent", Exception, "pickle"),
        ):
            with pytest.raises(kind, match=words) as error:
                list(pool.map([item]))
            assert "in a worker process:" in str(error.value.__cause__)
        assert list(pool.map(["fine"])) == ["fine"]


def _refuse(item):
    class Local(Exception):
        pass

    if item == "bad":
        raise BadImage("a.jpg", "empty")
    if item == "local":
        raise Local("words")
    return (lambda: 1) if item == "unsent" else item


def test_a_process_that_hangs_is_named_and_replaced_once(tmp_path):
    messages = []
    with Workers(_Sleeper(), 2, silent_s=0.5, report=messages.append) as pool:
        items = [0, 1, ("stop", tmp_path / "a"), 3, 4]
        assert list(pool.map(items)) == [0, 1, "stop", 3, 4]
        children = multiprocessing.active_children()
    assert gone(children)
    (message,) = [message for message in messages if "(stopped)" in message]  # a busy machine may be slow, too
    assert message.startswith("no image has come for ")
    assert "(stopped), which reads item ('stop'" in message
    assert message.endswith("another process takes over")


def test_a_process_that_hangs_again_is_named_once_more_and_waited_for():
    messages = []

    def report(message):
        messages.append(message)
        if message.endswith("Ctrl-C stops"):
            os.kill(int(message.split("process ")[1].split()[0]), signal.SIGCONT)

    with Workers(_Sleeper(), 2, silent_s=0.5, report=report) as pool:
        assert list(pool.map([0, 1, "stop", 3])) == [0, 1, "stop", 3]
        assert list(pool.map([4, 5])) == [4, 5]
    named = [message for message in messages if "(stopped), which reads item stop" in message]
    assert [message.endswith("Ctrl-C stops") for message in named] == [False, True]


def test_a_round_that_was_left_while_a_process_hangs_does_not_hold_up_the_next(tmp_path):
    with Workers(_Sleeper(), 2, silent_s=0.5, report=lambda _: None) as pool:
        results = pool.map([0, "stop", "stop", "stop", "stop"])
        assert next(results) == 0
        results.close()
        assert list(pool.map(range(8))) == list(range(8))


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
    process = Forked(read_and_hang)
    readers = {int(process.stdout.readline()) for _ in range(2)}
    process.kill()
    try:  # they would look for their parent every 5 s, and one of them not at all
        wait_until(lambda: not any(map(exists, readers)), limit_s=3)
    finally:
        for reader in filter(exists, readers):
            os.kill(reader, signal.SIGKILL)
        process.communicate(timeout=60)


def read_and_hang():
    """Read by two processes, which print their IDs; one of them stops then."""

    def read(item):
        os.write(1, f"{os.getpid()}\n".encode())  # one write: two processes share the pipe
        if item:
            os.kill(os.getpid(), signal.SIGSTOP)

    list(Workers(read, 2, ahead=1).map([0, 1, 0, 1]))


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
