"""Recognise plain JPEG files by their markers (ITU-T T.81, Annex B), without decoding.

Decoders agree on plain files. They differ on rare kinds: CMYK or RGB data, one channel, 12 bits, arithmetic coding, a
file that ends too early.
"""

import numpy as np

_START, _END = b"\xff\xd8", b"\xff\xd9"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; all Huffman-coded
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_SCAN, _ADOBE, _METADATA, _FILL = 0xDA, 0xEE, 0xE1, 0xFF
_ADOBE_YCC = 1
_LUMA_SAMPLINGS = (0x11, 0x21, 0x22, 0x12, 0x41, 0x42)  # 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1, 4:1:0
_CHROMA_SAMPLING = 0x11
_TAIL = 64  # bytes in which a complete file ends; some writers pad it with zeros


def plain_size(data: np.ndarray) -> tuple[int, int] | None:
    """Return (width, height) of a plain JPEG: complete, 8 bits, luma and chroma in a usual sampling; None for others.

    `data` is the file's content, uint8 (bytes,).
    """
    file = memoryview(data.data)
    if file[:2] != _START or not bytes(file[-_TAIL:]).rstrip(b"\0").endswith(_END):
        return None
    size, place = None, 2
    while place + 4 <= len(file) and file[place] == 0xFF:
        marker = file[place + 1]
        if marker == _FILL:
            place += 1
            continue
        if marker == _SCAN:
            return size
        end = place + 2 + (file[place + 2] << 8 | file[place + 3])
        segment = bytes(file[place + 4 : end])
        if marker in _OTHER_FRAMES or (marker == _ADOBE and not _is_ycc(segment)):
            return None
        if marker in _FRAMES and (size := _frame_size(segment)) is None:
            return None
        place = end
    return None


def has_metadata(data: np.ndarray) -> bool:
    """Return whether a JPEG file has a segment of EXIF or XMP, in which an orientation may be."""
    file, place = memoryview(data.data), 2
    while place + 4 <= len(file) and file[place] == 0xFF and file[place + 1] != _SCAN:
        if file[place + 1] == _METADATA:
            return True
        place += 1 if file[place + 1] == _FILL else 2 + (file[place + 2] << 8 | file[place + 3])
    return False


def _is_ycc(adobe: bytes) -> bool:
    """Return whether Adobe's marker says luma and chroma (0: RGB or CMYK, 2: YCCK); True for another's marker."""
    return not adobe.startswith(b"Adobe") or (len(adobe) > 11 and adobe[11] == _ADOBE_YCC)


def _frame_size(frame: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a frame with 8 bits, luma and chroma; None for others, or where a size is missing."""
    if len(frame) != 6 + 3 * 3 or frame[0] != 8 or frame[5] != 3:
        return None
    names, samplings = frame[6::3], frame[7::3]
    if names == b"RGB" or samplings[0] not in _LUMA_SAMPLINGS or set(samplings[1:]) != {_CHROMA_SAMPLING}:
        return None
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    return (width, height) if width and height else None
