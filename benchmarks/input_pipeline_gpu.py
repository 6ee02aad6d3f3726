"""Input pipeline of a training on a GPU: crops/s on the device, decoded by processes and by the GPU.

    python benchmarks/input_pipeline_gpu.py FOLDER_OF_JPEGS [--workers 16] [--repeats 5] [--json FILE]

Both sides deliver the training batches of Sect. 3.1 (S = 256, crop 224, mirror, colour shift drawn) to the GPU,
interleaved in one run, over the same files: `processes` decodes and cuts on the CPU in worker processes and transfers
crops, `gpu` decodes with nvJPEG and cuts with the Triton kernel; `held` of each once all images lie decoded in memory.
Then each part of `gpu` by itself: they run beside each other, so the slowest holds it back. Before anything is timed
the crops of both are compared. Not measured yet: it was written without a GPU at hand.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from vggnet.benchmarking.measuring import timed
from vggnet.data.listing import unlabelled_folder
from vggnet.data.splits import Split
from vggnet.images.augmentation import Augmentation
from vggnet.images.color import ColorSums
from vggnet.images.decoding import decode
from vggnet.images.gpu.cropping import why_no_kernel
from vggnet.images.gpu.decoding import nvjpeg_unavailable
from vggnet.images.gpu.loading import DeviceLoader
from vggnet.images.loading import CropLoader, TrainingLoader
from vggnet.images.workers import chunks
from vggnet.provenance import environment

HOLD_BYTES = 8 * 10**9
MOST_MEAN_DIFFERENCE = 4  # gray levels, of all crops: decoders differ in how they interpolate the chroma


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--workers", type=int, default=16, help="processes of the one side, reading threads of the other"
    )
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, default=40, help="delivered in one timing; files are read again for it")
    parser.add_argument("--train-scale", type=int, nargs="+", default=[256], help="S")
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error(
            "PyTorch finds no GPU on this machine; benchmarks/input_pipeline_cpu.py measures the CPU's pipeline"
        )
    device = torch.device("cuda", torch.cuda.current_device())
    if reason := nvjpeg_unavailable(device):
        parser.error(f"the GPU decodes no JPEGs here: {reason}")

    split = unlabelled_folder(arguments.folder)
    facts = measure(split, device, arguments)
    for name, rates in (facts["crops_per_s"] | facts["parts"]).items():
        print(f"{name:20} {statistics.median(rates):8.0f} crops/s ({min(rates):.0f} to {max(rates):.0f})")
    print(json.dumps({key: value for key, value in facts.items() if key not in ("crops_per_s", "parts")}))
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


def measure(split: Split, device: torch.device, arguments: argparse.Namespace) -> dict[str, Any]:
    """Crops/s of every way and repeat, and what they depend on."""
    statistics_of_one = ColorSums.of_image(np.asarray(decode(split.path(0)))).statistics()
    augmentation = Augmentation(0, tuple(arguments.train_scale), arguments.crop, statistics_of_one)
    workers = arguments.workers

    def by_processes(hold: int) -> CropLoader:
        return TrainingLoader(split, augmentation, workers=workers, pin=True, hold_bytes=hold)

    def by_gpu(hold: int) -> DeviceLoader:
        return DeviceLoader(split, augmentation, device=device, workers=workers, hold_bytes=hold)

    ways: dict[str, Callable[[int], CropLoader]] = {"processes": by_processes, "gpu": by_gpu}
    loaders = {name: make(0) for name, make in ways.items()}
    loaders |= {f"{name}, held": make(HOLD_BYTES) for name, make in ways.items()}
    order = chunks(np.resize(np.arange(len(split)), arguments.batch * arguments.batches), arguments.batch)
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    try:
        difference = compare(loaders["processes"], loaders["gpu"], order[:2])
        for name in ("processes, held", "gpu, held"):  # every image lies in memory before anything is timed
            deliver(loaders[name], 0, chunks(np.arange(len(split)), arguments.batch), device)
        for repeat in range(arguments.repeats + 1):  # the first warms up
            for name, loader in loaders.items():
                begin = time.perf_counter()
                count = deliver(loader, repeat, order, device)
                if repeat:
                    rates[name].append(count / (time.perf_counter() - begin))
    finally:
        for loader in loaders.values():
            loader.close()
    return {
        "crops_per_s": rates,
        "parts": parts(by_gpu(0), order[:4], device, arguments.repeats),
        "mean_difference": difference,
        "kernel": why_no_kernel(device) or "used",
        "images": len(split),
        "arguments": {name: str(value) for name, value in vars(arguments).items()},
        "pillow": PIL.__version__,
        "environment": environment(),
    }


def parts(loader: DeviceLoader, order: list[np.ndarray], device: torch.device, repeats: int) -> dict[str, list[float]]:
    """Crops/s of what the GPU's way does, one thing after another."""
    with loader:
        reads = list(loader._read_ahead(order))
        images = [[each for each in loader._decoded(read) if isinstance(each, tuple)] for read in reads]
        work: dict[str, Callable[[], object]] = {
            "gpu: files read": lambda: [len(read) for read in loader._read_ahead(order)],
            "gpu: decoded": lambda: [len(list(loader._decoded(read))) for read in reads],
            "gpu: drawn and cut": lambda: [loader._cut(0, each) for each in images],
        }
        crops = sum(map(len, order))
        return {
            name: [crops / timed(call, 1, device)[0] for _ in range(repeats + 1)][1:] for name, call in work.items()
        }


def deliver(loader: CropLoader, epoch: int, order: list[np.ndarray], device: torch.device) -> int:
    """Crops that arrived on the device."""
    count = 0
    for batch in loader.batches(epoch, order):
        assert not batch.bad, batch.bad[0]
        batch.pixels.to(device, non_blocking=True)
        count += len(batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count


def compare(processes: CropLoader, gpu: CropLoader, order: list[np.ndarray]) -> float:
    """Mean difference of the crops in gray levels; what is too large to come from the decoder ends the run."""
    pairs = zip(processes.batches(0, order), gpu.batches(0, order), strict=True)
    gaps = [float((one.pixels.int() - other.pixels.cpu().int()).abs().float().mean()) for one, other in pairs]
    difference = sum(gaps) / len(gaps)
    if difference > MOST_MEAN_DIFFERENCE:
        raise SystemExit(f"the crops differ by {difference:.1f} gray levels in the mean: these are not the same views")
    return difference


if __name__ == "__main__":
    main()
