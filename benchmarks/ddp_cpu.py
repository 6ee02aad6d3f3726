"""Measure what two gloo processes of one thread train in a second, beside one process of two threads.

    python benchmarks/ddp_cpu.py [--net D] [--width 0.25] [--crop 64] [--batch 64] [--repeats 5] [--json FILE]

Both sides run the training loop on images in memory, in turns, with the same global batch. Each turn starts new
processes and takes the median of the epochs after the first one. Prints a line of JSON: the median images/s of both
sides over the turns, the lowest and highest, the median of the turns' ratios, and the share of the time that the
processes waited for the exchange. Measure on a machine with nothing else to do.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.paper.recipes import Recipe
from vggnet.provenance import environment
from vggnet.training.distributed import join_world
from vggnet.training.loop import Loop
from vggnet.training.runs import RunFolder
from vggnet.training.tasks import Inputs, LoopSettings


class Noise:
    """An epoch of `steps` batches of the same noise images, of ten classes."""

    def __init__(self, crop: int, batch: int, steps: int) -> None:
        self.images = batch * steps
        self._pixels = torch.randn(batch, 3, crop, crop, generator=torch.Generator().manual_seed(0))

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        for rows in batches:
            yield Inputs(self._pixels[: len(rows)], torch.from_numpy(rows % 10), torch.from_numpy(rows))

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return F.cross_entropy(outputs, targets, reduction="none"), outputs.argmax(1) != targets

    def judge(self, model: VGG) -> dict[str, float]:
        return {"error": 50.0}


def train(arguments: argparse.Namespace) -> None:
    """Train as one of the processes; the first one prints the images/s of each epoch but the first."""
    torch.set_num_threads(arguments.threads)
    net = build(arguments.net, num_classes=10, width=arguments.width, crop=arguments.crop, init="he", seed=1)
    recipe = Recipe(batch=arguments.batch, epochs=1 + arguments.epochs, learning_rate=1e-4)
    with join_world("cpu") as world, tempfile.TemporaryDirectory() as folder:
        settings = LoopSettings(0, arguments.micro_batch, "fp32", save_every_s=1e9)
        task = Noise(arguments.crop, arguments.batch, arguments.steps)
        loop = Loop(net, recipe, task, RunFolder(Path(folder)), world, settings)
        progress = loop.run_to_end()
        exchange = loop._gradients.exchange
        if world.is_first:
            rates = [row["images_per_s"] for row in progress.rows[1:]]
            waited = exchange.waited_s() * rates[-1] / task.images if exchange else 0.0
            print(json.dumps({"images_per_s": statistics.median(rates), "waited": waited}))


def measured(options: list[str], processes: int, threads: int) -> dict[str, float]:
    """Start the processes; return what the first one prints."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, *options, "--train", "--threads", str(threads)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    printed = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("a process has failed; what it printed stands above")
    found: dict[str, float] = json.loads(printed[0].splitlines()[-1])
    return found


def main() -> None:
    """Measure both sides in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="D")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64, help="global: over all processes")
    parser.add_argument("--micro-batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=3, help="that count, after one that does not")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments)
        return
    ways = {"one process of two threads": (1, 2), "two processes of one thread": (2, 1)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for turn in range(arguments.repeats):
        for name, (processes, threads) in list(ways.items())[:: 1 if turn % 2 else -1]:
            found[name].append(measured(sys.argv[1:], processes, threads))
    rates = {name: [each["images_per_s"] for each in turns] for name, turns in found.items()}
    one, two = rates.values()
    result = {
        "images_per_s": {name: round(statistics.median(each), 1) for name, each in rates.items()},
        "range": {name: [round(min(each), 1), round(max(each), 1)] for name, each in rates.items()},
        "ratio": round(statistics.median(b / a for a, b in zip(one, two, strict=True)), 3),
        "waited_for_the_exchange": round(statistics.median(each["waited"] for each in list(found.values())[1]), 3),
        "options": {name: value for name, value in vars(arguments).items() if name not in ("json", "train", "threads")},
        "environment": environment(),
    }
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
