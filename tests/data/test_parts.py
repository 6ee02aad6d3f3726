"""The names that people give to the parts of a data set, and what lies beside images without being data."""

import os

import pytest

from vggnet.data.listing import images_at, unlabelled_folder
from vggnet.data.names import looks_like_part, part_of
from vggnet.data.opening import open_data
from vggnet.errors import UserError


@pytest.fixture
def touch(tmp_path):
    """touch("train/cat/1.jpg", ...) makes empty files: layouts are read without opening images."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return str(tmp_path)

    return make


@pytest.mark.parametrize(
    ("train", "val"),
    [
        *(("Training", "Testing"), ("TRAIN", "VAL"), ("train_set", "valid-set"), ("training_data", "Validation Data")),
        *(
            ("train", "Test"),
            ("train2017", "val2017"),
            ("trainset", "testset"),
            ("Train_images", "dev"),
            ("trn", "val"),
        ),
        ("train", "test_dataset"),
    ],
)
def test_usual_names_in_any_case_and_form(touch, train, val):
    data = open_data(touch(*(f"{part}/{name}/1.jpg" for part in (train, val) for name in ("glioma", "pituitary"))))
    assert data.classes == ("glioma", "pituitary")
    assert data.train.files == (f"{train}/glioma/1.jpg", f"{train}/pituitary/1.jpg")
    assert data.val.files == (f"{val}/glioma/1.jpg", f"{val}/pituitary/1.jpg")
    assert not data.divided
    if (train, val) != ("train", "val"):
        assert any(val in note for note in data.notes) or val == "val"


@pytest.mark.parametrize("name", ["cat", "train station", "devices", "values", "testament", "latest", "set", "images"])
def test_other_names_are_no_parts(name):
    assert part_of(name) is None


@pytest.mark.parametrize(
    "names", [("fold1", "fold2"), ("my_training", "my_testing"), ("myTrain", "rest"), ("A", "test A")]
)
def test_unknown_names_of_parts_with_equal_folders_stop(touch, names):
    folder = touch(*(f"{part}/{name}/1.jpg" for part in names for name in ("cat", "dog")))
    with pytest.raises(UserError, match=r"hold folders of the same names \('cat', 'dog'\).*Name them train and val"):
        open_data(folder)


def test_classes_with_equal_folders_in_them_are_classes(touch):
    data = open_data(
        touch(*(f"{name}/{side}/{i}.jpg" for name in "ab" for side in ("left", "right") for i in range(3)))
    )
    assert data.classes == ("a", "b")
    assert not looks_like_part("latest")


def test_a_class_of_trains_beside_other_vehicles_is_a_class(touch):
    data = open_data(touch(*(f"{name}/{i}.jpg" for name in ("bus", "car", "train") for i in range(9))))
    assert data.classes == ("bus", "car", "train")


def test_two_folders_for_one_part_stop(touch):
    with pytest.raises(UserError, match=r"'Train', 'training' may all be the training images"):
        open_data(touch("Train/a/1.jpg", "training/a/1.jpg", "val/a/1.jpg"))


def test_what_is_not_used_is_said(touch):
    data = open_data(touch("train/a/1.jpg", "val/a/2.jpg", "test/a/3.jpg", "holdout/a/4.jpg", "labels/x.txt"))
    assert any("not used: the folder test, since val is there" in note for note in data.notes)
    assert any("not used: 'holdout', with folders of the same classes" in note for note in data.notes)
    assert not any("labels" in note for note in data.notes)


@pytest.mark.parametrize("names", [("test/1.jpg", "test/2.jpg"), ("Test1/unknown/1.jpg", "Test1/unknown/2.jpg")])
def test_a_test_folder_without_labels_is_not_used(touch, names):
    """As competitions have it: a part of train is set aside."""
    data = open_data(touch(*(f"train/{name}/{i}.jpg" for name in "ab" for i in range(10)), *names))
    assert data.divided
    assert data.classes == ("a", "b")
    assert len(data.train) + len(data.val) == 20
    assert set(data.val.labels.tolist()) == {0, 1}
    assert any(f"not used: 2 images in {names[0].split('/')[0]}, which have no labels" in note for note in data.notes)


def test_a_test_folder_with_other_classes_still_stops(touch):
    with pytest.raises(UserError, match=r"class 'Cat', 'Dog' has no folder in .*train"):
        open_data(touch("train/cat/1.jpg", "train/dog/1.jpg", "test/Cat/1.jpg", "test/Dog/1.jpg"))


SYSTEM = ("@eaDir", "lost+found", "#recycle", "$RECYCLE.BIN", "System Volume Information", "@Recycle", "__MACOSX")


@pytest.mark.parametrize("name", [*SYSTEM, ".AppleDouble", ".Trashes", ".ipynb_checkpoints"])
@pytest.mark.parametrize("where", ["", "train/", "train/cat/", "val/dog/"])
def test_folders_of_systems_are_no_data(touch, name, where):
    images = ("train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg", "val/dog/4.jpg")
    data = open_data(touch(*images, f"{where}{name}/5.jpg/SYNOPHOTO_THUMB_M.jpg", f"{where}Thumbs.db"))
    assert data.classes == ("cat", "dog")
    assert data.train.files + data.val.files == images
    assert any(f"{name} (1)" in note for note in data.notes) == (name in SYSTEM and where != "")


def test_folders_of_systems_are_left_out_where_images_are_listed(touch):
    folder = touch("1.jpg", "deep/2.jpg", "@eaDir/1.jpg/THUMB.jpg", "deep/@eaDir/2.jpg/THUMB.jpg", "$RECYCLE.BIN/3.jpg")
    assert unlabelled_folder(folder).files == ("1.jpg", "deep/2.jpg")
    assert len(images_at([folder])) == 2


def test_an_unreadable_folder_of_the_system_does_not_stop(touch, tmp_path):
    """lost+found belongs to root."""
    folder = touch("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg", "lost+found/5.jpg")
    os.chmod(tmp_path / "lost+found", 0)
    try:
        assert open_data(folder).classes == ("a", "b")
    finally:
        os.chmod(tmp_path / "lost+found", 0o755)


@pytest.mark.parametrize(
    "output",
    [
        *("runs/pets-A/.lock", "runs/pets-A/best.safetensors", "pets-A/state.safetensors", "ladder/A-S256/.lock"),
        *("boxes/.vggnet", "exported/model.safetensors"),
    ],
)
def test_own_outputs_are_no_data(touch, output):
    """`cd pets; vggnet train .` makes runs/ among the classes; `localize predict` boxes/, with pictures in it."""
    picture = f"{output.rpartition('/')[0]}/0000-1.png"
    folder = touch("cat/1.jpg", "cat/2.jpg", "dog/3.jpg", "dog/4.jpg", output)
    assert open_data(folder).classes == ("cat", "dog")
    if not output.endswith(".lock"):  # a run that is just starting holds nothing else
        touch(picture)
        data = open_data(folder)
        assert data.classes == ("cat", "dog")
        assert any("outputs of vggnet" in note for note in data.notes)
        assert len(unlabelled_folder(folder)) == 4
