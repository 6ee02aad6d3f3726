"""The checked images of a training: its parts, images that cannot be read, and those of a run that goes on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vggnet.data.opening import open_data
from vggnet.description import AS_STORED
from vggnet.errors import UserError
from vggnet.training.prepare_images import AsStarted, Pictures, prepare_pictures

Folders = Callable[..., Path]


def prepared(data: Path, **changes: object) -> Pictures:
    usual = {"holdout": 0.25, "bad_images": "stop", "workers": 0, "reading": AS_STORED}
    return prepare_pictures(open_data(str(data)), str(data), **usual | changes)  # type: ignore[arg-type]


def test_a_part_of_each_class_is_held_out_and_val_only_reported(class_folders: Folders) -> None:
    found = prepared(class_folders(classes=3, train=12, val=4))
    assert (len(found.train), len(found.judge), found.judged_on) == (27, 9, "9 images held out of train")
    assert np.bincount(found.judge.labels).tolist() == [3, 3, 3]
    assert not set(found.train.files) & set(found.judge.files)
    assert found.val is not None
    assert len(found.val) == 12
    assert (found.skipped, found.lost) == ((), ())
    # of class 0 the red channel is 120 brighter, of class 1 the green one, ...: a third of the images each
    assert found.statistics.mean == pytest.approx((44.5 + 40,) * 3, abs=3)


def test_holdout_0_judges_on_val(class_folders: Folders) -> None:
    found = prepared(class_folders(), holdout=0.0)
    assert (len(found.train), found.judge.files) == (36, found.val.files)  # type: ignore[union-attr]
    assert found.judged_on == "val (`holdout` 0)"
    with pytest.raises(UserError, match="a part of the training images, at least 0 and below 1"):
        prepared(class_folders(name="others"), holdout=1.0)


def test_images_that_cannot_be_read_stop_or_are_left_out_of_their_part(
    class_folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    data = class_folders()
    for file in ("train/class1/3.jpg", "val/class2/0.jpg"):
        (data / file).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 36 train images cannot be used:\n.*class1/3.jpg"):
        prepared(data)
    found = prepared(data, bad_images="skip")
    assert [(part, Path(error.path).name) for part, error in found.skipped] == [("train", "3.jpg"), ("val", "0.jpg")]
    assert len(found.train) + len(found.judge) == 35
    assert len(found.val) == 11  # type: ignore[arg-type]
    assert "skipping 1 bad train image" in capsys.readouterr().out


def test_a_run_goes_on_with_the_images_of_its_start(class_folders: Folders) -> None:
    data = class_folders()
    before = prepared(data)
    again = prepared(data, started=AsStarted(before.listed))
    assert (again.train.files, again.judge.files) == (before.train.files, before.judge.files)
    assert again.statistics == before.statistics
    (data / "train" / "class0" / "new.jpg").write_bytes((data / "val" / "class0" / "0.jpg").read_bytes())
    with pytest.raises(UserError, match="the images are not those that the run was started with"):
        prepared(data, started=AsStarted(before.listed))
    accepted = prepared(data, started=AsStarted(before.listed, changed=True))
    assert len(accepted.train) + len(accepted.judge) == 37


def test_an_image_that_became_unreadable_keeps_its_place(class_folders: Folders) -> None:
    data = class_folders()
    before = prepared(data)
    path = Path(before.train.path(5))
    path.write_bytes(b"damaged")
    with pytest.raises(UserError):
        prepared(data, started=AsStarted(before.listed))
    again = prepared(data, started=AsStarted(before.listed), bad_images="skip")
    assert again.train.files == before.train.files
    assert [(part, error.path) for part, error in again.lost] == [("train", str(path))]
    assert again.skipped == ()
