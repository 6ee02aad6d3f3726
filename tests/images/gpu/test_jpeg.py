"""Which JPEGs are plain, by files that Pillow writes, and by files that were spoilt."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vggnet.images.gpu.jpeg import plain_size


def bytes_of(mode: str = "RGB", kind: str = "JPEG", **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def size_of(content: bytes) -> tuple[int, int] | None:
    return plain_size(np.frombuffer(content, np.uint8))


PLAIN = bytes_of()
EXIF = Image.Exif()
EXIF[0x0112] = 6  # to be turned by 90 degrees
ADOBE_YCC = PLAIN[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01" + PLAIN[2:]
ADOBE_RGB = PLAIN[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + PLAIN[2:]


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN + bytes(20),
        PLAIN[:2] + b"\xff\xff\xff" + PLAIN[2:],  # a marker may be filled up
        PLAIN[:2] + b"\xff\xee\x00\x08others" + PLAIN[2:],
        ADOBE_YCC,
        bytes_of(exif=EXIF),  # sizes are those of the pixels as they are
        bytes_of(progressive=True),
        bytes_of(subsampling="4:4:4"),
        bytes_of(subsampling="4:2:2"),
        bytes_of(restart_marker_blocks=2, icc_profile=bytes(100_000)),
    ],
)
def test_plain(content):
    assert size_of(content) == Image.open(io.BytesIO(content)).size == (40, 30)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff\xd9",
        bytes_of(kind="PNG"),
        bytes_of("L"),
        bytes_of("CMYK"),
        bytes_of(keep_rgb=True),
        ADOBE_RGB,
        PLAIN.replace(b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01", b"\x03R\x22\x00G\x11\x01B\x11\x01"),
        PLAIN[:-2],
        PLAIN[: len(PLAIN) // 2],
        PLAIN + b"something else" * 10,
        PLAIN.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),  # 12 bits
        PLAIN.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc9\x00\x11\x08"),  # arithmetic coding
        PLAIN.replace(b"\xff\xc0\x00\x11\x08\x00\x1e", b"\xff\xc0\x00\x11\x08\x00\x00"),  # its height comes later
        PLAIN.replace(b"\x03\x01\x22\x00\x02\x11\x01", b"\x03\x01\x22\x00\x02\x12\x01"),  # odd chroma
    ],
)
def test_not_plain(content):
    assert content != PLAIN
    assert size_of(content) is None


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=5), st.integers(0, len(PLAIN)))
def test_whatever_a_file_holds_there_is_an_answer(changes, length):
    content = bytearray(PLAIN[:length] + b"\xff\xd9")
    for place, value in changes:
        if place < len(content):
            content[place] = value
    size = size_of(bytes(content))
    assert size is None or min(size) > 0
