"""Two gloo processes under torchrun against one process: the same images, the same gradient to rounding."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from forked import Forked, command
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from saved import progress_of
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from waiting import children_of, read_until

from vggnet.errors import BadImage, UserError
from vggnet.hardware import choose_device, choose_precision
from vggnet.training import distributed, messages
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.distributed import World, join_world
from vggnet.training.meeting import launch_names, meet
from vggnet.training.watching import Watch, signs

TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

TINY = ["--net", "A", "--crop", "32", "--width", "0.05", "--batch", "8", "--device", "cpu"]
TINY += ["--precision", "fp32", "--workers", "0", "--threads", "1"]


@given(count=st.integers(0, 600), size=st.integers(1, 8))
def test_ranks_share_a_batch_without_leaving_or_repeating_an_image(count: int, size: int) -> None:
    batch = np.random.default_rng(count).permutation(count)
    shares = [World(rank, size).share(batch) for rank in range(size)]
    assert sorted(np.concatenate(shares)) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def train(data: Path, out: Path, ranks: int) -> str:
    """Train in processes that each rank's scheduler starts; what they print."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        places = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    options = [*TINY, "--epochs", "2", "--dropout", "0.5", "--out", out]
    started = [
        command("train", data, *options, environment=places | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(ranks)
    ]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * ranks, said
    return "".join(said)


def test_two_processes_train_as_one(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    """33 training images in batches of 8: the last batch has one image, so that one rank has none in it.

    Dropout is drawn for each image, whichever rank has it.
    """
    data = class_folders(classes=3, train=12, val=5)
    one, two = tmp_path / "one", tmp_path / "two"
    train(data, one, 1)
    output = train(data, two, 2)
    assert "2 processes" in output
    assert output.count("val top-1 error, centre crop") == 1  # one rank speaks
    ours, theirs = load_file(two / "last.safetensors"), load_file(one / "last.safetensors")
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5, msg=name)
    counted = [json.loads((run / "val.json").read_text())["center"]["top1"]["images"] for run in (one, two)]
    assert counted == [15, 15]  # every image once, although 15 does not divide by two
    losses = [[line.split(",")[2] for line in (run / "metrics.csv").read_text().splitlines()[1:]] for run in (one, two)]
    np.testing.assert_allclose(np.array(losses[0], float), np.array(losses[1], float), rtol=1e-4)


def test_nccl_is_told_its_gpu_and_ranks_have_minutes_for_an_exchange() -> None:
    gpu = torch.device("cuda:1")
    assert distributed.backend_of(gpu) == {"backend": "nccl", "device_id": gpu}
    assert distributed.backend_of(torch.device("cpu")) == {"backend": "gloo"}
    assert World().exchange_limit == distributed.EXCHANGE_LIMIT <= timedelta(minutes=30) < distributed.SCAN_LIMIT


def test_ranks_join_one_world_and_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two real ranks, in a world within a world."""
    master = dist.TCPStore("localhost", 0, is_master=True)
    places = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(master.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in (places | {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    other = Forked(join_twice, environment={"RANK": "1", "LOCAL_RANK": "1"})
    join_twice()
    assert other.wait(60) == 0
    assert not dist.is_initialized()


def join_twice() -> None:
    with join_world("cpu") as world:
        with join_world("cpu") as same:
            assert same is world
        assert world.total([1.0]) == [2.0]


def together(size: int, act: Callable[[World], object], machines: int = 1) -> list[object]:
    """What `act` returns, or the UserError that it raises, on each of `size` ranks: threads with a store in common."""
    store = dist.HashStore()

    def run_rank(rank: int) -> object:
        try:
            return act(World(rank, size, store=store, machine=rank * machines // size, place=rank % (size // machines)))
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run_rank, range(size), timeout=60))


def test_what_the_first_rank_finds_all_have() -> None:
    def act(world: World) -> list[object]:
        return [world.from_first(lambda: (world.rank, "a")), world.from_first(lambda: world.rank)]

    assert together(3, act) == [[(0, "a"), 0]] * 3


def test_an_error_of_the_first_rank_is_raised_on_all() -> None:
    def act(world: World) -> None:
        def refuse() -> None:
            raise BadImage("a.jpg", "0 bytes")

        world.from_first(refuse)

    assert together(3, act) == ["a.jpg: 0 bytes"] * 3


def test_the_first_rank_stays_until_the_others_have_read_its_error() -> None:
    """Without torchrun it holds the store, which ends with it."""

    def act(world: World) -> bool:
        def refuse() -> None:
            raise UserError("no")

        with pytest.raises(UserError):
            world.from_first(refuse)
        assert world.store is not None
        return bool(world.store.check([f"first/0/read/{rank}" for rank in (1, 2)]))

    assert together(3, act)[0] is True


def test_a_failure_of_the_first_rank_is_not_waited_for() -> None:
    def act(world: World) -> object:
        try:
            return world.from_first(lambda: 1 // 0)
        except ZeroDivisionError:
            return "its own"

    first, other = together(2, act)
    assert first == "its own"
    assert "rank 0 failed" in str(other)


def test_facts_that_differ_are_an_error_on_all_ranks() -> None:
    def act(world: World) -> None:
        world.check_same({"`net`": "A", "`seed`": 1}, "advice")
        world.check_same({"`net`": "A", "`seed`": int(world.rank == 1)}, "Give all the same.")

    messages = together(3, act)
    assert len(set(messages)) == 1
    assert "`seed`: 0 on rank 0 (" in str(messages[0])
    assert "), 1 on rank 1 (" in str(messages[0])
    assert "`net`" not in str(messages[0])
    assert "Give all the same." in str(messages[0])


def test_the_first_rank_works_before_the_first_of_each_machine_and_these_before_the_rest() -> None:
    done: list[int] = []

    def act(world: World) -> int:
        return world.in_turn(lambda: done.append(world.rank) or world.rank)  # type: ignore[func-returns-value]

    assert together(6, act, machines=2) == [0, 1, 2, 3, 4, 5]
    assert done[0] == 0
    assert done.index(3) < min(done.index(4), done.index(5))


def test_a_rank_that_does_not_come_is_an_error_after_the_limit() -> None:
    world = World(1, 2, store=dist.HashStore(), exchange_limit=timedelta(seconds=0.2))
    with pytest.raises(UserError, match=r"has not answered for 0:00:00\.2"):
        world.from_first(lambda: None)


def test_ranks_meet_although_the_store_is_full_of_those_before() -> None:
    """After a restart; agents that have joined at different times have counted different numbers of restarts."""
    store, names = dist.HashStore(), []
    for size in (3, 3, 2, 3):
        late = threading.Event()

        def come(rank: int, size: int = size, late: threading.Event = late) -> str:
            if rank == 1:
                late.wait(0.2)  # the first rank finds the number that rank 1 has left there before
            return meet(store, rank, size, timedelta(seconds=30))

        with ThreadPoolExecutor(size) as pool:
            found = set(pool.map(come, range(size), timeout=60))
        assert len(found) == 1
        names += found
    assert len(set(names)) == 4


def test_ranks_that_do_not_all_come_are_an_error() -> None:
    with pytest.raises(UserError, match="not all 2 processes have come"):
        meet(dist.HashStore(), 0, 2, timedelta(seconds=0.1))


def test_a_launch_has_a_name_that_its_restarts_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert launch_names() == []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    store = dist.HashStore()
    seen = []
    for kept in (store, store, dist.HashStore()):
        meet(kept, 0, 1, timedelta(seconds=5))
        seen.append(set(launch_names()))
    assert seen[0] == seen[1]
    assert len(seen[0] & seen[2]) == 1  # the same agent
    assert not seen[0] & set(launch_names(agent=os.getpid())[1:])


def test_the_rank_that_all_wait_for_is_named_once() -> None:
    watch = Watch(own=0, limit_s=60)
    places = {0: ["epoch 1, batch 3, computing"] * 8, 1: ["epoch 1, batch 3, reading images"] * 8}

    def at(tick: int, answers: bool) -> str | None:
        beat = str(tick if answers else min(tick, 2))
        reports = {0: (str(tick), places[0][tick], "process 5"), 1: (beat, places[1][tick], "process 7 on b")}
        return watch.late(reports, 15.0 * tick)

    assert [at(tick, True) for tick in range(4)] == [None] * 4
    assert at(4, True) == (
        "no progress for 60 s at epoch 1, batch 3, computing; these processes have not come so far: "
        "rank 1 (process 7 on b), at epoch 1, batch 3, reading images"
    )
    assert [at(tick, True) for tick in range(5, 7)] == [None] * 2
    watch = Watch(own=0, limit_s=60)
    messages = [at(tick, False) for tick in range(8)]
    assert sum(message is not None for message in messages) == 1


def test_a_rank_that_hangs_before_its_first_sign_of_life_is_named() -> None:
    store, watch = dist.HashStore(), Watch(own=0, limit_s=60)
    world = World(size=2, store=store)
    messages = []
    for tick in range(8):
        store.set("beat/0", f"{tick}\nepoch 1, batch 3, computing\nprocess 5")
        messages.append(watch.late(signs(world, range(2)), 10.0 * tick))
    assert messages[6] == (
        "no progress for 60 s at epoch 1, batch 3, computing; these processes do not answer: "
        "rank 1 (which has given no sign of life), at an unknown place"
    )
    assert messages[:6] + messages[7:] == [None] * 7


def test_a_rank_without_signs_of_life_is_named_and_not_those_that_wait_for_it() -> None:
    watch = Watch(own=0, limit_s=60)
    for tick in range(9):
        place = "epoch 1, batch 3, computing"
        reports = {rank: (str(tick if rank != 2 else 0), place, f"process {rank}") for rank in range(3)}
        message = watch.late(reports, 10.0 * tick)
        assert (message is not None) == (tick == 6)
        if message is not None:
            assert "do not answer: rank 2 (process 2)" in message
            assert "rank 1" not in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_and_never_the_cpu() -> None:
    with pytest.raises(UserError, match="finds no GPU"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:x"])
def test_a_device_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="`device` "):
        choose_device(name)


def test_precision_is_fp32_on_request_and_never_something_unknown() -> None:
    assert choose_precision("fp32", torch.device("cpu")) == "fp32"
    assert choose_precision("auto", torch.device("cpu")) in ("bf16", "fp32")
    with pytest.raises(UserError, match="`precision` "):
        choose_precision("fp16", torch.device("cpu"))  # type: ignore[arg-type]


class Machines:
    """Two machines with a folder of their own each, a process on each, trained together as schedulers start them."""

    def __init__(self, folder: Path, *data: Path) -> None:
        self.data, self.folders = data, [folder / "first", folder / "second"]
        for each in self.folders:
            each.mkdir(parents=True)

    def start(
        self, *more: str, second: tuple[str, ...] = (), program: tuple[str, ...] = ("-m", "vggnet")
    ) -> list[subprocess.Popen[str]]:
        """Train into --out run, relative to each machine's folder; `second`: options of that machine only."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        started = []
        for rank, folder in enumerate(self.folders):
            place = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "GROUP_RANK": str(rank)}
            place |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
            command = [sys.executable, *program, "train", str(self.data[rank]), *TINY, "--out", "run", *more]
            command += second if rank else ()
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            started.append(subprocess.Popen(command, cwd=folder, env=os.environ | place, **pipes))
        return started

    def progress(self) -> TrainingProgress:
        return progress_of(self.folders[0] / "run")


