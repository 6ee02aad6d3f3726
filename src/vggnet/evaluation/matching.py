"""Open the nets and the data of an evaluation, and match their classes by name.

Data may have fewer classes than a net, which then still chooses among all of its own. A class that the net does not
know is an error. Nets whose classes differ are not fused.

Shapes: n images.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vggnet.console import counted, named, note
from vggnet.data.ilsvrc_val import find_val
from vggnet.data.listing import is_flat, unlabelled_folder
from vggnet.data.opening import data_names, open_data
from vggnet.data.splits import ImageData, Split
from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.class_words import match_words
from vggnet.evaluation.other_classifiers import Classifier, Description, OtherClassifier
from vggnet.evaluation.protocols import Combination, Entrant
from vggnet.network.vgg import VGG
from vggnet.network.weights import read_description


def open_entrants(models: Sequence[str | Path | Classifier], mirror: bool | None = None) -> tuple[Entrant, ...]:
    """Return the nets with names that tell them apart: D; or D (run-1) and D (run-2); or D (model 2) for one in memory.

    `mirror`: whether mirrored views are averaged in, for all of them. None: as each was trained.
    """
    opened = [_opened(model, mirror) for model in models]
    names = [entrant.name for entrant in opened]
    return tuple(
        entrant
        if names.count(entrant.name) == 1
        else replace(entrant, name=f"{entrant.name} ({_which(entrant, place)})")
        for place, entrant in enumerate(opened, start=1)
    )


def _opened(model: str | Path | Classifier, mirror: bool | None) -> Entrant:
    if isinstance(model, OtherClassifier):
        return Entrant(model.name, model.description, mirror=mirror, model=model)
    path = Path() if isinstance(model, VGG) else Path(model)
    description = model.description if isinstance(model, VGG) else read_description(path)
    refuse_without_classes("the model" if isinstance(model, VGG) else path, description)
    name = description.architecture.net + (" bn" if description.architecture.batch_norm else "")
    return Entrant(name, description, path, mirror, model if isinstance(model, VGG) else None)


def refuse_without_classes(path: str | Path, description: ModelDescription) -> None:
    """Raise UserError for a model whose outputs are not class scores."""
    if description.architecture.convolutions_only:
        raise UserError(
            f"{path}: this model has convolutions only, no head that could name classes: `vggnet features` and "
            "`vggnet transfer` take it, or train a net from it (`vggnet train --init-from MODEL --new-head`)"
        )
    if description.boxes:
        raise UserError(f"{path}: this model draws boxes and names no classes: `vggnet localize` takes it")


def _which(entrant: Entrant, place: int) -> str:
    """Return what tells a net from others of its kind.

    The name under which the weights are published, or the run's; of a file its folder's name and its own; of a model in
    memory its place.
    """
    path = entrant.path
    if entrant.model is not None:
        return f"model {place}"
    description = entrant.own_description
    published = description.recipe.get("published")
    if isinstance(published, dict) and isinstance(published.get("name"), str):
        return str(published["name"])
    return path.name if path.is_dir() else f"{path.resolve().parent.name}/{path.stem}"


def open_split(data: str, *, whole: bool = False) -> ImageData | Split:
    """Return the data set (`whole` as in `open_data`), or the images of a folder without class folders."""
    return unlabelled_folder(data) if has_no_labels(data) else open_data(data, whole=whole)


def has_no_labels(data: str) -> bool:
    """Return whether `data` is a folder of images without class folders, and not the name of a data set."""
    return data not in data_names() and is_flat(data) and find_val(Path(data).expanduser()) is None


def match_labels(entrants: Sequence[Entrant], data: ImageData, split: Split) -> tuple[np.ndarray, ...]:
    """Return for each entrant the labels (n,) of `split` as positions among *its* classes, matched by name.

    Raises UserError for a class that a net does not know.
    """
    assert split.labels is not None
    return tuple(positions_among(each.description, each.source, data)[split.labels] for each in entrants)


def positions_among(description: Description, model: str | Path, data: ImageData) -> np.ndarray:
    """Return where each class of `data` stands among the classes of `model`, matched by name, or else by its words.

    Raises UserError for a class that the model does not know.
    """
    classes = description.classes
    known = {name: position for position, name in enumerate(classes)}
    if not known:
        raise UserError(f"{model}: the model does not name its classes, so they cannot be matched")
    titles = data.titles or ("",) * len(data.classes)
    strange = [pair for pair in zip(data.classes, titles, strict=True) if pair[0] not in known]
    by_words = match_words(strange, classes, description.class_titles, data.name)
    if by_words:
        name, place = next(iter(by_words.items()))
        note(f"{data.name}: {counted(len(by_words), 'class')} matched by words, such as {name!r} to {classes[place]!r}")
        known |= by_words
    strangers = [name for name in data.classes if name not in known]
    if strangers:
        raise UserError(
            f"{model}: classes of {data.name} that the model does not know: {named(strangers)} "
            f"({len(strangers)} of {len(data.classes)}; the model has {named(classes)}): "
            "evaluate it on the data it was trained for, or rename the class folders"
        )
    return np.array([known[name] for name in data.classes])


def match_outputs(entrants: Sequence[Entrant], rows: Sequence[Combination]) -> dict[tuple[int, int], np.ndarray]:
    """Return {(first, other): places of net `first`'s classes in the outputs of `other`} for the nets that rows fuse.

    Raises UserError where their classes are not the same.
    """
    orders = {}
    for row in rows:
        first = row.members[0][0]
        for other, _ in row.members[1:]:
            ours, theirs = entrants[first].description.classes, entrants[other].description.classes
            if set(ours) != set(theirs):
                apart = named(sorted(set(ours) ^ set(theirs)))
                raise UserError(
                    f"models with different classes cannot be fused: {entrants[first].source} has {len(ours)}, "
                    f"{entrants[other].source} has {len(theirs)}, and only one of them has {apart}; "
                    "evaluate them separately"
                )
            position = {name: place for place, name in enumerate(theirs)}
            orders[first, other] = np.array([position[name] for name in ours])
    return orders
