"""What does it cost where other programs use the cores, too, and threads wait for each other without sleeping?

    python benchmarks/busy_machine_cpu.py [--width 0.25] [--crop 64] [--rounds 3] [--seconds 2] [--json FILE]

PyTorch's threads look for each other many times before they sleep (GNU OpenMP's GOMP_SPINCOUNT). Each setting is timed
in a process of its own: net D with a thread for each core, first with the cores to itself, then beside one busy process
for each core. All settings are timed in turn in each round. Printed: medians and ranges by wall time, and the ratio of
the medians to the default's. The results of all settings are compared bit for bit.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from vggnet.cli import SPINS

SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    f"{SPINS} (vggnet)": {"GOMP_SPINCOUNT": SPINS},
    "passive": {"OMP_WAIT_POLICY": "passive"},
}
TASKS = ("training steps of 64, per s", "batches of 64 scored, per s", "single images scored, per s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(_rates(options.width, options.crop, options.seconds)))
        return
    rates: dict[str, list[list[float]]] = {}
    checks = set()
    arguments = [sys.executable, __file__, "--alone", f"--width={options.width}", f"--crop={options.crop}"]
    for _ in range(options.rounds):
        for busy in (False, True):
            with _others(os.cpu_count() or 1 if busy else 0):
                for name, variables in SETTINGS.items():
                    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("OMP", "GOMP"))}
                    command = [*arguments, f"--seconds={options.seconds}"]
                    done = subprocess.run(
                        command, env=inherited | variables, check=True, capture_output=True, text=True
                    )
                    *found, check = json.loads(done.stdout.splitlines()[-1])
                    rates.setdefault(f"{'busy' if busy else 'quiet'}, {name}", []).append(found)
                    checks.add(check)
    assert len(checks) == 1, checks
    _report(rates, options.json)


@contextmanager
def _others(count: int) -> Iterator[None]:
    """Keep `count` cores busy within the block."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def _rates(width: float, crop: int, seconds: float) -> list[float | str]:
    """Return how often each of TASKS is done in a second, and the sum of the scores as a hexadecimal number."""
    import torch
    from torch.nn import functional as F

    from vggnet.network.initialization import build

    torch.set_num_threads(os.cpu_count() or 1)
    model = build("D", num_classes=10, width=width, crop=crop, init="he", dropout=0)
    images = torch.rand(64, 3, crop, crop, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(64) % 10
    with torch.inference_mode():
        check = float(model(images).double().sum()).hex()
        scored = [_per_second(partial(model, batch), seconds) for batch in (images, images[:1])]
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images).flatten(1), labels).backward()
        optimizer.step()

    return [_per_second(step, seconds), *scored, check]


def _per_second(task: Callable[[], object], seconds: float) -> float:
    task()
    done, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds or done < 2:
        task()
        done += 1
    return done / passed


def _report(rates: dict[str, list[list[float]]], file: Path | None) -> None:
    from vggnet.provenance import environment, in_words

    print("| | " + " | ".join(TASKS) + " |")
    print("| --- " * (len(TASKS) + 1) + "|")
    for name, rounds in rates.items():
        default = rates[name.partition(", ")[0] + ", default"]
        cells = []
        for place in range(len(TASKS)):
            found = [each[place] for each in rounds]
            median = statistics.median(found)
            ratio = median / statistics.median(each[place] for each in default)
            cells.append(f"{median:.3g} ({min(found):.3g} to {max(found):.3g}), {ratio:.2f} x")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(in_words(environment()))
    if file is not None:
        file.write_text(json.dumps({"rates": rates, "tasks": TASKS, "environment": environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