def outputs(processes: list[subprocess.Popen[str]], status: int) -> list[str]:
    """What they print until they end, with this exit status."""
    texts = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [status] * len(processes), texts
    assert not any("Traceback" in text for text in texts), texts
    return texts


def test_what_all_ranks_say_is_printed_once_and_by_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    store = dist.TCPStore("localhost", 0, is_master=True)
    places = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in places.items():
        monkeypatch.setenv(name, value)

    def printed(rank: int, message: str) -> bool:
        monkeypatch.setenv("RANK", str(rank))
        return messages.is_to_print(message, patience_s=0.3)

    assert printed(0, "the same")
    assert not printed(1, "the same")
    assert not printed(0, "the same")  # after a restart by torchrun
    assert printed(1, "of rank 1")  # the first one does not say it
    assert not printed(2, "of rank 1")
    del store
    assert printed(0, "no store")
    assert not printed(1, "no store")


def test_torchrun_is_told_why_a_rank_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read here by torchrun's own class."""
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    messages.tell_torchrun("--epochs 0: give a number\n")
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=2, error_file=str(file))
    assert "traceback : --epochs 0: give a number\n" in ChildFailedError("vggnet", {0: failure}).format_msg()
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "none" / "error.json"))
    messages.tell_torchrun("words")  # a folder that is gone is no failure of its own


