"""What dense localisation costs on the CPU, beside dense classification of the same views; and what merging costs.

    python benchmarks/localization_cpu.py PHOTOS_FOLDER --scales 256 384 --images 8 --repeats 3 --json result.json

Net D of 1,000 classes, and one that draws a box for each of them (PCR, 4,000 outputs), as `vggnet localize evaluate`
and `vggnet evaluate` run them: from JPEG files, image and mirror, in bf16 where the CPU has it. Interleaved. Localising
is boxes and their merging for the five best classes, with every box rated by 1 (its classifier is the other half of the
comparison). At crop size, where both are one window, the box net's outputs must be those of its own plain forward pass.

Merging: 1,000 boxes of five classes of one image, centres uniform in 400 x 400 px, sides 40 to 160, one core.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vggnet.data.listing import unlabelled_folder
from vggnet.data.splits import Split
from vggnet.description import ModelDescription
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.scoring import score
from vggnet.evaluation.views import View
from vggnet.hardware import cpu_has_bf16
from vggnet.localization.dense import MatchedNet, center_outputs, dense_candidates
from vggnet.localization.merging import best_boxes
from vggnet.localization.objects import measure_sizes
from vggnet.network.initialization import initialize
from vggnet.network.vgg import VGG, on_meta
from vggnet.options.choices import Merging
from vggnet.paper.configurations import Architecture
from vggnet.provenance import environment, in_words

CLASSES = 1000
BEST = 5  # classes whose boxes are drawn
MERGED = 1000  # boxes


def main() -> None:
    options = _options()
    classifier, drawer = (_net(options, boxes) for boxes in ("", "pcr"))
    split = unlabelled_folder(options.photos)
    split = split.subset(np.linspace(0, len(split) - 1, min(options.images, len(split))).round().astype(np.int64))
    computing = Computing(torch.device("cpu"), "bf16" if cpu_has_bf16() else "fp32", 0)
    gap = _check(drawer, split, computing)
    sizes, best = measure_sizes(split), np.tile(np.arange(BEST), (len(split), 1))
    results: dict[str, Any] = {}
    for scale in options.scales:
        ways: dict[str, Callable[[], object]] = {
            "classification": lambda scale=scale: score(  # type: ignore[misc]
                classifier, split, [View("dense", scale)], computing
            ),
            "localisation": lambda scale=scale: _localize(drawer, split, sizes, best, scale, computing),  # type: ignore[misc]
        }
        results[f"Q={scale}"] = _timed(ways, options.repeats, len(split))
    results["merging"] = _merging(options.repeats, "centroid")
    results["merging_overfeat"] = _merging(options.repeats, "overfeat")
    _report(options, results, computing.precision, gap)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder of JPEG files")
    parser.add_argument("--scales", type=int, nargs="+", default=[256, 384], help="Q")
    parser.add_argument("--images", type=int, default=8, help="how many photographs, taken evenly from the folder")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each")
    parser.add_argument("--width", type=float, default=1.0, help="of the net")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    return parser.parse_args()


def _net(options: argparse.Namespace, boxes: str) -> VGG:
    outputs = 4 * CLASSES if boxes else CLASSES
    classes = tuple(map(str, range(CLASSES)))
    model = on_meta(ModelDescription(Architecture("D", outputs, options.width), classes=classes, boxes=boxes))  # type: ignore[arg-type]
    model = model.to_empty(device="cpu")
    initialize(model, "he", seed=0)
    return model.eval()


def _localize(
    net: VGG, split: Split, sizes: np.ndarray, best: np.ndarray, scale: int, computing: Computing
) -> list[np.ndarray]:
    """The best box of each of the five classes, image by image."""
    box_nets = [MatchedNet(net, np.arange(CLASSES))]
    found = dense_candidates(box_nets, (), split, sizes, best, np.arange(len(split)), [(scale,)], computing)
    return [best_boxes(each[0, scale].edges, each[0, scale].scores)[0] for each in found.values()]


def _check(net: VGG, split: Split, computing: Computing) -> float:
    """How far the timed path is from fp32 in the centre crops of three photographs, of the largest output."""
    few, crop = np.arange(min(3, len(split))), net.architecture.crop_px
    labels = np.zeros(len(split), np.int64)
    exact, _ = center_outputs(net, split, labels, few, crop, Computing(computing.device, "fp32", 0))
    timed, _ = center_outputs(net, split, labels, few, crop, computing)
    gap = float(np.abs(timed - exact).max() / np.abs(exact).max())
    assert gap < 0.05, gap
    return gap


def _timed(ways: dict[str, Callable[[], object]], repeats: int, images: int) -> dict[str, Any]:
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        call()
    for _ in range(repeats):
        for name, call in ways.items():
            began, spent = time.perf_counter(), time.process_time()
            call()
            wall[name].append(time.perf_counter() - began)
            cpu[name].append(time.process_time() - spent)
    costs = {
        f"times_{kind}": statistics.median(by["localisation"]) / statistics.median(by["classification"])
        for kind, by in (("wall", wall), ("cpu", cpu))
    }
    return {"wall_s": wall, "cpu_s": cpu, "images": images, **costs}


def _merging(repeats: int, how: Merging) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    shape = (MERGED // BEST, BEST, 2)
    centers, half = generator.uniform(0, 400, shape), generator.uniform(20, 80, shape)
    edges, scores = np.concatenate([centers - half, centers + half], 2), generator.random(shape[:2])
    best_boxes(edges, scores, how)
    spent = []
    for _ in range(10 * repeats):
        begin = time.perf_counter()
        best_boxes(edges, scores, how)
        spent.append(1000 * (time.perf_counter() - begin))
    return {"median_ms": statistics.median(spent), "most_ms": max(spent), "boxes": MERGED, "classes": BEST}


def _report(options: argparse.Namespace, results: dict[str, Any], precision: str, gap: float) -> None:
    print(f"net D, width {options.width:g}, {precision}, {options.images} photographs, median of {options.repeats}")
    for scale in options.scales:
        row = results[f"Q={scale}"]
        for name, walls in row["wall_s"].items():
            rates = [row["images"] / wall for wall in (statistics.median(walls), max(walls), min(walls))]
            print(f"  Q={scale} {name:15} {rates[0]:.2f} images/s ({rates[1]:.2f} to {rates[2]:.2f})")
        print(
            f"  Q={scale} localising costs {row['times_wall']:.3f} times as much ({row['times_cpu']:.3f} in CPU time)"
        )
    for how, key in (("centroid", "merging"), ("overfeat", "merging_overfeat")):
        median, most = results[key]["median_ms"], results[key]["most_ms"]
        print(f"  merging {MERGED} boxes of {BEST} classes by {how}: {median:.1f} ms (most {most:.1f})")
    facts = environment()
    print(f"  within {gap:.2%} of fp32; {in_words(facts)}")
    if options.json:
        content = {"width": options.width, "precision": precision, "gap": gap, **results, "environment": facts}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
