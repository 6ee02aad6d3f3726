"""Tiny ImageNet as its archive comes, and with its val sorted into class folders."""

import shutil

import pytest

from vggnet.data.opening import open_data
from vggnet.errors import UserError
from vggnet.localization.objects import open_localizable

WNIDS = ("n01443537", "n01629819", "n02124075")


@pytest.fixture
def tiny(tmp_path):
    """Three classes of four training images, six val images, two test images; boxes differ by class and number."""
    root = tmp_path / "tiny-imagenet-200"
    for place, wnid in enumerate(WNIDS):
        images = root / "train" / wnid / "images"
        images.mkdir(parents=True)
        lines = []
        for number in range(4):
            (images / f"{wnid}_{number}.JPEG").touch()
            lines.append(f"{wnid}_{number}.JPEG\t{place}\t{number}\t63\t58")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("\n".join(lines) + "\n")
    (root / "val" / "images").mkdir(parents=True)
    lines = []
    for number in range(6):
        (root / "val" / "images" / f"val_{number}.JPEG").touch()
        lines.append(f"val_{number}.JPEG\t{WNIDS[(number + 1) % 3]}\t{number}\t32\t44\t62")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (root / "test" / "images").mkdir(parents=True)
    for number in range(2):
        (root / "test" / "images" / f"test_{number}.JPEG").touch()
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (root / "words.txt").write_text("n00001740\tentity\nn02124075\tEgyptian cat\nn01443537\tgoldfish, Carassius\n")
    return root


def test_as_downloaded(tiny):
    data = open_data(str(tiny))
    assert data.name == "tiny-imagenet-200"
    assert data.classes == WNIDS
    assert data.titles == ("goldfish, Carassius", "n01629819", "Egyptian cat")
    assert data.train.files[5] == "train/n01629819/images/n01629819_1.JPEG"
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.train.boxes[5].tolist() == [[1, 1, 63, 58]]
    assert data.val.files[0] == "val/images/val_0.JPEG"
    assert data.val.labels.tolist() == [1, 2, 0, 1, 2, 0]
    assert data.val.boxes[4].tolist() == [[4, 32, 44, 62]]
    assert data.notes == ("not used: 2 images in test, which have no labels",)
    assert not data.divided


def test_its_boxes_are_learnt_from(tiny):
    data = open_localizable(str(tiny), None, None)
    assert (len(data.train), len(data.val)) == (12, 6)


@pytest.mark.parametrize("inner", ["", "images/"])
def test_a_val_that_was_sorted_into_class_folders(tiny, inner):
    as_it_comes = open_data(str(tiny)).val
    for number in range(6):
        target = tiny / "val" / WNIDS[(number + 1) % 3] / inner / f"val_{number}.JPEG"
        target.parent.mkdir(parents=True, exist_ok=True)
        (tiny / "val" / "images" / f"val_{number}.JPEG").rename(target)
    (tiny / "val" / "images").rmdir()
    for annotations in (True, False):
        if not annotations:
            (tiny / "val" / "val_annotations.txt").unlink()
        data = open_data(str(tiny))
        assert data.classes == WNIDS
        assert len(data.train) == 12
        label_of = dict(
            zip([file.rpartition("/")[2] for file in data.val.files], data.val.labels.tolist(), strict=True)
        )
        assert [label_of[f"val_{number}.JPEG"] for number in range(6)] == as_it_comes.labels.tolist()


def test_without_the_files_of_its_training_boxes(tiny):
    for wnid in WNIDS:
        (tiny / "train" / wnid / f"{wnid}_boxes.txt").unlink()
    data = open_data(str(tiny))
    assert data.train.boxes is None
    assert data.val.boxes is not None


def test_windows_line_ends_a_bom_and_blank_lines_are_read(tiny):
    path = tiny / "val" / "val_annotations.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert open_data(str(tiny)).val.labels.tolist() == [1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val_0.JPEG\tn01443537\t0\t32\t44\n", r"val_annotations\.txt:1: expected .* 5 fields in place of 6"),
        ("\nval_0.JPEG\tn01443537\t0\t32\tx\t62\n", r"val_annotations\.txt:2: expected .*'x'"),
        ("val_0.JPEG\tn01443537\t0\t32\t44\t62\n", r"no line for 5 images of val, such as 'val/images/val_1\.JPEG'"),
        ("".join(f"val_{i}.JPEG\tn0\t0\t1\t2\t3\n" for i in range(6)), "class 'n0' has no folder in .*train"),
    ],
)
def test_wrong_annotations_are_named_with_their_line(tiny, text, message):
    (tiny / "val" / "val_annotations.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        open_data(str(tiny))


def test_missing_images_are_named(tiny):
    shutil.rmtree(tiny / "val" / "images")
    with pytest.raises(UserError, match=r"val: no images; expected val/images/\*\.JPEG"):
        open_data(str(tiny))
    shutil.rmtree(tiny / "train" / WNIDS[0] / "images")
    with pytest.raises(UserError, match="no image in class 'n01443537'"):
        open_data(str(tiny))
