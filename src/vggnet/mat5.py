"""Read MATLAB's files of versions 5 to 7, checking every length.

SciPy's reader trusts the sizes in a file: a few changed bytes make it fill memory, or end the process. Here nothing is
made that the file does not hold. Cells become lists (column by column), a structure a dictionary, an array of them a
list, a row of characters a string; sparse arrays, objects and functions become None.
"""

import math
import mmap
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HEADER_BYTES = 128
DEEPEST = 20  # cells in structures in cells
MOST_PACKED = 20  # times that compression makes weights smaller; trained ones hardly twice
MATRIX, COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_CELL, _STRUCTURE, _CHARACTERS, _COMPLEX = 1, 2, 4, 0x0800


class Damaged(ValueError):
    """The file is not MATLAB's, or is truncated."""


def read_mat(path: Path, wanted: Collection[str], largest_bytes: int) -> dict[str, Any]:
    """Return the variables called `wanted` that the file has. Raises Damaged, also beyond `largest_bytes`."""
    size = path.stat().st_size
    if size < HEADER_BYTES:
        raise Damaged("not a MATLAB file")
    with path.open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    mark = bytes(content[126:128])
    if mark not in (b"IM", b"MI"):
        raise Damaged("not a MATLAB file")
    reader = _Reader("<" if mark == b"IM" else ">")
    found, place, claimed = {}, HEADER_BYTES, 0
    while place + 8 <= size:
        element = reader.element(content, place)
        place = element.end
        claimed += reader.unpacked_bytes(element)
        if claimed > min(largest_bytes, MOST_PACKED * size + 2**20):
            raise Damaged(f"{claimed:,} bytes packed into {size:,}, as no trained net's weights are")
        name, value = reader.variable(element, wanted)
        if name in wanted:
            found[name] = value
    if place < size:
        raise Damaged("it ends within a variable")
    return found


@dataclass(frozen=True)
class _Element:
    """A tagged piece of the file: its type, its bytes, and where the next one begins."""

    kind: int
    data: memoryview
    end: int


