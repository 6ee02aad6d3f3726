"""What makes dense evaluation and crops differ: the windows, their borders, or what is averaged (Sect. 3.2)?

    python benchmarks/same_windows.py quickstart/A quickstart/D --data scenes --scales 73 96 --json windows.json

For each net and Q the top-1 error on val, without mirrors, of
    dense       the paper's: the map's scores are averaged, then the soft-max; a position sees its neighbours
    posteriors  the same map, but a soft-max at each position, whose posteriors are averaged
    windows     the map's own windows cut out as crops, which see zeros beyond their border; scores averaged
    grid        the 5x5 grid of crops; posteriors averaged, as multi-crop does
Differences are tested in pairs on the same images (McNemar, exact; not corrected for their number).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vggnet.backends.layout import lay_channels_last
from vggnet.data.opening import open_data
from vggnet.evaluation.forward import corners
from vggnet.evaluation.matching import positions_among
from vggnet.evaluation.metrics import Count, compare, count_errors, ranks
from vggnet.evaluation.views import View
from vggnet.images.decoding import decode
from vggnet.images.geometry import rescale
from vggnet.images.normalization import normalize
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model
from vggnet.paper.configurations import TOTAL_STRIDE_PX
from vggnet.provenance import environment

WAYS = ("dense", "posteriors", "windows", "grid")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, help="runs or weight files")
    parser.add_argument("--data", default="scenes", help="as for `vggnet evaluate`: its val images are used")
    parser.add_argument("--scales", type=int, nargs="+", required=True, help="Q")
    parser.add_argument("--images", type=int, help="how many, evenly from all (default: all)")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    options = parser.parse_args()
    data = open_data(options.data)
    assert data.val is not None
    assert data.val.labels is not None
    chosen = np.linspace(0, len(data.val) - 1, options.images or len(data.val)).round().astype(int)
    rows = []
    for path in options.models:
        model = load_model(path)
        lay_channels_last(model)
        labels = positions_among(model.description, path, data)[data.val.labels][chosen]
        for scale in options.scales:
            split = data.val.read_as(model.description.policy.reading)
            by_image = [_by_way(model, np.array(rescale(decode(split.path(i), split.reading), scale))) for i in chosen]
            posteriors = {way: np.stack([each[way] for each in by_image]) for way in WAYS}
            rows.append(_row(str(path), scale, posteriors, labels))
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": rows, "environment": environment()}, indent=2) + "\n")


@torch.inference_mode()
def _by_way(model: VGG, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Posteriors (K,) of one rescaled image by each way."""
    image = normalize(torch.from_numpy(pixels)[None], model.description.preprocessing)
    score_map = model(image)[0]
    crop = model.architecture.crop_px
    rows, columns = score_map.shape[1:]
    own = [(TOTAL_STRIDE_PX * x, TOTAL_STRIDE_PX * y) for y in range(rows) for x in range(columns)]
    height, width = pixels.shape[:2]
    grid = corners(View("crops", min(height, width), mirror=False), height, width, crop)
    positions = score_map.flatten(1).T
    return {
        "dense": positions.mean(0).softmax(0).numpy(),
        "posteriors": positions.softmax(1).mean(0).numpy(),
        "windows": _crop_scores(model, image, own, crop).mean(0).softmax(0).numpy(),
        "grid": _crop_scores(model, image, grid, crop).softmax(1).mean(0).numpy(),
    }


def _crop_scores(model: VGG, image: Tensor, places: list[tuple[int, int]], crop: int) -> Tensor:
    """Scores (crops, K) of the crops whose upper left corners are at `places`."""
    crops = torch.cat([image[:, :, y : y + crop, x : x + crop] for x, y in places])
    return model(crops.contiguous(memory_format=torch.channels_last)).flatten(1)


def _row(model: str, scale: int, posteriors: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, object]:
    """Errors by way, printed, and each way's test against dense."""
    counts = {way: count_errors(each, labels).top1 for way, each in posteriors.items()}
    wrong = {way: ranks(each, labels) >= 1 for way, each in posteriors.items()}
    tests = {way: compare(wrong["dense"], wrong[way]) for way in WAYS[1:]}
    print(f"{model}, Q={scale}, {len(labels)} images")
    for way, count in counts.items():
        beside = f"; against dense p = {tests[way].p_value:.2g}" if way in tests else ""
        print(f"  {way:10} {count.describe()}{beside}", flush=True)
    numbers = {way: _number(count) for way, count in counts.items()}
    return {"model": model, "scale": scale, **numbers, "p": {way: test.p_value for way, test in tests.items()}}


def _number(count: Count) -> dict[str, float]:
    return {"error": 100 * count.rate, "low": 100 * count.interval[0], "high": 100 * count.interval[1]}


if __name__ == "__main__":
    main()
