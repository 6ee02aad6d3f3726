"""A training step of net D at 224 on the CPU: ours against torchvision's vgg16 in fp32, interleaved in one run.

    python benchmarks/training_step_cpu.py --batch 8 --repeats 5 --json result.json

A step is forward, loss, backward and SGD with momentum and weight decay. Ours: bf16 autocast where the CPU has bf16
instructions (AVX512_BF16 or AMX; fp32 elsewhere), convolutions in channels_last. Both start from the same weights, and
their scores and losses (dropout off) must agree to bf16's precision before anything is timed.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.network.vgg import build

CROP_PX, CLASSES = 224, 1000


def main() -> None:
    options = _options()
    torch.manual_seed(0)
    ours, theirs = _same_nets()
    use_bf16 = _has_bf16()
    images = 60 * torch.randn(options.batch, 3, CROP_PX, CROP_PX)  # the size of pixels less their mean
    labels = torch.randint(CLASSES, (options.batch,))

    def our_scores() -> Tensor:
        batch = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=use_bf16):
            return ours(batch).flatten(1).float()

    def their_scores() -> Tensor:
        return theirs(images)

    gap = _check_agreement(ours, theirs, our_scores, their_scores, labels)
    steps = {
        "vggnet": _training_step(ours, our_scores, labels),
        "torchvision": _training_step(theirs, their_scores, labels),
    }
    times = _interleaved(steps, options.repeats)
    _report(options, times, use_bf16, gap)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each, after one that is not")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    return parser.parse_args()


def _same_nets() -> tuple[nn.Module, nn.Module]:
    """Our net D and torchvision's vgg16 with the same weights."""
    theirs = torchvision.models.vgg16(weights=None, init_weights=False)
    ours = build("D", num_classes=CLASSES)
    with torch.no_grad():
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(own.view_as(other))
    return ours.to_fast_layout(), theirs


def _has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _check_agreement(
    ours: nn.Module,
    theirs: nn.Module,
    our_scores: Callable[[], Tensor],
    their_scores: Callable[[], Tensor],
    labels: Tensor,
) -> float:
    """The largest gap between the two nets' scores, as a share of the largest score; stops the run where it is more
    than bf16 explains (its numbers have 8 bits, and 16 layers round)."""
    ours.eval(), theirs.eval()
    with torch.no_grad():
        own, other = our_scores(), their_scores()
    ours.train(), theirs.train()
    gap = float((own - other).abs().max() / other.abs().max())
    losses = F.cross_entropy(own, labels).item(), F.cross_entropy(other, labels).item()
    if gap > 0.05 or abs(losses[0] - losses[1]) > 0.01 * losses[1]:
        raise SystemExit(
            f"the nets disagree: scores by {gap:.1%}, losses {losses[0]} (vggnet), {losses[1]} (torchvision)"
        )
    return gap


def _training_step(model: nn.Module, scores: Callable[[], Tensor], labels: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(scores(), labels).backward()
        optimizer.step()

    return step


def _interleaved(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each step; taken in turn, so that a busy moment of the machine hits both."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat:  # the first one warms up
                times[name].append(time.perf_counter() - start)
    return times


def _report(options: argparse.Namespace, times: dict[str, list[float]], use_bf16: bool, gap: float) -> None:
    rates = {name: options.batch / statistics.median(seconds) for name, seconds in times.items()}
    ratio = rates["vggnet"] / rates["torchvision"]
    result = {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "precision": "bf16 autocast" if use_bf16 else "fp32",
        "batch": options.batch,
        "repeats": options.repeats,
        "score_gap": gap,
        "step_wall_s": times,
        "images_per_s": rates,
        "ratio": ratio,
    }
    print(f"{result['cpu']}, {result['cores']} cores, {result['versions']}")
    for name, seconds in times.items():
        print(
            f"{name:12s} {rates[name]:6.2f} images/s  (median of {options.repeats} steps of {options.batch}; "
            f"{min(seconds):.2f} to {max(seconds):.2f} s)"
        )
    print(f"vggnet ({result['precision']}) is {ratio:.2f} times torchvision (fp32); scores differ by {gap:.1%}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
