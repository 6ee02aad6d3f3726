"""Model the time of a distributed training step from each layer's arithmetic and bytes; check it on two processes.

    python benchmarks/scaling_model.py                      the table of docs/scaling.md
    torchrun --standalone --nproc-per-node 2 benchmarks/scaling_model.py --check --width 0.5 --crop 64 --batch 16

A step is forward, backward and update. Gradients become complete in the order of the backward pass, fc8 first, and are
exchanged in buckets of 25 MB, one after another, while the backward pass goes on. An all-reduce of S bytes over n ranks
takes 2 (n - 1) / n * S / bandwidth + 2 log2(n) * latency. A step ends when both are done.

--check measures forward, backward and all-reduces of several sizes on the ranks that it is started with, predicts the
step with the exchange, measures that, and prints both.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from vggnet.network.initialization import build
from vggnet.paper.configurations import Architecture
from vggnet.provenance import environment
from vggnet.training.exchange import Exchange

BUCKET_BYTES = 25 * 2**20


@dataclass(frozen=True)
class Network:
    """What the exchange takes: bytes a second of one rank's all-reduce, and seconds for each hop."""

    bandwidth: float
    latency_s: float

    def all_reduce_s(self, size: float, ranks: int) -> float:
        """Return the seconds of an all-reduce of `size` bytes over `ranks` ranks."""
        if ranks == 1:
            return 0.0
        return 2 * (ranks - 1) / ranks * size / self.bandwidth + 2 * math.log2(ranks) * self.latency_s


def layer_costs(architecture: Architecture) -> list[tuple[str, int, int]]:
    """Return (layer, parameters, multiply-adds of a forward pass), in the order of the forward pass."""
    rows = []
    for layer in architecture.layers():
        side = architecture.crop_px >> (layer.stage - 1) if layer.stage else 1
        rows.append((layer.name, layer.weights + layer.out_channels, layer.weights * side**2))
    return rows


def buckets(costs: Sequence[tuple[str, int, int]], bytes_per_value: int) -> list[tuple[float, float]]:
    """Return for each bucket its bytes, and the share of the backward pass after which it is complete."""
    total = sum(work for _, _, work in costs)
    result: list[tuple[float, float]] = []
    size, done = 0.0, 0.0
    for _, parameters, work in reversed(costs):
        size += parameters * 4
        done += work
        if size >= BUCKET_BYTES:
            result.append((size / 4 * bytes_per_value, done / total))
            size = 0.0
    return [*result, (size / 4 * bytes_per_value, 1.0)] if size else result


def step_s(
    forward_s: float,
    backward_s: float,
    costs: Sequence[tuple[str, int, int]],
    network: Network,
    ranks: int,
    bytes_per_value: int = 4,
) -> tuple[float, float]:
    """Return the seconds of a step, and how many of them it only waits for the exchange."""
    free = 0.0
    for size, complete in buckets(costs, bytes_per_value):
        free = max(free, complete * backward_s) + network.all_reduce_s(size, ranks)
    waiting = max(0.0, free - backward_s) if ranks > 1 else 0.0
    return forward_s + backward_s + waiting, waiting


def table(arguments: argparse.Namespace) -> None:
    """Print the step time and the efficiency on 8, 64 and 512 GPUs, by batch a GPU and format of the exchange."""
    architecture = Architecture(arguments.net)
    costs = layer_costs(architecture)
    flops = 2 * architecture.multiply_adds()
    within, between = Network(300e9, 5e-6), Network(40e9, 10e-6)
    print("| GPUs | images/GPU | batch | exchange | compute ms | waits ms | step ms | efficiency | images/s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for ranks in (8, 64, 512):
        for images in (4, 32, 128):
            for bytes_per_value, name in ((4, "fp32"), (2, "bf16")):
                forward = images * flops / (arguments.tflops * 1e12)
                network = within if ranks <= 8 else between
                step, waiting = step_s(forward, 2 * forward, costs, network, ranks, bytes_per_value)
                print(
                    f"| {ranks} | {images} | {ranks * images:,} | {name} | {3e3 * forward:.1f} | {1e3 * waiting:.1f} "
                    f"| {1e3 * step:.1f} | {3 * forward / step:.0%} | {ranks * images / step:,.0f} |"
                )


def median_s(action: Callable[[], object], repeats: int) -> float:
    """Return the median time of an action after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        begin = time.monotonic()
        action()
        times.append(time.monotonic() - begin)
    return statistics.median(times[1:])


def check(arguments: argparse.Namespace) -> None:
    """Measure, predict and measure again on the ranks of this launch."""
    torch.set_num_threads(arguments.threads)
    dist.init_process_group("gloo")
    ranks = dist.get_world_size()
    model = build(arguments.net, num_classes=1000, width=arguments.width, crop=arguments.crop, dropout=0.0)
    costs = layer_costs(model.architecture)
    images = torch.randn(arguments.batch, 3, arguments.crop, arguments.crop)
    labels = torch.randint(0, 1000, (arguments.batch,))
    outputs: list[torch.Tensor] = []

    def forward(net: Callable[[torch.Tensor], torch.Tensor]) -> None:
        outputs[:] = [F.cross_entropy(net(images).flatten(1), labels)]

    def step(net: Callable[[torch.Tensor], torch.Tensor]) -> None:
        model.zero_grad(set_to_none=True)
        forward(net)
        outputs[0].backward()

    forward_s = median_s(lambda: forward(model), arguments.repeats)
    compute_s = median_s(lambda: step(model), arguments.repeats)
    sizes = [2**18, 2**20, 2**22, 2**24]
    times = []
    for size in sizes:
        values = torch.zeros(size // 4)
        times.append(median_s(lambda values=values: dist.all_reduce(values), arguments.repeats))  # type: ignore[misc]
    share = 2 * (ranks - 1) / ranks
    slope = (times[-1] - times[0]) / (sizes[-1] - sizes[0])
    network = Network(share / slope, max(0.0, times[0] - slope * sizes[0]) / (2 * math.log2(ranks)))
    module = DistributedDataParallel(model, gradient_as_bucket_view=True)
    exchange = Exchange(module, "fp32", torch.device("cpu"))
    for _ in range(2):  # the buckets are made anew
        step(module)
        exchange.step_ended()
    exchange.restart()
    count = arguments.repeats + 1

    def distributed() -> None:
        step(module)
        exchange.step_ended()

    measured = median_s(distributed, arguments.repeats)
    predicted, waiting = step_s(forward_s, compute_s - forward_s, costs, network, ranks)
    if dist.get_rank() == 0:
        result = {
            "ranks": ranks,
            "forward_s": round(forward_s, 4),
            "compute_s": round(compute_s, 4),
            "bandwidth_MB_s": round(network.bandwidth / 1e6),
            "latency_us": round(network.latency_s * 1e6),
            "predicted_step_s": round(predicted, 4),
            "measured_step_s": round(measured, 4),
            "predicted_wait_s": round(waiting, 4),
            "measured_wait_s": round(exchange.waited_s() / count, 4),
            "environment": environment(),
        }
        print(json.dumps(result))
    dist.destroy_process_group()


def main() -> None:
    """Print the table, or check the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--net", default="D")
    parser.add_argument("--tflops", type=float, default=400.0, help="of one GPU, as the net reaches them")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16, help="images of each rank")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    (check if arguments.check else table)(arguments)


if __name__ == "__main__":
    main()
