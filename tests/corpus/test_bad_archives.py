"""Bad archives: each is refused by name, with its fault and what to do."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ilsvrc import tar_of, write_tar

from vggnet.api.training import train
from vggnet.errors import UserError

Files = dict[str, bytes]
Make = Callable[[Path, Files], object]


def tarred(change: Callable[[bytearray], object] = lambda content: None, **more: bytes) -> Make:
    """A tar of the data set and `more`, its bytes changed."""

    def make(path: Path, files: Files) -> None:
        content = bytearray(tar_of(files | more))
        changed = change(content)
        path.write_bytes(changed if isinstance(changed, bytes) else content)

    return make


def zipped(
    change: Callable[[bytearray], object] = lambda content: None,
    compression: int = zipfile.ZIP_DEFLATED,
    *,
    add: Callable[[zipfile.ZipFile], object] = lambda archive: None,
) -> Make:
    """A zip of the data set and what `add` writes, its bytes changed."""

    def make(path: Path, files: Files) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, compression)
            add(archive)
        content = bytearray(buffer.getvalue())
        changed = change(content)
        path.write_bytes(changed if isinstance(changed, bytes) else content)

    return make


def part(kept: float) -> Callable[[bytearray], bytes]:
    return lambda content: bytes(content[: int(len(content) * kept)])


def flip(place: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content[place] ^= 0xFF

    return change


def named(*names: str) -> Callable[[zipfile.ZipFile], None]:
    def add(archive: zipfile.ZipFile) -> None:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"x")

    return add


def in_directory(offset: int, form: str, value: int) -> Callable[[bytearray], None]:
    """Change a field of the first file in a zip's directory (APPNOTE, 4.3.12)."""

    def change(content: bytearray) -> None:
        struct.pack_into(form, content, content.index(b"PK\x01\x02") + offset, value)

    return change


def special(kind: bytes) -> Make:
    """A tar of nothing but links or devices."""

    def make(path: Path, files: Files) -> None:
        with tarfile.open(path, "w") as tar:
            for name in files:
                header = tarfile.TarInfo(name)
                header.type, header.linkname = kind, "/etc/passwd"
                tar.addfile(header)

    return make


def twice(path: Path, files: Files) -> None:
    name, content = next(iter(files.items()))
    header = tarfile.TarInfo(f"./{name}")
    header.size = len(content)
    tarred()(path, files)
    with tarfile.open(path, "a") as tar:
        tar.addfile(header, io.BytesIO(content))


def classes(change: Callable[[bytes], bytes]) -> Make:
    """A tar with a tar for each class, one of them changed."""

    def make(path: Path, files: Files) -> None:
        inner: dict[str, bytes] = {}
        for label in ("bee", "cat"):
            inner[f"{label}.tar"] = tar_of(
                {name.rpartition("/")[2]: content for name, content in files.items() if f"train/{label}/" in name}
            )
        inner["cat.tar"] = change(inner["cat.tar"])
        write_tar(path, inner)

    return make


def compressed(mode: str) -> Make:
    return lambda path, files: write_tar(path, files, mode)


def content(data: bytes) -> Make:
    return lambda path, _: path.write_bytes(data)


def without_a_class(path: Path, files: Files) -> None:
    write_tar(path, {name: content for name, content in files.items() if not name.startswith("train/cat")})


SIZE, STORED_SIZE, METHOD, FLAGS, OFFSET = 24, 20, 10, 8, 42

