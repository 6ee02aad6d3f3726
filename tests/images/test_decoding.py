"""Whatever file is given, `decode` returns 8-bit RGB or a BadImage with a reason; never a warning (they are errors)."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggnet.errors import BadImage
from vggnet.images.decoding import decode, decode_with_note, header_problem


def reason(path: Path) -> str:
    with pytest.raises(BadImage) as caught:
        decode(str(path))
    assert caught.value.path == str(path)
    assert str(caught.value).startswith(str(path))
    return caught.value.reason


def test_plain_rgb_is_unchanged(make_image):
    path = make_image("a.png")
    image, note = decode_with_note(str(path))
    assert type(image) is Image.Image
    assert image.mode == "RGB"
    assert note is None
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(path)))


def test_content_decides_not_the_name(make_image, tmp_path):
    png = make_image("a.png")
    named_jpg = tmp_path / "b.jpg"
    named_jpg.write_bytes(png.read_bytes())
    assert np.array_equal(np.asarray(decode(str(named_jpg))), np.asarray(decode(str(png))))
    text = tmp_path / "text.jpg"
    text.write_text("not an image at all")
    assert "not an image" in reason(text)


def test_missing_empty_and_folder(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    assert "0 bytes" in reason(empty)
    assert "missing" in reason(tmp_path / "nowhere.jpg")
    assert "cannot be read" in reason(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9])
def test_truncated(make_image, suffix, kept):
    path = make_image(f"a.{suffix}", size=(120, 90))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert reason(path)


def test_corrupt_png(make_image):
    path = make_image("a.png", size=(64, 64))
    data = bytearray(path.read_bytes())
    data[60:2000] = bytes(1940)
    path.write_bytes(bytes(data))
    assert "damaged" in reason(path)


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT" + bytes(10)


@pytest.mark.parametrize("side", [14_000, 60_000])  # beyond Pillow's error; one just below is only its warning
def test_gigantic(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    assert "178,956,970 pixels" in reason(path)


def test_large_but_allowed_gives_no_warning(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png_header(10_000, 10_000))  # Pillow warns; the truncated data is what is wrong
    assert "damaged" in reason(path)


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1)])
def test_too_long(make_image, size):
    assert "too long" in reason(make_image("line.png", size=size))


def test_cmyk_and_adobe_inverted_cmyk(tmp_path):
    path = tmp_path / "cmyk.jpg"
    colour = (200, 40, 90)
    Image.new("RGB", (32, 32), colour).convert("CMYK").save(path, quality=95)  # Pillow writes Adobe's inverted form
    image, note = decode_with_note(str(path))
    assert np.abs(np.asarray(image)[16, 16].astype(int) - colour).max() <= 4
    assert note == "CMYK converted to RGB"


def test_16_bits_are_scaled_not_saturated(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)
    assert np.unique(np.asarray(decode(str(path)))).tolist() == [156]  # 40000 / 257 = 155.6
    assert decode_with_note(str(path))[1] == "16-bit gray scaled to 8 bits"
    wide = tmp_path / "wide.tif"
    Image.fromarray(np.full((8, 8), 1 << 20, np.int32)).save(wide)
    assert "32-bit" in reason(wide)
    floating = tmp_path / "float.tif"
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(floating)
    assert "floating" in reason(floating)


def test_transparency_is_laid_on_white(tmp_path):
    rgba = tmp_path / "rgba.png"
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(rgba)
    assert np.asarray(decode(str(rgba))).min() == 255
    la = tmp_path / "la.png"
    Image.new("LA", (4, 4), (0, 0)).save(la)
    assert np.asarray(decode(str(la))).min() == 255
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    see_through = tmp_path / "palette.png"
    palette.save(see_through, transparency=1)
    assert np.asarray(decode(str(see_through))).min() == 255
    opaque = tmp_path / "opaque.png"
    palette.save(opaque)
    assert np.asarray(decode(str(opaque)))[0, 0].tolist() == [10, 20, 30]
    assert decode_with_note(str(opaque))[1] == "palette converted to RGB"


def test_gray_and_bits(tmp_path):
    for mode, value, note in (("L", 7, "gray converted to RGB"), ("1", 255, "black and white converted to RGB")):
        path = tmp_path / f"{mode}.png"
        Image.new(mode, (4, 4), value).save(path)
        image, said = decode_with_note(str(path))
        assert np.unique(np.asarray(image)).tolist() == [value]
        assert said == note


def test_first_frame_of_an_animation(tmp_path):
    path = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    image, note = decode_with_note(str(path))
    assert np.asarray(image)[0, 0].tolist() == [250, 0, 0]
    assert note is not None
    assert note.startswith("first frame of an animation")


def test_exif_rotation_is_not_applied(make_image):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(str(make_image("turned.jpg", size=(40, 30), exif=exif))).size == (40, 30)


def test_header_problem(make_image, tmp_path):
    for suffix in ("jpg", "png", "gif", "webp", "tif", "bmp", "ppm", "jp2"):
        assert header_problem(str(make_image(f"a.{suffix}"))) is None
    empty = tmp_path / "empty"
    empty.touch()
    assert "0 bytes" in str(header_problem(str(empty)))
    empty.write_text("hello")
    assert "not an image" in str(header_problem(str(empty)))
    assert "missing" in str(header_problem(str(tmp_path / "nowhere")))


def test_photographs(photographs):
    for path in photographs:
        with Image.open(path) as plain:
            assert np.array_equal(np.asarray(decode(str(path))), np.asarray(plain.convert("RGB")))
