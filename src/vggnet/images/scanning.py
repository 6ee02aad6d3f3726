"""Read a training set once before the first epoch: colour statistics, PCA, and every image that cannot be used.

Up to `exhaustive_limit` images are all decoded. Of a larger set, a fixed random sample is decoded for the statistics,
and of the other images only the first bytes are checked. The result is cached as JSON under a hash of the files' names,
sizes and times. Copies of an image are found by the content digests of all images.
"""

import base64
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vggnet.console import duration
from vggnet.data.image_files import header_problem
from vggnet.data.learnt import content_digest
from vggnet.data.splits import Split
from vggnet.errors import BadImage, UserError
from vggnet.files import write_whole
from vggnet.images.color import ColorStatistics, ColorSums
from vggnet.images.decoding import UPRIGHT, read_image
from vggnet.images.silence import in_words
from vggnet.images.workers import Workers, chunks
from vggnet.options.choices import ImageCheck

_VERSION = 2  # part of the cached results' name: counts changes of what is computed
_DECODED_PIECE, _GLANCED_PIECE = 64, 2048  # images to a worker at once
_TIMED_FROM, _TIMED = 5000, 32  # from how many images on the time is told, and from how many of them
_LONG_S = 60.0


@dataclass(frozen=True)
class Scan:
    """The result of a scan. `checked` images were decoded; `conversions` counts those that were not plain RGB by kind.

    `oriented` of them have an EXIF orientation other than upright. `deep` of them have 16 bits, and `brightest` is the
    largest value of their pixels (0 where there are none). `digests` are the `content_digest` of every image, 8 bytes
    each.
    """

    statistics: ColorStatistics
    bad: tuple[BadImage, ...]
    conversions: dict[str, int]
    checked: int
    digests: bytes
    oriented: int = 0
    deep: int = 0
    brightest: int = 0


@dataclass(frozen=True)
class _Part:
    """The result of a worker for some images."""

    images: int
    sums: ColorSums
    bad: tuple[BadImage, ...]
    conversions: Counter[str]
    digests: np.ndarray  # uint64 (images,)
    oriented: int = 0
    deep: int = 0
    brightest: int = 0


@dataclass(frozen=True)
class _Look:
    """Check some images, in a worker: decode them, or read their first bytes only."""

    split: Split

    def describe(self, item: tuple[bool, np.ndarray]) -> str:
        return in_words(self.split, item[1])

    def __call__(self, item: tuple[bool, np.ndarray]) -> _Part:
        thorough, indices = item
        sums, conversions = ColorSums(), Counter[str]()
        oriented = deep = brightest = 0
        bad: list[BadImage] = []
        digests = np.zeros(len(indices), np.uint64)
        for place, index in enumerate(indices.tolist()):
            file = self.split.file(index)
            digests[place] = content_digest(file)
            if not thorough:
                if reason := header_problem(file):
                    bad.append(BadImage(str(file), reason))
                continue
            try:
                found = read_image(file, self.split.reading)
            except BadImage as error:
                bad.append(error)
                continue
            sums += ColorSums.of_image(np.asarray(found.image))
            if found.note:
                conversions[found.note] += 1
            oriented += found.orientation != UPRIGHT
            if found.brightest is not None:
                deep, brightest = deep + 1, max(brightest, found.brightest)
        return _Part(len(indices), sums, tuple(bad), conversions, digests, oriented, deep, brightest)


