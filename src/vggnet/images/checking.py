"""Check every image of a data set: unreadable files, copies, contradictory classes, and changes since the last check.

Each image is decoded, and its pixels are hashed, so that copies are found whatever the file format and name. Nothing is
deleted: images that should not be used are written into a list, which a training takes (`--leave-out`).

Shapes: n images of a part.
"""

import csv
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vggnet.console import counted
from vggnet.data.image_files import content_of
from vggnet.data.leaving_out import COLUMNS
from vggnet.data.opening import open_data
from vggnet.data.splits import ImageData, Split
from vggnet.errors import BadImage
from vggnet.files import default_cache, json_text, write_result, write_whole
from vggnet.hardware import reading_workers
from vggnet.images.decoding import read_image
from vggnet.images.silence import in_words
from vggnet.images.workers import Workers, chunks
from vggnet.options.data import DataCheckOptions

REPORT, LIST = "report.json", "leave-out.csv"
_PIECE = 32  # images to a worker at once
_BYTES = 16  # of a hash
_LISTED = 5  # findings of a kind that are printed
_WNID = re.compile(r"(n\d{8})(?!\d)")
Kind = Literal["unreadable", "copy across parts", "two classes", "copy", "another class by name", "changed", "gone"]
# which of them should not be used; the others are only reported
LEFT_OUT: tuple[Kind, ...] = ("unreadable", "copy across parts", "two classes")
_WORDS: dict[Kind, str] = {
    "unreadable": "cannot be read",
    "copy across parts": "training images that are copies of val images",
    "two classes": "images that are in two classes",
    "copy": "copies of an image of the same part and class",
    "another class by name": "images named after another class than their folder's",
    "changed": "have another content than at the last check",
    "gone": "were there at the last check",
}


@dataclass(frozen=True)
class Finding:
    """Something about one image. `image` is its file in the data set."""

    kind: Kind
    part: str
    image: str
    reason: str


@dataclass(frozen=True)
class DataCheck:
    """The result of a check: the images of each part, the bytes that were read, and what was found."""

    data: str
    images: dict[str, int]
    findings: tuple[Finding, ...]
    compared: bool  # with an earlier check

    def of_kind(self, kind: Kind) -> tuple[Finding, ...]:
        """Return the findings of one kind."""
        return tuple(each for each in self.findings if each.kind == kind)

    @property
    def left_out(self) -> tuple[Finding, ...]:
        """Return the findings about images that should not be used."""
        return tuple(each for each in self.findings if each.kind in LEFT_OUT)

    def lines(self) -> list[str]:
        """Return the result in words."""
        parts = " and ".join(f"{counted(count, 'image')} of {part}" for part, count in self.images.items())
        lines = [f"checked {parts}{'' if self.findings else ': nothing found'}"]
        for kind, words in _WORDS.items():
            found = self.of_kind(kind)
            if not found:
                continue
            lines.append(f"{len(found):,} {words}:")
            lines += [f"  {each.part}: {each.image}: {each.reason}" for each in found[:_LISTED]]
            if len(found) > _LISTED:
                lines.append(f"  ... and {len(found) - _LISTED:,} more")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "data": self.data,
            "images": self.images,
            "compared_with_an_earlier_check": self.compared,
            "findings": [asdict(each) for each in self.findings],
        }


@dataclass(frozen=True)
class _Hasher:
    """Hash the content and the pixels of some images, in a worker; the hashes of an image that cannot be read are 0."""

    split: Split

    def describe(self, indices: np.ndarray) -> str:
        return in_words(self.split, indices)

    def __call__(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[tuple[int, str]]]:
        contents, pixels = (np.zeros((len(indices), _BYTES), np.uint8) for _ in range(2))
        bad = []
        for place, index in enumerate(indices.tolist()):
            file = self.split.file(index)
            try:
                contents[place] = _hash(content_of(file))
                image = read_image(file, self.split.reading).image
                pixels[place] = _hash(b"%d %d " % image.size, image.tobytes())
            except BadImage as error:
                bad.append((index, error.reason))
            except OSError as error:
                bad.append((index, f"cannot be read: {error.strerror or error}"))
        return contents, pixels, bad


def _hash(*pieces: bytes) -> np.ndarray:
    digest = hashlib.blake2b(digest_size=_BYTES)
    for piece in pieces:
        digest.update(piece)
    return np.frombuffer(digest.digest(), np.uint8)


@dataclass(frozen=True, eq=False)
class _Part:
    """A part with its hashes, uint8 (n, 16), and the images that cannot be read."""

    name: str
    split: Split
    contents: np.ndarray
    pixels: np.ndarray
    bad: dict[int, str]


def check_data(
    data: ImageData, *, workers: int = 0, on_progress: Callable[[int, int], None] | None = None
) -> DataCheck:
    """Decode and hash every image in `workers` processes, and return what was found.

    The hashes are stored in the user's cache, and the next check of the same folder compares with them.
    """
    splits = [(name, split) for name, split in (("train", data.train), ("val", data.val)) if split is not None]
    total, done, parts = sum(len(split) for _, split in splits), 0, []
    for name, split in splits:
        contents, pixels = (np.zeros((len(split), _BYTES), np.uint8) for _ in range(2))
        bad: dict[int, str] = {}
        pieces = chunks(np.arange(len(split)), _PIECE)
        with Workers(_Hasher(split), min(workers, len(pieces)), ahead=4) as pool:
            for piece, (content, pixel, faults) in zip(pieces, pool.map(pieces), strict=True):
                contents[piece], pixels[piece] = content, pixel
                bad.update(faults)
                done += len(piece)
                if on_progress:
                    on_progress(done, total)
        parts.append(_Part(name, split, contents, pixels, bad))
    findings = [*_unreadable(parts), *_copies(parts, data.classes), *_named_otherwise(parts, data.classes)]
    earlier = _earlier(data.root)
    if earlier is not None:
        findings += _changes(parts, earlier)
    _store(data.root, parts)
    return DataCheck(data.root, {part.name: len(part.split) for part in parts}, tuple(findings), earlier is not None)