CASES: dict[str, tuple[str, Make, str]] = {
    "tar: a third": ("x.tar", tarred(part(0.3)), "copy it again"),
    "tar: three quarters": ("x.tar", tarred(part(0.6)), "truncated"),
    "tar: a damaged header": ("x.tar", tarred(flip(10)), "damaged"),
    "tar: text": ("x.tar", content(b"not a tar" * 100), "not a tar, or a damaged one"),
    "tar: no file": ("x.tar", lambda path, _: write_tar(path, {}), "no images"),
    "tar: links alone": ("x.tar", special(tarfile.SYMTYPE), "no images"),
    "tar: devices alone": ("x.tar", special(tarfile.CHRTYPE), "no images"),
    "tar: a name that leads out": ("x.tar", tarred(**{"../a.jpg": b"x"}), "leads out of the archive"),
    "tar: an absolute name": ("x.tar", tarred(**{"/tmp/a.jpg": b"x"}), "leads out of the archive"),
    "tar: a name twice": ("x.tar", twice, "two files are called 'train/bee/train0.png'"),
    "tar: gzip": ("x.tar.gz", compressed("w:gz"), "`gunzip -k x.tar.gz` makes a tar"),
    "tar: gzip, named .tgz": ("x.tgz", compressed("w:gz"), "`gunzip -k x.tgz` makes a tar"),
    "tar: gzip, named .tar": ("x.tar", compressed("w:gz"), "compressed as a whole"),
    "tar: bzip2": ("x.tar.bz2", compressed("w:bz2"), "`bunzip2 -k x.tar.bz2` makes a tar"),
    "tar: xz": ("x.tar.xz", compressed("w:xz"), "`unxz -k x.tar.xz` makes a tar"),
    "tar: val has a class more": ("x.tar", without_a_class, "class 'cat' has no folder in"),
    "tar of tars: one is cut off": ("x.tar", classes(lambda tar: tar[:700]), "copy it again"),
    "tar of tars: one is text": ("x.tar", classes(lambda _: b"text " * 200), "copy it again"),
    "tar of tars: one is empty": ("x.tar", classes(lambda _: tar_of({})), "x.tar"),
    "tar of tars: one is compressed": ("x.tar", classes(gzip.compress), "copy it again"),
    "tar of tars: one leads out": ("x.tar", classes(lambda _: tar_of({"../a.jpg": b"x"})), "leads out of the archive"),
    "zip: half": ("x.zip", zipped(part(0.5)), "not a zip, or a damaged one"),
    "zip: text": ("x.zip", content(b"not a zip" * 100), "not a zip, or a damaged one"),
    "zip: no file": ("x.zip", content(b"PK\x05\x06" + bytes(18)), "no images"),
    "zip: a damaged directory": (
        "x.zip",
        zipped(lambda content: content.__setitem__(slice(-19, -1), b"\xff" * 18)),
        "not a zip, or a damaged one",
    ),
    "zip: a name that leads out": ("x.zip", zipped(add=named("../a.jpg")), "leads out of the archive"),
    "zip: back slashes that lead out": ("x.zip", zipped(add=named("..\\a.jpg")), "leads out of the archive"),
    "zip: a name twice": ("x.zip", zipped(add=named("a/1.jpg", "a//1.jpg")), "two files are called 'a/1.jpg'"),
    "zip: encrypted": ("x.zip", zipped(in_directory(FLAGS, "<H", 1)), "is encrypted: write the archive without"),
    "zip: LZMA": ("x.zip", zipped(compression=zipfile.ZIP_LZMA), "compressed by method 14"),
    "zip: an unknown method": ("x.zip", zipped(in_directory(METHOD, "<H", 98)), "compressed by method 98"),
    "zip: a file beyond the end": ("x.zip", zipped(in_directory(STORED_SIZE, "<I", 2**31)), "beyond the archive's end"),
    "zip: a bomb of 3 GB": ("x.zip", zipped(in_directory(SIZE, "<I", 3 * 10**9)), "3,000,000,000 bytes are more than"),
    "zip: a bomb that says it is empty": ("x.zip", zipped(in_directory(SIZE, "<I", 0)), "0 bytes"),
    "zip: a file that says it is smaller": ("x.zip", zipped(in_directory(SIZE, "<I", 90)), "damaged or truncated"),
    "zip: a file that says it is larger": ("x.zip", zipped(in_directory(SIZE, "<I", 10**6)), "the archive is damaged"),
    "zip: damaged bytes": ("x.zip", zipped(flip(60)), "x.zip/train/bee/train0.png"),
    "zip: a lost header": ("x.zip", zipped(in_directory(OFFSET, "<I", 7)), "the archive is damaged at byte 7"),
    "zip: a zip alone": ("x.zip", lambda path, _: _zip_in_zip(path), "no images"),
    "RAR": ("x.rar", content(b"Rar!\x1a\x07\x01\x00" + bytes(600)), "RAR is not an archive that is read here"),
    "7z": ("x.7z", content(b"7z\xbc\xaf'\x1c" + bytes(600)), "7z is not an archive that is read here"),
}


def _zip_in_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.zip", b"PK\x05\x06" + bytes(18))


@pytest.mark.parametrize("name", CASES)
def test_a_bad_archive_is_refused_with_its_name_and_fault(name: str, tmp_path: Path, photos: Path) -> None:
    file, make, said = CASES[name]
    files = {str(path.relative_to(photos)): path.read_bytes() for path in sorted(photos.rglob("*.png"))}
    make(tmp_path / file, files)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        train(tmp_path / file, out=tmp_path / "run", net="A", crop=32, width=0.03, device="cpu", workers=0, threads=1)
    assert file in str(error.value)
    assert said in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before