def scan(
    split: Split,
    *,
    workers: int = 0,
    cache: Path | None = None,
    exhaustive_limit: int = 100_000,
    sample: int = 10_000,
    seed: int = 0,
    check: ImageCheck | None = None,
    on_start: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Decode the images of `split` once (of a very large one, a sample) in `workers` processes.

    Args:
        cache: folder for the result, which is read from there the next time; None caches nothing.
        exhaustive_limit: of a split with more images, only `sample` images are decoded, drawn by `seed`, and of the
            others the first bytes are checked.
        check: "decode" decodes all images, "headers" a sample whatever their number; "none" reads no others than the
            sample, whose digests are then 0.
        on_start: called with the time that the check of a large split takes, as far as some images tell it.
        on_progress: called with (images done, all images).

    Raises UserError where no image can be read.
    """
    limit = {"decode": len(split), "headers": 0, "none": 0}.get(check or "", exhaustive_limit)
    skips = (1,) if check == "none" else ()
    cached = _cached_path(split, cache, limit, sample, seed, *skips) if cache else None
    if cached and (found := _read(cached)):
        return found
    items = _items(len(split), limit, sample, seed)
    if check == "none":
        items = [item for item in items if item[0]]
    if on_start and (line := expected_time(split, items, workers)):
        on_start(line)
    result = _scan(split, workers, items, on_progress)
    if cached and not any("cannot be read" in error.reason for error in result.bad):  # permissions may be corrected
        _write(cached, result)
    return result


def _items(count: int, exhaustive_limit: int, sample: int, seed: int) -> list[tuple[bool, np.ndarray]]:
    """Return pieces of work (decode them?, indices), the same for any number of workers, and so the same sums."""
    if count <= exhaustive_limit:
        return [(True, piece) for piece in chunks(np.arange(count), _DECODED_PIECE)]
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(seed).permutation(count)[:sample]] = True
    thorough = chunks(np.flatnonzero(chosen), _DECODED_PIECE)
    return [(True, piece) for piece in thorough] + [
        (False, piece) for piece in chunks(np.flatnonzero(~chosen), _GLANCED_PIECE)
    ]


def expected_time(split: Split, items: list[tuple[bool, np.ndarray]], workers: int) -> str | None:
    """Return in words how long a check takes, from the time of a few images; None where it is short."""
    thorough = sum(len(indices) for decoded, indices in items if decoded)
    glanced = sum(len(indices) for decoded, indices in items if not decoded)
    if thorough + glanced < _TIMED_FROM:
        return None
    look, seconds = _Look(split), 0.0
    for decoded, count in ((True, thorough), (False, glanced)):
        some = np.linspace(0, len(split) - 1, _TIMED).astype(int)
        begin = time.perf_counter()
        if count:
            look((decoded, some))
        seconds += (time.perf_counter() - begin) / _TIMED * count / max(1, workers)
    what = [f"decoding {thorough:,} images", *([f"reading the start of {glanced:,} others"] if glanced else [])]
    hint = "; `check` headers or none takes less" if seconds > _LONG_S else ""
    return f"the check takes about {duration(seconds)} ({' and '.join(what)}){hint}"


def _scan(
    split: Split,
    workers: int,
    items: list[tuple[bool, np.ndarray]],
    on_progress: Callable[[int, int], None] | None,
) -> Scan:
    sums, conversions, done = ColorSums(), Counter[str](), 0
    oriented = deep = brightest = 0
    bad: list[BadImage] = []
    digests = np.zeros(len(split), "<u8")
    total = sum(len(indices) for _, indices in items)
    with Workers(_Look(split), min(workers, len(items))) as pool:
        for (_, indices), part in zip(items, pool.map(items), strict=True):
            digests[indices] = part.digests
            sums += part.sums
            conversions += part.conversions
            bad += part.bad
            oriented, deep, brightest = oriented + part.oriented, deep + part.deep, max(brightest, part.brightest)
            done += part.images
            if on_progress:
                on_progress(done, total)
    if not sums.count:
        first = f"; the first: {bad[0]}" if bad else ""
        raise UserError(f"{split.root}: none of {len(split)} images can be read{first}")
    checked = sum(len(indices) for thorough, indices in items if thorough)
    bad.sort(key=lambda error: error.path)
    counts = dict(sorted(conversions.items()))
    return Scan(sums.statistics(), tuple(bad), counts, checked, digests.tobytes(), oriented, deep, brightest)


def _cached_path(split: Split, cache: Path, *options: int) -> Path | None:
    """Return the cache file, named by a hash of the options and of each image's relative path, size and time.

    None where a file's size and time cannot be read.
    """
    reading = (split.reading.orientation, split.reading.pixel_range)
    digest = hashlib.sha256(repr((_VERSION, options, reading, os.path.abspath(split.root))).encode())
    states = split.states()
    if (states[:, 0] < 0).any():
        return None
    for file, (size, written) in zip(split.files, states[:, :2].tolist(), strict=True):
        digest.update(f"{file}\0{size}\0{written}\n".encode("utf-8", "surrogateescape"))
    return cache / "scans" / f"{digest.hexdigest()[:32]}.json"


def _read(path: Path) -> Scan | None:
    """Return the cached result; None where it is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        bad = tuple(BadImage(str(each["path"]), str(each["reason"])) for each in values["bad"])
        conversions = {str(note): int(count) for note, count in values["conversions"].items()}
        statistics, digests = ColorStatistics.from_dict(values["statistics"]), base64.b64decode(values["digests"])
        counts = (int(values[name]) for name in ("oriented", "deep", "brightest"))
        return Scan(statistics, bad, conversions, int(values["checked"]), digests, *counts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(path: Path, result: Scan) -> None:
    values = {
        "statistics": result.statistics.to_dict(),
        "bad": [{"path": error.path, "reason": error.reason} for error in result.bad],
        "conversions": result.conversions,
        "checked": result.checked,
        "oriented": result.oriented,
        "deep": result.deep,
        "brightest": result.brightest,
        "digests": base64.b64encode(result.digests).decode(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(values), alone=False)
    except OSError:
        return  # a full or read-only cache costs the next run a scan, no more
