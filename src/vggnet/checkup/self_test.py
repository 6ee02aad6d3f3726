"""Test in a few seconds that nets, precision, image files, weights and determinism work on this machine."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from vggnet.backends.choose_inference import fast_inference
from vggnet.data.splits import Split
from vggnet.errors import reason_of
from vggnet.files import default_cache, write_whole
from vggnet.formats.converting import convert
from vggnet.formats.writing import write_layout
from vggnet.hardware import choose_precision
from vggnet.images.augmentation import Augmentation
from vggnet.images.color import ColorStatistics
from vggnet.images.decoding import decode
from vggnet.images.loading import TrainingLoader
from vggnet.network.initialization import build
from vggnet.network.weights import load_model, save_model
from vggnet.paper.configurations import CONFIGURATIONS
from vggnet.paper.recipes import Recipe
from vggnet.training.locking import locked
from vggnet.training.optimization import build_optimizer

Test = Callable[[torch.device], str]  # returns what it found; raises where something is broken
LIMIT_S = 20.0
_WIDTH, _CROP = 1 / 32, 32


class Fault(Exception):
    """A test found another result than expected; the text says which."""


@dataclass(frozen=True)
class Outcome:
    """One test: whether it passed (None: left out, the time was over), what was found, and its seconds."""

    name: str
    passed: bool | None
    found: str
    seconds: float


def self_test(device: torch.device, limit_s: float = LIMIT_S, tests: Mapping[str, Test] | None = None) -> list[Outcome]:
    """Run tests by name in order on `device` (None: `TESTS`); after `limit_s` seconds the rest is left out."""
    begin = time.monotonic()
    outcomes = []
    for name, test in (TESTS if tests is None else tests).items():
        started = time.monotonic()
        if started - begin > limit_s:
            outcomes.append(Outcome(name, None, f"left out: {limit_s:g} s were over", 0.0))
            continue
        try:
            passed, found = True, test(device)
        except Fault as fault:
            passed, found = False, str(fault)
        except Exception as error:  # whatever breaks here is what the report is for
            passed, found = False, f"{type(error).__name__}: {reason_of(error)}"
        outcomes.append(Outcome(name, passed, found, time.monotonic() - started))
    return outcomes


def _nets(device: torch.device) -> str:
    """Every net of Table 1: as it computes for inference, against its plain layers in double precision on the CPU."""
    worst, precision = 0.0, choose_precision("auto", device)
    images = torch.randn(2, 3, _CROP, _CROP + 32, generator=torch.Generator().manual_seed(0))
    for net in CONFIGURATIONS:
        model = build(net, num_classes=5, width=_WIDTH, crop=_CROP, init="he", seed=1).eval()
        with torch.inference_mode():
            expected = (
                build(net, num_classes=5, width=_WIDTH, crop=_CROP, init="he", seed=1).double().eval()(images.double())
            )
            form = fast_inference(model.to(device), device, precision)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                found = form(images.to(device)).double().cpu()
        if found.shape != expected.shape or not bool(found.isfinite().all()):
            raise Fault(f"net {net}: {tuple(found.shape)} in {precision}, not finite or of another shape")
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
    limit = 0.1 if precision == "bf16" else 1e-4
    if worst > limit:
        raise Fault(f"{precision} differs from double precision by {worst:.2g} of the largest score (limit {limit:g})")
    return f"{', '.join(CONFIGURATIONS)} in {precision}: within {worst:.1g} of double precision"


def _trained(device: torch.device) -> dict[str, torch.Tensor]:
    model = build("A", num_classes=3, width=_WIDTH, crop=_CROP, init="he", seed=2, dropout=0.0).to(device).train()
    optimizer = build_optimizer(model, Recipe(batch=4), 1.0)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        images = torch.randn(4, 3, _CROP, _CROP, generator=generator).to(device)
        optimizer.zero_grad()
        F.cross_entropy(model(images).flatten(1), torch.tensor([0, 1, 2, 0], device=device)).backward()
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _determinism(device: torch.device) -> str:
    """Three steps of training, twice."""
    first, second = _trained(device), _trained(device)
    other = [name for name in first if not torch.equal(first[name], second[name])]
    if not all(bool(tensor.isfinite().all()) for tensor in first.values()):
        raise Fault("three steps of training give weights that are not finite")
    if other and device.type == "cpu":
        raise Fault(f"the same three steps gave other weights the second time: {other[0]} and {len(other) - 1} more")
    return "the same three steps, twice: " + (f"{len(other)} tensors differ in rounding" if other else "the same bits")


def _image_files(device: torch.device) -> str:
    """A picture written and read in each lossless format, and in JPEG."""
    generator = np.random.default_rng(4)
    pixels = np.asarray(Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8)).resize((64, 48)))
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("png", "bmp", "tif", "webp"):
            path = f"{folder}/picture.{suffix}"
            Image.fromarray(pixels).save(path, lossless=True)  # which is an option of WebP
            if not np.array_equal(np.asarray(decode(path)), pixels):
                raise Fault(f"a picture written as {suffix} has other pixels when it is read")
        path = f"{folder}/picture.jpg"
        Image.fromarray(pixels).save(path, quality=95, subsampling=0)
        gap = float(np.abs(np.asarray(decode(path)).astype(float) - pixels).mean())
    if gap > 3:
        raise Fault(f"a picture written as JPEG differs by {gap:.1f} gray levels when it is read")
    return f"PNG, BMP, TIFF and WebP exact, JPEG within {gap:.1f} gray levels"


def _reading_processes(device: torch.device) -> str:
    """The same crops from two processes and from none."""
    statistics = ColorStatistics((0, 0, 0), (1, 1, 1), (900.0, 90.0, 9.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    augmentation = Augmentation(5, (36, 48), _CROP, statistics)
    with tempfile.TemporaryDirectory() as folder:
        files = tuple(f"{number}.png" for number in range(8))
        for number, file in enumerate(files):
            pixels = np.random.default_rng(number).integers(0, 256, (50, 40 + number, 3), np.uint8)
            Image.fromarray(pixels).save(f"{folder}/{file}")
        split = Split(folder, files, np.arange(8) % 2)
        crops = []
        for workers in (0, 2):
            with TrainingLoader(split, augmentation, workers=workers) as loader:
                crops.append([batch.pixels.clone() for batch in loader.batches(0, [np.arange(6), np.arange(6, 8)])])
    if not all(torch.equal(one, other) for one, other in zip(*crops, strict=True)):
        raise Fault("two processes read other crops than one")
    return "two processes read the same crops as one"


def _weights(device: torch.device) -> str:
    """A net written and read, in vggnet's form and in torchvision's."""
    model = build("D", num_classes=5, width=_WIDTH, crop=224, init="he", seed=6).eval()
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "net.safetensors", model)
        own = load_model(Path(folder) / "net.safetensors")
        file = write_layout(model, "torchvision", Path(folder) / "torchvision")
        theirs = convert(file, "torchvision").model
    for name, tensor in model.state_dict().items():
        if not torch.equal(own.state_dict()[name], tensor):
            raise Fault(f"{name} has other values when it is read from a weight file")
        if not torch.equal(theirs.state_dict()[name], tensor):
            raise Fault(f"{name} has other values when it is read from torchvision's layout")
    return "written and read the same, as safetensors and in torchvision's layout"


def _files(device: torch.device) -> str:
    """The cache folder: whole files, forced to the disk, and locks."""
    folder = default_cache() / "doctor"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "file", "words\n", alone=False)
    if (folder / "file").read_text() != "words\n":
        raise Fault(f"{folder / 'file'} does not hold what was written")
    with locked(folder):
        pass
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return "files are written whole, and locks work in the cache folder"


TESTS: dict[str, Test] = {  # the quick ones first
    "cache folder": _files,
    "image files": _image_files,
    "reading processes": _reading_processes,
    "weights": _weights,
    "nets": _nets,
    "determinism": _determinism,
}
