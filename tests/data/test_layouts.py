"""Folders as people have them, and what is said about folders that cannot be used."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vggnet.data import opening as datasets
from vggnet.data.dividing import hold_out, set_aside
from vggnet.data.listing import unlabelled_folder
from vggnet.data.opening import open_data
from vggnet.data.splits import Split
from vggnet.errors import UserError
from vggnet.files import default_cache, made_once


@pytest.fixture
def touch(tmp_path):
    """touch("train/cat/1.jpg", ...) makes empty files: layouts are read without opening images."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return str(tmp_path)

    return make


def test_class_folders(touch):
    data = open_data(touch("train/b/1.JPG", "train/a/deep/2.png", "train/a/1.jpeg", "val/a/3.jpg", "val/b/4.jpg"))
    assert data.classes == ("a", "b")
    assert data.train.files == ("train/a/1.jpeg", "train/a/deep/2.png", "train/b/1.JPG")
    assert data.train.labels.tolist() == [0, 0, 1]
    assert data.train.labels.dtype == np.int64
    assert data.val.files == ("val/a/3.jpg", "val/b/4.jpg")
    assert data.val.labels.tolist() == [0, 1]
    assert data.train.path(2).endswith("/train/b/1.JPG")
    assert data.train.boxes is None
    assert data.notes == ()


def test_a_class_that_is_a_broken_link_is_not_left_out_without_a_word(touch):
    root = Path(touch("train/a/1.jpg", "train/a/2.jpg", "val/a/3.jpg"))
    (root / "train" / ".#a").symlink_to(root / "nowhere")  # an editor's lock
    assert open_data(str(root)).classes == ("a",)
    (root / "train" / "b").symlink_to(root / "nowhere")
    with pytest.raises(UserError, match="'b' links to nothing: correct the link or remove it"):
        open_data(str(root))


def test_hidden_and_other_files_are_left_out(touch):
    data = open_data(
        touch(
            *("train/a/1.jpg", "train/a/.2.jpg", "train/.git/3.jpg", "train/__MACOSX/a/4.jpg", "val/a/5.jpg"),
            *("train/a/notes.txt", "val/a/Thumbs.db", "train/a/.DS_Store", "train/a/.cache/6.jpg"),
        )
    )
    assert data.classes == ("a",)
    assert len(data.train) == 1
    assert len(data.val) == 1
    assert any("1 file in" in note and "without an image extension" in note for note in data.notes)
    assert any("folders of the system" in note and "__MACOSX (1)" in note for note in data.notes)


@pytest.mark.parametrize("name", ["valid", "validation", "test"])
def test_other_names_of_val(touch, name):
    data = open_data(touch("train/a/1.jpg", f"{name}/a/2.jpg"))
    assert data.val.files == (f"{name}/a/2.jpg",)
    assert any(name in note for note in data.notes)


def test_val_is_preferred_to_test(touch):
    assert open_data(touch("train/a/1.jpg", "test/a/2.jpg", "val/a/3.jpg")).val.files == ("val/a/3.jpg",)


def test_one_folder_is_split(touch, tmp_path):
    names = [f"{name}/{i}.jpg" for name in "abc" for i in range(10)] + ["single/1.jpg"]
    data = open_data(touch(*names))
    assert data.classes == ("a", "b", "c", "single")
    val, train = np.bincount(data.val.labels, minlength=4), np.bincount(data.train.labels)
    assert (val + train).tolist() == [10, 10, 10, 1]
    assert 1 <= val[:3].min() <= val[:3].max() <= 5
    assert val[3] == 0
    assert sorted(data.train.files + data.val.files) == sorted(names)
    assert any(f"{len(data.val)} of 31 images set aside" in note for note in data.notes)
    assert any("'single'" in note for note in data.notes)
    assert open_data(str(tmp_path)).val.files == data.val.files
    whole = open_data(str(tmp_path), whole=True)
    assert (whole.train, sorted(whole.val.files)) == (None, sorted(names))
    assert (data.divided, whole.divided) == (True, False)


def test_train_without_val_is_split_and_val_alone_is_val(touch, tmp_path):
    data = open_data(touch("one/train/a/1.jpg", "one/train/a/2.jpg", "two/val/a/1.jpg") + "/one")
    assert (len(data.train), len(data.val)) == (1, 1)
    data = open_data(str(tmp_path / "two"))
    assert data.train is None
    assert data.val.files == ("val/a/1.jpg",)


