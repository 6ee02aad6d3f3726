"""Bad annotations and lists: each is refused with file, line or field before anything is learnt."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HEAD = "image,class,xmin,ymin,xmax,ymax\n"
IMAGE = "train/bee/train0.png"
GOOD = f"{IMAGE},bee,1,1,20,20\n"
ALL = HEAD + "".join(
    f"{part}/{name}/{part}{number}.png,{name},1,1,20,20\n"
    for part, numbers in (("train", "01"), ("val", "0"))
    for name in ("bee", "cat")
    for number in numbers
)
OBJECT = "<object><name>bee</name><bndbox>{}</bndbox></object>"
CORNERS = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"


def xml(inner: str, head: str = "") -> bytes:
    return f"{head}<annotation><filename>train0.png</filename>{inner}</annotation>".encode()


def coco(**changes: Any) -> bytes:
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": IMAGE, "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "bee"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
    }
    return json.dumps(content | changes).encode()


# the annotation file's name and content, and what the message says
CASES: dict[str, tuple[str, bytes, str]] = {
    "csv: empty": ("a.csv", b"", "a.csv"),
    "csv: a head alone": ("a.csv", HEAD.encode(), "a.csv"),
    "csv: no head": ("a.csv", GOOD.encode(), "a.csv:1: no column image"),
    "csv: semicolons": ("a.csv", (HEAD + GOOD).replace(",", ";").encode(), "a.csv"),
    "csv: tabs": ("a.csv", (HEAD + GOOD).replace(",", "\t").encode(), "a.csv"),
    "csv: a column is missing": ("a.csv", b"image,class,xmin,ymin,xmax\na.png,bee,1,1,9\n", "a.csv"),
    "csv: a value is missing": ("a.csv", f"{HEAD}{IMAGE},bee,1,1,20\n".encode(), "a.csv:2: column ymax"),
    "csv: a word": (
        "a.csv",
        f"{HEAD}{GOOD}{IMAGE},bee,1,one,20,20\n".encode(),
        "a.csv:3: column ymin: 'one' is not a number",
    ),
    "csv: nan": ("a.csv", f"{HEAD}{IMAGE},bee,nan,1,20,20\n".encode(), "a.csv:2: column xmin"),
    "csv: infinite": ("a.csv", f"{HEAD}{IMAGE},bee,1,1,inf,20\n".encode(), "a.csv:2: column xmax"),
    "csv: a number without end": ("a.csv", f"{HEAD}{IMAGE},bee,1,1,1e400,20\n".encode(), "a.csv:2: column xmax"),
    "csv: UTF-16": ("a.csv", (HEAD + GOOD).encode("utf-16"), "a.csv"),
    "csv: bytes that are no text": ("a.csv", HEAD.encode() + b"\xff\xfe\xfa,bee,1,1,2,2\n", "a.csv"),
    "csv: zero bytes": ("a.csv", bytes(300), "a.csv"),
    "csv: an open quote": ("a.csv", f'{HEAD}"{IMAGE},bee,1,1,20,20\n'.encode(), "a.csv"),
    "csv: images that are not there": ("a.csv", f"{HEAD}other.png,bee,1,1,9,9\n".encode(), "other.png"),
    "csv: classes that are not there": ("a.csv", f"{HEAD}{IMAGE},wasp,1,1,9,9\n".encode(), "in the image's own class"),
    "csv: swapped corners": ("a.csv", f"{ALL}{IMAGE},bee,20,20,1,1\n".encode(), IMAGE),
    "csv: beyond the image": ("a.csv", f"{ALL}{IMAGE},bee,1,1,400,300\n".encode(), IMAGE),
    "csv: negative": ("a.csv", f"{ALL}{IMAGE},bee,-50,1,20,20\n".encode(), IMAGE),
    "xml: empty": ("a.xml", b"", "a.xml"),
    "xml: cut off": ("a.xml", xml(OBJECT.format(CORNERS))[:60], "a.xml"),
    "xml: another root": ("a.xml", b"<html/>", "a.xml"),
    "xml: no objects": ("a.xml", xml(""), "a.xml"),
    "xml: no corners": ("a.xml", xml(OBJECT.format("")), "a.xml"),
    "xml: a corner is a word": ("a.xml", xml(OBJECT.format(CORNERS.replace(">1<", ">one<", 1))), "a.xml"),
    "xml: no name": ("a.xml", xml(f"<object><bndbox>{CORNERS}</bndbox></object>"), "a.xml"),
    "xml: an entity": (
        "a.xml",
        xml(OBJECT.format(CORNERS), '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'),
        "document type",
    ),
    "xml: laughs": (
        "a.xml",
        xml("&b;", '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'),
        "document type",
    ),
    "json: empty": ("a.json", b"", "a.json"),
    "json: cut off": ("a.json", coco()[:50], "a.json"),
    "json: a list": ("a.json", b"[]", "a.json"),
    "json: a number": ("a.json", b"5", "a.json"),
    "json: nested without end": ("a.json", b"[" * 100_000, "a.json"),
    "json: no images": ("a.json", coco(images=[]), "a.json"),
    "json: no categories": ("a.json", coco(categories=[]), "a.json"),
    "json: no annotations": ("a.json", coco(annotations=[]), "a.json"),
    "json: an image without a name": ("a.json", coco(images=[{"id": 1}]), "a.json"),
    "json: a box of three numbers": (
        "a.json",
        coco(annotations=[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 9]}]),
        "a.json",
    ),
    "json: a box of words": (
        "a.json",
        coco(annotations=[{"image_id": 1, "category_id": 1, "bbox": list("abcd")}]),
        "a.json",
    ),
    "json: an unknown category": (
        "a.json",
        coco(annotations=[{"image_id": 1, "category_id": 7, "bbox": [1, 1, 9, 9]}]),
        "a.json",
    ),
    "another kind of file": ("a.yaml", b"boxes: []\n", "a.yaml"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_annotations_are_refused_with_their_place(
    name: str, tmp_path: Path, photos: Path, model: Path, refused: Callable[..., str]
) -> None:
    file, content, said = CASES[name]
    (tmp_path / file).write_bytes(content)
    out = tmp_path / "run"
    message = refused(
        *("localize", "train", photos, "--annotations", tmp_path / file, "--init-from", model, "--out", out),
        *("--device", "cpu", "--workers", "0", "--threads", "1"),
    )
    assert said in message
    assert not out.exists()


def no_image(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.unlink()


def only_one_class(root: Path) -> None:
    for part in ("train", "val"):
        shutil.rmtree(root / part / "cat")


def empty_class(root: Path) -> None:
    (root / "train" / "wasp").mkdir()


def unknown_val_class(root: Path) -> None:
    (root / "val" / "cat").rename(root / "val" / "wasp")


def unknown_parts(root: Path) -> None:
    (root / "train").rename(root / "fold1")
    (root / "val").rename(root / "fold2")


def broken_link(root: Path) -> None:
    (root / "train" / "bee" / "x.png").symlink_to("/nowhere/x.png")


LAYOUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no image": (no_image, "no image"),
    "one class": (only_one_class, "one class only"),
    "an empty class": (empty_class, "wasp"),
    "a val class without training images": (unknown_val_class, "wasp"),
    "folders that look like parts": (unknown_parts, "fold"),
    "a broken link": (broken_link, "x.png"),
    "no folder": (shutil.rmtree, "neither a folder nor"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_bad_folders_are_refused_before_anything_is_learnt(
    name: str, tmp_path: Path, photos: Path, refused: Callable[..., str]
) -> None:
    change, said = LAYOUTS[name]
    shutil.copytree(photos, tmp_path / "photos")
    change(tmp_path / "photos")
    out = tmp_path / "run"
    message = refused("train", tmp_path / "photos", "--out", out, "--net", "A", "--crop", "32", "--width", "0.03")
    assert said in message
    assert not out.exists()
