"""Dense evaluation of net D from JPEG files: ours against the obvious loop, interleaved in one run.

    python benchmarks/dense_evaluation.py PHOTOS_FOLDER --scales 384 --images 8 --repeats 3 --json result.json
    python benchmarks/dense_evaluation.py PHOTOS_FOLDER --device cuda --scales 256 384 512 --images 4096 \
        --loop-images 64

The obvious loop: torchvision's vgg16 in fp32 with its FC layers as convolutions, one image at a time, the image and its
mirror as a batch of two. Ours: `score`, in bf16 where the hardware has it (fp32 elsewhere), images of unequal size
together in masked buckets. Both decode and rescale with the same code (ours in as many processes as `vggnet evaluate`
takes) and start from the same weights, and their posteriors must agree (in fp32 to 1e-3 of each value, in bf16 to 5 %
of the largest) before anything is timed. The second command was not run yet: no GPU was at hand.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from vggnet.data.listing import unlabelled_folder
from vggnet.data.splits import Split
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.scoring import score
from vggnet.evaluation.views import View
from vggnet.hardware import choose_device, choose_precision, scoring_workers
from vggnet.images.decoding import decode
from vggnet.images.geometry import rescale
from vggnet.images.normalization import normalize
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.options.choices import Precision
from vggnet.provenance import environment, in_words

TARGET = 2.0  # times the obvious loop's images/s, with bf16 instructions
BF16_TOLERANCE = 0.05  # of the largest posterior


def main() -> None:
    options = _options()
    torch.manual_seed(0)
    device = choose_device(options.device)
    ours, theirs = _same_nets()
    ours.to(device)
    theirs.to(device)
    photos = unlabelled_folder(options.photos)
    split, part = _some(photos, options.images), _some(photos, options.loop_images or options.images)
    precision = choose_precision("auto", device)
    views = [View("dense", scale) for scale in options.scales]
    workers = scoring_workers(options.workers, device)

    def run_ours(precision: Precision, of: Split = split) -> np.ndarray:
        scores = score(ours, of, views, Computing(device, precision, workers))
        return np.stack([scores.values[view] for view in views])  # (V, n, K)

    def run_theirs(of: Split = part) -> np.ndarray:
        loop = [_obvious(theirs, ours, of.path(index), options.scales, device) for index in range(len(of))]
        return np.stack(loop, 1)

    gaps = _check(run_ours, run_theirs, precision, split.subset(range(min(3, len(split)))))
    counts = {"vggnet": len(split), "obvious loop": len(part)}
    times: dict[str, list[float]] = {"vggnet": [], "obvious loop": []}
    for _ in range(options.repeats):
        for name, work in (("vggnet", lambda: run_ours(precision)), ("obvious loop", run_theirs)):
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    _report(options, times, counts, precision, gaps, workers)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder of JPEG files")
    parser.add_argument("--scales", type=int, nargs="+", default=[384], help="Q; the paper's three are 256 384 512")
    parser.add_argument("--images", type=int, default=8, help="how many, evenly from the folder, or again and again")
    parser.add_argument("--loop-images", type=int, help="how many the obvious loop takes; by default the same")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, help="processes that decode for ours; by default as vggnet evaluate")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    return parser.parse_args()


def _same_nets() -> tuple[VGG, nn.Module]:
    """Our net D, and torchvision's vgg16 as a fully convolutional net, with the same weights."""
    source = torchvision.models.vgg16(weights=None)
    convolutions = [layer for layer in source.features if isinstance(layer, nn.Conv2d)]
    linear = [layer for layer in source.classifier if isinstance(layer, nn.Linear)]
    ours = build("D", num_classes=1000)
    with torch.no_grad():
        weighted: list[nn.Conv2d | nn.Linear] = [*convolutions, *linear]
        for layer, theirs in zip(ours.architecture.layers(), weighted, strict=True):
            getattr(ours, layer.name).weight.copy_(theirs.weight.view_as(getattr(ours, layer.name).weight))
            getattr(ours, layer.name).bias.copy_(theirs.bias)
        example: Tensor = ours(60 * torch.randn(1, 3, 224, 224))
        ours.fc8.weight.mul_(2 / example.std())  # random weights make flat posteriors; these are not
        head = []
        for name in ("fc6", "fc7", "fc8"):
            weight, bias = getattr(ours, name).weight, getattr(ours, name).bias
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2])
            convolution.weight.copy_(weight)
            assert convolution.bias is not None
            convolution.bias.copy_(bias)
            head += [convolution, nn.ReLU(inplace=True)]
    return ours.eval(), nn.Sequential(*source.features, *head[:-1]).eval()


def _some(split: Split, images: int) -> Split:
    if images > len(split):
        return split.subset(np.arange(images) % len(split))
    return split.subset(np.linspace(0, len(split) - 1, images).round().astype(np.int64))


@torch.inference_mode()
def _obvious(net: nn.Module, ours: VGG, path: str, scales: list[int], device: torch.device) -> np.ndarray:
    """Posteriors (V, K) of one image, as one would write it."""
    image = decode(path)
    posteriors: list[Tensor] = []
    for scale in scales:
        pixels = torch.from_numpy(np.array(rescale(image, scale)))[None].to(device)
        x = normalize(pixels, ours.description.preprocessing).contiguous()
        scores = net(torch.cat([x, x.flip(3)])).mean((2, 3))
        posteriors.append(scores.softmax(1).mean(0))
    return torch.stack(posteriors).cpu().numpy()


def _check(run_ours, run_theirs, precision: str, part: Split) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """The largest differences of posteriors: of each value in fp32, of the largest in the precision that is timed."""
    expected, exact, timed = run_theirs(part), run_ours("fp32", part), run_ours(precision, part)
    likely = expected > 1e-6
    gaps = {
        "fp32, of each": float(np.abs(exact[likely] / expected[likely] - 1).max()),
        f"{precision}, of the largest": float(np.abs(timed - expected).max() / expected.max()),
    }
    assert gaps["fp32, of each"] < 1e-3, gaps
    assert gaps[f"{precision}, of the largest"] < BF16_TOLERANCE, gaps
    return gaps


def _report(
    options: argparse.Namespace,
    times: dict[str, list[float]],
    counts: dict[str, int],
    precision: str,
    gaps: dict[str, float],
    workers: int,
) -> None:
    rates = {name: counts[name] / statistics.median(walls) for name, walls in times.items()}
    ratio = rates["vggnet"] / rates["obvious loop"]
    print(
        f"dense, image and mirror, Q={options.scales}, {counts['vggnet']} photographs ({counts['obvious loop']} in the "
        f"loop), {options.device}, {workers} workers, median of {options.repeats} (min to max)"
    )
    for name, walls in times.items():
        kind = precision if name == "vggnet" else "fp32"
        spread = f"({counts[name] / max(walls):.3f} to {counts[name] / min(walls):.3f})"
        print(f"  {name:12} {kind}  {rates[name]:.3f} images/s {spread}")
    print(f"  ratio {ratio:.2f} (target {TARGET} on a CPU with bf16 instructions)")
    print("  agreement: " + ", ".join(f"{name} {gap:.2g}" for name, gap in gaps.items()))
    facts = environment()
    print(f"  {in_words(facts)}")
    if options.json:
        content = {"scales": options.scales, "images": counts, "precision": precision, "wall_s": times}
        content |= {"workers": workers}
        content |= {"images_per_s": rates, "ratio": ratio, "gaps": gaps, "environment": facts}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