def test_empty_class_is_named(touch, tmp_path):
    folder = touch("train/a/1.jpg", "train/full/readme.txt", "val/a/2.jpg")
    with pytest.raises(UserError, match=r"train: no image in class 'full'"):
        open_data(folder)
    (tmp_path / "c" / "x").mkdir(parents=True)
    touch("c/y/1.jpg")
    with pytest.raises(UserError, match=r"no image in class 'x'"):
        open_data(str(tmp_path / "c"))


def test_class_only_in_val(touch):
    with pytest.raises(UserError, match=r"class 'b' has no folder in .*train"):
        open_data(touch("train/a/1.jpg", "val/a/1.jpg", "val/b/1.jpg"))


def test_class_missing_in_val_is_a_note(touch):
    data = open_data(touch("train/a/1.jpg", "train/b/1.jpg", "val/b/1.jpg"))
    assert data.val.labels.tolist() == [1]
    assert any("1 class without an image in val: 'a'" in note for note in data.notes)


def test_flat_val_without_labels(touch):
    with pytest.raises(UserError, match=r"2 images without labels.*LOC_val_solution\.csv is missing"):
        open_data(touch("train/a/1.jpg", "val/1.jpg", "val/2.jpg"))


def test_flat_train_and_no_images(touch, tmp_path):
    with pytest.raises(UserError, match="1 image outside class folders; expected train/CLASS"):
        open_data(touch("train/1.jpg", "val/a/1.jpg"))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="no images; expected"):
        open_data(str(tmp_path / "nothing"))


def test_loose_images_are_a_note(touch):
    data = open_data(touch("train/a/1.jpg", "train/loose.jpg", "val/a/1.jpg"))
    assert any("1 image" in note and "outside class folders" in note for note in data.notes)


def test_unknown_names(touch, tmp_path):
    with pytest.raises(UserError, match="did you mean cifar10"):
        open_data("cifar-10")
    with pytest.raises(UserError, match="neither a folder nor the name"):
        open_data(str(tmp_path / "nowhere"))
    touch("file.jpg")
    with pytest.raises(UserError, match="is a file"):
        open_data(str(tmp_path / "file.jpg"))


def test_links_that_lead_back_end(touch, tmp_path):
    touch("train/a/1.jpg", "val/a/1.jpg")
    (tmp_path / "train/a/loop").symlink_to(tmp_path / "train/a")
    assert len(open_data(str(tmp_path)).train) == 1


def test_boxes_csv(touch, tmp_path):
    folder = touch("train/a/1.jpg", "train/a/2.jpg", "val/a/3.jpg")
    (tmp_path / "boxes.csv").write_text(
        "image,class,xmin,ymin,xmax,ymax\ntrain/a/2.jpg,a,1,2,3,4\ntrain/a/2.jpg,a,5,6,7,8\nval/a/3.jpg,a,0,0,9,9\n"
    )
    data = open_data(folder)
    assert [boxes.tolist() for boxes in data.train.boxes] == [[], [[1, 2, 3, 4], [5, 6, 7, 8]]]
    assert data.train.boxes[0].shape == (0, 4)
    assert data.val.boxes[0].tolist() == [[0, 0, 9, 9]]
    (tmp_path / "boxes.csv").write_text("image,x\ntrain/a/2.jpg,1\n")
    with pytest.raises(
        UserError, match=r"boxes\.csv:1: no column class, xmin, ymin, xmax, ymax; expected image,class,"
    ):
        open_data(folder)


BASE = "ILSVRC/Data/CLS-LOC"


@pytest.fixture
def ilsvrc(touch, tmp_path):
    touch(*(f"{BASE}/train/{wnid}/{wnid}_{i}.JPEG" for wnid in ("n01", "n02") for i in range(2)))
    touch(f"{BASE}/val/val_1.JPEG", f"{BASE}/val/val_2.JPEG")
    (tmp_path / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\nval_1,n02 1 2 3 4 n02 5 6 7 8 \nval_2,n01 0 0 9 9 \n"
    )
    (tmp_path / "LOC_train_solution.csv").write_text("ImageId,PredictionString\nn02_1,n02 1 1 2 2 \n")
    (tmp_path / "LOC_synset_mapping.txt").write_text("n02 goldfish, Carassius auratus\nn03 not here\nn01 tench\n")
    return tmp_path


