"""Run `vggnet evaluate`: choose the rows, score what is not stored, count errors, and return the `Table`.

Notable: all rows of a table count the same images, those that every view of every net could use, so that rows can be
compared in pairs. Posteriors are stored (`store`): a net is loaded only where some are missing.

Shapes: n images, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vggnet.data.splits import ImageData, Split
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.answers import Answers, answers_csv
from vggnet.evaluation.combining import RowPosteriors
from vggnet.evaluation.comparing import compare_rows
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.matching import match_labels, match_outputs, open_entrants, open_split
from vggnet.evaluation.metrics import Count, Errors, count_ranks, ranks
from vggnet.evaluation.other_classifiers import Classifier, OtherArchitecture
from vggnet.evaluation.policy import input_notes
from vggnet.evaluation.protocols import Combination, Entrant, combinations, default_kinds
from vggnet.evaluation.rows import find_row, row_of
from vggnet.evaluation.store import Store
from vggnet.evaluation.submission import Prediction, Submission, best_classes
from vggnet.evaluation.tables import Reference, Table
from vggnet.evaluation.unseen import count_learnt, note_learnt, trained_on
from vggnet.files import write_result
from vggnet.options.evaluation import EvaluateOptions
from vggnet.provenance import environment

ModelProgress = Callable[[int, int, str], Any]  # images done, images in all, the net's name
ChooseRows = Callable[[Sequence[Entrant], ImageData], Sequence[Combination]]


@dataclass(frozen=True)
class _Job:
    """The nets, the rows of the result, the images, and where and how to compute.

    `orders`: as `RowPosteriors` takes them. `baseline`: the row that the others are compared with; None: the best.
    """

    data: str
    entrants: tuple[Entrant, ...]
    rows: tuple[Combination, ...]
    split: Split
    computing: Computing
    orders: dict[tuple[int, int], np.ndarray]
    baseline: int | None = None


def evaluate(
    options: EvaluateOptions,
    models: Sequence[str | Path | Classifier],
    data: str | Path,
    on_progress: ModelProgress | None = None,
) -> Table | Submission:
    """Return the errors of nets on the val images of `data`, by the paper's test protocol (Sect. 3.2).

    A folder of images without class folders has no labels: the result is then a Submission, five classes an image. A
    data set without a validation part counts whole, or, where one of the nets was trained on it, by the part that was
    set aside in that training.

    Args:
        options: what is shown to the nets, where and how to compute, the files to write. `inputs`, and what describes
            modules of other libraries, is not used.
        models: run folders or weight files, nets in memory, or classifiers of other libraries. Several are also
            fused, in the rows that fuse nets.
        data: a data set as for training, or a folder of images.
        on_progress: called with the images done, all images, and the net's name.

    Raises:
        UserError: what was given does not fit together or cannot be read; BadImage where it is an image.
    """
    entrants = open_entrants(models, options.mirror)
    if not entrants:
        raise UserError("give at least one model to evaluate: a run folder or a weight file")
    opened, split = _opened(str(data), _paths(entrants))
    rows = _rows_without_labels(entrants, options) if opened is None else _rows(entrants, options)
    baseline = None
    if options.against is not None:
        baseline = _baseline(entrants, rows, options.against, labelled=opened is not None)
    if options.per_image is not None and opened is None:
        raise UserError(
            "`per_image` compares answers with labels, and these images have none: `csv` writes the answers"
        )
    computing = Computing.of(options.device, options.precision, options.workers, options.bad_images)
    job = _Job(str(data), entrants, tuple(rows), split, computing, match_outputs(entrants, rows), baseline)
    result: Table | Submission = (
        _submission(job, on_progress) if opened is None else _table(job, opened, options.protocol, on_progress)
    )
    for path, text in ((options.csv, result.to_csv), (options.markdown, result.to_markdown)):
        if path is not None:
            write_result(path, text())
    if options.per_image is not None and isinstance(result, Table):
        write_result(options.per_image, answers_csv(result.answers))
    return result


def evaluate_rows(
    models: Sequence[str | Path],
    data: str | Path,
    choose: ChooseRows,
    computing: Computing,
    on_progress: ModelProgress | None = None,
    names: Sequence[str] | None = None,
) -> Table:
    """Return the table of the rows that `choose` picks for the opened nets and the opened data; see `evaluate`.

    `names` are the nets' names in the table and its notes; None: their letters.

    Raises UserError for images without labels, and as `evaluate` does.
    """
    entrants = open_entrants(models)
    if names is not None:
        entrants = tuple(replace(entrant, name=name) for entrant, name in zip(entrants, names, strict=True))
    opened, split = _opened(str(data), _paths(entrants))
    if opened is None:
        raise UserError(f"{data}: these images have no labels, so there are no errors")
    rows = tuple(choose(entrants, opened))
    return _table(
        _Job(str(data), entrants, rows, split, computing, match_outputs(entrants, rows)), opened, None, on_progress
    )


def _opened(data: str, models: Sequence[Path]) -> tuple[ImageData | None, Split]:
    """Return the data set and the images to evaluate on; the data set is None where these have no labels."""
    opened = open_split(data)
    if isinstance(opened, ImageData) and opened.divided and not trained_on(models, data, opened):
        opened = open_split(data, whole=True)
    labelled = None if isinstance(opened, Split) else opened
    split = opened if isinstance(opened, Split) else opened.val
    if split is None or not len(split):
        raise UserError(f"{data}: no val images with labels; for images without labels give the folder they lie in")
    return labelled, split


def _baseline(entrants: Sequence[Entrant], rows: Sequence[Combination], against: str, *, labelled: bool) -> int:
    """Return the place of the row that `against` names."""
    if not labelled:
        raise UserError(f"`against` {against!r} compares errors, and images without labels have none: leave it out")
    return find_row([row_of(entrants, row, Errors(Count(), None), 0).label for row in rows], against)


def _rows(entrants: Sequence[Entrant], options: EvaluateOptions, views: Sequence[str] = ()) -> list[Combination]:
    """Return the rows that the options ask for; `views` stand in for those that are not given."""
    kinds = options.views or views or None
    return combinations(entrants, protocol=options.protocol, views=kinds, test_scale=options.test_scale or None)


def _rows_without_labels(entrants: Sequence[Entrant], options: EvaluateOptions) -> list[Combination]:
    """Return the row that names the classes of images without labels: the table's last, by default all nets dense."""
    row = _rows(entrants, options, () if options.protocol else default_kinds(entrants)[-1:])[-1]
    if len(row.members) < len(entrants):
        raise UserError(f"`protocol` {options.protocol} does not fuse nets: give one model, or `protocol` table6")
    return [row]


