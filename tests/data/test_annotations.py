"""Boxes from csv, COCO and XML, as people have them and as nobody should."""

import json
from pathlib import Path

import numpy as np
import pytest

from vggnet.data.annotations import open_annotated
from vggnet.data.box_files import read_annotations
from vggnet.errors import UserError

VOC = """<annotation><folder>VOC2007</folder><filename>{image}.jpg</filename>
<source><database>The VOC2007 Database</database></source>
<object><name>dog</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>
<object><name>cat</name><bndbox><xmin>5.5</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox></object>
</annotation>"""
ILSVRC = """<annotation><folder>n01</folder><filename>n01_7</filename><source><database>ILSVRC_2012</database></source>
<object><name>n01</name><bndbox><xmin>0</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox></object>
</annotation>"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_voc_counts_from_one_and_parts_are_no_objects(tmp_path):
    boxes, _ = read_annotations(write(tmp_path / "7.xml", VOC.format(image="7")))
    assert [(box.image, box.name, box.corners) for box in boxes] == [
        ("7.jpg", "dog", (0, 1, 9, 19)),
        ("7.jpg", "cat", (5, 1, 9, 19)),  # 5.5 rounds to 6
    ]


def test_ilsvrc_counts_from_zero(tmp_path):
    boxes, _ = read_annotations(write(tmp_path / "n01" / "n01_7.xml", ILSVRC))
    assert boxes[0].corners == (0, 2, 10, 20)
    assert boxes[0].image == "n01_7"


def test_a_folder_of_xml_with_an_image_without_objects(tmp_path):
    write(tmp_path / "a.xml", VOC.format(image="a"))
    write(tmp_path / "deep" / "b.xml", "<annotation><filename>b.jpg</filename></annotation>")
    boxes, notes = read_annotations(tmp_path)
    assert len(boxes) == 2
    assert notes == ["1 of 2 XML files name no object"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>\n<object>\n</annotation>", r"bad.xml:3: malformed"),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
            "bad.xml: refused",
        ),
        (
            '<!DOCTYPE a [<!ENTITY x "aaaa"><!ENTITY y "&x;&x;">]><annotation><filename>&y;</filename></annotation>',
            "bad.xml: refused",
        ),
        ("<html/>", "<html> is no annotation"),
        ("<annotation><object><name>a</name></object></annotation>", "object 1: no <name> or no <bndbox>"),
        (ILSVRC.replace("<xmin>0<", "<xmin>nan<"), "object 1: xmin: 'nan' is not a finite number"),
        (ILSVRC.replace("<xmin>0</xmin>", ""), "object 1: xmin: is missing"),
        ("", "malformed"),
    ],
)
def test_bad_xml(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_annotations(write(tmp_path / "bad.xml", text))


def coco(**changes) -> str:
    content = {
        "images": [{"id": 900, "file_name": "x.jpg"}, {"id": 17, "file_name": "y.jpg"}],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 5, "image_id": 17, "category_id": 90, "bbox": [10.4, 20.0, 5.2, 1.0], "iscrowd": 0},
            {"id": 8, "image_id": 900, "category_id": 1, "bbox": [0, 0, 3, 4], "iscrowd": 1},
        ],
    }
    return json.dumps(content | changes)


def test_coco_with_sparse_ids(tmp_path):
    boxes, notes = read_annotations(write(tmp_path / "instances.json", coco()))
    # 10.4 to 15.6: pixels 10 to 15
    assert [(box.image, box.name, box.corners) for box in boxes] == [("y.jpg", "toothbrush", (10, 20, 15, 20))]
    assert notes == ["left out: 1 crowd of instances.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [\n}', ":2:1: malformed JSON"),
        ("[]", "not COCO's format"),
        ("{}", "not COCO's format"),
        (coco(annotations=[{"id": 1, "image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1]}]), "image_id 3 is not"),
        (coco(annotations=[{"id": 1, "image_id": 17, "category_id": 2, "bbox": [0, 0, 1, 1]}]), "category_id 2 is not"),
        (coco(annotations=[{"id": 1, "image_id": 17, "category_id": 1, "bbox": [0, 0, 1]}]), "annotation 1: bbox is"),
        (coco(annotations=[{"id": 1, "image_id": 17, "category_id": 1, "bbox": [0, 0, -2, 1]}]), "a box of -2 x 1"),
        (
            coco(annotations=[{"id": 1, "image_id": 17, "category_id": 1, "bbox": [0, 0, float("nan"), 1]}]),
            "bbox: nan is not a finite",
        ),
    ],
)
def test_bad_coco(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_annotations(write(tmp_path / "bad.json", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,class,xmin,ymin\n", ":1: no column xmax, ymax"),
        (
            "image,class,xmin,ymin,xmax,ymax\na.jpg,cat,1,2,3,4\na.jpg,cat,1,2,nan,4\n",
            ":3: column xmax: 'nan' is not a finite",
        ),
        ("image,class,xmin,ymin,xmax,ymax\na.jpg,cat,1,2,3\n", ":2: column ymax: is missing"),
        ("image,class,xmin,ymin,xmax,ymax\n,cat,1,2,3,4\n", ":2: column image: is empty"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_annotations(write(tmp_path / "bad.csv", text))


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_annotations(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"not from \.mat"):
        read_annotations(write(tmp_path / "boxes.mat", ""))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no XML files"):
        read_annotations(tmp_path / "empty")


def test_class_folders_keep_the_boxes_of_their_own_class(tmp_path, make_image):
    for name in ("train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "val/cat/4.jpg", "val/dog/5.jpg"):
        make_image(f"data/{name}")
    lines = ["image,class,xmin,ymin,xmax,ymax", "train/cat/1.jpg,cat,1,2,3,4", "train/cat/1.jpg,dog,1,2,3,4"]
    lines += ["train/cat/1.jpg,cat,5,6,7,8", "4,cat,0,0,9,9"]
    opened = open_annotated(str(tmp_path / "data"), write(tmp_path / "b.csv", "\n".join(lines)), None)
    assert [boxes.tolist() for boxes in opened.train.boxes] == [[[1, 2, 3, 4], [5, 6, 7, 8]], [], []]
    assert [boxes.tolist() for boxes in opened.val.boxes] == [[[0, 0, 9, 9]], []]


def test_annotations_of_other_images(tmp_path, make_image):
    make_image("data/train/cat/1.jpg")
    make_image("data/val/cat/2.jpg")
    text = "image,class,xmin,ymin,xmax,ymax\nnowhere.jpg,cat,1,2,3,4\n"
    with pytest.raises(UserError, match="none of its 1 objects"):
        open_annotated(str(tmp_path / "data"), write(tmp_path / "b.csv", text), None)


def test_a_flat_folder_is_labelled_by_its_annotations(tmp_path, make_image):
    """Sparse COCO ids, two classes on one image, several objects, an image without any, one that is missing."""
    for number in range(6):
        make_image(f"images/{number}.jpg", seed=number)
    rows = [(0, 7, 1), (0, 7, 2), (0, 3, 3), (1, 7, 4), (2, 3, 5), (3, 3, 6), (9, 3, 7)]
    text = json.dumps(
        {
            "images": [{"id": 1000 + number, "file_name": f"{number}.jpg"} for number in range(10)],
            "categories": [{"id": 7, "name": "bee"}, {"id": 3, "name": "ant"}],
            "annotations": [
                {"id": place, "image_id": 1000 + image, "category_id": kind, "bbox": [width, 0, width, 5]}
                for place, (image, kind, width) in enumerate(rows)
            ],
        }
    )
    train = write(tmp_path / "train.json", text)
    opened = open_annotated(str(tmp_path / "images"), train, train)
    assert opened.classes == ("ant", "bee")
    assert opened.train.files == ("0.jpg", "0.jpg", "1.jpg", "2.jpg", "3.jpg")
    assert opened.train.labels.tolist() == [0, 1, 1, 0, 0]
    np.testing.assert_array_equal(opened.train.boxes[1], [[1, 0, 1, 4], [2, 0, 3, 4]])
    assert any("1 annotated image not in" in note for note in opened.notes)
    assert any("left out: 2 of 6 images, without a box" in note for note in opened.notes)
    divided = open_annotated(str(tmp_path / "images"), train, None)
    assert len(divided.train) + len(divided.val) == 5
    assert set(divided.val.labels) == set(divided.train.labels) == {0, 1}
    assert not set(divided.val.files) & set(divided.train.files)  # not even the image of two classes


def test_a_val_class_that_nobody_learns(tmp_path, make_image):
    make_image("images/1.jpg")
    head = "image,class,xmin,ymin,xmax,ymax\n"
    train = write(tmp_path / "train.csv", head + "1.jpg,cat,1,2,3,4\n")
    val = write(tmp_path / "val.csv", head + "1.jpg,eel,1,2,3,4\n")
    with pytest.raises(UserError, match="'eel' has val boxes and no training boxes"):
        open_annotated(str(tmp_path / "images"), train, val)
