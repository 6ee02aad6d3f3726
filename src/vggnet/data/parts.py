"""Which folders of a data set are its training, validation and test parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vggnet.console import counted, named
from vggnet.data.folders import Folder
from vggnet.data.listing import list_images, subfolders
from vggnet.data.names import looks_like_part, part_of
from vggnet.errors import UserError

_NO_CLASSES = {"images", "image", "img", "imgs", "jpg", "jpeg", "png", "raw"}  # folders that any folder may have


@dataclass(frozen=True)
class Parts:
    """Names of the folders; None where there is none. `unlabelled`: `val` is a test folder without class folders."""

    train: str | None = None
    val: str | None = None
    unlabelled: bool = False
    notes: tuple[str, ...] = ()


def find_parts(root: Folder) -> Parts:
    """Return the parts in `root`; without a training part a validation part only where it is the only folder.

    The usual names are known in any case and form (`names.part_of`). A validation folder goes before a test folder.
    Raises UserError where two folders may be the same part.
    """
    present = subfolders(root)
    kinds = {name: part_of(name) for name in present}
    train = [name for name in present if kinds[name] == "train" and _may_be_train(root, name, kinds)]
    val = [name for name in present if kinds[name] == "val"]
    test = [name for name in present if kinds[name] == "test"]
    if not train:
        return Parts(val=present[0]) if present == val + test and len(present) == 1 else Parts()
    _refuse_two(root, train, "training")
    classes = subfolders(root / train[0])
    notes = _note_unused(root, [name for name in present if kinds[name] is None], classes)
    if train[0] != "train":
        notes = (f"training images come from the folder {train[0]}", *notes)
    if val:
        _refuse_two(root, val, "validation")
        notes += tuple(f"not used: the folder {name}, since {val[0]} is there" for name in test)
    elif test:
        _refuse_two(root, test, "test")
        folders = subfolders(root / test[0])
        if len(folders) < 2 and not set(folders) & set(classes):  # test/1.jpg, or test/unknown/1.jpg
            files, _ = list_images(root / test[0])
            notes += (f"not used: {counted(len(files), 'image')} in {test[0]}, which have no labels",)
            return Parts(train[0], test[0], True, notes)
    chosen = next(iter(val + test), None)
    if chosen is not None and chosen != "val":
        notes += (f"validation images come from the folder {chosen}",)
    return Parts(train[0], chosen, False, notes)


def refuse_unknown_parts(root: Folder) -> None:
    """Raise UserError where folders with names like parts hold subfolders of the same names, which must be classes."""
    present = subfolders(root)
    suspects = [name for name in present if looks_like_part(name)]
    inner = {name: set(subfolders(root / name)) - _NO_CLASSES for name in present} if suspects else {}
    for suspect in suspects:
        alike = [name for name in present if inner[name] & inner[suspect]]
        if len(alike) > 1:
            shared = sorted(set.union(*(inner[name] & inner[suspect] for name in alike if name != suspect)))
            raise UserError(
                f"{root}: the folders {named(alike)} hold folders of the same names ({named(shared)}), as the parts of "
                "a data set do. Name them train and val; or, if they are classes, give them names without "
                "train, test, val or fold"
            )


def _may_be_train(root: Folder, name: str, kinds: Mapping[str, str | None]) -> bool:
    """Return whether a folder called train holds classes: beside other classes it may be the class of trains."""
    return all(kinds.values()) or bool(subfolders(root / name))


def _refuse_two(root: Folder, names: Sequence[str], kind: str) -> None:
    if len(names) > 1:
        raise UserError(f"{root}: {named(names)} may all be the {kind} images: keep one of them, or rename the others")


def _note_unused(root: Folder, names: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """Return a note where folders beside the parts hold folders of the same classes."""
    unused = [name for name in names if set(subfolders(root / name)) & set(classes)]
    return (
        (f"not used: {named(unused)}, with folders of the same classes (validation images lie in val)",)
        if unused
        else ()
    )