def _score(job: _Job, on_progress: ModelProgress | None) -> tuple[RowPosteriors, tuple[BadImage, ...]]:
    """Score what the rows need and is not stored yet. Return the rows' posteriors, and the bad images."""
    stores: list[Store] = []
    bad: dict[str, BadImage] = {}
    for place, entrant in enumerate(job.entrants):
        store = _store(job, entrant)
        views = [view for row in job.rows for member, shown in row.members if member == place for view in shown]
        tick = None if on_progress is None else partial(_tick, on_progress, entrant.name)
        bad |= {error.path: error for error in store.fill(views, model=entrant.model, on_progress=tick)}
        stores.append(store)
    return RowPosteriors(stores, job.rows, job.orders), tuple(bad.values())


def _store(job: _Job, entrant: Entrant) -> Store:
    if entrant.model is not None:
        return Store.of_model(entrant.model, job.split, job.computing)
    return Store.of(entrant.path, entrant.own_description, job.split, job.computing)


def _paths(entrants: Sequence[Entrant]) -> list[Path]:
    """Return the runs and weight files among the nets."""
    return [entrant.path for entrant in entrants if entrant.model is None]


def _tick(on_progress: ModelProgress, net: str, done: int, total: int) -> None:
    on_progress(done, total, net)


def _table(job: _Job, opened: ImageData, protocol: str | None, on_progress: ModelProgress | None) -> Table:
    """Count the errors of each row and compare the rows."""
    # Labels and notes come before any image is read: both can end the evaluation.
    labels = match_labels(job.entrants, opened, job.split)
    learnt = count_learnt(_paths(job.entrants), opened, job.split)
    combined, bad = _score(job, on_progress)
    files = tuple(name for name, present in zip(job.split.files, combined.present, strict=True) if present)
    answers, errors = [], []
    for row in job.rows:
        posteriors = combined.of(row)
        first = row.members[0][0]
        truth = labels[first][combined.present]
        places = ranks(posteriors, truth)
        errors.append(count_ranks(places, posteriors.shape[1]))
        label = row_of(job.entrants, row, errors[-1], len(job.split)).label
        classes = job.entrants[first].description.classes
        answers.append(Answers.of(label, job.split.root, files, classes, posteriors, truth, places))
    compared = compare_rows([each.wrong for each in answers], job.baseline)
    rows = [
        row_of(job.entrants, row, errors[index], len(job.split), compared.above[index], compared.against[index])
        for index, row in enumerate(job.rows)
    ]
    name = protocol.replace("table", "Table ") if protocol else "Evaluation"
    part = " (val)" if opened.train is not None else ""
    title = f"{name} on {opened.name}{part}, {job.computing.precision} on {job.computing.device.type}"
    known = note_learnt(learnt, opened, len(job.split))
    notes = [*_notes(job), *_notes_on_others(job), *opened.notes, *known]
    if any(row.paper is not None for row in rows):
        notes.append("Paper: ILSVRC-2012 val, 50,000 images, 1000 classes, arXiv 1409.1556v6.")
    reference = Reference(rows[compared.reference].label, job.baseline is not None)
    facts = _facts(job, combined.stores, learnt)
    return Table(title, tuple(rows), tuple(notes), bad, facts, reference, tuple(answers))


