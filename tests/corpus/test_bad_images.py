"""Bad images: each is refused by name, with its reason and what to do."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
Make = Callable[[Path], object]


def encoded(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, form, **options)
    return buffer.getvalue()


def content(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def part(form: str, kept: float) -> Make:
    data = encoded(form)
    return content(data[: int(len(data) * kept)])


def flipped(form: str, place: int) -> Make:
    data = bytearray(encoded(form))
    data[place] ^= 0xFF
    return content(bytes(data))


def sized(form: str, size: tuple[int, int]) -> Make:
    return lambda path: Image.new("RGB", size).save(path, form)


def png(width: int, height: int, depth: int = 8, color: int = 2, rows: bytes = b"") -> Make:
    """A PNG by hand, with any size in its header."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return content(b"\x89PNG\r\n\x1a\n" + body)


def array(values: np.ndarray) -> Make:
    return lambda path: Image.fromarray(values).save(path, "TIFF")


CASES: dict[str, tuple[Make, str]] = {
    "an empty file": (content(b""), "0 bytes: the file is empty"),
    "text": (content(b"not an image at all\n"), "not an image"),
    "a web page": (content(b"<!DOCTYPE html><html><body>404 Not Found</body></html>"), "not an image"),
    "json": (content(b'{"error": "forbidden"}'), "not an image"),
    "svg": (content(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), "not an image"),
    "pdf": (content(b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n"), "not an image"),
    "eps, which Pillow would run": (content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image"),
    "a Photoshop file": (content(b"8BPS\x00\x01" + bytes(60)), "not an image"),
    "a zip file": (content(b"PK\x03\x04" + bytes(60)), "not an image"),
    "zeros": (content(bytes(5000)), "not an image"),
    "noise": (content(NOISE.tobytes()), "not an image"),
    "an AVIF header": (content(b"\x00\x00\x00\x1cftypavif" + bytes(40)), "not an image"),
    "a HEIC header": (content(b"\x00\x00\x00\x18ftypheic" + bytes(40)), "it begins like an image"),
    "a video": (content(b"\x00\x00\x00\x18ftypmp42" + bytes(40)), "not an image"),
    "JPEG: two bytes": (content(b"\xff\xd8"), "image"),
    "JPEG: header alone": (part("JPEG", 0.25), "damaged or truncated"),
    "JPEG: half": (part("JPEG", 0.5), "damaged or truncated"),
    "JPEG: nine tenths": (part("JPEG", 0.9), "damaged or truncated"),
    "PNG: half": (part("PNG", 0.5), "damaged or truncated"),
    "PNG: signature alone": (content(b"\x89PNG\r\n\x1a\n"), "image"),
    "PNG: a flipped byte": (flipped("PNG", 200), "damaged or truncated"),
    "PNG: no rows": (png(40, 30), "damaged or truncated"),
    "PNG: width 0": (png(0, 30), "image"),
    "PNG: a bomb": (png(60_000, 60_000, 1, 0), "pixels"),
    "GIF: half": (part("GIF", 0.5), "damaged or truncated"),
    "WebP: half": (part("WEBP", 0.5), "damaged or truncated"),
    "TIFF: half": (part("TIFF", 0.5), "damaged or truncated"),
    "TIFF: header alone": (content(b"II*\x00\x08\x00\x00\x00"), "image"),
    "BMP: half": (part("BMP", 0.5), "damaged or truncated"),
    "JPEG 2000: half": (part("JPEG2000", 0.5), "damaged or truncated"),
    "PPM: half": (part("PPM", 0.5), "damaged or truncated"),
    "too long": (sized("PNG", (4040, 40)), "too long to rescale"),
    "one row": (sized("PNG", (500, 1)), "too long to rescale"),
    "floating-point pixels": (array(np.zeros((30, 40), np.float32)), "floating-point pixels have no agreed range"),
    "32-bit pixels": (array(np.full((30, 40), 100_000, np.int32)), "32-bit pixels beyond 0..65535"),
    "negative pixels": (array(np.full((30, 40), -1, np.int32)), "32-bit pixels beyond 0..65535"),
    "a folder": (lambda path: path.mkdir(), "no image files in this folder"),
    "a pipe": (os.mkfifo, "a FIFO"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere.jpg"), "missing"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "symbolic link"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_image_is_refused_with_its_name_and_reason(
    name: str, tmp_path: Path, model: Path, refused: Callable[..., str]
) -> None:
    make, said = CASES[name]
    path = tmp_path / "photograph.jpg"
    make(path)
    message = refused("predict", model, path, "--device", "cpu", "--workers", "0")
    assert str(path) in message
    assert said in message
