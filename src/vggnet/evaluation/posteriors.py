"""Posteriors kept on disk: each (weights, images, view) goes through the net once (`score once, combine afterwards`).

A folder for each view holds `provenance.json`, all that the numbers depend on, and shards of posteriors. Notable:
- The folder's name is a hash of the provenance, so another weight, image, option or library version is another folder:
  a miss, never a wrong hit. Images are told apart by name, size, and times of writing and of change: the latter cannot
  be set back, so overwriting a file and restoring its date is seen, and reading all content again is not needed.
- Shards are written to a temporary name and renamed, under names that no other process uses, and say which images they
  hold: a kill loses the shard at work, and two processes at once do the same work twice at worst.
- Bad images are not kept: they are tried again each time, which costs no forward pass.

Shapes: n images, K classes.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import features
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vggnet.contract import AS_STORED, ImageReading, ModelDescription, Preprocessing
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.presentation import Precision, Presenter
from vggnet.evaluation.scoring import BadImages, Progress, score_in_shards
from vggnet.evaluation.views import View
from vggnet.files import write_whole
from vggnet.images.cache import default_cache
from vggnet.images.splits import Split
from vggnet.network.vgg import VGG
from vggnet.network.weights import find_weights
from vggnet.paper.configurations import Architecture

FORMAT = 1  # of what views mean and shards hold; a change makes every stored posterior a miss
SHARD_IMAGES = {"cuda": 1024, "cpu": 128}  # seconds to minutes of work


@dataclass(frozen=True)
class Source:
    """What posteriors come from, besides the view: hashes, not places."""

    weights: str  # SHA-256 of the weight file
    images: str  # `images_hash`
    preprocessing: Preprocessing
    device: str  # cpu, cuda: they round differently
    precision: Precision
    reading: ImageReading = AS_STORED

    def provenance(self, view: View) -> dict[str, Any]:
        """Everything that the posteriors of a view depend on, as JSON values."""
        return {
            "format": FORMAT,
            "view": view.key,
            "weights_sha256": self.weights,
            "images_sha256": self.images,
            "mean": list(self.preprocessing.mean),
            "deviation": list(self.preprocessing.deviation),
            "orientation": self.reading.orientation,
            "pixel_range": list(self.reading.pixel_range),
            "decoder": decoder(),
            "device": self.device,
            "precision": self.precision,
            "torch": torch.__version__,
            "vggnet": _version(),
        }


def decoder() -> str:
    """What decodes and rescales the images, with its versions."""
    return f"Pillow {PIL.__version__}, libjpeg {features.version('jpg')}"


def _version() -> str:
    try:
        return version("vggnet")
    except PackageNotFoundError:
        return "not installed"  # run from its source folder


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def images_hash(split: Split) -> str:
    """SHA-256 of the split's files: names, sizes, times of the last writing and of the last change (ns), in order."""
    digest = hashlib.sha256()
    for index, name in enumerate(split.files):
        try:
            stat = os.stat(split.path(index))
            state: tuple[int, ...] = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        except OSError:
            state = ()  # missing: scoring will say so
        region = [] if split.regions is None else split.regions[index].tolist()
        digest.update(json.dumps([str(name), *state, *region]).encode() + b"\n")
    return digest.hexdigest()


def store_folder(model_path: str | Path, content: str = "posteriors") -> Path:
    """Where a model's posteriors lie: in its run folder, or for a weight file alone in the cache."""
    path = Path(model_path)
    return path / content if path.is_dir() else default_cache() / content


