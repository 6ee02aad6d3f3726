"""Test 2 (App. A): an image's best classes by the classifiers, and for each the best box by the box nets.

The five classes and their order are the classification's: posteriors averaged over views, Q and nets, as in Sect. 3.2;
dense views unless others are asked for. Within a class the best box is the merged one that gathers most class score.
Each window's box is rated by the classifiers' posterior in that very window. Several box nets: the union of their
boxes, then merged.

Shapes: n images, K classes, T = min(5, K).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vggnet.console import named, note
from vggnet.data.splits import Split
from vggnet.description import ImageReading, ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.metrics import TOP, combine
from vggnet.evaluation.policy import Shown, policy_notes
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View
from vggnet.localization.dense import Candidates, Drawer, Judge, dense_candidates
from vggnet.localization.merging import best_boxes
from vggnet.network.weights import load_model, read_description
from vggnet.options.choices import Merging

_SHARD = 256  # images whose boxes are in memory at once


@dataclass(frozen=True, eq=False)
class Party:
    """Box nets and the classifiers that rate them; all class numbers are the first classifier's."""

    drawers: tuple[Drawer, ...]
    judges: tuple[Judge, ...]
    classifiers: tuple[Path, ...]
    descriptions: tuple[ModelDescription, ...]  # of the classifiers
    notes: tuple[str, ...] = ()  # how the nets are shown images, where that is not as in the paper

    @property
    def classes(self) -> tuple[str, ...]:
        return self.descriptions[0].classes


@dataclass(frozen=True)
class Combining:
    """Which boxes are merged together: (box net, Q) pairs."""

    members: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Guesses:
    """The best first: classes (n, T), edges (n, T, 4), posteriors (n, T), rates of the boxes (n, T)."""

    classes: np.ndarray
    edges: np.ndarray
    posteriors: np.ndarray
    rates: np.ndarray


def gather(runs: Sequence[str | Path], classifiers: Sequence[str | Path], mirror: bool | None = None) -> Party:
    """Load the nets and match their classes by name. Raises UserError for nets that do not go together.

    `mirror`: whether all nets are shown mirrored images; None: each as it was trained.
    """
    descriptions = tuple(read_description(path) for path in classifiers)
    boxes = [read_description(path) for path in runs]
    for path, description in zip(classifiers, descriptions, strict=True):
        if description.boxes:
            raise UserError(f"--classifier {path}: this net draws boxes; give a classification run")
    for path, description in zip(runs, boxes, strict=True):
        check_draws_boxes(path, description)
    reading = one_reading(runs, boxes)
    for path, description in zip(classifiers, descriptions, strict=True):
        if description.policy.reading != reading:
            own = _described(description.policy.reading)
            note(
                f"--classifier {path} was trained with {own}; it rates boxes on images read with {_described(reading)}"
            )
    crops = {each.architecture.crop_px for each in (*descriptions, *boxes)}
    if len(crops) > 1:
        raise UserError(
            f"nets of different crops ({', '.join(map(str, sorted(crops)))}) see different windows: give box nets and "
            "classifiers of one crop"
        )
    base = descriptions[0].classes
    judges = [
        Judge(
            load_model(path),
            _order(base, description.classes, path),
            description.policy.chosen(mirror).mirror,
        )
        for path, description in zip(classifiers, descriptions, strict=True)
    ]
    drawers = [
        Drawer(
            load_model(path),
            _order(base, description.classes, path),
            description.policy.chosen(mirror).mirror,
        )
        for path, description in zip(runs, boxes, strict=True)
    ]
    paths = [*map(str, runs), *map(str, classifiers)]
    shown = [
        Shown(path, description.policy, description.policy.chosen(mirror))
        for path, description in zip(paths, (*boxes, *descriptions), strict=True)
    ]
    return Party(tuple(drawers), tuple(judges), tuple(map(Path, classifiers)), descriptions, policy_notes(shown))


def one_reading(runs: Sequence[str | Path], descriptions: Sequence[ModelDescription]) -> ImageReading:
    """Return how the box nets read images. UserError where they differ: their boxes would lie on different pixels."""
    readings = [description.policy.reading for description in descriptions]
    for run, reading in zip(runs, readings, strict=True):
        if reading != readings[0]:
            raise UserError(
                f"{runs[0]} and {run} read images differently ({_described(readings[0])}; {_described(reading)}): "
                "evaluate them one at a time"
            )
    return readings[0]


def _described(reading: ImageReading) -> str:
    low, high = reading.pixel_range
    return f"--orientation {reading.orientation} --pixel-range {low} {high}"


def check_draws_boxes(path: str | Path, description: ModelDescription) -> None:
    """UserError for a net that draws no boxes."""
    if not description.boxes:
        raise UserError(f"{path}: this net names classes and draws no boxes; `vggnet localize train` makes one from it")


def _order(base: tuple[str, ...], own: tuple[str, ...], path: str | Path) -> np.ndarray:
    """Where the first classifier's classes stand among a net's own, (K,)."""
    if set(base) != set(own):
        apart = sorted(set(base) ^ set(own))
        raise UserError(
            f"{path}: its classes are not those of the first classifier; only one of them has {named(apart)}"
        )
    position = {name: place for place, name in enumerate(own)}
    return np.array([position[name] for name in base], np.int64)


def classify(
    party: Party, split: Split, views: Sequence[Sequence[View]], computing: Computing
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classifiers' mean posteriors (n, K), from the store, and which images they have (n,).

    `views[i]` are those of classifier i; its mean over them counts as much as each other classifier's.
    """
    means, present = [], np.ones(len(split), bool)
    for place, (path, judge, description, shown) in enumerate(
        zip(party.classifiers, party.judges, party.descriptions, views, strict=True)
    ):
        store = Store.of(path, description, split, computing)
        store.fill(shown, model=judge.model)
        found = [store.read(view) for view in shown]
        for _, there in found:
            present &= there
        mean = combine(posteriors for posteriors, _ in found)
        means.append(mean if place == 0 else mean[:, judge.order])
    return combine(means), present


def guess(
    party: Party,
    rows: Sequence[Combining],
    split: Split,
    sizes: np.ndarray,
    posteriors: np.ndarray,
    indices: np.ndarray,
    computing: Computing,
    merging: Merging = "overfeat",
) -> list[Guesses]:
    """Return for each row the guesses of the images at `indices`: posteriors (N, K), sizes (N, 2) of all images."""
    best = np.argsort(-posteriors, axis=1, kind="stable")[:, :TOP]
    scales = [
        sorted({scale for row in rows for place, scale in row.members if place == drawer})
        for drawer in range(len(party.drawers))
    ]
    boxes: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in rows]
    for start in range(0, len(indices), _SHARD):
        shard = indices[start : start + _SHARD]
        found = dense_candidates(party.drawers, party.judges, split, sizes, best, shard, scales, computing)
        for index in shard.tolist():
            for row, kept in zip(rows, boxes, strict=True):
                kept.append(_merged([found[index][member] for member in row.members], merging))
    chosen = best[indices]
    return [
        Guesses(
            chosen,
            np.stack([edges for edges, _ in kept]),
            np.take_along_axis(posteriors[indices], chosen, 1),
            np.stack([rates for _, rates in kept]),
        )
        for kept in boxes
    ]


def _merged(members: Sequence[Candidates], merging: Merging) -> tuple[np.ndarray, np.ndarray]:
    edges = np.concatenate([member.edges for member in members])
    return best_boxes(edges, np.concatenate([member.scores for member in members]), merging)
