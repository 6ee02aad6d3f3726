"""Classes are matched by name first, then by their words, and never where words are ambiguous."""

from pathlib import Path

import numpy as np
import pytest

from vggnet.data.splits import ImageData, Split
from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.class_words import match_words
from vggnet.evaluation.matching import positions_among
from vggnet.paper.configurations import Architecture
from vggnet.paper.imagenet import imagenet_classes

CODES, WORDS = imagenet_classes()


def data_of(classes: tuple[str, ...], titles: tuple[str, ...] = ()) -> ImageData:
    split = Split("", ("a.jpg",), np.array([0]))
    return ImageData("photos", "photos", classes, titles, None, split)


def described(classes: tuple[str, ...], titles: tuple[str, ...] = ()) -> ModelDescription:
    return ModelDescription(Architecture("A", len(classes)), classes=classes, class_titles=titles)


def test_folders_named_by_imagenets_words_are_its_classes() -> None:
    net = described(CODES, WORDS)
    folders = ("English_setter", "Great White Shark", "kit-fox", "n01443537", "tench")
    found = positions_among(net, Path("net"), data_of(folders))
    assert [CODES[place] for place in found] == ["n02100735", "n01484850", "n02119789", "n01443537", "n01440764"]


def test_every_class_is_found_by_its_words_alone() -> None:
    net = described(CODES, WORDS)
    found = positions_among(net, Path("net"), data_of(tuple(word.replace(" ", "_") for word in WORDS)))
    assert found.tolist() == list(range(1000))


def test_the_classes_of_imagenette_are_those_of_its_codes() -> None:
    from torchvision.datasets import Imagenette

    words = {code: names[0] for code, names in Imagenette._WNID_TO_CLASS.items()}
    found = positions_among(described(CODES, WORDS), Path("net"), data_of(tuple(words.values())))
    assert [CODES[place] for place in found] == list(words)


def test_a_net_that_names_words_finds_the_codes_of_a_data_set_with_titles() -> None:
    net = described(("tench", "goldfish"))
    data = data_of(("n01440764", "n01443537"), ("tench, Tinca tinca", "goldfish, Carassius auratus"))
    assert positions_among(net, Path("net"), data).tolist() == [0, 1]


def test_names_come_before_words() -> None:
    assert positions_among(described(("cat", "Cat")), Path("net"), data_of(("Cat", "cat"))).tolist() == [1, 0]


def test_ambiguous_and_double_words_are_refused() -> None:
    with pytest.raises(UserError, match=r"the class 'CRANE' may be 'n01', 'n02': rename"):
        match_words([("CRANE", "")], ("n01", "n02"), ("Crane, bird", "crane, machine"), "photos")
    assert match_words([("Crane", "")], ("n01", "n02"), ("Crane, bird", "Crane car"), "photos") == {"Crane": 0}
    with pytest.raises(UserError, match=r"'great_white', 'great white' are the same class of the model, 'n01'"):
        match_words([("great_white", ""), ("great white", "")], ("n01",), ("great white",), "photos")


def test_a_class_that_no_word_names_is_still_a_stranger() -> None:
    with pytest.raises(UserError, match=r"classes of photos that the model does not know: 'unicorn' \(1 of 2;"):
        positions_among(described(CODES, WORDS), Path("net"), data_of(("tench", "unicorn")))
