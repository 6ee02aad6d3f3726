"""Kill a training again and again while it trains or saves, resume it, and compare its weights with an undisturbed run.

    python benchmarks/kill_and_resume.py DATA --kills 20
    python benchmarks/kill_and_resume.py DATA --kills 10 --processes 2

With one process the training is killed (SIGKILL) and started again with --resume. With several, one rank is killed,
and the agent of torchrun starts all ranks again. The state is saved after every step, and each kill comes when the
attempt has written a number of saves that is drawn from --seed, and a part of a step later: so every attempt has
reached its training before it is killed. Prints a line of JSON with the kills, how many of them cut a save short, the
steps that were taken again, and whether all weights are the same, bit for bit. Exits with 1 where they are not, or
where the training came to its end before the last kill.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

import vggnet.cli
import vggnet.commands.training  # before the first fork

EACH_STEP = ("--save-every", "0")
CONTINUED = re.compile(r"continuing in epoch (\d+), after (\d+) of (\d+) batches")


def command(arguments: argparse.Namespace, out: Path, *more: str) -> list[str]:
    """Return the command that trains into `out`."""
    options = ["--net", "A", "--width", str(arguments.width), "--crop", "32", "--seed", "1"]
    options += ["--batch", str(arguments.batch)]
    options += ["--epochs", str(arguments.epochs), "--patience", "99", "--device", "cpu", "--precision", "fp32"]
    options += ["--no-report", "--workers", "0", "--threads", "1"]
    if arguments.processes > 1:
        options += ["--processes", str(arguments.processes)]
    return [sys.executable, "-m", "vggnet", "train", arguments.data, "--out", str(out), *options, *more]


def ranks_of(agent: int) -> list[int]:
    """Return the process IDs of the agent's ranks (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue  # it has ended meanwhile
        if int(text.rpartition(")")[2].split()[1]) == agent:
            found.append(int(stat.parent.name))
    return sorted(found)


class Moments:
    """Moments at which a training is killed: after some saves of this attempt, and a part of a step."""

    def __init__(self, out: Path, seed: int, most: int) -> None:
        self._saves, self._most, self._draws = out / "saves", most, np.random.default_rng(seed)
        self.killed = self.in_a_save = 0
        self._step_s = 0.1

    def draw(self, count: int) -> int:
        """Return a random number below `count`."""
        return int(self._draws.integers(count))

    def wait(self, has_ended: Callable[[], bool]) -> bool:
        """Return True at the next moment; False where the training has ended before."""
        begin, first, wanted = self._newest(), 0.0, 1 + self.draw(self._most)
        while (done := self._newest() - begin) < wanted:
            if has_ended():
                return False
            if done and not first:
                first = time.monotonic()
            time.sleep(0.002)
        if wanted > 1:
            self._step_s = (time.monotonic() - first) / (wanted - 1)
        time.sleep(float(self._draws.uniform(0, self._step_s)))
        return not has_ended()

    def count(self) -> None:
        """Count a kill, whose process has ended."""
        self.killed += 1
        self.in_a_save += any(self._saves.glob(".*.part"))

    def _newest(self) -> int:
        """Return the number of the newest save; each one has a number of its own, also after a kill."""
        try:
            return max((int(name) for name in os.listdir(self._saves) if name.isdecimal()), default=0)
        except FileNotFoundError:
            return 0


def kill_ranks(arguments: argparse.Namespace, out: Path, log: Path, moments: Moments) -> None:
    """Train with several ranks, and kill one of them again and again."""
    with log.open("w") as file:
        launch = subprocess.Popen(
            command(arguments, out, *EACH_STEP, "--max-restarts", str(arguments.kills)),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        while moments.killed < arguments.kills and moments.wait(lambda: launch.poll() is not None):
            ranks = ranks_of(launch.pid)
            os.kill(ranks[moments.draw(len(ranks))], signal.SIGKILL)
            while set(ranks) & set(ranks_of(launch.pid)):  # one that is left may still write a save
                time.sleep(0.002)
            moments.count()
        if launch.wait() != 0:
            raise SystemExit(log.read_text())


def kill_process(arguments: argparse.Namespace, out: Path, log: Path, moments: Moments) -> None:
    """Train with one process, and kill it again and again.

    Each attempt is a fork of this process, which has imported everything: so it starts quickly.
    """
    options = command(arguments, out, *EACH_STEP, "--resume")[3:]
    while True:
        child = os.fork()
        if child == 0:
            with log.open("a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os._exit(vggnet.cli.run(options))
        if moments.killed < arguments.kills and moments.wait(partial(has_ended, child)):
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            moments.count()
        elif status != 0:
            raise SystemExit(log.read_text())
        else:
            return


def has_ended(child: int) -> bool:
    """Return whether a child process has ended. Its status can still be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def main() -> None:
    """Run the undisturbed training and the killed one, and compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--width", type=float, default=0.05)
    parser.add_argument("--most-saves", type=int, default=6, help="of an attempt before it is killed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, run, log = Path(folder) / "whole", Path(folder) / "run", Path(folder) / "log"
        begin = time.monotonic()
        subprocess.run(command(arguments, whole), check=True, stdout=subprocess.DEVNULL)
        undisturbed_s = time.monotonic() - begin
        begin = time.monotonic()
        moments = Moments(run, arguments.seed, arguments.most_saves)
        (kill_ranks if arguments.processes > 1 else kill_process)(arguments, run, log, moments)
        weights = [load_file(each / "last.safetensors") for each in (whole, run)]
        same = all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        content = log.read_text()
        places = CONTINUED.findall(content)
        result = {
            "kills": moments.killed,
            "kills_that_cut_a_save_short": moments.in_a_save,
            "processes": arguments.processes,
            "resumed": len(places),
            "resumed_within_an_epoch": sum(int(step) > 0 for _, step, _ in places),
            "saves_passed_over": content.count("passed over"),
            "same_weights": same,
            "undisturbed_s": round(undisturbed_s),
            "killed_s": round(time.monotonic() - begin),
            "seed": arguments.seed,
        }
    print(json.dumps(result))
    sys.exit(not same or moments.killed < arguments.kills)


if __name__ == "__main__":
    main()
