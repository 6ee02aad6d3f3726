"""ILSVRC's tars, built from small images: the same data as its CLS-LOC layout, and a message for each fault."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from ilsvrc import Download, Picture, devkit, val_name, write_folders, write_tar, write_tars
from PIL import Image

from vggnet.data import ilsvrc_archives as archives
from vggnet.data.fingerprints import fingerprint
from vggnet.data.image_files import content_of
from vggnet.data.opening import open_data
from vggnet.errors import UserError

WNIDS = ("n01440764", "n01443537", "n02102040")
TITLES = ("tench, Tinca tinca", "goldfish, Carassius auratus", "English springer")
NUMBERS = (7, 2, 5)  # the devkit counts classes in its own order


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 44, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def download() -> Download:
    """Four training images of each class, one with a box, and six validation images with boxes."""
    train = [
        Picture(f"{wnid}_{number}", wnid, jpeg(10 * place + number), ((1, 2, 20 + place, 30),) if number == 1 else ())
        for place, wnid in enumerate(WNIDS)
        for number in range(4)
    ]
    val = [Picture(val_name(i + 1), WNIDS[i % 3], jpeg(100 + i), ((i, 0, 30, 20),)) for i in range(6)]
    return Download(WNIDS, TITLES, train, val, NUMBERS)


@pytest.fixture
def tars(download: Download, tmp_path: Path) -> Path:
    return write_tars(tmp_path / "tars", download)


@pytest.fixture
def folders(download: Download, tmp_path: Path) -> Path:
    return write_folders(tmp_path / "folders", download)


def test_the_tars_are_the_data_of_the_folders(tars, folders):
    packed, loose = open_data(str(tars)), open_data(str(folders))
    assert (packed.classes, packed.titles, packed.notes) == (loose.classes, loose.titles, loose.notes)
    assert packed.classes == WNIDS
    for one, other in ((packed.train, loose.train), (packed.val, loose.val)):
        assert fingerprint(one, packed.classes) == fingerprint(other, loose.classes)  # names, labels and boxes
        assert [content_of(one.file(i)) for i in range(len(one))] == [
            content_of(other.file(i)) for i in range(len(other))
        ]
    assert packed.train.files[5] == "train/n01443537/n01443537_1.JPEG"
    assert packed.train.path(5) == str(tars / archives.TRAIN / packed.train.files[5])
    assert packed.val.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert packed.train.boxes[5].tolist() == [[1, 2, 21, 30]]


def test_boxes_are_read_once_and_cached(tars, monkeypatch):
    before = open_data(str(tars))
    monkeypatch.setattr(archives, "read_xml", None)
    after = open_data(str(tars))
    assert [boxes.tolist() for boxes in after.train.boxes] == [boxes.tolist() for boxes in before.train.boxes]
    assert [boxes.tolist() for boxes in after.val.boxes] == [boxes.tolist() for boxes in before.val.boxes]


def test_the_train_tar_alone_and_the_val_tar_alone(tars):
    (tars / archives.VAL).rename(tars / "val.away")
    data = open_data(str(tars))
    assert data.val is None
    assert data.notes == (f"{tars / archives.VAL} is missing: there is no validation set",)
    (tars / archives.TRAIN).rename(tars / "train.away")
    (tars / "val.away").rename(tars / archives.VAL)
    data = open_data(str(tars))
    assert (data.train, len(data.val), data.classes) == (None, 6, WNIDS)
    (tars / archives.DEVKIT).unlink()
    with pytest.raises(UserError, match=f"{archives.DEVKIT} is missing, which has the labels"):
        open_data(str(tars))


def test_val_without_the_devkit_says_what_is_missing(tars):
    (tars / archives.DEVKIT).unlink()
    with pytest.raises(UserError, match=r"its labels are missing: put ILSVRC2012_devkit_t12.tar.gz"):
        open_data(str(tars))


def test_wrong_counts_of_labels(tars, download):
    write_tar(tars / archives.DEVKIT, devkit(download, [7, 2, 5]), "w:gz")
    with pytest.raises(UserError, match=r"image 6 has no label: .* has 3 labels. The two are not of one download"):
        open_data(str(tars))
    write_tar(tars / archives.DEVKIT, devkit(download, [7, 2, 5, 7, 2, 5, 7]), "w:gz")
    assert f"1 image with a label not in {tars / archives.VAL}" in open_data(str(tars)).notes
    write_tar(tars / archives.DEVKIT, devkit(download, [7, 2, 5, 7, 2, 6]), "w:gz")
    with pytest.raises(UserError, match=r"has the class 6, which meta.mat does not name"):
        open_data(str(tars))


def test_damaged_devkits_and_boxes_are_named(tars, download):
    path = tars / archives.TRAIN_BOXES
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"bbox_train_v2.tar.gz: damaged or truncated"):
        open_data(str(tars))
    write_tar(path, {"n01440764/n01440764_1.xml": b"<annotation>"}, "w:gz")
    with pytest.raises(UserError, match=r"bbox_train_v2.tar.gz/n01440764/n01440764_1.xml:1: malformed XML"):
        open_data(str(tars))
    write_tar(path, {"readme": b""}, "w:gz")
    with pytest.raises(UserError, match="no XML in it"):
        open_data(str(tars))
    files = devkit(download, [7] * 6)
    write_tar(tars / archives.DEVKIT, {name: b"x" if name.endswith(".mat") else files[name] for name in files}, "w:gz")
    with pytest.raises(UserError, match=r"devkit_t12.tar.gz: meta.mat cannot be read"):
        open_data(str(tars))


def test_a_class_without_a_tar_of_images_is_a_stranger_to_val(tars, tmp_path):
    with tarfile.open(tars / archives.TRAIN) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()[:2]}
    write_tar(tars / archives.TRAIN, files)
    with pytest.raises(UserError, match=r"class 'n02102040' has no folder in .*img_train.tar"):
        open_data(str(tars))


def test_a_class_whose_tar_is_cut_off_is_named(tars, tmp_path):
    with tarfile.open(tars / archives.TRAIN) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}
    files["n01443537.tar"] = files["n01443537.tar"][:1500]
    write_tar(tars / archives.TRAIN, files)
    with pytest.raises(UserError, match=r"img_train.tar \(at byte [\d,]+\): .*truncated"):
        open_data(str(tars))
