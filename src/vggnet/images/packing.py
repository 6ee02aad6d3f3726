"""Write a data set as a pack: a few tars of images, as they are or reduced, with an index (`data.packs`).

An image with a smallest side above `resize` is reduced to it and written as a JPEG; all others are copied byte for
byte. So are images with an EXIF orientation or 16 bits a channel, whose boxes or values would change. Training images
are written in a random order, which does not change, so that a program that reads a shard from its start sees many
classes. The index keeps the order of the data.
"""

import io
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vggnet.console import counted
from vggnet.data.compact import BoxLists
from vggnet.data.image_files import IMAGE_EXTENSIONS, content_of, header_problem
from vggnet.data.opening import has_boxes_of_stored_pixels, open_data
from vggnet.data.packs import ALL, STORED_PIXELS, PackedPart, write_description
from vggnet.data.splits import ImageData, Split
from vggnet.description import AS_STORED
from vggnet.errors import BadImage, UserError, describe_bad
from vggnet.hardware import reading_workers
from vggnet.images.decoding import UPRIGHT, read_image
from vggnet.images.geometry import rescale, rescaled_size
from vggnet.images.silence import in_words
from vggnet.images.workers import Workers, chunks
from vggnet.options.data import DataPackOptions
from vggnet.randomness import numbered_generator

_PIECE = 16  # images to a worker at once
_BLOCK = 512


@dataclass(frozen=True)
class Packed:
    """What was written: images and bytes of each part, the shards, how many images were reduced, and those left out."""

    folder: Path
    images: dict[str, int]
    bytes: dict[str, int]
    shards: int
    reduced: int
    bad: tuple[BadImage, ...] = ()

    def lines(self) -> list[str]:
        """Return the report in words."""
        parts = " and ".join(f"{counted(count, 'image')} of {part}" for part, count in self.images.items())
        size = sum(self.bytes.values())
        lines = [f"left out {error}" for error in self.bad]
        lines.append(f"packed {parts} into {counted(self.shards, 'file')} of {size / 2**20:,.1f} MB in {self.folder}")
        if self.reduced:
            lines.append(f"{counted(self.reduced, 'image')} reduced, the others copied as they are")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "folder": str(self.folder),
            "images": self.images,
            "bytes": self.bytes,
            "shards": self.shards,
            "reduced": self.reduced,
            "bad": [{"path": error.path, "reason": error.reason} for error in self.bad],
        }


@dataclass(frozen=True)
class _Content:
    """A file to be written. `before` and `after` are width and height where it was reduced, else 0, 0."""

    extension: str
    content: bytes
    before: tuple[int, int] = (0, 0)
    after: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class _Reader:
    """Read some images, and reduce them, in a worker."""

    split: Split
    resize: int | None
    quality: int

    def describe(self, indices: np.ndarray) -> str:
        return in_words(self.split, indices)

    def __call__(self, indices: np.ndarray) -> list[_Content | BadImage]:
        return [self._read(index) for index in indices.tolist()]

    def _read(self, index: int) -> _Content | BadImage:
        file = self.split.file(index)
        try:
            if self.resize is not None and (reduced := self._reduced(index)) is not None:
                return reduced
            if reason := header_problem(file):
                return BadImage(str(file), reason)
            return _Content(_extension(self.split.files[index]), content_of(file))
        except BadImage as error:
            return error
        except OSError as error:
            return BadImage(str(file), f"cannot be read: {error.strerror or error}")

    def _reduced(self, index: int) -> _Content | None:
        """Return the image with a smallest side of `resize`; None where it is copied."""
        assert self.resize is not None
        found = read_image(self.split.file(index), AS_STORED)
        size = found.image.size
        if min(size) <= self.resize or found.orientation != UPRIGHT or found.brightest is not None:
            return None
        content = io.BytesIO()
        rescale(found.image, self.resize).save(content, "JPEG", quality=self.quality)
        return _Content("jpg", content.getvalue(), size, rescaled_size(*size, self.resize))


def _extension(file: str) -> str:
    """Return the extension by which WebDataset knows how to decode: of a file with another one, jpg."""
    extension = Path(file).suffix.lower()
    return extension[1:] if extension in IMAGE_EXTENSIONS else "jpg"


