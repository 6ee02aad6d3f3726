"""Measure how long a training takes from the command until its first step is done.

    python benchmarks/start_up.py [DATA] [--repeats 5] [TRAIN'S OPTIONS ...]

DATA is `scenes` by default, which is generated. Prints a line of JSON: seconds of the first start, with an empty cache
(data generated, images checked), and of later starts (median, lowest, highest), each by a new process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from vggnet.provenance import environment

FIRST_STEP = """
import os, sys
from vggnet.training.loop import Loop
step = Loop._step
def first(*arguments):
    step(*arguments)
    os._exit(0)
Loop._step = first
from vggnet.cli import run
sys.exit(run(sys.argv[1:]) or 1)
"""


def seconds(data: str, options: list[str], folder: str) -> float:
    """Return the seconds from the start of a process until its first step is done."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-c", FIRST_STEP, "train", data, "--out", f"{out}/run", *options]
        begin = time.monotonic()
        done = subprocess.run(
            command, env=os.environ | {"VGGNET_CACHE": f"{folder}/cache"}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return time.monotonic() - begin


def main() -> None:
    """Start once with an empty cache, then again and again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="scenes")
    parser.add_argument("--repeats", type=int, default=5)
    arguments, options = parser.parse_known_args()
    options = options or ["--net", "A", "--width", "0.25", "--crop", "64", "--batch", "64", "--device", "cpu"]
    with tempfile.TemporaryDirectory() as folder:
        first, *later = [seconds(arguments.data, options, folder) for _ in range(1 + arguments.repeats)]
    result = {
        "data": arguments.data,
        "first_s": round(first, 2),
        "later_s": round(statistics.median(later), 2),
        "range": [round(min(later), 2), round(max(later), 2)],
        "options": options,
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
