"""Store posteriors (or layer means) on disk and find them again: each (weights, image, view) is computed once.

Values are posteriors, or a layer's means. Each view has a folder in `posteriors` of the run. It holds shards of values,
and `provenance.json` with everything that the values depend on besides the image. Notable:
- The folder's name is a hash of the provenance. With other weights, options or library versions it is another folder:
  values are then missing, never wrong. Images are identified by their content (`image_keys`).
- A shard is written to a temporary name and renamed. Its name is unique, so that processes can write at once: at worst
  they compute the same values twice. A kill loses only the shard in work.
- A shard holds its folder's name, its images' keys and a checksum. A shard that is damaged, or was copied from another
  folder, is ignored (`shards.read_shard`), and its images are scored again.
- The hash of the weights is that of the file that was loaded. Weights that are replaced in between are an error. A
  model in memory is hashed with its code (`identity`), and its values go to the user's cache.
- Where the model's folder cannot be written to, values go to the user's cache, or else stay in memory.
- Bad images are not stored. They are tried again each time, which costs no forward pass.

Shapes: n images, D values of a view (K posteriors).
"""

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL
import torch
from PIL import features
from safetensors.numpy import save

from vggnet.console import note
from vggnet.data.splits import Split
from vggnet.description import AS_STORED, ImageReading, ModelDescription, Preprocessing
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.forward import ViewScorer
from vggnet.evaluation.identity import module_hash
from vggnet.evaluation.image_keys import ImageKeys, checksum
from vggnet.evaluation.other_classifiers import Classifier, OtherArchitecture
from vggnet.evaluation.scoring import Progress, Values, score_in_shards
from vggnet.evaluation.shards import Shard, key_list, read_shard, shard_files
from vggnet.evaluation.views import KINDS, View
from vggnet.files import default_cache, write_whole
from vggnet.network.vgg import VGG
from vggnet.network.weights import find_weights, load_model, read_description
from vggnet.options.choices import Precision
from vggnet.paper.configurations import Architecture

FORMAT = 2  # of views and shards; raise it when either changes its meaning: no stored value is then found
SHARD_IMAGES = {"cuda": 1024, "cpu": 128}  # a shard takes seconds to minutes, which is what a kill loses
AnyModel = TypeVar("AnyModel", bound=Classifier)


