"""Tell from a name whether a file belongs to the system, and which part of a data set a folder is."""

import re
from typing import Literal

Part = Literal["train", "val", "test"]

# left behind by operating systems, NAS devices and archive programs; names that begin with a dot are hidden anyway
_SYSTEM_NAMES = frozenset(
    (
        *("__macosx", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap", "#recycle"),
        *("#snapshot", "lost+found", "$recycle.bin", "recycler", "recycled", "system volume information"),
        *("network trash folder", "temporary items", "thevolumesettingsfolder", "found.000", "__pycache__"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"),
    )
)
_PARTS: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_WORDS_BESIDE = ("set", "data", "dataset", "images", "image", "imgs", "img", "split", "folder", "photos", "pictures")
_PART_IN_A_NAME = re.compile(r"(?<![a-z])(train|valid|test|eval|(val|trn|tst|dev|folds?|split)(?![a-z]))")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is no data by its name: hidden, or made by an operating system or a NAS."""
    return name.startswith(".") or is_system(name)


def is_system(name: str) -> bool:
    """Return whether an operating system, a NAS or an archive program makes visible files or folders of this name."""
    return name.lower() in _SYSTEM_NAMES


def part_of(name: str) -> Part | None:
    """Return which part of a data set a folder holds by its name, None for any other name.

    >>> part_of("Training"), part_of("VALID_SET"), part_of("test-images"), part_of("val2017"), part_of("cat")
    ('train', 'val', 'test', 'val', None)
    """
    word = re.sub(r"[^a-z]", "", name.lower())
    for beside in _WORDS_BESIDE:
        if word not in _PARTS:
            word = word.removesuffix(beside)
    return _PARTS.get(word)


def looks_like_part(name: str) -> bool:
    """Return whether a folder may be a part of a data set by its name, in whatever form: my-training_v2, fold 3."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # myTraining
    return _PART_IN_A_NAME.search(apart.lower()) is not None
