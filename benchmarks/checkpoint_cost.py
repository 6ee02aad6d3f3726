"""Measure what saves cost a training: the time that it waits for its copy, and the time of its thread.

    python benchmarks/checkpoint_cost.py [--width 1] [--interval 300]

Prints a line of JSON: bytes of the state, seconds that the training waits for one save (the copy), seconds until that
save is on the disk, and both as a share of the interval between two saves. Writing takes a core for a part of that
time, which the training may have used.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from vggnet.network.initialization import build
from vggnet.paper.recipes import Recipe
from vggnet.provenance import environment
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.optimization import build_optimizer
from vggnet.training.runs import RunFolder
from vggnet.training.saving import Saver


def main() -> None:
    """Save a net with its momentum five times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="D")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--interval", type=float, default=300.0, help="--save-every in seconds")
    parser.add_argument("--folder", help="a folder on the disk to be measured")
    arguments = parser.parse_args()
    model = build(arguments.net, num_classes=1000, width=arguments.width)
    optimizer = build_optimizer(model, Recipe())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    waits, writes, cpu = [], [], []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        with Saver(RunFolder(Path(folder)), keep=2) as saver:
            for step in range(6):
                begin, spent = time.monotonic(), time.process_time()
                saver.save(model, optimizer, TrainingProgress(step=step))
                waits.append(time.monotonic() - begin)
                saver.wait()
                writes.append(time.monotonic() - begin)
                cpu.append(time.process_time() - spent)
        size = next(Path(folder).glob("saves/0*/state.safetensors")).stat().st_size
    waits, writes, cpu = waits[1:], writes[1:], cpu[1:]  # the first one also gets its memory
    result = {
        "state_bytes": size,
        "wait_s": round(statistics.median(waits), 3),
        "written_after_s": round(statistics.median(writes), 3),
        "cpu_s": round(statistics.median(cpu), 3),
        "wait_share": round(statistics.median(waits) / arguments.interval, 5),
        "cpu_share_of_one_core": round(statistics.median(cpu) / arguments.interval, 5),
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
