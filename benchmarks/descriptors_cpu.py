"""Descriptors of photographs on the CPU: ours against torchvision's feature extractor, interleaved in one run.

    python benchmarks/descriptors_cpu.py PHOTOS_FOLDER --images 16 --repeats 3 --json result.json

Net D, fc7 (after its ReLU), 224 x 224 centre squares, image and mirror, 25088 x 4096 FC layer and all. torchvision:
`create_feature_extractor(vgg16, ["classifier.4"])` in fp32, a batch of 8 images and their mirrors. Ours:
`vggnet features`' own path, in bf16 where the CPU has bf16 instructions. Both decode and rescale with the same code,
from files, and start from the same weights; descriptors must agree (cosine above 0.999) before anything is timed.
Then the early exit: floating-point operations of `features(model, images, ["relu3_3"])`, counted by PyTorch, against
those of the convolutions up to conv3_3.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.feature_extraction import create_feature_extractor

from vggnet.data.listing import unlabelled_folder
from vggnet.data.splits import Split
from vggnet.evaluation.computing import Computing
from vggnet.formats.converting import convert
from vggnet.hardware import cpu_has_bf16
from vggnet.images.decoding import decode
from vggnet.images.normalization import normalize
from vggnet.network.taps import features
from vggnet.network.vgg import VGG
from vggnet.provenance import environment, in_words
from vggnet.transfer_learning.descriptors import DescriptorSettings, describe_images, unit

TARGET = 2.0  # times torchvision's images/s, with bf16 instructions
MOST_ARITHMETIC = 1.05  # of the layers that relu3_3 needs
CROP = 224
TOGETHER = 8  # images that torchvision's net gets at once, with their mirrors


def main() -> None:
    options = _options()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        split = _squares(unlabelled_folder(options.photos), options.images, Path(folder))
        theirs, ours = _same_nets(Path(folder))
        extractor = create_feature_extractor(theirs, {"classifier.4": "fc7"})
        precision = "bf16" if cpu_has_bf16() else "fp32"
        settings = DescriptorSettings("fc7", (CROP,), computing=Computing(precision=precision))  # type: ignore[arg-type]

        def run_ours() -> np.ndarray:
            return describe_images([ours], [split], settings).values

        def run_theirs() -> np.ndarray:
            return _torchvision(extractor, ours, split)

        agreement = float((run_ours() * run_theirs()).sum(1).min())
        assert agreement > 0.999, agreement
        times: dict[str, list[float]] = {"vggnet": [], "torchvision": []}
        for _ in range(options.repeats):
            for name, work in (("vggnet", run_ours), ("torchvision", run_theirs)):
                started = time.perf_counter()
                work()
                times[name].append(time.perf_counter() - started)
        _report(options, times, len(split), precision, agreement, _early_exit(ours))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder of photographs")
    parser.add_argument("--images", type=int, default=16, help="how many, taken evenly from the folder")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    return parser.parse_args()


def _squares(split: Split, images: int, folder: Path) -> Split:
    """The photographs cut to squares of 224 pixels: torchvision's net takes no other shape in one batch."""
    names = []
    for index in np.linspace(0, len(split) - 1, min(images, len(split))).round().astype(int):
        image = decode(split.path(int(index)))
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side)).resize((CROP, CROP), Image.Resampling.BILINEAR)
        names.append(f"{index}.png")
        square.save(folder / names[-1])
    return Split(str(folder), tuple(names))


def _same_nets(folder: Path) -> tuple[torch.nn.Module, VGG]:
    theirs = torchvision.models.vgg16(weights=None).eval()
    torch.save(theirs.state_dict(), folder / "vgg16.pth")
    ours = convert(folder / "vgg16.pth", "torchvision", preprocessing="torchvision").model
    return theirs, ours


@torch.inference_mode()
def _torchvision(extractor: torch.nn.Module, ours: VGG, split: Split) -> np.ndarray:
    """Descriptors (n, 4096) as one would write it."""
    found = []
    for start in range(0, len(split), TOGETHER):
        images = [decode(split.path(index)) for index in range(start, min(start + TOGETHER, len(split)))]
        pixels = torch.from_numpy(np.stack([np.array(image) for image in images]))
        x = normalize(pixels, ours.description.preprocessing).contiguous()
        both = extractor(torch.cat([x, x.flip(3)]))["fc7"]
        found.append(((both[: len(x)] + both[len(x) :]) / 2).numpy())
    return unit(np.concatenate(found))


def _early_exit(model: VGG) -> float:
    """Operations of relu3_3's features over those of the convolutions that it needs."""
    side, needed = CROP, 0
    for layer in model.architecture.convolutions():
        needed += 2 * layer.weights * side * side
        if layer.name == "conv3_3":
            break
        side //= 2 if layer.last_of_stage else 1
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        features(model, torch.zeros(1, 3, CROP, CROP), ["relu3_3"])
    return counter.get_total_flops() / needed


def _report(
    options: argparse.Namespace,
    times: dict[str, list[float]],
    images: int,
    precision: str,
    agreement: float,
    early_exit: float,
) -> None:
    rates = {name: images / statistics.median(walls) for name, walls in times.items()}
    ratio = rates["vggnet"] / rates["torchvision"]
    print(f"fc7 of image and mirror, {images} squares of {CROP}, median of {options.repeats} (slowest to fastest)")
    for name, walls in times.items():
        kind = precision if name == "vggnet" else "fp32"
        print(
            f"  {name:12} {kind}  {rates[name]:.3f} images/s ({images / max(walls):.3f} to {images / min(walls):.3f})"
        )
    print(f"  ratio {ratio:.2f} (target {TARGET} with bf16 instructions); least cosine {agreement:.5f}")
    print(f"  early exit at relu3_3: {early_exit:.4f} of the arithmetic it needs (at most {MOST_ARITHMETIC})")
    facts = environment()
    print(f"  {in_words(facts)}")
    if options.json:
        content = {"images": images, "precision": precision, "wall_s": times, "images_per_s": rates, "ratio": ratio}
        content |= {"least_cosine": agreement, "early_exit": early_exit, "environment": facts}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
