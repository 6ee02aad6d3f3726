"""Input pipeline against plain decoding: how much of the decoder's rate is left after rescale, crop, mirror, collect.

    python benchmarks/input_pipeline_cpu.py FOLDER_OF_PHOTOGRAPHS [--workers 2] [--repeats 5] [--json FILE]

Both sides run in as many processes, interleaved in one run, over the same files: `plain` decodes each file to an RGB
array with the same decoder and throws it away in the worker; `ours` delivers the training batches of Sect. 3.1
(S = 256, crop 224, mirror, colour shift drawn), `held` the same once all images lie decoded in memory, as small data
sets do after their first epoch; `scaled` is `ours` with `--decoder scaled`, which decodes large JPEGs at 1/2, 1/4 or
1/8. Ratios to `plain`, and of `scaled` to `ours`, are quoted, since machines are noisy. Before the timings the crops of
`scaled` are compared with those of `ours`: the same views, pixels that differ by some gray levels.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vggnet.data.listing import unlabelled_folder
from vggnet.data.splits import Split
from vggnet.images.augmentation import Augmentation
from vggnet.images.color import ColorSums
from vggnet.images.decoding import decode
from vggnet.images.loading import TrainingLoader
from vggnet.images.workers import Workers, chunks
from vggnet.provenance import environment, in_words

BATCH, HOLD_BYTES = 32, 2 * 10**9
MOST_MEAN_DIFFERENCE = 6  # gray levels, of all crops; other regions would differ by about 50


class Plain:
    """Decodes some files to arrays, and hands over only how many pixels they had."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __call__(self, indices: np.ndarray) -> int:
        return sum(np.asarray(decode(self.split.path(int(index)))).shape[0] for index in indices)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--passes", type=int, default=4, help="times each file is read in one timing")
    parser.add_argument("--train-scale", type=int, nargs="+", default=[256], help="S")
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--images", type=int, help="of the folder; by default all")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    split = unlabelled_folder(arguments.folder)
    split = split.subset(range(min(arguments.images or len(split), len(split))))
    statistics_of_one = ColorSums.of_image(np.asarray(decode(split.path(0)))).statistics()
    augmentation = Augmentation(0, tuple(arguments.train_scale), arguments.crop, statistics_of_one)
    order = np.tile(np.arange(len(split)), arguments.passes)
    batches = chunks(order, BATCH)
    rates: dict[str, list[float]] = {"plain": [], "ours": [], "scaled": [], "held": []}

    def make_loader(hold_bytes: int, scaled: bool = False) -> TrainingLoader:
        return TrainingLoader(split, augmentation, workers=arguments.workers, hold_bytes=hold_bytes, scaled=scaled)

    def deliver(loader: TrainingLoader, epoch: int) -> None:
        count = 0
        for batch in loader.batches(epoch, batches):
            assert batch.pixels.shape[1:] == (arguments.crop, arguments.crop, 3)
            assert not batch.bad
            count += len(batch)
        assert count == len(order)  # every image was delivered

    with (
        make_loader(0) as loader,
        make_loader(0, scaled=True) as scaling,
        make_loader(HOLD_BYTES) as holding,
        Workers(Plain(split), arguments.workers, ahead=4) as plain,
    ):
        ways = {
            "plain": lambda epoch: list(plain.map(batches)),
            "ours": lambda epoch: deliver(loader, epoch),
            "scaled": lambda epoch: deliver(scaling, epoch),
            "held": lambda epoch: deliver(holding, epoch),
        }
        difference = difference_of(loader, scaling, np.arange(len(split)))
        for repeat in range(arguments.repeats + 1):  # the first warms up, and fills the memory
            for name, work in ways.items():
                begin = time.perf_counter()
                work(repeat)
                if repeat:
                    rates[name].append(len(order) / (time.perf_counter() - begin))
    facts = compare(rates, difference) | {"environment": environment()}
    print(in_words(facts["environment"]))
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


def compare(rates: dict[str, list[float]], difference: float) -> dict[str, Any]:
    """Print each way's images/s and its ratio to plain decoding, and return them."""
    ratios = {
        name: [own / base for own, base in zip(rates[name], rates["plain"], strict=True)]
        for name in ("ours", "scaled", "held")
    }
    gains = [own / base for own, base in zip(rates["scaled"], rates["ours"], strict=True)]
    for name, values in rates.items():
        text = f"{name:6} {statistics.median(values):7.1f} images/s ({min(values):.1f} to {max(values):.1f})"
        if name in ratios:
            each = ratios[name]
            text += f", ratio {statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
        print(text)
    gain = f"{statistics.median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f})"
    print(f"scaled is {gain} times as fast as ours; its crops differ by {difference:.2f} gray levels in the mean")
    return {
        "images_per_s": rates,
        "ratios": ratios,
        "scaled_to_ours": gains,
        "scaled_mean_difference": difference,
    }


def difference_of(whole: TrainingLoader, scaled: TrainingLoader, indices: np.ndarray) -> float:
    """Return the mean difference of the crops of two loaders in gray levels; other views, or too much of it, end it."""
    (one,), (other,) = whole.batches(0, [indices]), scaled.batches(0, [indices])
    assert torch.equal(one.views, other.views)
    mean = float((one.pixels.float() - other.pixels.float()).abs().mean())
    if mean > MOST_MEAN_DIFFERENCE:
        raise SystemExit(f"the crops differ by {mean:.1f} gray levels in the mean: they show other regions")
    return mean


if __name__ == "__main__":
    main()