def check_with(options: DataCheckOptions, on_progress: Callable[[int, int], None] | None = None) -> DataCheck:
    """Check the data of `vggnet data check`; write report and list into `options.out`, if it is given."""
    found = check_data(open_data(options.data), workers=reading_workers(options.workers), on_progress=on_progress)
    if options.out is not None:
        write_check(found, options.out)
    return found


def _unreadable(parts: Sequence[_Part]) -> Iterator[Finding]:
    for part in parts:
        for index, reason in sorted(part.bad.items()):
            yield Finding("unreadable", part.name, part.split.files[index], reason)


def _copies(parts: Sequence[_Part], classes: Sequence[str]) -> Iterator[Finding]:
    """Yield findings for images with the same pixels as another one."""
    pixels = np.concatenate([np.empty((0, _BYTES), np.uint8), *(part.pixels for part in parts)])
    keys = np.ascontiguousarray(pixels).view(f"V{_BYTES}").ravel()
    order = np.argsort(keys, kind="stable")
    ordered = pixels[order]
    same = np.zeros(len(order), bool)
    same[1:] = (ordered[1:] == ordered[:-1]).all(1) & ordered[1:].any(1)
    starts = np.cumsum([0, *(len(part.split) for part in parts)])
    for first in np.flatnonzero(same & ~np.roll(same, 1)).tolist():
        last = first
        while last < len(same) and same[last]:
            last += 1
        group = sorted(order[first - 1 : last].tolist())
        owners = [int(np.searchsorted(starts, place, side="right")) - 1 for place in group]
        members = [(parts[owner], place - int(starts[owner])) for owner, place in zip(owners, group, strict=True)]
        yield from _of_group(members, classes)


def _of_group(members: list[tuple[_Part, int]], classes: Sequence[str]) -> Iterator[Finding]:
    """Yield findings for images of the same pixels."""
    labels = {_label(part, index, classes) for part, index in members}
    tested = [(part, index) for part, index in members if part.name == "val"]
    for place, (part, index) in enumerate(members):
        file = part.split.files[index]
        others = [each for each in members if each != (part, index)]
        if len(labels) > 1:
            other = next((each for each in others if _label(*each, classes) != _label(part, index, classes)), others[0])
            yield Finding("two classes", part.name, file, f"the same pixels as {other[0].split.files[other[1]]}")
        elif part.name == "train" and tested:
            copy = tested[0][0].split.files[tested[0][1]]
            yield Finding("copy across parts", part.name, file, f"the same pixels as {copy} of val")
        elif place and members[0][0].name == part.name:
            yield Finding("copy", part.name, file, f"the same pixels as {members[0][0].split.files[members[0][1]]}")


def _label(part: _Part, index: int, classes: Sequence[str]) -> str:
    return "" if part.split.labels is None else classes[part.split.labels[index]]


def _named_otherwise(parts: Sequence[_Part], classes: Sequence[str]) -> Iterator[Finding]:
    """Yield findings for images in a WordNet class whose names begin with another class of the data."""
    known = {name for name in classes if _WNID.fullmatch(name)}
    for part in parts if known else ():
        for index, file in enumerate(part.split.files):
            found = _WNID.match(os.path.basename(file))
            label = _label(part, index, classes)
            if found and found[1] in known and label in known and found[1] != label:
                yield Finding("another class by name", part.name, file, f"in class {label}, named after {found[1]}")


def _cache_file(root: str) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:20]
    return default_cache() / "checks" / f"{name}.csv.gz"


def _store(root: str, parts: Sequence[_Part]) -> None:
    """Store the content hashes. Where that fails, the next check has nothing to compare with."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for part in parts:
        for file, content in zip(part.split.files, part.contents, strict=True):
            writer.writerow((part.name, file, content.tobytes().hex()))
    path = _cache_file(root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, gzip.compress(text.getvalue().encode("utf-8", "surrogateescape"), 1, mtime=0), alone=False)
    except OSError:
        return


def _earlier(root: str) -> dict[tuple[str, str], str] | None:
    """Return {(part, file): hash} of the last check of `root`; None where there was none."""
    try:
        text = gzip.decompress(_cache_file(root).read_bytes()).decode("utf-8", "surrogateescape")
        return {(part, file): content for part, file, content in csv.reader(io.StringIO(text, newline=""))}
    except (OSError, EOFError, zlib.error, ValueError):
        return None


def _changes(parts: Sequence[_Part], earlier: dict[tuple[str, str], str]) -> Iterator[Finding]:
    now = {
        (part.name, file): content.tobytes().hex()
        for part in parts
        for file, content in zip(part.split.files, part.contents, strict=True)
    }
    for (part, file), content in earlier.items():
        if (part, file) not in now:
            yield Finding("gone", part, file, "is not there any more")
        elif now[part, file] != content:
            yield Finding("changed", part, file, "has another content than at the last check")


def write_check(found: DataCheck, folder: Path) -> None:
    """Write `report.json` with all findings, and `leave-out.csv` with the images that should not be used."""
    write_result(folder / REPORT, json_text(found.to_dict()), option="`out`")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    seen = set()
    for each in found.left_out:
        if (each.part, each.image) not in seen:
            seen.add((each.part, each.image))
            writer.writerow((each.part, each.image, f"{each.kind}: {each.reason}"))
    write_result(folder / LIST, text.getvalue(), option="`out`")
