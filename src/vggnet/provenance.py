"""Facts about the machine and the program that are stored beside every figure."""

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def environment(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the facts that are recorded beside a figure: command, versions, processor, load and GPUs.

    `argv` is the command; None means that of this process.
    """
    program, *arguments = sys.argv if argv is None else argv
    return {
        "command": [_name(program), *arguments],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),  # importing it takes a second
        "pillow": version("pillow"),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
    }


def in_words(facts: dict[str, Any]) -> str:
    """Return the facts of `environment` in one line, for the end of a benchmark's output."""
    versions = ", ".join(f"{name} {facts[name]}" for name in ("python", "torch", "torchvision", "pillow"))
    cpu = f"{facts['cpu']}, {facts['threads']} threads of {facts['cores']} cores"
    return f"{cpu}, load average {facts['load_average']:.1f}, {versions}"


def _name(program: str) -> str:
    """Return a program's name without its folders, which are private and differ between machines."""
    path = Path(program)
    return path.parent.name if path.name == "__main__.py" else path.name


def cpu_name() -> str:
    """Return the processor's name."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # not Linux: the short name stands
    return name