@pytest.mark.slow
def test_a_users_mistake_under_torchrun_is_said_once_and_is_no_success(
    class_folders: Callable[..., Path], tmp_path: Path
) -> None:
    """Also where torchrun tries again; the folder of another launch is not continued by a restart."""
    data, out = class_folders(classes=3, train=12, val=5), tmp_path / "run"
    train(data, out, 1)
    twice = [*TWO, "--max-restarts", "1", "-m", "vggnet", "train", str(data), *TINY]
    for mistake, said in (
        (["--out", str(out)], "the folder is there already"),
        (["--out", str(tmp_path / "a"), "--epochs", "0"], "--epochs 0: give a number"),
        (["--out", str(tmp_path / "a"), "--epoch", "x"], "Perhaps you meant"),
    ):
        done = subprocess.run([*twice, *mistake], capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode != 0
        ours, _, summary = done.stderr.partition("ChildFailedError")
        assert (done.stdout + ours).count(said) == 1, done.stderr
        assert "exitcode  : 2" in summary
        assert said in summary  # what torchrun prints last gives the reason
        assert "To enable traceback see" not in done.stderr


@pytest.mark.slow
def test_a_restart_by_torchrun_continues_the_run(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    """The last rank is killed in epoch 3; the command has no --resume."""
    data, out = class_folders(classes=3, train=12, val=5), tmp_path / "run"
    command = [*TWO, "--max-restarts", "2", "-m", "vggnet", "train", str(data), *TINY, "--out", str(out)]
    command += ["--epochs", "9", "--patience", "9", "--save-every", "0.01"]
    launch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    read_until(launch.stdout, "epoch 2/")
    os.kill(children_of(launch.pid)[-1], signal.SIGKILL)
    output, _ = launch.communicate(timeout=240)
    assert launch.returncode == 0, output
    assert "this launch of torchrun has restarted: continuing the run" in output
    assert "continuing in epoch 1" not in output
    assert "epoch 9/9" in output


@pytest.mark.slow
def test_two_agents_go_on_after_a_rank_is_killed_and_after_one_of_them_is_lost(
    class_folders: Callable[..., Path], tmp_path: Path
) -> None:
    """`--nnodes 1:2`: two torchruns with a rank each. First a rank is killed, then the second torchrun with its rank.

    The first one holds the meeting place, which has to live.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    data, out = class_folders(classes=3, train=12, val=5), tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1:2", "--nproc-per-node", "1"]
    command += ["--max-restarts", "3", "--rdzv-backend", "c10d", "--rdzv-id", "two", "--rdzv-endpoint", place]
    command += ["--rdzv-conf", "last_call_timeout=5,keep_alive_interval=1,keep_alive_max_attempt=3,is_host={}"]
    command += ["-m", "vggnet", "train", str(data), *TINY, "--out", str(out)]
    command += ["--epochs", "40", "--patience", "40", "--save-every", "0.01"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    first, second = (
        subprocess.Popen([each.format(host) for each in command], **streams)
        for host, streams in (("true", pipes), ("false", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}))
    )
    seen: list[str] = []
    try:
        read_until(_noted(first.stdout, seen), "epoch 2/")
        assert any("2 processes" in line for line in seen), seen
        os.kill(children_of(second.pid)[-1], signal.SIGKILL)
        read_until(_noted(first.stdout, seen), "epoch 4/")
        _kill_with_ranks(second)
        rest = [*first.stdout]  # type: ignore[misc]
        assert first.wait(timeout=60) == 0, "".join([*seen, *rest])
    finally:
        _kill_with_ranks(first)
        _kill_with_ranks(second)
        assert first.stdout is not None
        first.stdout.close()
    output = "".join([*seen, *rest])
    assert output.count("this launch of torchrun has restarted: continuing the run") == 2, output
    assert "epoch 40/40" in output
    rows = (out / "metrics.csv").read_text().splitlines()[1:]
    assert [float(row.split(",")[0]) for row in rows] == list(range(1, 41))


def _kill_with_ranks(agent: subprocess.Popen[Any]) -> None:
    """Kill a torchrun and then its ranks, which have sessions of their own, as the loss of a machine does."""
    ranks = children_of(agent.pid)
    agent.kill()
    for rank in ranks:
        os.kill(rank, signal.SIGKILL)
    agent.wait(timeout=60)


def _noted(lines: Iterable[str] | None, seen: list[str]) -> Iterator[str]:
    """Yield the lines, and add them to `seen`."""
    for line in lines or ():
        seen.append(line)
        yield line


@pytest.mark.slow
def test_machines_without_a_common_folder_stop_and_go_on_together(
    class_folders: Callable[..., Path], tmp_path: Path
) -> None:
    """The second machine has neither the state nor the weights: it receives them, and the bits are the same."""
    data = class_folders(classes=3, train=12, val=5)
    whole, stopped = Machines(tmp_path / "whole", data, data), Machines(tmp_path / "stopped", data, data)
    outputs(whole.start("--epochs", "4"), 0)
    processes = stopped.start("--epochs", "4")
    read_until(processes[0].stdout, "epoch 2/")
    for process in processes:
        process.terminate()
    assert "the state is saved" in outputs(processes, 143)[0]
    assert stopped.progress().epoch == 2
    assert stopped.progress().step > 0
    outputs(stopped.start("--epochs", "4", "--resume"), 0)
    assert list(stopped.folders[1].iterdir()) == []
    ours, theirs = (load_file(each.folders[0] / "run" / "last.safetensors") for each in (stopped, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    rows = [
        [(row["train_loss"], row["train_error"], row["error"]) for row in each.progress().rows]
        for each in (stopped, whole)
    ]
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-12)


@pytest.mark.slow
def test_machines_that_disagree_stop_before_the_first_step(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    data = class_folders(classes=3, train=12, val=5)
    machines = Machines(tmp_path / "options", data, data)
    for text in outputs(machines.start("--seed", "1", second=("--seed", "2")), 2):
        assert text.count("--seed: 1 on rank 0") == 1
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    outputs(Machines(tmp_path / "copied", data, copy).start("--epochs", "1"), 0)  # it may lie elsewhere
    os.rename(copy / "train" / "class0" / "0.jpg", copy / "train" / "class0" / "other.jpg")
    machines = Machines(tmp_path / "data", data, copy)
    for text in outputs(machines.start(), 2):
        assert "hash of the training images' names and labels" in text
    assert not any((folder / "run").exists() for folder in machines.folders)


IMPATIENT = """
from datetime import timedelta
from vggnet.training import distributed, watching
watching.HANGS_AFTER_S, watching.BEAT_S, distributed.EXCHANGE_LIMIT = 4, 0.5, timedelta(seconds=25)
from vggnet.cli import main
main()
"""


@pytest.mark.slow
def test_a_rank_that_hangs_is_named_and_ends_the_others(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    data = class_folders(classes=3, train=12, val=5)
    machines = Machines(tmp_path / "machines", data, data)
    first, second = machines.start("--epochs", "500", "--patience", "200", program=("-c", IMPATIENT))
    read_until(first.stdout, "epoch 2/")
    second.send_signal(signal.SIGSTOP)
    output, _ = first.communicate(timeout=240)
    second.kill()
    second.communicate()
    assert first.returncode == 1, output
    assert f"these processes do not answer: rank 1 (process {second.pid} on " in output
    assert "another process of this training has ended or does not answer" in output
    assert "Traceback" not in output
    assert machines.progress().epoch >= 2


@pytest.mark.slow
def test_a_rank_that_is_killed_without_torchrun_is_named_by_the_others(
    class_folders: Callable[..., Path], tmp_path: Path
) -> None:
    data = class_folders(classes=3, train=12, val=5)
    machines = Machines(tmp_path / "machines", data, data)
    first, second = machines.start("--epochs", "500", "--patience", "200", program=("-c", IMPATIENT))
    read_until(first.stdout, "epoch 2/")
    second.kill()
    begin = time.monotonic()
    output, _ = first.communicate(timeout=240)
    second.communicate()
    assert time.monotonic() - begin < 60
    assert first.returncode == 1, output
    assert f"no sign of life any more: rank 1 (process {second.pid} on " in output
    assert "Traceback" not in output
