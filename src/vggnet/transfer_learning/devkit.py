"""Read the lists of the PASCAL VOC devkit: what its classification and action tasks learn from and are tested on.

- Classification: each line of `ImageSets/Main/CLASS_SET.txt` has an image and 1, -1 or 0 (difficult).
- Actions: each line of `ImageSets/Action/ACTION_SET.txt` has an image, the place of a person among its objects, and the
  target. The person's box is in `Annotations/IMAGE.xml`. "other" is no action: it is neither learnt nor counted.
- A test set without public labels has `SET.txt` instead, with images, or images and persons.

Shapes: n examples (images, or persons in them), K classes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vggnet.console import counted, named
from vggnet.data.box_files import read_xml
from vggnet.data.splits import Split
from vggnet.data.text_files import read_text
from vggnet.errors import UserError
from vggnet.options.choices import Regions

NO_ACTION = "other"  # the devkit's VOCinit skips it, and so do its evaluation and the paper's ten actions
Id = tuple[str, ...]  # an image; or an image and the place of a person among its objects
Targets = dict[Id, list[int]]  # of each class


@dataclass(frozen=True)
class Sets:
    """Names of the devkit's sets; None: trainval and test where there are labels of a test set, else train and val.

    `cost` are two sets of which C is learnt on the first and judged on the second; empty: on a random part.
    """

    train: str | None = None
    test: str | None = None
    cost: tuple[str, ...] = ()


@dataclass(frozen=True)
class DevkitOptions:
    """The options of `vggnet transfer` that only --protocol voc and actions have; see `options.transfer`."""

    sets: Sets = Sets()
    regions: Regions = "both"
    results: Path | None = None
    competition: str | None = None

    def given(self) -> list[str]:
        """Return the names of the options that are not at their defaults."""
        values: dict[str, object] = {
            "train_set": self.sets.train,
            "test_set": self.sets.test,
            "cost_sets": self.sets.cost,
            "results": self.results,
            "competition": self.competition,
        }
        return [name for name, value in values.items() if value] + (["regions"] if self.regions != "both" else [])


@dataclass(frozen=True, eq=False)
class MultiLabelSet:
    """Examples with a target for each class: int8 (n, K) of 1, -1, 0; `train` and `test` are their places.

    `parts` show each example in one or more ways (the image; the image and a person's box). `ids` are the fields that
    name an example in the devkit's lists. `cost` are places for choosing C (to learn from, to judge on), or None.
    """

    name: str
    year: str
    parts: tuple[Split, ...]
    classes: tuple[str, ...]
    ids: tuple[Id, ...]
    targets: np.ndarray
    train: np.ndarray
    test: np.ndarray
    sets: tuple[str, str]
    cost: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def labelled(self) -> bool:
        """Whether any test example has a label; those of newer years are only on VOC's server."""
        return bool((self.targets[self.test] != 0).any())


def open_voc(data: str, sets: Sets) -> MultiLabelSet:
    """Open VOC's classification task in a folder that holds ImageSets/Main and JPEGImages. Raises UserError."""
    root, lists = _voc_folder(data, "Main")
    classes, names = _classes_and_sets(lists, sets)
    train, test = (_targets(lists, classes, name, fields=1) for name in names)
    split = Split(str(root), tuple(f"JPEGImages/{image}.jpg" for image, *_ in (*train, *test)))
    return _multi_label(root.name, root, lists, (split,), classes, names, (train, test), sets)


def open_actions(data: str, sets: Sets, regions: Regions = "both") -> MultiLabelSet:
    """Open VOC's action task: each example is a person, shown by the image, by the person's box, or by both."""
    root, lists = _voc_folder(data, "Action")
    classes, names = _classes_and_sets(lists, sets, without=NO_ACTION)
    train, test = (_targets(lists, classes, name, fields=2) for name in names)
    persons = (*train, *test)
    whole = Split(str(root), tuple(f"JPEGImages/{image}.jpg" for image, _ in persons))
    parts: tuple[Split, ...] = (whole,)
    if regions != "image":
        regions_of_persons, sizes = _person_regions(root, persons)
        boxed = replace(whole, regions=regions_of_persons, stated_sizes=sizes)
        parts = (whole, boxed) if regions == "both" else (boxed,)
    return _multi_label(f"{root.name} actions", root, lists, parts, classes, names, (train, test), sets)


def _multi_label(
    name: str,
    root: Path,
    lists: Path,
    parts: tuple[Split, ...],
    classes: tuple[str, ...],
    names: tuple[str, str],
    listed: tuple[Targets, Targets],
    sets: Sets,
) -> MultiLabelSet:
    train, test = listed
    _check_apart(lists, names, *({image for image, *_ in each} for each in listed))
    ids = (*train, *test)
    targets = np.array([*train.values(), *test.values()], np.int8).reshape(-1, len(classes))
    places = np.arange(len(ids))
    cost = _cost_places(lists, classes, names[0], list(train), sets.cost) if sets.cost else None
    return MultiLabelSet(
        name, root.name, parts, classes, ids, targets, places[: len(train)], places[len(train) :], names, cost
    )


def _cost_places(
    lists: Path, classes: tuple[str, ...], train_set: str, train: list[Id], sets: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places among `train` of the two sets that C is chosen on. Raises UserError for others."""
    argument = f"`cost_sets` {' '.join(sets)}"
    if len(sets) != 2:
        raise UserError(f"{argument}: two sets, such as train val: C is learnt on the first and judged on the second")
    place = {example: number for number, example in enumerate(train)}
    found: list[list[int]] = []
    for name in sets:
        if not (lists / f"{classes[0]}_{name}.txt").is_file():
            raise UserError(f"{argument}: {lists} has no {classes[0]}_{name}.txt")
        listed = _targets(lists, classes, name, fields=len(train[0]))
        if missing := [example for example in listed if example not in place]:
            raise UserError(
                f"{argument}: {counted(len(missing), 'example')} of {name}, such as {' '.join(missing[0])}, not in the "
                f"training set {train_set}: C is chosen on what is learnt from; with train and val give `train_set` "
                "trainval"
            )
        found.append([place[example] for example in listed])
    learn, held = found
    if shared := set(learn) & set(held):
        raise UserError(
            f"{argument}: both sets have {' '.join(train[min(shared)])}: what is learnt from cannot judge C"
        )
    return np.array(learn, np.int64), np.array(held, np.int64)


def _person_regions(root: Path, persons: Sequence[Id]) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of each person's box, int64 (n, 4), and the sizes that the annotations state, int64 (n, 2)."""
    paths = {image: root / "Annotations" / f"{image}.xml" for image, _ in persons}
    objects = {image: read_xml(path, first=1) for image, path in paths.items()}
    regions, sizes = [], []
    for image, person in persons:
        if not 1 <= int(person) <= len(objects[image]):
            raise UserError(f"{paths[image]}: has {len(objects[image])} objects, no object {person}")
        chosen = objects[image][int(person) - 1]
        regions.append(chosen.corners)
        sizes.append(chosen.size or (0, 0))
    return np.array(regions, np.int64).reshape(-1, 4), np.array(sizes, np.int64).reshape(-1, 2)


def _voc_folder(data: str, kind: str) -> tuple[Path, Path]:
    root = Path(data).expanduser()
    lists = root / "ImageSets" / kind
    if not lists.is_dir():
        raise UserError(f"{data}: no ImageSets/{kind} in it: give one year's folder of the devkit (VOCdevkit/VOC2007)")
    return root.resolve(), lists


def _check_apart(lists: Path, sets: tuple[str, str], train: Collection[str], test: Collection[str]) -> None:
    """Raise UserError for sets that share an image, or of which one is empty: what is learnt cannot be tested on."""
    if sets[0] == sets[1]:
        raise UserError(f"`train_set` and `test_set` are both {sets[0]}: nothing is left to test on")
    for name, images in zip(sets, (train, test), strict=True):
        if not images:
            raise UserError(f"{lists}: the set {name} is empty")
    if shared := set(train) & set(test):
        raise UserError(
            f"{lists}: {counted(len(shared), 'image')} in {sets[0]} and in {sets[1]}, such as {min(shared)}: what is "
            "learnt from cannot be tested on"
        )


def _classes_and_sets(lists: Path, sets: Sets, without: str = "") -> tuple[tuple[str, ...], tuple[str, str]]:
    """Return the classes that have lists, and the names of the training and the test set."""
    present = {path.stem for path in lists.glob("*_*.txt")}
    known = {stem.rpartition("_")[2] for stem in present}
    train = sets.train or ("trainval" if "test" in known else "train")
    test = sets.test or ("test" if "test" in known else "val")
    classes = sorted(stem.rpartition("_")[0] for stem in present if stem.endswith(f"_{train}"))
    classes = [name for name in classes if name != without]
    if not classes:
        raise UserError(f"{lists}: no CLASS_{train}.txt; the sets here are {', '.join(sorted(known)) or 'none'}")
    lacking = [name for name in classes if f"{name}_{test}" not in present]
    unlabelled = len(lacking) == len(classes) and (lists / f"{test}.txt").is_file()
    if lacking and not unlabelled:
        raise UserError(f"{lists}: no {test} list of {named(lacking)}")
    return tuple(classes), (train, test)


def _targets(lists: Path, classes: tuple[str, ...], name: str, *, fields: int) -> Targets:
    """Read one set: the targets of each example, whose id has `fields` fields; 0 for all where it has no labels.

    A person that an action's list leaves out has 0 there. Raises UserError where classes list different images.
    """
    found: Targets = {}
    if not (lists / f"{classes[0]}_{name}.txt").is_file():
        return {tuple(line): [0] * len(classes) for line in _read_lines(lists / f"{name}.txt", fields, labelled=False)}
    for place, label in enumerate(classes):
        path = lists / f"{label}_{name}.txt"
        lines = _read_lines(path, fields + 1, labelled=True)
        for line in lines:
            found.setdefault(tuple(line[:-1]), [0] * len(classes))[place] = int(line[-1])
        if fields == 1 and (len(lines) != len(found) or {line[0] for line in lines} != {image for image, *_ in found}):
            raise UserError(f"{lists}: {label}_{name}.txt and {classes[0]}_{name}.txt list different images")
    return found


def _read_lines(path: Path, fields: int, *, labelled: bool) -> list[list[str]]:
    """Read the fields of a list's lines: image, the person's place (actions), the target (labelled)."""
    numbered = {
        number: line.split() for number, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()
    }
    for number, line in numbered.items():
        if len(line) != fields or (labelled and line[-1] not in ("1", "-1", "0")):
            last = ", the last of them 1, -1 or 0" if labelled else ""
            raise UserError(f"{path}:{number}: expected {counted(fields, 'field')}{last}")
        if fields - labelled == 2 and not line[1].isdigit():
            raise UserError(f"{path}:{number}: expected a person's place among the objects, not {line[1]!r}")
    return list(numbered.values())