class _Reader:
    """Read elements; `order` is "<" or ">", the file's byte order."""

    def __init__(self, order: str) -> None:
        self.order = order

    def element(self, content: memoryview, place: int) -> _Element:
        """Return the element at `place`."""
        if len(content) - place < 8:
            raise Damaged("it ends within a tag")
        first, size = struct.unpack_from(f"{self.order}II", content, place)
        if first >> 16:  # up to four bytes of data within the tag
            kind, size = first & 0xFFFF, first >> 16
            if size > 4:
                raise Damaged(f"an element of {size} bytes within its tag")
            return _Element(kind, content[place + 4 : place + 4 + size], place + 8)
        start = place + 8
        if size > len(content) - start:
            raise Damaged(f"an element claims {size:,} bytes and {len(content) - start:,} are left")
        padding = 0 if first == COMPRESSED else -size % 8
        return _Element(first, content[start : start + size], min(start + size + padding, len(content)))

    def unpacked_bytes(self, element: _Element) -> int:
        """Return how many bytes a variable takes unpacked."""
        if element.kind != COMPRESSED:
            return len(element.data)
        try:
            beginning = zlib.decompressobj().decompress(element.data[:1024], 8)
        except zlib.error as error:
            raise Damaged(str(error)) from error
        if len(beginning) < 8:
            raise Damaged("a compressed variable without a tag")
        return 8 + int(struct.unpack(f"{self.order}II", beginning)[1])

    def variable(self, element: _Element, wanted: Collection[str]) -> tuple[str, Any]:
        """Return name and value of a variable; None for the value of one that is not wanted."""
        if element.kind == COMPRESSED:
            try:
                unpacker = zlib.decompressobj()
                content = memoryview(unpacker.decompress(element.data, self.unpacked_bytes(element)))
            except zlib.error as error:
                raise Damaged(str(error)) from error
            element = self.element(content, 0)
        return self.matrix(element, 0, wanted)

    def matrix(self, element: _Element, depth: int, wanted: Collection[str] | None = None) -> tuple[str, Any]:
        """Return name ("" inside others) and value of an array."""
        if element.kind != MATRIX:
            raise Damaged(f"an element of type {element.kind} in place of an array")
        if depth > DEEPEST:
            raise Damaged(f"arrays within arrays, more than {DEEPEST} deep")
        if not len(element.data):
            return "", np.zeros((0, 0))
        content = element.data
        flags = self.element(content, 0)
        sizes = self.element(content, flags.end)
        named = self.element(content, sizes.end)
        if len(flags.data) != 8 or sizes.kind != 5 or len(sizes.data) % 4:
            raise Damaged("an array without its class or shape")
        (word,) = struct.unpack_from(f"{self.order}I", flags.data)
        shape = struct.unpack(f"{self.order}{len(sizes.data) // 4}i", sizes.data)
        if len(shape) < 2 or min(shape) < 0:
            raise Damaged(f"an array of the shape {shape}")
        name = bytes(named.data).decode("latin1")
        if wanted is not None and name not in wanted:
            return name, None
        return name, self._value(word & 0xFF, bool(word & _COMPLEX), shape, content[named.end :], depth)

    def _value(self, kind: int, is_complex: bool, shape: tuple[int, ...], content: memoryview, depth: int) -> Any:
        count = math.prod(shape)
        if kind == _CELL:
            return self._arrays(content, 0, count, depth)
        if kind == _STRUCTURE:
            return self._structures(content, count, depth)
        if kind == _CHARACTERS:
            return self._text(shape, content)
        if kind not in _NUMERIC or is_complex:
            return None
        values = self.element(content, 0)
        if values.kind not in _TYPES:
            raise Damaged(f"numbers of type {values.kind}")
        stored = np.dtype(self.order + _TYPES[values.kind])  # whole numbers may be stored in fewer bytes
        if len(values.data) != count * stored.itemsize:
            raise Damaged(f"an array of the shape {shape} with {len(values.data):,} bytes")
        array = np.frombuffer(values.data, stored).reshape(shape, order="F")
        return array.astype(_NUMERIC[kind], order="C")  # a copy, in this machine's byte order

    def _arrays(self, content: memoryview, place: int, count: int, depth: int) -> list[Any]:
        if count > (len(content) - place) // 8:
            raise Damaged(f"{count:,} cells in {len(content) - place:,} bytes")
        found = []
        for _ in range(count):
            element = self.element(content, place)
            found.append(self.matrix(element, depth + 1)[1])
            place = element.end
        return found

    def _structures(self, content: memoryview, count: int, depth: int) -> Any:
        length = self.element(content, 0)
        names = self.element(content, length.end)
        if len(length.data) != 4:
            raise Damaged("a structure without the length of its names")
        (each,) = struct.unpack(f"{self.order}i", length.data)
        if each < 1 or len(names.data) % each:
            raise Damaged("a structure without its names")
        whole = bytes(names.data)
        fields = [whole[at : at + each].partition(b"\0")[0].decode("latin1") for at in range(0, len(whole), each)]
        values = self._arrays(content, names.end, count * len(fields), depth)
        found = [
            dict(zip(fields, values[at : at + len(fields)], strict=True))
            for at in range(0, len(values), max(1, len(fields)))
        ]
        return found[0] if count == 1 and found else found

    def _text(self, shape: tuple[int, ...], content: memoryview) -> str:
        """Return one row of characters; several rows give ""."""
        values = self.element(content, 0)
        encodings = {2: "latin1", 1: "latin1", 16: "utf-8", 17: "utf-16", 4: "utf-16"}
        if values.kind not in encodings:
            raise Damaged(f"characters of type {values.kind}")
        encoding = encodings[values.kind]
        if encoding == "utf-16":
            encoding = "utf-16-le" if self.order == "<" else "utf-16-be"
        return bytes(values.data).decode(encoding, errors="replace") if shape[0] == 1 else ""
