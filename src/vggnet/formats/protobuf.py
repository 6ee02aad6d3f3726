"""Read protobuf's wire format without its package: the fields of a message as they are in the file.

Notable: every length is checked against what is left of the message, so a file cannot make this read or allocate more
than it holds. Groups, which nobody writes any more, are refused.
"""

from collections.abc import Iterator

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
MOST_FIELDS = 2**20  # of a message that is grouped; weights are packed into one
_SIZES = {FIXED64: 8, FIXED32: 4}
Value = int | memoryview
Fields = dict[int, list[tuple[int, Value]]]  # field number: its (wire type, value) pairs, in order


class Damaged(ValueError):
    """The bytes are not a message, or a truncated one."""


def fields(message: memoryview) -> Iterator[tuple[int, int, Value]]:
    """Yield (field number, wire type, value) of a message: an int for a varint, else the bytes, not copied."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise Damaged("a field of number 0")
        if wire == VARINT:
            value, place = _varint(message, place)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, place = _varint(message, place)
        elif wire in _SIZES:
            size = _SIZES[wire]
        else:
            raise Damaged(f"field {number} has wire type {wire}")
        if size > len(message) - place:
            raise Damaged(f"field {number} claims {size:,} bytes and {len(message) - place:,} are left")
        yield number, wire, message[place : place + size]
        place += size


def grouped(message: memoryview, most: int = MOST_FIELDS) -> Fields:
    """Return all fields of a (small) message by number. Raises Damaged where there are more than `most`."""
    found: Fields = {}
    for count, (number, wire, value) in enumerate(fields(message)):
        if count >= most:
            raise Damaged(f"a message of more than {most:,} fields")
        found.setdefault(number, []).append((wire, value))
    return found


def integers(found: Fields, number: int) -> list[int]:
    """Return the values of a field of integers, one by one or packed."""
    result: list[int] = []
    for _, value in found.get(number, ()):
        if isinstance(value, int):
            result.append(value)
            continue
        place = 0
        while place < len(value):
            each, place = _varint(value, place)
            result.append(each)
    return result


def integer(found: Fields, number: int, default: int) -> int:
    """Return the value of a field that occurs once (the last one counts), or its default."""
    return (integers(found, number) or [default])[-1]


def messages(found: Fields, number: int) -> list[memoryview]:
    """Return the messages (or strings) of a field."""
    return [value for _, value in found.get(number, ()) if isinstance(value, memoryview)]


def text(found: Fields, number: int) -> str:
    """Return the string of a field, or ""."""
    parts = messages(found, number)
    return bytes(parts[-1]).decode(errors="replace") if parts else ""


def numbers(found: Fields, number: int, kind: str) -> np.ndarray:
    """Return the values of a field of floats ("<f4") or doubles ("<f8"), one by one or packed; a copy."""
    parts = messages(found, number)
    if any(len(part) % np.dtype(kind).itemsize for part in parts):
        raise Damaged(f"field {number} holds no whole number of values")
    return np.frombuffer(b"".join(parts) if len(parts) != 1 else parts[0], kind).copy()


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise Damaged("it ends within a number")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise Damaged("a number of more than ten bytes")
