"""Kill a training again and again at random moments, resume it, and compare its weights with an undisturbed run's.

    python benchmarks/kill_and_resume.py DATA --kills 20
    python benchmarks/kill_and_resume.py DATA --kills 10 --processes 2

With one process the training is killed (SIGKILL) and started again with --resume. With several, one rank is killed,
and the agent of torchrun starts all ranks again. Prints a line of JSON with the kills, the steps that were lost and
taken again, and whether all weights are the same, bit for bit. Exits with 1 where they are not.
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
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

import vggnet.cli
import vggnet.commands.training  # before the first fork

CONTINUED = re.compile(r"continuing in epoch (\d+), after (\d+) of (\d+) batches")


def command(arguments: argparse.Namespace, out: Path, *more: str) -> list[str]:
    """Return the command that trains into `out`."""
    options = ["--net", "A", "--width", str(arguments.width), "--crop", "32", "--batch", "64", "--seed", "1"]
    options += ["--epochs", str(arguments.epochs), "--patience", "99", "--device", "cpu", "--precision", "fp32"]
    options += ["--no-report", "--workers", "0", "--threads", "1", "--save-every", str(arguments.save_every)]
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


def kill_ranks(arguments: argparse.Namespace, out: Path, log: Path, moments: np.random.Generator) -> int:
    """Train with several ranks, and kill one of them at random moments. Return the number of kills."""
    killed = 0
    with log.open("w") as file:
        launch = subprocess.Popen(
            command(arguments, out, "--max-restarts", str(arguments.kills)), stdout=file, stderr=subprocess.STDOUT
        )
        while killed < arguments.kills and launch.poll() is None:
            time.sleep(float(moments.uniform(arguments.least_s, arguments.most_s)))
            ranks = ranks_of(launch.pid)
            if len(ranks) == arguments.processes:
                os.kill(ranks[int(moments.integers(len(ranks)))], signal.SIGKILL)
                killed += 1
        if launch.wait() != 0:
            raise SystemExit(log.read_text())
    return killed


def kill_process(arguments: argparse.Namespace, out: Path, log: Path, moments: np.random.Generator) -> int:
    """Train with one process, and kill it at random moments. Return the number of kills.

    Each attempt is a fork of this process, which has imported everything: so moments are not spent on starting.
    """
    options = command(arguments, out, "--resume")[3:]
    killed = 0
    while True:
        child = os.fork()
        if child == 0:
            with log.open("a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os._exit(vggnet.cli.run(options))
        if killed < arguments.kills:
            time.sleep(float(moments.uniform(arguments.least_s, arguments.most_s)))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            killed += 1
        elif status != 0:
            raise SystemExit(log.read_text())
        else:
            return killed


def main() -> None:
    """Run the undisturbed training and the killed one, and compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--width", type=float, default=0.1)
    parser.add_argument("--save-every", type=float, default=1.0)
    parser.add_argument("--least-s", type=float, default=4.0, help="seconds until a kill, at least")
    parser.add_argument("--most-s", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, run, log = Path(folder) / "whole", Path(folder) / "run", Path(folder) / "log"
        begin = time.monotonic()
        subprocess.run(command(arguments, whole), check=True, stdout=subprocess.DEVNULL)
        undisturbed_s = time.monotonic() - begin
        begin = time.monotonic()
        kill = kill_ranks if arguments.processes > 1 else kill_process
        killed = kill(arguments, run, log, np.random.default_rng(arguments.seed))
        weights = [load_file(each / "last.safetensors") for each in (whole, run)]
        same = all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        content = log.read_text()
        result = {
            "kills": killed,
            "processes": arguments.processes,
            "resumed_within_an_epoch": sum(int(step) > 0 for _, step, _ in CONTINUED.findall(content)),
            "resumed": len(CONTINUED.findall(content)),
            "saves_passed_over": content.count("passed over"),
            "same_weights": same,
            "undisturbed_s": round(undisturbed_s),
            "killed_s": round(time.monotonic() - begin),
            "seed": arguments.seed,
        }
    print(json.dumps(result))
    sys.exit(not same)


if __name__ == "__main__":
    main()
