"""SIGTERM to the main process, to its group and to every process: the run's own message, status 143, nothing left."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from nets import save_random_net
from PIL import Image
from saved import progress_of
from waiting import children_of, exists, read_until, wait_until

from vggnet import cli
from vggnet.cli import _Termination
from vggnet.errors import Terminated
from vggnet.training.stopping import Interrupted

TINY = ["--batch", "8", "--epochs", "900", "--threads", "1", "--device", "cpu", "--precision", "fp32", "--no-report"]
CLASSES = ("bee", "cat")


def test_the_signal_is_raised_once_and_not_while_a_stopped_training_ends() -> None:
    handler = _Termination()
    try:
        raise Interrupted(terminated=True)
    except Interrupted:
        handler(signal.SIGTERM, None)
    with pytest.raises(Terminated):
        handler(signal.SIGTERM, None)
    handler(signal.SIGTERM, None)


def test_a_command_that_is_terminated_has_its_own_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, status, words in ((Terminated(), 143, "stopped by SIGTERM"), (KeyboardInterrupt(), 130, "stopped")):

        def stop(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(cli, "parse", stop)
        assert cli.run(["doctor"]) == status
        assert capsys.readouterr().err == f"vggnet: {words}\n"


def test_a_signal_while_an_error_is_printed_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(cli, "run", stop)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main([])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 16 training images and 60 val images, with a box for each."""
    root = tmp_path_factory.mktemp("terminated") / "images"
    lines = ["image,class,xmin,ymin,xmax,ymax"]
    for part, count in (("train", 16), ("val", 60)):
        for label, name in enumerate(CLASSES):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.random.default_rng(1000 * label + number).integers(0, 256, (40, 44, 3), np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
                lines.append(f"{part}/{name}/{number}.png,{name},2,2,{20 + number % 9},30")
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    save_random_net(root.parent / "net.safetensors", CLASSES)
    save_random_net(root.parent / "large.safetensors", CLASSES, net="E", width=0.25)
    save_random_net(root.parent / "boxes.safetensors", CLASSES, net="E", width=0.25, boxes="pcr")
    return root


def tree_of(pid: int) -> list[int]:
    """Return the process IDs of all processes below `pid`, the lowest ones first."""
    return [each for child in children_of(pid) for each in (*tree_of(child), child)]


def send_to(processes: list[int]) -> None:
    for each in processes:
        with suppress(ProcessLookupError):  # a reading process that was ended meanwhile
            os.kill(each, signal.SIGTERM)


def to_the_group(pid: int) -> None:
    os.killpg(pid, signal.SIGTERM)


def to_all_readers_first(pid: int) -> None:
    send_to([*tree_of(pid), pid])


def to_all_main_process_first(pid: int) -> None:
    send_to([*tree_of(pid), pid][::-1])


def command(name: str, images: Path, out: Path) -> list[str]:
    """Return the arguments of a command that runs for a long time."""
    net, large, boxes = (str(images.parent / f"{each}.safetensors") for each in ("net", "large", "boxes"))
    scales = ["--test-scale", "64", "80", "96", "112", "128", "144"]
    long = ["--device", "cpu", "--precision", "fp32", "--workers", "2", "--no-report", *scales]
    train = ["train", str(images), "--net", "A", "--crop", "32", "--width", "0.03", "--out", str(out), *TINY]
    return {
        "train": [*train, "--workers", "2"],
        "two ranks": [*train, "--workers", "1", "--processes", "2"],
        "localize train": [
            *("localize", "train", str(images), "--init-from", net, "--out", str(out), *TINY, "--workers", "2")
        ],
        "evaluate": ["evaluate", large, str(images), "--views", "crops", *long],
        "localize evaluate": ["localize", "evaluate", boxes, str(images), "--classifier", large, *long],
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "send"),
    [
        ("train", to_all_readers_first),
        ("train", to_all_main_process_first),
        ("two ranks", to_all_readers_first),
        ("two ranks", to_the_group),
        ("localize train", to_all_readers_first),
        ("evaluate", to_all_readers_first),
        ("evaluate", to_the_group),
        ("localize evaluate", to_all_readers_first),
    ],
)
def test_sigterm_to_all_processes_stops_with_status_143_and_leaves_none(
    images: Path, tmp_path: Path, name: str, send: Callable[[int], None]
) -> None:
    environment = os.environ | {"VGGNET_CACHE": str(tmp_path / "cache")}  # no scores of the test before
    trains = "train" in name or name == "two ranks"
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "vggnet", *command(name, images, tmp_path / "run")],
            stdout=subprocess.PIPE if trains else file,
            stderr=file,
            text=True,
            start_new_session=True,
            env=environment,
        )
    if trains:
        read_until(process.stdout, "epoch 2/")
    else:
        wait_until(lambda: children_of(process.pid))
    tree = tree_of(process.pid)
    send(process.pid)
    said, _ = process.communicate(timeout=120)
    said = (said or "") + log.read_text()
    assert process.returncode == 143, said
    for word in ("Traceback", "ended from outside", "was ended by", "/dev/shm"):
        assert word not in said, said
    wait_until(lambda: not any(map(exists, tree)))
    if trains:
        assert len(re.findall("stopped; the state is saved", said)) == 1, said
        assert progress_of(tmp_path / "run").epoch >= 2
    else:
        assert said.endswith("vggnet: stopped by SIGTERM\n"), said


@pytest.mark.slow
def test_sigterm_while_the_images_are_checked_leaves_no_process(images: Path, tmp_path: Path) -> None:
    """Before the first epoch: there is no state to save."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vggnet", *command("train", images, tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"VGGNET_CACHE": str(tmp_path / "cache")},
    )
    wait_until(lambda: children_of(process.pid) or process.poll() is not None)
    tree = tree_of(process.pid)
    begin = time.monotonic()
    to_all_readers_first(process.pid)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert "Traceback" not in said
    assert "ended from outside" not in said
    wait_until(lambda: not any(map(exists, tree)))
    assert time.monotonic() - begin < 60
