"""Names and boxes of millions of images in a few arrays, which worker processes share.

A tuple of a million strings takes 100 MB, and each worker that counts references to them gets a copy of its own. Arrays
take a third of that, and a process that only reads them copies nothing. A subset shares the text or the boxes of the
whole and costs 12 bytes for each entry.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import overload

import numpy as np

from vggnet.files import replacing

_PIECE = 65_536  # strings that are encoded at once


class Names(Sequence[str]):
    """File names, as a tuple of strings would hold them. Bytes that are no UTF-8 are kept (`os.fsencode`)."""

    __slots__ = ("_lengths", "_starts", "_text")

    def __init__(self, text: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Wrap `text` uint8 (bytes,); name i is the `lengths[i]` int32 bytes from `starts[i]` int64."""
        self._text, self._starts, self._lengths = text, starts, lengths

    @classmethod
    def of(cls, names: Iterable[str]) -> "Names":
        """Return the given names in their order; Names are returned as they are."""
        if isinstance(names, Names):
            return names
        texts, lengths, piece = [], [], []
        for name in names:
            piece.append(os.fsencode(name))
            if len(piece) == _PIECE:
                texts.append(b"".join(piece))
                lengths.append(np.fromiter(map(len, piece), np.int32, len(piece)))
                piece = []
        texts.append(b"".join(piece))
        lengths.append(np.fromiter(map(len, piece), np.int32, len(piece)))
        return cls.joined(np.frombuffer(b"".join(texts), np.uint8), np.concatenate(lengths))

    @classmethod
    def joined(cls, text: np.ndarray, lengths: np.ndarray) -> "Names":
        """Return the names that lie one after another in `text`."""
        ends = np.cumsum(lengths, dtype=np.int64)
        return cls(text, ends - lengths, lengths)

    def at(self, places: np.ndarray) -> "Names":
        """Return the names at `places`, int64 (n,), in that order; they share the text."""
        return Names(self._text, self._starts[places], self._lengths[places])

    def encoded(self, place: int) -> bytes:
        """Return a name as the file system's bytes."""
        start = int(self._starts[place])
        return self._text[start : start + int(self._lengths[place])].tobytes()

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the names one after another, uint8 (bytes,), and the length of each, int32 (n,)."""
        text = b"".join(map(self.encoded, range(len(self))))
        return np.frombuffer(text, np.uint8), self._lengths

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Names": ...
    def __getitem__(self, place: int | slice) -> "str | Names":
        if isinstance(place, slice):
            return Names(self._text, self._starts[place], self._lengths[place])
        return os.fsdecode(self.encoded(place))

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _PIECE):
            starts, lengths = self._starts[start : start + _PIECE], self._lengths[start : start + _PIECE]
            for first, length in zip(starts.tolist(), lengths.tolist(), strict=True):
                yield os.fsdecode(self._text[first : first + length].tobytes())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        if isinstance(other, Names):
            places = range(len(self))
            return np.array_equal(self._lengths, other._lengths) and (
                (self._text is other._text and np.array_equal(self._starts, other._starts))
                or all(self.encoded(place) == other.encoded(place) for place in places)
            )
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as a list: compared by content

    def __add__(self, other: Iterable[str]) -> "Names":
        return Names.of((*self, *other))

    def __repr__(self) -> str:
        return f"Names({len(self)}: {', '.join(self[:3])}{', ...' if len(self) > 3 else ''})"


class BoxLists(Sequence[np.ndarray]):
    """The boxes of each image: entry i is int64 (n, 4), n >= 0."""

    __slots__ = ("_counts", "_rows", "_starts")

    def __init__(self, rows: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> None:
        """Wrap `rows` int64 (all boxes, 4); entry i is the `counts[i]` int32 rows from `starts[i]` int64."""
        self._rows, self._starts, self._counts = rows, starts, counts

    @classmethod
    def of(cls, lists: Iterable[np.ndarray]) -> "BoxLists":
        """Return the given arrays (n, 4) in their order; BoxLists are returned as they are."""
        if isinstance(lists, BoxLists):
            return lists
        lists = list(lists)
        counts = np.fromiter(map(len, lists), np.int32, len(lists))
        rows = np.concatenate([np.empty((0, 4), np.int64), *(boxes for boxes in lists if len(boxes))])
        return cls.joined(rows.astype(np.int64, copy=False), counts)

    @classmethod
    def joined(cls, rows: np.ndarray, counts: np.ndarray) -> "BoxLists":
        """Return the lists whose boxes lie one after another in `rows`."""
        ends = np.cumsum(counts, dtype=np.int64)
        return cls(rows, ends - counts, counts)

    def at(self, places: np.ndarray) -> "BoxLists":
        """Return the entries at `places`, int64 (n,), in that order; they share the boxes."""
        return BoxLists(self._rows, self._starts[places], self._counts[places])

    @property
    def counts(self) -> np.ndarray:
        """Return the number of boxes of each entry, int32 (N,)."""
        return self._counts

    def rows(self) -> np.ndarray:
        """Return all boxes, those of the first entry first, int64 (all boxes, 4)."""
        starts = np.repeat(self._starts - (np.cumsum(self._counts) - self._counts), self._counts)
        return self._rows[starts + np.arange(len(starts))]

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice) -> "BoxLists": ...
    def __getitem__(self, place: int | slice) -> "np.ndarray | BoxLists":
        if isinstance(place, slice):
            return BoxLists(self._rows, self._starts[place], self._counts[place])
        start = int(self._starts[place])
        return self._rows[start : start + int(self._counts[place])]

    def __add__(self, other: Iterable[np.ndarray]) -> "BoxLists":
        return BoxLists.of((*self, *other))


def remember(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays into the cache, as .npz, whole or not at all. A cache that is full or read-only stays as it is."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, alone=False) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
