"""Words for numbers."""

import pytest

from vggnet.console import counted, duration


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "image", "0 images"),
        (1, "train image", "1 train image"),
        (2000, "image", "2,000 images"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "box", "2 boxes"),
        (5, "batch", "5 batches"),
        (4, "epoch", "4 epochs"),
        (2, "process", "2 processes"),
    ],
)
def test_one_and_many(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said


def test_durations_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (8.4, 200, 7500)] == ["8 s", "3 min 20 s", "2 h 5 min"]
