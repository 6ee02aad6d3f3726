"""Where the time of a training step of net D is on a GPU: kernel by kernel, for each form of the step.

    python benchmarks/step_profile_gpu.py [--batch 256] [--steps 5] [--forms fused compiled plain] [--json FILE]

Written without a GPU at hand. `--device cpu` profiles the plain step's operators there, which shows that this works.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from vggnet.benchmarking.problem import Problem
from vggnet.benchmarking.training_ways import our_step
from vggnet.errors import UserError
from vggnet.hardware import choose_device, environment

SHOWN = 25  # kernels; the rest is summed up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--forms", nargs="+", default=["fused", "compiled", "plain"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        device = choose_device(options.device)
    except UserError as error:
        sys.exit(str(error))
    problem = Problem("training", device.type, options.batch, torch.get_num_threads(), options.width)
    found = {}
    for form in options.forms:
        found[form] = _profiled(our_step(problem, form).call, device, options.steps)
        _say(form, options.batch, found[form])
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    if options.json:
        content = {"batch": options.batch, "forms": found, "environment": environment()}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _profiled(step: Callable[[], object], device: torch.device, steps: int) -> dict[str, Any]:
    """One step's time (clock, without the profiler), its kernels' times and its peak memory."""

    def run() -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - begin) / steps

    run()  # warms up, compiles
    clock = run()
    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as record:
        run()
    kernels: dict[str, float] = {}
    for event in record.key_averages():
        spent = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        if spent:
            kernels[event.key] = spent / 1000 / steps
    ordered = dict(sorted(kernels.items(), key=lambda each: -each[1]))
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return {"step_ms": 1000 * clock, "kernels_ms": ordered, "peak_bytes": peak}


def _say(form: str, batch: int, found: dict[str, Any]) -> None:
    kernels, step = found["kernels_ms"], found["step_ms"]
    memory = "" if found["peak_bytes"] is None else f", peak memory {found['peak_bytes'] / 1e9:.1f} GB"
    print(f"{form}: {step:.1f} ms a step, {1000 * batch / step:.0f} images/s{memory}")
    print(f"  all kernels {sum(kernels.values()):.2f} ms")
    for name, ms in list(kernels.items())[:SHOWN]:
        print(f"  {ms:8.2f} ms  {name[:100]}")
    print(f"  {sum(list(kernels.values())[SHOWN:]):8.2f} ms  {max(0, len(kernels) - SHOWN)} others")


if __name__ == "__main__":
    main()