def _notes(job: _Job) -> tuple[str, ...]:
    """Return notes on nets that are shown images otherwise than in the paper, or read them nearly black."""
    places = dict.fromkeys(place for row in job.rows for place, _ in row.members)
    mirrors = {
        place for row in job.rows for place, views in row.members if any(view.kind != "center" for view in views)
    }
    return input_notes(job.split, [replace(job.entrants[each].shown, mirrors=each in mirrors) for each in places])


def _notes_on_others(job: _Job) -> list[str]:
    """Return notes on nets in memory: what is not known of them, and which views are left out."""
    notes = []
    if names := [entrant.name for entrant in job.entrants if entrant.model is not None]:
        notes.append(f"Not known: which images {', '.join(names)} learnt from.")
    shown = {view.kind for row in job.rows for _, views in row.members for view in views}
    if "dense" not in shown:
        for entrant in job.entrants:
            about = entrant.description.architecture
            if isinstance(about, OtherArchitecture) and about.only_crops is not None:
                notes.append(f"No dense row: {about.only_crops}")
    return notes


def _facts(job: _Job, stores: Sequence[Store], learnt: dict[Path, int | None] | None = None) -> dict[str, Any]:
    """Return what the numbers come from, for JSON. `learnt`: of how many of the images each net has learnt."""
    return {
        "data": job.data,
        "models": [
            {
                "name": entrant.name,
                "path": entrant.source if entrant.model is None else None,
                "weights_sha256": store.source.weights,
                "images_learnt_from": (learnt or {}).get(entrant.path) if entrant.model is None else None,
                "trained_with": asdict(entrant.description.policy),
                "shown_with": asdict(entrant.policy),
            }
            for entrant, store in zip(job.entrants, stores, strict=True)
        ],
        "precision": job.computing.precision,
        "environment": environment(),
    }


def _submission(job: _Job, on_progress: ModelProgress | None) -> Submission:
    """Name five classes of each image by the only row of the job."""
    combined, bad = _score(job, on_progress)
    row = job.rows[0]
    posteriors = combined.of(row)
    described = row_of(job.entrants, row, Errors(Count(), None), len(job.split))
    description = job.entrants[row.members[0][0]].description
    images = tuple(name for name, present in zip(job.split.files, combined.present, strict=True) if present)
    return Submission(
        f"{described.nets}: {described.method}, Q={described.test_scale}",
        tuple(
            Prediction(name, classes)
            for name, classes in zip(images, best_classes(posteriors, description, 5), strict=True)
        ),
        len(job.split),
        bad,
        _facts(job, combined.stores) | {"mirror": list(row.mirrors)},
        _notes(job),
    )