@dataclass(frozen=True)
class Source:
    """What values depend on besides view and image: content, never paths."""

    weights: str  # SHA-256 of the weight file; of a model in memory its `identity.module_hash`
    preprocessing: Preprocessing
    device: str  # cpu or cuda, which round differently
    precision: Precision
    reading: ImageReading = AS_STORED

    def provenance(self, view: View) -> dict[str, Any]:
        """Return everything but the image that the values of a view depend on, as JSON values."""
        return {
            "format": FORMAT,
            "view": view.key,
            "weights_sha256": self.weights,
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
    """Return the libraries that decode and rescale images, with their versions."""
    return f"Pillow {PIL.__version__}, libjpeg {features.version('jpg')}"


def _version() -> str:
    try:
        return version("vggnet")
    except PackageNotFoundError:
        return "not installed"  # imported from a source folder


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def store_folders(model_path: str | Path | None, content: str = "posteriors") -> tuple[Path, ...]:
    """Return the folders for a model's values, the preferred first: in its run folder, then in the user's cache.

    `model_path` None: a model in memory.
    """
    cache = default_cache() / content
    if model_path is None or not Path(model_path).is_dir():
        return (cache,)
    return (Path(model_path) / content, cache)


class Store:
    """Values of the views of one net's images, on disk: posteriors, or what else `values` computes.

    >>> store = Store.of("runs/d", description, split, computing)
    >>> bad = store.fill(views)
    >>> posteriors, present = store.read(views[0])
    """

    def __init__(
        self,
        model_path: Path | None,
        source: Source,
        architecture: Architecture | OtherArchitecture,
        keys: ImageKeys,
        computing: Computing,
        *,
        content: str = "posteriors",
        values: Values = ViewScorer.posteriors,
    ) -> None:
        self.model_path, self.source, self.architecture, self.keys = model_path, source, architecture, keys
        self.computing, self.content, self.values = computing, content, values
        self._ranks = computing.ranks
        self.folders = store_folders(model_path, content)
        self._writable = list(self.folders)
        self._refused: list[tuple[Path, str]] = []  # folders that could not be written to, until a note names them
        self._in_memory: dict[View, list[Shard]] = {}

    @classmethod
    def of(
        cls,
        model_path: str | Path,
        description: ModelDescription,
        split: Split,
        computing: Computing,
        *,
        content: str = "posteriors",
        values: Values = ViewScorer.posteriors,
    ) -> "Store":
        """Return the store of a weight file or run folder, described by `description`, for the images of `split`.

        `content` names the folder that holds the values, and the values in messages. Raises UserError where the file
        was replaced by a net of another description since `description` was read.
        """
        weights = file_hash(find_weights(model_path))
        if read_description(model_path) != description:
            raise _replaced(model_path)
        kind = computing.device.type
        source = Source(weights, description.preprocessing, kind, computing.precision, description.policy.reading)
        keys = ImageKeys(split)
        return cls(Path(model_path), source, description.architecture, keys, computing, content=content, values=values)

    @classmethod
    def of_model(cls, model: Classifier, split: Split, computing: Computing) -> "Store":
        """Return the store of the posteriors of a model in memory for the images of `split`."""
        about = model.description
        weights = module_hash(model, [about]) if isinstance(model, VGG) else model.identity()
        source = Source(weights, about.preprocessing, computing.device.type, computing.precision, about.policy.reading)
        return cls(None, source, model.architecture, ImageKeys(split), computing)

    def name(self, view: View) -> str:
        """Return the name of the folder of a view's values."""
        provenance = json.dumps(self.source.provenance(view), sort_keys=True)
        return f"{view.key}-{hashlib.sha256(provenance.encode()).hexdigest()[:20]}"

    def place(self, view: View) -> Path:
        """Return the folder of a view's values, where the model's folder can be written to."""
        return self.folders[0] / self.name(view)

    def stored_views(self) -> list[View]:
        """Return the views of which values are on disk, of whichever images, in the order of their names."""
        found = []
        for folder in self.folders:
            for place in sorted(folder.glob("*-*")) if folder.is_dir() else ():
                match = re.fullmatch(r"([a-z]+)-([0-9]+)(-no-mirror)?-[0-9a-f]{20}", place.name)
                if match is None or match[1] not in KINDS:
                    continue
                view = View(match[1], int(match[2]), match[3] is None)
                if self.name(view) == place.name and shard_files(place) and view not in found:
                    found.append(view)
        return found

    def add(self, view: View, indices: np.ndarray, values: np.ndarray) -> None:
        """Store values (n, D) of the images at `indices` that have just been computed elsewhere, with the same weights.

        Raises UserError where an image was replaced meanwhile.
        """
        self._write(view, indices, values)
        self.keys.save()

    def read(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Return the values float32 (n, D) of all images of the split, and bool (n,): which of them are stored.

        The first rank reads them for all.
        """
        return self._ranks.spread(lambda: self._read(view))

    def _read(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        images = len(self.keys.split)
        values = np.zeros((images, view.columns(self.architecture)), np.float32)
        present = np.zeros(images, bool)
        name = self.name(view)
        files = [file for folder in self.folders for file in shard_files(folder / name)]
        held = self._in_memory.get(view, [])
        if not files and not held:
            return values, present
        self.keys.compute(range(images))
        self.keys.save()
        wanted = self.keys.known()
        for keys, stored in (*held, *(shard for file in files if (shard := read_shard(file, name, wanted)))):
            if stored.shape[1] != values.shape[1]:
                continue
            pairs = [(row, index) for row, key in enumerate(key_list(keys)) for index in wanted.get(key, ())]
            rows, indices = np.array(pairs, np.int64).reshape(-1, 2).T
            values[indices], present[indices] = stored[rows], True
        return values, present

    def fill(
        self,
        views: Sequence[View],
        *,
        model: Classifier | None = None,
        wanted: np.ndarray | None = None,
        on_progress: Progress | None = None,
    ) -> list[BadImage]:
        """Score and store what is missing of `views`. Return the bad images.

        `wanted` chooses images by their places in the split (None: all). `model` is the net where it is loaded already;
        else it is loaded from the model's path, and only where something is missing. Raises as `score` does, and
        UserError where the weights are not those of the store's hash or an image was replaced while it was read.
        """
        bad: dict[str, BadImage] = {}
        for indices, group in self._ranks.spread(lambda: self._missing(views, wanted)):
            model = self._loaded() if model is None else self._checked(model)
            for shard in score_in_shards(
                model,
                self.keys.split,
                group,
                self.computing,
                shard=SHARD_IMAGES.get(self.source.device, SHARD_IMAGES["cpu"]),
                on_progress=on_progress,
                indices=indices,
                values=self.values,
            ):
                for view, values in shard.values.items() if self._ranks.is_first else ():
                    self._write(view, shard.indices, values)
                bad |= {error.path: error for error in shard.bad}
        self.keys.save()
        return list(bad.values())

    def _missing(self, views: Sequence[View], wanted: np.ndarray | None) -> list[tuple[np.ndarray, list[View]]]:
        """Return the images that are not stored, each with the views that lack just these images.

        Views that lack the same images are scored together, so that an image is decoded once for all of them.
        """
        groups: dict[bytes, list[View]] = {}  # an array cannot be a key of a dict: its bytes can
        for view in dict.fromkeys(views):
            view.check(self.architecture)
            absent = np.flatnonzero(~self._read(view)[1]).astype(np.int64)
            absent = absent if wanted is None else np.intersect1d(absent, wanted)
            if len(absent):
                groups.setdefault(absent.tobytes(), []).append(view)
        return [(np.frombuffer(indices, np.int64), group) for indices, group in groups.items()]

    def _loaded(self) -> VGG:
        assert self.model_path is not None, "a model in memory is given to `fill`"
        return self._checked(load_model(self.model_path))

    def _checked(self, model: AnyModel) -> AnyModel:
        """Return the net. Raise UserError where its file is another than the one that was hashed."""
        if self.model_path is not None and isinstance(model, VGG) and model.file_sha256 != self.source.weights:
            raise _replaced(self.model_path)
        return model

    def _write(self, view: View, indices: np.ndarray, values: np.ndarray) -> None:
        """Store a shard in the first folder that can be written to, else in memory."""
        if not len(indices):
            return
        keys = self.keys.keys_of_read(indices)
        while self._writable:
            folder = self._writable[0]
            try:
                self._write_shard(folder / self.name(view), view, f"{int(indices[0]):08d}", keys, values)
            except OSError as error:
                self._refused.append((self._writable.pop(0), error.strerror or str(error)))
                continue
            return self._note(f"are cached in {folder}")
        self._note("are not cached: the next command computes them again")
        self._in_memory.setdefault(view, []).append((keys, values))

    def _note(self, where: str) -> None:
        """Note once which folder could not be written to, and where the values are instead."""
        if self._refused:
            folder, reason = self._refused[0]
            note(f"{folder}: cannot be written to ({reason}); {self.content} {where}")
            self._refused = []

    def _write_shard(self, place: Path, view: View, first: str, keys: np.ndarray, values: np.ndarray) -> None:
        place.mkdir(parents=True, exist_ok=True)
        provenance = place / "provenance.json"
        if not provenance.exists():
            write_whole(provenance, json.dumps(self.source.provenance(view), indent=2) + "\n", alone=False)
        metadata = {"view": place.name, "sha256": checksum([keys, values], place.name)}
        # The tensor is called posteriors whatever the values are: the stored files of every run have it so.
        file = place / f"{first}-{uuid.uuid4().hex[:12]}.safetensors"
        write_whole(file, save({"keys": keys, "posteriors": values}, metadata), alone=False)


def _replaced(model: str | Path) -> UserError:
    return UserError(
        f"{model}: its weights were replaced while they were being read (is it in training?); give the "
        "same command again"
    )