@pytest.mark.parametrize("inner", ["", "ILSVRC", "ILSVRC/Data/CLS-LOC"])
def test_ilsvrc(ilsvrc, inner):
    data = open_data(str(ilsvrc / inner))
    assert data.classes == ("n01", "n02")
    assert data.titles == ("tench", "goldfish, Carassius auratus")
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert [boxes.tolist() for boxes in data.train.boxes] == [[], [], [], [[1, 1, 2, 2]]]
    assert data.val.files == ("val/val_1.JPEG", "val/val_2.JPEG")
    assert data.val.labels.tolist() == [1, 0]
    assert data.val.boxes[0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_ilsvrc_without_its_csv_files(ilsvrc):
    (ilsvrc / "LOC_train_solution.csv").unlink()
    (ilsvrc / "LOC_synset_mapping.txt").unlink()
    data = open_data(str(ilsvrc))
    assert data.train.boxes is None
    assert data.titles == ()
    (ilsvrc / "LOC_val_solution.csv").unlink()
    with pytest.raises(UserError, match=r"2 images without labels: LOC_val_solution\.csv is missing"):
        open_data(str(ilsvrc))


def test_ilsvrc_with_a_wrong_csv(ilsvrc):
    labels = ilsvrc / "LOC_val_solution.csv"
    labels.write_text("ImageId,PredictionString\nval_1,n01 1 2 3 4\n")
    with pytest.raises(UserError, match=r"no line for 1 image .* 'val/val_2\.JPEG'"):
        open_data(str(ilsvrc))
    labels.write_text("ImageId,PredictionString\nval_1,n01 1 2 3 4\nval_2,n09 1 2 3 4\n")
    with pytest.raises(UserError, match="class 'n09' has no folder"):
        open_data(str(ilsvrc))
    labels.write_text("ImageId,PredictionString\nval_1,n01 1 2 x 4\n")
    with pytest.raises(UserError, match=r"solution\.csv:2: column PredictionString: 'x' is not a number"):
        open_data(str(ilsvrc))


def test_ilsvrc_tiny(ilsvrc_tiny):
    data = open_data(str(ilsvrc_tiny))
    assert (len(data.classes), len(data.train), len(data.val)) == (40, 20_000, 2_000)
    assert data.titles[0] == "goldfish, Carassius auratus"
    assert all(len(boxes) == 1 for boxes in data.train.boxes + data.val.boxes)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_hold_out(labels, fraction):
    split = Split("/", tuple(str(i) for i in range(len(labels))), np.array(labels))
    rest, held = hold_out(split, fraction)
    assert sorted(rest.files + held.files, key=int) == list(split.files)
    assert list(held.files) == sorted(held.files, key=int)
    for label in set(labels):
        total, out = labels.count(label), int((held.labels == label).sum())
        assert out == 0 if total == 1 else 1 <= out <= total - 1
        assert abs(out - fraction * total) <= 1
    again = hold_out(split.subset(np.arange(len(split))[::-1]), fraction)[1]  # the order of the files has no say
    assert sorted(again.files) == sorted(held.files)


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.floats(0.01, 0.99))
def test_what_a_source_has_learnt_from_is_not_held_out(learnt, fraction):
    split, learnt = Split("/", tuple(str(i) for i in range(len(learnt))), np.zeros(len(learnt))), np.array(learnt)
    rest, held = hold_out(split, fraction, learnt)
    wanted = len(hold_out(split, fraction)[1])
    assert not learnt[[int(file) for file in held.files]].any()
    assert len(held) == min(wanted, int((~learnt).sum()))
    assert sorted(rest.files + held.files, key=int) == list(split.files)


def test_a_source_with_the_same_part_held_out_leaves_it_as_it_is():
    split = Split("/", tuple(f"cat/{i}.jpg" for i in range(40)), np.zeros(40))
    train, held = hold_out(split, 0.1)
    learnt = np.isin(split.files, train.files)
    assert hold_out(split, 0.1, learnt)[1].files == held.files
    grown = Split("/", (*split.files, *(f"cat/new {i}.jpg" for i in range(40))), np.zeros(80))
    later = hold_out(grown, 0.1, np.isin(grown.files, train.files))[1]
    assert len(later) == 8
    assert not set(later.files) & set(train.files)


