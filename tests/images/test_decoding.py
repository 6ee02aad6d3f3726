"""Whatever file is given, `decode` returns 8-bit RGB or a BadImage with a reason; never a warning (they are errors)."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggnet.data.image_files import header_problem
from vggnet.description import AS_STORED, ImageReading, InputPolicy
from vggnet.errors import BadImage, UserError
from vggnet.images.decoding import as_rgb, decode, orientation_in, read_image, upright_size


def reason(path: Path) -> str:
    with pytest.raises(BadImage) as caught:
        decode(str(path))
    assert caught.value.path == str(path)
    assert str(caught.value).startswith(str(path))
    return caught.value.reason


def with_note(path: Path) -> tuple[Image.Image, str | None]:
    found = read_image(str(path))
    return found.image, found.note


def test_plain_rgb_is_unchanged(make_image):
    path = make_image("a.png")
    image, note = with_note(path)
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
    assert "a folder" in reason(tmp_path)


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
    image, note = with_note(path)
    assert np.abs(np.asarray(image)[16, 16].astype(int) - colour).max() <= 4
    assert note == "CMYK converted to RGB"


def test_16_bits_are_scaled_not_saturated(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)
    assert np.unique(np.asarray(decode(str(path)))).tolist() == [156]  # 40000 / 257 = 155.6
    assert with_note(path)[1] == "16-bit gray scaled to 8 bits"
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
    assert with_note(opaque)[1] == "palette converted to RGB"


def test_gray_and_bits(tmp_path):
    for mode, value, note in (("L", 7, "gray converted to RGB"), ("1", 255, "black and white converted to RGB")):
        path = tmp_path / f"{mode}.png"
        Image.new(mode, (4, 4), value).save(path)
        image, said = with_note(path)
        assert np.unique(np.asarray(image)).tolist() == [value]
        assert said == note


def test_first_frame_of_an_animation(tmp_path):
    path = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    image, note = with_note(path)
    assert np.asarray(image)[0, 0].tolist() == [250, 0, 0]
    assert note is not None
    assert note.startswith("first frame of an animation")


APPLY = ImageReading("apply")
TO_STORE = {  # what a camera does to an upright picture before it writes the orientation
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def stored(path: Path, upright: Image.Image, orientation: int, **options: object) -> Image.Image:
    """Write the picture turned, with the EXIF orientation that turns it back; give its stored pixels."""
    turn = TO_STORE[orientation]
    turned = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned.save(path, exif=exif, **options)
    return turned


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_exif_orientation_is_applied_or_ignored(make_image, tmp_path, suffix, orientation):
    upright = Image.open(make_image("upright.png", size=(24, 16)))
    if suffix == "jpg":
        upright = upright.resize((3, 2)).resize((24, 16), Image.Resampling.NEAREST)  # even blocks survive JPEG
    path = tmp_path / f"photo.{suffix}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    turned = stored(path, upright, orientation, **options)
    for reading, expected in ((APPLY, upright), (AS_STORED, turned)):
        found = read_image(str(path), reading)
        assert found.image.size == expected.size
        assert np.abs(np.asarray(found.image).astype(int) - np.asarray(expected)).max() <= (4 if suffix == "jpg" else 0)
        assert found.orientation == orientation
        with Image.open(path) as header:
            assert upright_size(header, reading) == expected.size
        with Image.open(path) as opened:  # as a caller from Python hands it over
            assert np.array_equal(np.asarray(as_rgb(opened, reading)), np.asarray(found.image))
    assert orientation_in(path.read_bytes()) == orientation


@pytest.mark.parametrize("reading", [APPLY, AS_STORED])
def test_a_tiff_is_turned_once_whatever_is_asked_for(make_image, tmp_path, reading):
    upright = Image.open(make_image("upright.png", size=(24, 16)))
    stored(tmp_path / "photo.tif", upright, 6)
    found = read_image(str(tmp_path / "photo.tif"), reading)
    assert np.array_equal(np.asarray(found.image), np.asarray(upright))
    assert found.orientation == 1
    with Image.open(tmp_path / "photo.tif") as header:
        assert upright_size(header, reading) == (24, 16)


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"no exif at all"])
def test_damaged_exif_is_no_orientation(make_image, exif):
    path = make_image("a.jpg", size=(40, 30), exif=exif)
    found = read_image(str(path), APPLY)
    assert (found.image.size, found.orientation) == ((40, 30), 1)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_exif_does_not_know_is_none(make_image, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode(str(make_image("a.jpg", size=(40, 30), exif=exif)), APPLY).size == (40, 30)


def test_the_range_of_16_bit_gray(tmp_path):
    path = tmp_path / "deep.png"
    values = np.array([[0, 7, 9, 2047], [2048, 4080, 4095, 5000]], np.uint16)
    Image.fromarray(values).save(path)
    found = read_image(str(path), ImageReading(pixel_range=(0, 4095)))
    assert np.asarray(found.image)[..., 0].tolist() == [[0, 0, 1, 127], [128, 254, 255, 255]]
    assert found.note == "16-bit gray, 0 to 4095 scaled to 8 bits"
    assert found.brightest == 5000
    middle = decode(str(path), ImageReading(pixel_range=(2047, 4095)))
    assert np.asarray(middle)[..., 0].tolist() == [[0, 0, 0, 0], [0, 253, 255, 255]]


def png_of_16_bits(path: Path, pixels: np.ndarray) -> None:
    """Pillow writes no 16-bit colours; (H, W, 3 or 4)."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colours_are_read_whole(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 4096, (5, 7, channels))
    pixels[..., 3:] = 65535  # opaque
    path = tmp_path / "deep.png"
    png_of_16_bits(path, pixels)
    found = read_image(str(path), ImageReading(pixel_range=(0, 4095)))
    expected = np.floor(pixels[..., :3] * 255 / 4095 + 0.5).astype(int)
    assert np.array_equal(np.asarray(found.image), expected)
    assert found.brightest == pixels[..., :3].max()
    assert str(found.note).startswith("16-bit colour, 0 to 4095 scaled to 8 bits")
    whole = np.floor(pixels[..., :3] * 255 / 65535 + 0.5).astype(int)
    assert np.array_equal(np.asarray(decode(str(path))), whole)
    with Image.open(path) as opened:
        assert np.array_equal(np.asarray(as_rgb(opened, ImageReading(pixel_range=(0, 4095)))), expected)


def test_transparent_16_bit_colours_are_laid_on_white(tmp_path):
    pixels = np.zeros((3, 3, 4), int)
    png_of_16_bits(tmp_path / "clear.png", pixels)
    assert np.asarray(decode(str(tmp_path / "clear.png"), ImageReading(pixel_range=(0, 4095)))).min() == 255


@pytest.mark.parametrize("pixel_range", [(0, 0), (5, 4), (-1, 9), (0, 65536)])
def test_a_range_that_is_none_is_refused(pixel_range):
    with pytest.raises(UserError, match="`pixel_range` "):
        ImageReading(pixel_range=pixel_range)
    with pytest.raises(UserError, match="`pixel_range` "):
        InputPolicy(pixel_range=pixel_range)


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
