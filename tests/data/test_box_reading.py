"""One reader for boxes: the same file gives the same boxes, whoever saved it and wherever it is given."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vggnet.data.annotations import open_annotated
from vggnet.data.box_files import read_annotations, read_csv, read_xml
from vggnet.data.box_matching import find_images
from vggnet.data.opening import open_data
from vggnet.errors import UserError

HEADER = "image,class,xmin,ymin,xmax,ymax"
ROWS = ("train/cat/1.jpg,cat,1,2,3,4", "train/dog/2.jpg,dog,0.5,1.49,7.5,8.5", "val/cat/3.jpg,cat,5,6,7,8")
TEXT = "\n".join((HEADER, *ROWS)) + "\n"
CORNERS = [(1, 2, 3, 4), (1, 1, 8, 9), (5, 6, 7, 8)]
FORMS = {  # what people's programs make of the same table
    "plain": TEXT.encode(),
    "excel": b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode(),
    "old mac": TEXT.replace("\n", "\r").encode(),
    "blank lines": ("\n" + TEXT + "\n  \n\n").encode(),
    "emptied rows": (TEXT + ",,,,,\n , ,,,,\n").encode(),
    "no last line end": TEXT.rstrip("\n").encode(),
    "spaces": TEXT.replace(",", " , ").encode(),
    "quotes": TEXT.replace(",", '", "').replace("\n", '"\n"').removesuffix('"').join(('"', "")).encode(),
    "capitals": TEXT.replace(HEADER, "Image,Class,XMin,YMin,XMax,YMax").encode(),
    "another order": "\n".join(",".join(line.split(",")[::-1]) for line in TEXT.splitlines()).encode(),
    "more columns": TEXT.replace("\n", ",7\n").replace("ymax,7", "ymax,score").encode(),
    "named separator": ("sep=,\n" + TEXT).encode(),
    "backslashes": TEXT.replace("/", "\\").encode(),
    "dots": TEXT.replace("train/", "./train/").encode(),
}


@pytest.fixture
def data(tmp_path, make_image) -> Path:
    for name in ("train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg", "val/dog/4.jpg"):
        make_image(f"data/{name}")
    return tmp_path / "data"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def boxes_of(opened) -> list[list[list[int]]]:
    return [boxes.tolist() for part in (opened.train, opened.val) for boxes in part.boxes]


@pytest.mark.parametrize("form", FORMS)
def test_csv_files_as_people_save_them_beside_the_folders_and_apart(data, tmp_path, form):
    apart = write(tmp_path / "apart.csv", FORMS[form])
    assert [box.corners for box in read_csv(apart)] == CORNERS
    expected = [[list(CORNERS[0])], [list(CORNERS[1])], [list(CORNERS[2])], []]
    assert boxes_of(open_annotated(str(data), apart, None)) == expected
    write(data / "boxes.csv", FORMS[form])
    assert boxes_of(open_data(str(data))) == expected


def test_a_box_of_another_class_is_left_out_and_said_beside_the_folders_and_apart(data, tmp_path):
    text = TEXT + "train/cat/1.jpg,dog,9,9,9,9\nnowhere/9.jpg,cat,1,1,2,2\n"
    apart = write(tmp_path / "apart.csv", text)
    opened = [open_annotated(str(data), apart, None)]
    write(data / "boxes.csv", text)
    opened.append(open_data(str(data)))
    for each in opened:
        assert boxes_of(each)[0] == [[1, 2, 3, 4]]
        notes = " ".join(each.notes)
        assert "left out 1 box of another class than the image's, such as 'dog' on train/cat/1.jpg" in notes
        assert "left out 1 box of 1 image that cannot be found or are ambiguous: 'nowhere/9.jpg'" in notes


def test_boxes_of_other_images_only_are_refused_beside_the_folders_and_apart(data, tmp_path):
    text = HEADER + "\nnowhere.jpg,cat,1,1,2,2\n"
    write(data / "boxes.csv", text)
    for opening in (
        lambda: open_data(str(data)),
        lambda: open_annotated(str(data), write(tmp_path / "apart.csv", text), None),
    ):
        with pytest.raises(UserError, match="none of its 1 objects is on an image of the data"):
            opening()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.replace(",", ";"), r":1: values are separated by semicolons: save the file with commas"),
        (TEXT.replace(",", "\t"), r":1: values are separated by tabs"),
        (TEXT.encode("utf-16"), r": this is UTF-16: save it as UTF-8"),
        (TEXT.replace("dog", "ch\u00e9vre").encode("latin-1"), r":3:9: the byte 0xe9 is not UTF-8"),
        (TEXT + 'a.jpg,"cat,1,2,3,4\nb.jpg,cat,1,2,3,4\n', r":\d: not a csv file .*look for a quote"),
        (TEXT + "a.jpg,cat, the tabby,1,2,3,4\n", r":5: 7 values for 6 columns: put a value with a comma in quotes"),
        (TEXT + "\na.jpg,cat,1,2,x,4\n", r":6: column xmax: 'x' is not a number"),
        (TEXT + "a.jpg,,1,2,3,4\n", r":5: column class: is empty"),
        ("", r": the file is empty; expected the columns image,class"),
        (TEXT.replace("xmin", "left"), r":1: no column xmin; expected image"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_line_and_column(data, tmp_path, content, message):
    apart = write(tmp_path / "apart.csv", content)
    with pytest.raises(UserError, match=r"apart\.csv" + message):
        open_annotated(str(data), apart, None)
    write(data / "boxes.csv", content)
    with pytest.raises(UserError, match=r"boxes\.csv" + message):
        open_data(str(data))


def test_a_box_of_a_training_image_is_not_laid_on_the_val_image_of_the_same_name(tmp_path, make_image):
    for name in ("train/cat/1.jpg", "train/cat/2.jpg", "val/cat/1.jpg"):
        make_image(f"data/{name}")
    apart = write(tmp_path / "apart.csv", HEADER + "\ntrain/cat/1.jpg,cat,1,2,3,4\ntrain/cat/7.jpg,cat,5,5,6,6\n")
    assert boxes_of(open_annotated(str(tmp_path / "data"), apart, None)) == [[[1, 2, 3, 4]], [], []]
    bare = write(tmp_path / "bare.csv", HEADER + "\n2.jpg,cat,1,2,3,4\n1.jpg,cat,5,5,6,6\n")
    opened = open_annotated(str(tmp_path / "data"), bare, None)
    assert boxes_of(opened) == [[], [[1, 2, 3, 4]], []]  # 1.jpg could be either
    assert "'1.jpg'" in " ".join(opened.notes)
    both = open_annotated(str(tmp_path / "data"), bare, write(tmp_path / "v.csv", HEADER + "\n1.jpg,cat,7,7,8,8\n"))
    assert boxes_of(both) == [[[5, 5, 6, 6]], [[1, 2, 3, 4]], [[7, 7, 8, 8]]]  # each file is about its own part


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("train/cat/a.jpg", 0),
        ("cat/a.jpg", 0),
        ("cat/a", 0),
        ("dog/a", 1),
        ("a", None),  # could be either
        ("b", 2),
        ("b.v2", 3),
        ("b.v2.jpg", 3),
        ("b.png", 2),  # converted since
        ("/home/me/data/train/cat/a.jpg", 0),
        ("C:/data/train/dog/b.jpg", 2),
        ("other/train/dog/b.png", 2),
        ("val/cat/a.jpg", None),
        ("c", None),
        ("", None),
    ],
)
def test_names_find_their_images(name, place):
    files = ["train/cat/a.jpg", "train/dog/a.jpg", "train/dog/b.jpg", "train/dog/b.v2.jpg"]
    assert find_images(files, [name]) == {name: place}


NAMES = st.lists(st.sampled_from(["a", "b", "c", "a.1"]), min_size=1, max_size=3).map("/".join)


@given(st.lists(st.tuples(NAMES, st.sampled_from([".jpg", ".png"])).map("".join), unique=True), NAMES)
def test_a_name_never_finds_one_of_several_images_that_it_may_mean(files, name):
    assert find_images(files, files) == {file: place for place, file in enumerate(files)}
    candidates = [place for place, file in enumerate(files) if f"/{file.rpartition('.')[0]}".endswith(f"/{name}")]
    if len(candidates) > 1:
        assert find_images(files, [name])[name] is None
    elif candidates:
        assert find_images(files, [name])[name] == candidates[0]


XML = """<annotation><folder>{folder}</folder><filename>{image}</filename>
<size><width>40</width><height>30</height><depth>3</depth></size>
<object><name>cat</name><bndbox><xmin>{left}</xmin><ymin>2</ymin><xmax>10.5</xmax><ymax>20</ymax></bndbox></object>
</annotation>"""


def test_backslashes_in_xml_and_coco_are_slashes(tmp_path):
    path = write(tmp_path / "1.xml", XML.format(folder="data", image="train\\cat\\1.jpg", left=1))
    assert read_annotations(path)[0][0].image == "train/cat/1.jpg"
    images = [{"id": 1, "file_name": "cat\\1.jpg", "width": 40, "height": 30}]
    objects = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]
    content = {"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": objects}
    boxes, _ = read_annotations(write(tmp_path / "coco.json", json.dumps(content)))
    assert (boxes[0].image, boxes[0].size) == ("cat/1.jpg", (40, 30))


def test_coco_with_a_byte_order_mark(tmp_path):
    content = json.dumps({"images": [], "categories": [], "annotations": []}).replace(", ", ",\r\n")
    assert read_annotations(write(tmp_path / "coco.json", b"\xef\xbb\xbf" + content.encode())) == ([], [])
    with pytest.raises(UserError, match=r"coco\.json:2:3: malformed JSON"):
        read_annotations(write(tmp_path / "coco.json", b'\xef\xbb\xbf{"images": [],\r\n  x}'))
    with pytest.raises(UserError, match="lists are nested too deeply"):
        read_annotations(write(tmp_path / "coco.json", "[" * 100_000))


@pytest.mark.parametrize(("left", "corner"), [("0.5", 1), ("1.5", 2), ("2.5", 3), ("2.4", 2)])
def test_halves_are_rounded_up_in_every_format(tmp_path, left, corner):
    xml = write(tmp_path / "1.xml", XML.format(folder="data", image="1.jpg", left=left))
    assert read_xml(xml)[0].corners == (corner, 2, 11, 20)
    assert read_xml(xml, first=1)[0].corners == (corner - 1, 1, 10, 19)
    csv_file = write(tmp_path / "1.csv", f"{HEADER}\n1.jpg,cat,{left},2,10.5,20\n")
    assert read_csv(csv_file)[0].corners == (corner, 2, 11, 20)


def test_sizes_that_files_state_go_with_the_images(data, tmp_path):
    xml = write(tmp_path / "xml" / "1.xml", XML.format(folder="data", image="1.jpg", left=1))
    write(xml.with_name("2.xml"), XML.format(folder="data", image="2.jpg", left=1).replace("<name>cat", "<name>dog"))
    write(xml.with_name("3.xml"), XML.format(folder="d", image="3.jpg", left=1).replace(">40<", ">0<"))
    opened = open_annotated(str(data), xml.parent, None)
    assert opened.train.stated_sizes.tolist() == [[40, 30], [40, 30]]
    assert opened.val.stated_sizes.tolist() == [[0, 0], [0, 0]]  # 0 x 30 is no size; none for the other
    assert opened.train.subset([1]).stated_sizes.tolist() == [[40, 30]]


BASE = "ILSVRC/Data/CLS-LOC"
SOLUTION = "ImageId,PredictionString\nval_1,n02 1 2 3 4 n02 5 6 7 8 \nval_2,n01 0 0 9 9 \n"


@pytest.fixture
def ilsvrc(tmp_path) -> Path:
    for name in ("train/n01/n01_0", "train/n02/n02_0", "val/val_1", "val/val_2"):
        write(tmp_path / f"{BASE}/{name}.JPEG", b"")
    write(tmp_path / "LOC_val_solution.csv", SOLUTION)
    return tmp_path


@pytest.mark.parametrize(
    "content",
    [
        SOLUTION + "\n",
        SOLUTION + "\r\n  \r\n",
        b"\xef\xbb\xbf" + SOLUTION.replace("\n", "\r\n").encode(),
        SOLUTION.replace(",", ", "),
        SOLUTION.replace("5 6 7 8 ", "5 6 7 8 n01 1 1 2 2 "),  # of another class than the image's
        SOLUTION.replace(" 0 0 9 9", " 0.4 -0.5 8.5 9"),
    ],
)
def test_the_ilsvrc_csv_as_people_save_it(ilsvrc, content):
    write(ilsvrc / "LOC_val_solution.csv", content)
    write(ilsvrc / "LOC_train_solution.csv", "ImageId,PredictionString\nn02_0,n02 1 1 2 2 n01 3 3 4 4\n\n")
    opened = open_data(str(ilsvrc))
    assert opened.val.labels.tolist() == [1, 0]
    assert [boxes.tolist() for boxes in opened.val.boxes] == [[[1, 2, 3, 4], [5, 6, 7, 8]], [[0, 0, 9, 9]]]
    assert [boxes.tolist() for boxes in opened.train.boxes] == [[], [[1, 1, 2, 2]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SOLUTION + "val_3,n01 1 2 3\n", ":4: column PredictionString: 4 words; expected 'wnid xmin ymin xmax ymax'"),
        (SOLUTION + "\nval_3,\n", ":5: column PredictionString: is empty"),
        (SOLUTION.replace("9 9", "9 nan"), ":3: column PredictionString: 'nan' is not a finite number"),
        (SOLUTION.replace(",", ";"), ":1: values are separated by semicolons"),
        (SOLUTION.partition("\n")[2], ":1: no column ImageId, PredictionString"),
    ],
)
def test_the_ilsvrc_csv_that_cannot_be_read_is_named_by_line_and_column(ilsvrc, content, message):
    write(ilsvrc / "LOC_val_solution.csv", content)
    with pytest.raises(UserError, match=r"LOC_val_solution\.csv" + message):
        open_data(str(ilsvrc))


def test_the_ilsvrc_titles_with_a_byte_order_mark(ilsvrc):
    titles = "n01 tench, Tinca tinca\r\n\r\nn02 caf\u00e9 dog\r\n"
    write(ilsvrc / "LOC_synset_mapping.txt", b"\xef\xbb\xbf" + titles.encode())
    assert open_data(str(ilsvrc)).titles == ("tench, Tinca tinca", "caf\u00e9 dog")
    write(ilsvrc / "LOC_synset_mapping.txt", titles.encode("latin-1"))
    with pytest.raises(UserError, match=r"LOC_synset_mapping\.txt:3:8: the byte 0xe9 is not UTF-8"):
        open_data(str(ilsvrc))


def test_a_data_set_of_one_folder_takes_paths_of_windows(tmp_path, make_image):
    for number in range(4):
        make_image(f"images/{number}.jpg")
    rows = "\n".join(f"images\\{number}.jpg,cat,1,2,3,{number + 3}" for number in range(4))
    opened = open_annotated(str(tmp_path / "images"), None, write(tmp_path / "val.csv", f"{HEADER}\n{rows}\n"))
    assert opened.val.files == ("0.jpg", "1.jpg", "2.jpg", "3.jpg")
    assert np.concatenate(opened.val.boxes)[:, 3].tolist() == [3, 4, 5, 6]
