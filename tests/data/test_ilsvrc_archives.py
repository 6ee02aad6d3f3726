"""ILSVRC's tars, built from small images: the same data as its CLS-LOC layout, and a message for each fault."""

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from vggnet.data import ilsvrc_archives as archives
from vggnet.data.fingerprints import fingerprint
from vggnet.data.image_files import content_of
from vggnet.data.opening import open_data
from vggnet.errors import UserError

WNIDS = ("n01440764", "n01443537", "n02102040")
TITLES = ("tench, Tinca tinca", "goldfish, Carassius auratus", "English springer")
NUMBERS = (7, 2, 5)  # the devkit counts classes in its own order


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 44, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def xml(image: str, wnid: str, corners: tuple[int, ...]) -> bytes:
    sides = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    size = "<size><width>44</width><height>40</height></size>"
    object_ = f"<object><name>{wnid}</name><bndbox>{sides}</bndbox></object>"
    return f"<annotation><filename>{image}</filename>{size}{object_}</annotation>".encode()


def devkit(labels: list[int]) -> dict[str, bytes]:
    """The two files of the devkit that are read, and one that is not."""
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(number, *names, "gloss", 0) for number, *names in zip(NUMBERS, WNIDS, TITLES, strict=True)]
    rows.append((1001, "n00001740", "entity", "gloss", 3))
    file = io.BytesIO()
    savemat(file, {"synsets": np.array(rows, kind)})
    data = "ILSVRC2012_devkit_t12/data"
    lines = "".join(f"{label}\n" for label in labels).encode()
    return {
        f"{data}/meta.mat": file.getvalue(),
        f"{data}/{archives._LABELS}": lines,
        "ILSVRC2012_devkit_t12/readme.txt": b"x",
    }


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Four training images of each class and six validation images as tars, with boxes of some."""
    root = tmp_path / "tars"
    root.mkdir()
    inner, boxes = {}, {}
    for place, wnid in enumerate(WNIDS):
        files = {f"{wnid}_{number}.JPEG": picture(10 * place + number) for number in range(4)}
        file = tmp_path / f"{wnid}.tar"
        write_tar(file, files)
        inner[f"{wnid}.tar"] = file.read_bytes()
        boxes[f"{wnid}/{wnid}_1.xml"] = xml(f"{wnid}_1", wnid, (1, 2, 20 + place, 30))
    write_tar(root / archives.TRAIN, inner)
    write_tar(root / archives.VAL, {f"ILSVRC2012_val_{i + 1:08d}.JPEG": picture(100 + i) for i in reversed(range(6))})
    write_tar(root / archives.DEVKIT, devkit([NUMBERS[i % 3] for i in range(6)]), "w:gz")
    write_tar(root / archives.TRAIN_BOXES, boxes, "w:gz")
    val = {f"val/ILSVRC2012_val_{i + 1:08d}.xml": xml("%s", WNIDS[i % 3], (i, 0, 30, 20)) for i in range(6)}
    write_tar(root / archives.VAL_BOXES, val, "w:gz")
    return root


@pytest.fixture
def folders(tars: Path, tmp_path: Path) -> Path:
    """The same images in the CLS-LOC layout."""
    root = tmp_path / "folders"
    base = root / "ILSVRC/Data/CLS-LOC"
    for place, wnid in enumerate(WNIDS):
        (base / "train" / wnid).mkdir(parents=True)
        for number in range(4):
            (base / "train" / wnid / f"{wnid}_{number}.JPEG").write_bytes(picture(10 * place + number))
    (base / "val").mkdir()
    for i in range(6):
        (base / "val" / f"ILSVRC2012_val_{i + 1:08d}.JPEG").write_bytes(picture(100 + i))
    train = [(f"{wnid}_1", f"{wnid} 1 2 {20 + place} 30 ") for place, wnid in enumerate(WNIDS)]
    val = [(f"ILSVRC2012_val_{i + 1:08d}", f"{WNIDS[i % 3]} {i} 0 30 20 ") for i in range(6)]
    for name, rows in (("train", train), ("val", val)):
        with (root / f"LOC_{name}_solution.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("ImageId", "PredictionString"), *rows])
    lines = [f"{wnid} {title}\n" for wnid, title in zip(WNIDS, TITLES, strict=True)]
    (root / "LOC_synset_mapping.txt").write_text("".join(lines))
    return root


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


def test_wrong_counts_of_labels(tars):
    write_tar(tars / archives.DEVKIT, devkit([7, 2, 5]), "w:gz")
    with pytest.raises(UserError, match=r"image 6 has no label: .* has 3 labels. The two are not of one download"):
        open_data(str(tars))
    write_tar(tars / archives.DEVKIT, devkit([7, 2, 5, 7, 2, 5, 7]), "w:gz")
    assert f"1 image with a label not in {tars / archives.VAL}" in open_data(str(tars)).notes
    write_tar(tars / archives.DEVKIT, devkit([7, 2, 5, 7, 2, 6]), "w:gz")
    with pytest.raises(UserError, match=r"has the class 6, which meta.mat does not name"):
        open_data(str(tars))


def test_damaged_devkits_and_boxes_are_named(tars):
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
    files = devkit([7] * 6)
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