def test_hold_out_nothing_or_too_much():
    split = Split("/", ("a", "b"), np.array([0, 0]))
    rest, held = hold_out(split, 0)
    assert (len(rest), len(held)) == (2, 0)
    with pytest.raises(UserError, match="below 1"):
        hold_out(split, 1.0)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_set_aside_divides_every_class(labels, fraction):
    split = Split("/", tuple(str(i) for i in range(len(labels))), np.array(labels))
    rest, aside = set_aside(split, fraction)
    assert sorted(rest.files + aside.files, key=int) == list(split.files)
    for label in set(labels):
        total, out = labels.count(label), int((aside.labels == label).sum())
        assert out == 0 if total == 1 else 1 <= out <= total - 1
    assert set_aside(split, fraction)[1].files == aside.files


@given(st.lists(st.sets(st.integers(0, 2), min_size=1), min_size=2, max_size=40), st.floats(0.01, 0.99))
def test_an_image_of_several_classes_is_on_one_side(classes_of, fraction):
    entries = [(str(i), label) for i, labels in enumerate(classes_of) for label in sorted(labels)]
    files, labels = zip(*entries, strict=True)
    train, aside = set_aside(Split("/", files, np.array(labels)), fraction)
    assert len(train) + len(aside) == len(entries)
    assert not set(train.files) & set(aside.files)
    assert set(train.labels) == set(labels)


def test_an_image_stays_on_its_side_when_the_folder_grows():
    """A net is not tested on what it was trained on because photographs were added."""
    before = Split("/", tuple(f"cat/{i}.jpg" for i in range(500)), np.zeros(500, np.int64))
    after = Split(
        "/", tuple(sorted([*before.files, *(f"cat/new {i}.jpg" for i in range(37))])), np.zeros(537, np.int64)
    )
    trained, aside = (set(part.files) for part in set_aside(before, 0.2))
    trained_later, aside_later = (set(part.files) for part in set_aside(after, 0.2))
    assert trained <= trained_later
    assert aside <= aside_later
    assert 70 <= len(aside) <= 130  # a fifth of 500, and three deviations


def test_a_folder_and_its_train_folder_are_divided_alike(touch, tmp_path):
    """Whether the data are given as photos or photos/train, no image changes sides."""
    outer = open_data(touch(*(f"train/{name}/{i}.jpg" for name in "ab" for i in range(20))))
    inner = open_data(str(tmp_path / "train"))
    assert tuple(file.removeprefix("train/") for file in outer.val.files) == inner.val.files


def test_subset():
    boxes = tuple(np.full((1, 4), i) for i in range(3))
    part = Split("/r", ("a", "b", "/c"), np.array([5, 6, 7]), boxes).subset([2, 0])
    assert part.files == ("/c", "a")
    assert part.labels.tolist() == [7, 5]
    assert part.boxes[0].tolist() == [[2, 2, 2, 2]]
    assert part.path(0) == "/c"
    assert part.path(1) == "/r/a"


def test_unlabelled_folder(touch, tmp_path):
    split = unlabelled_folder(touch("b.jpg", "a/c.png", "a/.d.png", "e.txt"))
    assert split.files == ("a/c.png", "b.jpg")
    assert split.labels is None
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no image files"):
        unlabelled_folder(tmp_path / "none")
    with pytest.raises(UserError, match="no such folder"):
        unlabelled_folder(tmp_path / "nowhere")


def test_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("VGGNET_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("VGGNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "vggnet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache().parts[-2:] == (".cache", "vggnet")


def test_made_once_is_whole_or_absent(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        made_once(tmp_path / "made", fail)
    assert list(tmp_path.iterdir()) == []
    made_once(tmp_path / "made", lambda folder: (folder / "whole").touch())
    made_once(tmp_path / "made", fail)  # not called again
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["whole"]


def test_names_are_the_contract():
    assert {"scenes", "cifar10", "imagenette", "caltech101", "flowers102"} <= set(datasets.data_names())
