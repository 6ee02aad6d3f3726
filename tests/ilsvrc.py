"""Write ILSVRC's download as image-net.org gives it, tars of images and boxes, and the same as the CLS-LOC layout."""

import csv
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.io import savemat

from vggnet.data import ilsvrc_archives as archives

Corners = tuple[int, int, int, int]


@dataclass(frozen=True)
class Picture:
    """A JPEG with its class and its boxes. `name` has no suffix; boxes are (xmin, ymin, xmax, ymax)."""

    name: str
    wnid: str
    content: bytes
    boxes: tuple[Corners, ...] = ()
    size: tuple[int, int] = (44, 40)  # width, height


@dataclass(frozen=True)
class Download:
    """What is written: classes with their titles and numbers in the devkit, training images, validation images."""

    wnids: tuple[str, ...]
    titles: tuple[str, ...]
    train: Sequence[Picture]
    val: Sequence[Picture]  # in the order of their numbers
    numbers: tuple[int, ...] = field(default=())

    def number(self, wnid: str) -> int:
        """Return the devkit's number of a class: in an order of its own."""
        numbers = self.numbers or tuple(range(len(self.wnids), 0, -1))
        return numbers[self.wnids.index(wnid)]


def val_name(number: int) -> str:
    """Return the name of validation image `number`, counted from 1."""
    return f"ILSVRC2012_val_{number:08d}"


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def tar_of(files: dict[str, bytes]) -> bytes:
    """Return a tar as bytes, to be put into another one."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return file.getvalue()


def xml(picture: Picture) -> bytes:
    """Return the annotation of a picture as ILSVRC writes it."""
    objects = ""
    for corners in picture.boxes:
        sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        lines = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
        objects += f"<object><name>{picture.wnid}</name><bndbox>{lines}</bndbox></object>"
    width, height = picture.size
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation><filename>{picture.name}</filename>{size}{objects}</annotation>".encode()


def devkit(download: Download, labels: Sequence[int] | None = None) -> dict[str, bytes]:
    """Return the two files of the devkit that are read, and one that is not. `labels` replace those of the images."""
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    names = zip(download.wnids, download.titles, strict=True)
    rows = [(download.number(wnid), wnid, title, "gloss", 0) for wnid, title in names]
    rows.append((1001, "n00001740", "entity", "gloss", 3))
    file = io.BytesIO()
    savemat(file, {"synsets": np.array(rows, kind)})
    if labels is None:
        labels = [download.number(picture.wnid) for picture in download.val]
    lines = "".join(f"{label}\n" for label in labels).encode()
    data = "ILSVRC2012_devkit_t12/data"
    return {
        f"{data}/meta.mat": file.getvalue(),
        f"{data}/ILSVRC2012_validation_ground_truth.txt": lines,
        "ILSVRC2012_devkit_t12/readme.txt": b"x",
    }


def write_tars(root: Path, download: Download) -> Path:
    """Write the five archives into the folder `root`, which is made."""
    root.mkdir()
    inner, train_boxes = {}, {}
    for wnid in download.wnids:
        pictures = [picture for picture in download.train if picture.wnid == wnid]
        inner[f"{wnid}.tar"] = tar_of({f"{picture.name}.JPEG": picture.content for picture in pictures})
        boxes = {f"{wnid}/{picture.name}.xml": xml(picture) for picture in pictures if picture.boxes}
        train_boxes |= boxes
    write_tar(root / archives.TRAIN, inner)
    shuffled = {f"{picture.name}.JPEG": picture.content for picture in reversed(download.val)}
    write_tar(root / archives.VAL, shuffled)
    write_tar(root / archives.DEVKIT, devkit(download), "w:gz")
    write_tar(root / archives.TRAIN_BOXES, train_boxes, "w:gz")
    val_boxes = {f"val/{picture.name}.xml": xml(picture) for picture in download.val if picture.boxes}
    write_tar(root / archives.VAL_BOXES, val_boxes, "w:gz")
    return root


def write_folders(root: Path, download: Download) -> Path:
    """Write the same images in the CLS-LOC layout into the folder `root`, which is made."""
    base = root / "ILSVRC/Data/CLS-LOC"
    (base / "val").mkdir(parents=True)
    for wnid in download.wnids:
        (base / "train" / wnid).mkdir(parents=True)
    for picture in download.train:
        (base / "train" / picture.wnid / f"{picture.name}.JPEG").write_bytes(picture.content)
    for picture in download.val:
        (base / "val" / f"{picture.name}.JPEG").write_bytes(picture.content)
    for part, pictures in (("train", download.train), ("val", download.val)):
        rows = [(each.name, "".join(_words(each.wnid, box) for box in each.boxes)) for each in pictures if each.boxes]
        with (root / f"LOC_{part}_solution.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("ImageId", "PredictionString"), *rows])
    lines = [f"{wnid} {title}\n" for wnid, title in zip(download.wnids, download.titles, strict=True)]
    (root / "LOC_synset_mapping.txt").write_text("".join(lines))
    return root


def _words(wnid: str, box: Corners) -> str:
    return f"{wnid} {' '.join(map(str, box))} "