class Store:
    """Posteriors of one net for one split, on disk.

    >>> store = Store.of("runs/d", description, split, "cpu", "fp32")
    >>> bad = store.fill(lambda: load_model("runs/d"), split, views)
    >>> posteriors, present = store.read(views[0], len(split))

    A subclass keeps other numbers of views, which another `presenter` computes (transfer's descriptors).
    """

    content = "posteriors"
    presenter = Presenter

    def __init__(self, folder: Path, source: Source, architecture: Architecture) -> None:
        self.folder, self.source, self.architecture = folder, source, architecture

    @classmethod
    def of(
        cls,
        model_path: str | Path,
        description: ModelDescription,
        split: Split,
        device: str | torch.device,
        precision: Precision,
    ) -> "Store":
        """The store of a weight file or run folder for the images of `split`."""
        weights = file_hash(find_weights(model_path))
        kind = torch.device(device).type
        reading = description.policy.reading
        source = Source(weights, images_hash(split), description.preprocessing, kind, precision, reading)
        return cls(store_folder(model_path, cls.content), source, description.architecture)

    def columns(self, view: View) -> int:
        """How many numbers a view of an image gives (K)."""
        return self.architecture.outputs

    def place(self, view: View) -> Path:
        """The folder of a view's posteriors."""
        provenance = json.dumps(self.source.provenance(view), sort_keys=True)
        return self.folder / f"{view.key}-{hashlib.sha256(provenance.encode()).hexdigest()[:20]}"

    def read(self, view: View, images: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 (images, K) and bool (images,): posteriors, and which of them are there."""
        posteriors = np.zeros((images, self.columns(view)), np.float32)
        present = np.zeros(images, bool)
        place = self.place(view)
        for file in sorted(place.glob("[0-9]*.safetensors")) if place.is_dir() else []:
            if (shard := _read_shard(file)) is None:
                continue
            indices, values = shard
            if values.shape[1] == posteriors.shape[1] and indices.max() < images:
                posteriors[indices], present[indices] = values, True
        return posteriors, present

    def fill(
        self,
        load: Callable[[], VGG],
        split: Split,
        views: Sequence[View],
        *,
        workers: int = 0,
        on_progress: Progress | None = None,
        bad_images: BadImages = "stop",
        wanted: np.ndarray | None = None,
    ) -> list[BadImage]:
        """Score what is missing of `views` (for the images at `wanted`, by default all) and keep it; the bad images.

        Where nothing is missing there is no forward pass, and `load`, which gives the net, is not called. Raises as
        `score` does, and UserError where the store cannot be written to.
        """
        missing: dict[bytes, list[View]] = {}
        for view in dict.fromkeys(views):
            view.check(self.architecture)
            absent = np.flatnonzero(~self.read(view, len(split))[1]).astype(np.int64)
            absent = absent if wanted is None else np.intersect1d(absent, wanted)
            if len(absent):
                missing.setdefault(absent.tobytes(), []).append(view)
        model = load() if missing else None
        bad: dict[str, BadImage] = {}
        for indices, group in missing.items():
            assert model is not None
            for shard in score_in_shards(
                model,
                split,
                group,
                shard=SHARD_IMAGES.get(self.source.device, SHARD_IMAGES["cpu"]),
                device=self.source.device,
                precision=self.source.precision,
                workers=workers,
                on_progress=on_progress,
                bad_images=bad_images,
                indices=np.frombuffer(indices, np.int64),
                presenter=self.presenter,
            ):
                for view, posteriors in shard.posteriors.items():
                    self._write(view, shard.indices, posteriors)
                bad |= {error.path: error for error in shard.bad}
        return list(bad.values())

    def _write(self, view: View, indices: np.ndarray, posteriors: np.ndarray) -> None:
        if not len(indices):
            return
        content = {"indices": indices, "posteriors": posteriors}
        checksum = _checksum(content.values())
        name = f"{int(indices[0]):08d}-{uuid.uuid4().hex[:12]}.safetensors"
        place = self.place(view)
        try:
            place.mkdir(parents=True, exist_ok=True)
            provenance = place / "provenance.json"
            if not provenance.exists():
                write_whole(provenance, json.dumps(self.source.provenance(view), indent=2) + "\n", alone=False)
            write_whole(place / name, save(content, {"sha256": checksum}), alone=False)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(
                f"{place}: {self.content} cannot be kept there ({reason}): free space, or permit it"
            ) from error


def _checksum(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read_shard(file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Indices (n,) and posteriors (n, K) of a shard; None where it is damaged, which makes its images missing."""
    try:
        with safe_open(file, framework="numpy") as content:
            indices, posteriors = content.get_tensor("indices"), content.get_tensor("posteriors")
            intact = (content.metadata() or {}).get("sha256") == _checksum([indices, posteriors])
    except (SafetensorError, OSError):
        return None
    return (indices, posteriors) if intact else None
