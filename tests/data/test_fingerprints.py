"""The hash of a split: equal for equal files, labels and boxes, wherever the files lie."""

from dataclasses import replace

import numpy as np
import pytest

from vggnet.data.fingerprints import fingerprint
from vggnet.data.splits import Split

SPLIT = Split(
    "/data/photos",
    ("a/1.jpg", "b/caf\udce9.jpg"),  # a name that is not UTF-8
    np.array([0, 1]),
    (np.array([[1, 2, 3, 4]]), np.empty((0, 4), np.int64)),
)


def test_a_copied_data_set_has_the_same_fingerprint():
    copied = replace(SPLIT, root="/scratch/job-7", labels=np.array([0, 1], np.int32))
    assert fingerprint(copied, ("cat", "dog")) == fingerprint(SPLIT, ("cat", "dog"))


@pytest.mark.parametrize(
    "changed",
    [
        replace(SPLIT, files=("a/1.jpg", "b/2.jpg")),
        replace(SPLIT, files=("a/1.jpgb", "/caf\udce9.jpg")),
        replace(SPLIT, labels=np.array([1, 0])),
        replace(SPLIT, labels=None),
        replace(SPLIT, boxes=(np.array([[1, 2, 3, 5]]), np.empty((0, 4), np.int64))),
        replace(SPLIT, boxes=(np.empty((0, 4), np.int64), np.array([[1, 2, 3, 4]]))),
        replace(SPLIT, boxes=None),
        replace(SPLIT, regions=np.array([[0, 0, 1, 1], [0, 0, 1, 1]])),
        SPLIT.subset([1, 0]),
    ],
)
def test_another_name_label_box_or_order_has_another_fingerprint(changed):
    assert fingerprint(changed, ("cat", "dog")) != fingerprint(SPLIT, ("cat", "dog"))


def test_renamed_classes_have_another_fingerprint():
    assert fingerprint(SPLIT, ("cat", "dog")) != fingerprint(SPLIT, ("cat", "dogs"))