class _Shards:
    """Tars that are written one after another; each begins when the one before has `most_bytes`."""

    def __init__(self, folder: Path, part: str, most_bytes: int) -> None:
        self._folder, self._part, self._most_bytes = folder, part, most_bytes
        self._tar: tarfile.TarFile | None = None
        self.names: list[str] = []

    def add(self, files: list[tuple[str, bytes]]) -> tuple[int, int]:
        """Write the files of one sample; return the number of the shard, and the offset of the first file's bytes."""
        if self._tar is None or self._tar.offset >= self._most_bytes:
            self.close()
            self.names.append(f"{self._part}-{len(self.names):06d}.tar")
            self._tar = tarfile.open(self._folder / self.names[-1], "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        start = self._tar.offset + _BLOCK
        for name, content in files:
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(content), 0o644
            self._tar.addfile(header, io.BytesIO(content))
        self._tar.members = []  # type: ignore[attr-defined]  # else it keeps all of them
        return len(self.names) - 1, start

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()


def pack(
    data: ImageData,
    out: Path,
    *,
    undivided: bool = False,
    stored_pixels: bool = False,
    resize: int | None = None,
    quality: int = 95,
    shard_mb: int = 500,
    workers: int = 0,
    bad_images: str = "stop",
    on_progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Write the data set as a pack into the folder `out`, which must not exist; it is there whole or not at all.

    Args:
        undivided: data without a validation part, all of which is `data.val`; it is divided when the pack is opened.
        stored_pixels: the boxes refer to pixels before EXIF orientations are applied.
        resize: reduce images to this smallest side in pixels; None copies all of them.
        quality: of the JPEGs that are written for reduced images.
        shard_mb: a tar ends when it has this many megabytes (1,000,000 bytes).
        bad_images: "stop" raises for files that are no images, "skip" leaves them out.

    Raises UserError.
    """
    if out.exists():
        raise UserError(f"`out` {out}: is there already; give a folder that does not exist")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        partial.chmod(0o755)
        packed = _write(
            data,
            partial,
            _Settings(
                undivided, stored_pixels, resize, quality, shard_mb * 1_000_000, workers, bad_images, on_progress
            ),
        )
        partial.rename(out)
    finally:
        with suppress(OSError):
            shutil.rmtree(partial)
    return replace(packed, folder=out)


def pack_with(options: DataPackOptions, on_progress: Callable[[int, int], None] | None = None) -> Packed:
    """Open the data of `vggnet data pack` and pack it. Raises UserError."""
    data = open_data(options.data)
    undivided = data.divided
    return pack(
        open_data(options.data, whole=True) if undivided else data,
        options.out,
        undivided=undivided,
        stored_pixels=has_boxes_of_stored_pixels(options.data),
        resize=options.resize,
        quality=options.quality,
        shard_mb=options.shard_mb,
        workers=reading_workers(options.workers),
        bad_images=options.bad_images,
        on_progress=on_progress,
    )


@dataclass(frozen=True)
class _Settings:
    undivided: bool
    stored_pixels: bool
    resize: int | None
    quality: int
    shard_bytes: int
    workers: int
    bad_images: str
    on_progress: Callable[[int, int], None] | None


def _write(data: ImageData, folder: Path, settings: _Settings) -> Packed:
    parts, splits, bad = {}, {}, []
    reduced, total = Counter[str](), sum(len(split) for split in (data.train, data.val) if split is not None)
    done = 0
    for name, split in (("train", data.train), (ALL if settings.undivided else "val", data.val)):
        if split is None:
            continue
        written = _PartWriter(folder, name, split, settings)
        for piece in written.run():
            done += piece
            if settings.on_progress:
                settings.on_progress(done, total)
        if written.bad and settings.bad_images == "stop":
            raise UserError(
                f"{len(written.bad)} of {len(split)} {name} images cannot be used:\n{describe_bad(written.bad)}\n"
                "Mend or remove them, or leave them out with `bad_images` skip"
            )
        bad += written.bad
        parts[name], splits[name] = written.part(), written.split()
        reduced[name] = int((written.after[:, 0] > 0).sum())
    packed = replace(data, train=splits.get("train"), val=splits.get(ALL, splits.get("val")))
    more = {
        STORED_PIXELS: settings.stored_pixels,
        "resized": settings.resize,
        "quality": None if settings.resize is None else settings.quality,
    }
    write_description(folder, packed, parts, more)
    return Packed(
        folder,
        {name: len(split) for name, split in splits.items()},
        {name: sum((folder / shard).stat().st_size for shard in part.shards) for name, part in parts.items()},
        sum(len(part.shards) for part in parts.values()),
        sum(reduced.values()),
        tuple(bad),
    )


class _PartWriter:
    """Write the images of one part, and keep where each lies."""

    def __init__(self, folder: Path, name: str, split: Split, settings: _Settings) -> None:
        self._split, self._settings = split, settings
        self._order = np.arange(len(split))
        if name != "val":
            self._order = numbered_generator(0, len(split)).permutation(len(split))
        self._shards = _Shards(folder, name, settings.shard_bytes)
        self._which = np.full(len(split), -1, np.int32)
        self._starts, self._lengths = np.zeros(len(split), np.int64), np.zeros(len(split), np.int64)
        self.before, self.after = np.zeros((len(split), 2), np.int64), np.zeros((len(split), 2), np.int64)
        self.bad: list[BadImage] = []

    def run(self) -> Iterator[int]:
        """Write all images; yield the number of those done, piece by piece."""
        pieces = chunks(self._order, _PIECE)
        reader = _Reader(self._split, self._settings.resize, self._settings.quality)
        try:
            with Workers(reader, min(self._settings.workers, len(pieces)), ahead=4) as pool:
                for piece, contents in zip(pieces, pool.map(pieces), strict=True):
                    for index, content in zip(piece.tolist(), contents, strict=True):
                        self._add(index, content)
                    yield len(piece)
        finally:
            self._shards.close()

    def _add(self, index: int, content: _Content | BadImage) -> None:
        if isinstance(content, BadImage):
            self.bad.append(content)
            return
        key = f"{index:09d}"
        files = [(f"{key}.{content.extension}", content.content)]
        if self._split.labels is not None:
            files.append((f"{key}.cls", b"%d" % self._split.labels[index]))
        self._which[index], self._starts[index] = self._shards.add(files)
        self._lengths[index] = len(content.content)
        self.before[index], self.after[index] = content.before, content.after

    @property
    def _kept(self) -> np.ndarray:
        return np.flatnonzero(self._which >= 0)

    def part(self) -> PackedPart:
        """Return where the images lie that were written."""
        kept = self._kept
        return PackedPart(tuple(self._shards.names), self._which[kept], self._starts[kept], self._lengths[kept])

    def split(self) -> Split:
        """Return the images that were written, with their boxes in the pixels of what was written."""
        kept = self._kept
        split = self._split.subset(kept)
        before, after = self.before[kept], self.after[kept]
        reduced = after[:, 0] > 0
        if split.stated_sizes is not None:
            same = reduced & (split.stated_sizes == before).all(1)
            split = replace(split, stated_sizes=np.where(same[:, None], after, split.stated_sizes))
        if split.boxes is None or not reduced.any():
            return split
        boxes = BoxLists.of(split.boxes)
        factors = np.where(reduced[:, None], after / np.maximum(before, 1), 1.0)
        return replace(split, boxes=BoxLists.joined(_scaled(boxes.rows(), factors, boxes.counts), boxes.counts))


def _scaled(rows: np.ndarray, factors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return inclusive corners (n, 4) in an image that was rescaled by `factors` (N, 2); a box has a pixel at least."""
    of_box = np.repeat(factors, counts, axis=0)
    low = np.floor(rows[:, :2] * of_box + 0.5)
    high = np.maximum(np.floor((rows[:, 2:] + 1) * of_box + 0.5) - 1, low)
    scaled = np.concatenate([low, high], 1).astype(np.int64)
    return np.where((of_box == 1).all(1)[:, None], rows, scaled)
