"""Data sets in tars and zips: the same images as in the folder, and a message for each hostile or damaged archive."""

import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vggnet.data.archive_listing import list_archive
from vggnet.data.fingerprints import fingerprint
from vggnet.data.folders import ArchiveFolder
from vggnet.data.image_files import content_of
from vggnet.data.learnt import content_digests
from vggnet.data.listing import images_at, unlabelled_folder
from vggnet.data.opening import open_data
from vggnet.errors import BadImage, UserError
from vggnet.images.decoding import decode


def tarred(folder: Path, out: Path, name: str = ".") -> Path:
    """Write a folder as a tar whose names begin with `name`."""
    with tarfile.open(out, "w") as tar:
        tar.add(folder, name)
    return out


def zipped(folder: Path, out: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a folder as a zip."""
    with zipfile.ZipFile(out, "w", compression) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return out


def with_members(path: Path, *members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    """Write a tar of the given files, links or devices."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.type, header.linkname, header.size = kind, link, len(content)
            tar.addfile(header, io.BytesIO(content))
    return path


def same(one, other):
    """Whether two splits have the same names, labels and bytes."""
    assert one.files == other.files
    np.testing.assert_array_equal(one.labels, other.labels)
    assert [content_of(one.file(i)) for i in range(len(one))] == [content_of(other.file(i)) for i in range(len(other))]
    np.testing.assert_array_equal(content_digests(one), content_digests(other))
    for index in range(len(one)):
        np.testing.assert_array_equal(np.asarray(decode(one.file(index))), np.asarray(decode(other.file(index))))


@pytest.fixture
def folder(class_folders) -> Path:
    return class_folders(classes=3, train=4, val=2)


@pytest.mark.parametrize("kind", ["tar", "tar of a folder", "zip", "compressed zip"])
def test_class_folders_in_an_archive_are_those_of_the_folder(folder, tmp_path, kind):
    out = tmp_path / "photos.zip" if "zip" in kind else tmp_path / "photos.tar"
    if "zip" in kind:
        zipped(folder, out, zipfile.ZIP_DEFLATED if "compressed" in kind else zipfile.ZIP_STORED)
    else:
        tarred(folder, out, "some photos" if "folder" in kind else ".")
    loose, packed = open_data(str(folder)), open_data(str(out))
    assert (packed.classes, packed.divided) == (loose.classes, loose.divided)
    same(loose.train, packed.train)
    same(loose.val, packed.val)
    assert fingerprint(loose.train, loose.classes) == fingerprint(packed.train, packed.classes)
    assert (
        packed.train.path(0)
        == str(out / ("some photos" if "folder" in kind else "")).rstrip("/") + "/" + loose.train.files[0]
    )
    assert (packed.train.states()[:, 0] == loose.train.states()[:, 0]).all()


def test_a_single_folder_of_classes_in_an_archive_is_divided_as_the_folder_is(folder, tmp_path):
    loose, packed = open_data(str(folder / "train")), open_data(str(tarred(folder / "train", tmp_path / "photos.tar")))
    assert packed.divided
    same(loose.train, packed.train)
    same(loose.val, packed.val)


def test_tars_in_a_tar_are_its_classes(folder, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    for each in sorted((folder / "train").iterdir()):
        tarred(each, inner / f"{each.name}.tar")
    packed = open_data(str(tarred(inner, tmp_path / "all.tar")), whole=True).val
    same(open_data(str(folder / "train"), whole=True).val, packed)


def test_images_without_classes_and_single_paths_beside_an_archive(folder, tmp_path):
    path = tarred(folder / "val" / "class0", tmp_path / "flat.tar")
    split = unlabelled_folder(path)
    assert split.files == ("0.jpg", "1.jpg")
    together = images_at([folder / "val" / "class1" / "0.jpg", path])
    assert [Path(together.path(i)).name for i in range(3)] == ["0.jpg", "0.jpg", "1.jpg"]
    assert together.file(0) == str(folder / "val" / "class1" / "0.jpg")
    np.testing.assert_array_equal(decode(together.file(2)), decode(str(folder / "val" / "class0" / "1.jpg")))
    assert (together.states()[:, 0] > 0).all()


def test_an_archive_is_open_once_and_nothing_is_unpacked(folder, tmp_path):
    path = tarred(folder, tmp_path / "photos.tar")
    shutil.rmtree(folder)
    before = sorted(tmp_path.rglob("*"))
    split = open_data(str(path)).train
    for index in range(len(split)):
        decode(split.file(index))
    opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert opened.count(str(path)) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_list_of_an_archive_is_cached_until_the_archive_changes(folder, tmp_path, monkeypatch):
    path = tarred(folder, tmp_path / "photos.tar")
    first = list_archive(path)
    monkeypatch.setattr("vggnet.data.archive_listing._tar_rows", None)
    assert list_archive(path).names == first.names
    os.utime(path, ns=(1, 1))
    with pytest.raises(TypeError):
        list_archive(path)


def test_an_archive_that_changes_while_it_is_used_is_a_bad_image(folder, tmp_path):
    path = tarred(folder, tmp_path / "photos.tar")
    split = open_data(str(path)).train
    os.utime(path, ns=(1, 1))
    with pytest.raises(BadImage, match="has changed since its images were listed: start again"):
        decode(split.file(0))


def test_folders_of_an_archive_are_found_by_name(tmp_path):
    names = ("a/1.jpg", "a-b/2.jpg", "a/c/3.jpg", "a.jpg", "a/c.jpg")
    root = ArchiveFolder(list_archive(with_members(tmp_path / "x.tar", *((name, b"x") for name in names))))
    assert sorted((entry.name, entry.is_dir()) for entry in root.entries()) == [
        ("a", True),
        ("a-b", True),
        ("a.jpg", False),
    ]
    assert sorted(entry.name for entry in (root / "a").entries()) == ["1.jpg", "c", "c.jpg"]
    assert ((root / "a").is_dir(), (root / "a").is_file(), (root / "a" / "c.jpg").is_file()) == (True, False, True)
    assert not (root / "b").is_dir()
    assert (root / "a/c").parents[0].name == "a"
    with pytest.raises(FileNotFoundError):
        (root / "b.csv").read_bytes()


@pytest.mark.parametrize("name", ["../photo.jpg", "a/../../photo.jpg", "/etc/photo.jpg"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path, name, kind):
    path = tmp_path / f"x.{kind}"
    if kind == "tar":
        with_members(path, ("a/1.jpg", b"x"), (name, b"x"))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(UserError, match="leads out of the archive"):
        open_data(str(path))


def test_two_files_of_one_name_are_refused(tmp_path):
    path = with_members(tmp_path / "x.tar", ("a/1.jpg", b"x"), ("./a/1.jpg", b"y"))
    with pytest.raises(UserError, match=r"two files are called 'a/1.jpg'"):
        open_data(str(path))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_left_out_and_counted(folder, tmp_path, kind):
    path = tarred(folder, tmp_path / "photos.tar")
    with tarfile.open(path, "a") as tar:
        header = tarfile.TarInfo("train/class0/link.jpg")
        header.type, header.linkname = kind, "/etc/passwd"
        tar.addfile(header)
        header = tarfile.TarInfo("train/class0/fifo.jpg")
        header.type = tarfile.FIFOTYPE
        tar.addfile(header)
    data = open_data(str(path))
    assert data.notes[:2] == (f"left out: 1 link in {path}", f"left out: 1 special file in {path}")
    assert data.train.files == open_data(str(folder)).train.files


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_a_truncated_tar_is_refused(folder, tmp_path, kept):
    path = tarred(folder, tmp_path / "photos.tar")
    content = path.read_bytes()
    end = len(content.rstrip(b"\0"))
    path.write_bytes(content[: int(end * kept)])
    with pytest.raises(UserError, match=r"photos.tar.*(truncated|damaged)"):
        open_data(str(path))


def test_a_tar_that_ends_between_two_files_is_refused(folder, tmp_path):
    path = tarred(folder, tmp_path / "photos.tar")
    with tarfile.open(path) as tar:
        ends = [member.offset for member in tar.getmembers() if member.isreg()]
    path.write_bytes(path.read_bytes()[: ends[-1]])
    with pytest.raises(UserError, match="ends without the mark of a tar's end"):
        open_data(str(path))


def test_a_tar_with_a_damaged_header_is_refused(folder, tmp_path):
    path = tarred(folder, tmp_path / "photos.tar")
    with tarfile.open(path) as tar:
        offset = [member.offset for member in tar.getmembers() if member.isreg()][2]
    content = bytearray(path.read_bytes())
    content[offset + 10] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"is damaged at byte {offset:,}"):
        open_data(str(path))


def test_a_truncated_or_broken_zip_is_refused(folder, tmp_path):
    path = zipped(folder, tmp_path / "photos.zip")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a zip, or a damaged one"):
        open_data(str(path))


def test_damage_within_a_zip_is_a_bad_image(folder, tmp_path):
    path = zipped(folder, tmp_path / "photos.zip", zipfile.ZIP_DEFLATED)
    split = open_data(str(path)).train
    member = split.file(0)
    content = bytearray(path.read_bytes())
    content[member.start : member.start + 4] = b"none"
    state = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(BadImage, match=r"photos.zip/train/class0/0.jpg: the archive is damaged"):
        decode(member)


def test_a_zip_that_says_it_is_small_is_not_inflated_beyond(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.jpg", bytes(10**6))
    content = path.read_bytes().replace((10**6).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    path.write_bytes(content)
    split = unlabelled_folder(path)
    assert split.file(0).size == 100
    with pytest.raises(BadImage, match=r"the archive is damaged|not an image"):
        decode(split.file(0))


@pytest.mark.parametrize(("mode", "remedy"), [("w:gz", "gunzip"), ("w:bz2", "bunzip2"), ("w:xz", "unxz")])
def test_a_tar_that_is_compressed_as_a_whole_is_refused_with_what_to_do(folder, tmp_path, mode, remedy):
    path = tmp_path / f"photos.tar.{mode[2:]}"
    with tarfile.open(path, mode) as tar:
        tar.add(folder, ".")
    with pytest.raises(UserError, match=f"is compressed as a whole.*`{remedy} -k {path.name}` makes a tar"):
        open_data(str(path))


def test_an_encrypted_zip_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.jpg", b"x")
    content = bytearray(path.read_bytes())
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        at = content.index(mark)
        content[at + (6 if mark == b"PK\x03\x04" else 8)] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"'a/1.jpg' is encrypted"):
        open_data(str(path))


def test_an_empty_archive_and_other_files_have_a_message(tmp_path):
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(UserError, match=r"empty.tar: no images"):
        open_data(str(tmp_path / "empty.tar"))
    (tmp_path / "text.tar").write_text("no tar" * 200)
    with pytest.raises(UserError, match="not a tar, or a damaged one"):
        open_data(str(tmp_path / "text.tar"))
    (tmp_path / "photos.txt").write_text("no archive")
    with pytest.raises(UserError, match="is a file: DATA is a folder of images, a tar or a zip"):
        open_data(str(tmp_path / "photos.txt"))
