"""Measure localisation errors as in Tables 8 and 9 (`vggnet localize evaluate`).

All rows count the same images: those with a box that every net could read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vggnet.data.splits import ImageData
from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.matching import positions_among
from vggnet.evaluation.policy import input_notes
from vggnet.evaluation.unseen import count_learnt, note_learnt, trained_on
from vggnet.evaluation.views import View, describe
from vggnet.localization.baselines import baselines
from vggnet.localization.guessing import (
    BoxSources,
    LocalizationNets,
    check_box_net,
    classify,
    guess,
    load_nets,
    one_reading,
    shown_nets,
)
from vggnet.localization.judging import center_test, count_localization_errors
from vggnet.localization.merging import check_installed
from vggnet.localization.objects import Objects, objects_of, open_localizable
from vggnet.localization.report import CenterRow, DenseRow, LocalizationReport
from vggnet.localization.scales import Scales, box_scales, classifier_views
from vggnet.network.weights import load_model, read_description
from vggnet.options.localization import LocalizeEvaluateOptions
from vggnet.provenance import environment


def evaluate_localizers(runs: Sequence[str], data: str, options: LocalizeEvaluateOptions) -> LocalizationReport:
    """Run both tests on the val images of the data, for each run and for all of them fused. Raises UserError."""
    _check_classifier_options(options)
    check_installed(options.merging)
    descriptions = [read_description(run) for run in runs]
    for run, description in zip(runs, descriptions, strict=True):
        check_box_net(run, description)
    opened = open_localizable(data, options.annotations, options.val_annotations)
    models = [*map(Path, runs), *options.classifier]
    if opened.divided and not trained_on(models, data, opened):
        opened = open_localizable(data, options.annotations, options.val_annotations, whole=True)
    if opened.val is None:
        raise UserError(f"{data}: no val image has a box")
    learnt = note_learnt(count_learnt(models, opened, opened.val), opened, len(opened.val))
    scales = box_scales(options, descriptions)
    # load_nets() raises for nets that cannot work together: call it before any image is read
    nets = load_nets(runs, options.classifier, options.mirror) if options.classifier else None
    views = classifier_views(options, nets.descriptions, scales) if nets else []
    computing = Computing.of(options.device, options.precision, options.workers, options.bad_images)
    workers = computing.workers
    reading = one_reading(runs, descriptions)
    val = objects_of(opened.val.read_as(reading), bad_boxes=options.bad_boxes, workers=workers, name="val")
    names = _names(runs, descriptions)
    present = np.ones(len(val), bool)
    center = []
    for place, (run, name, description) in enumerate(zip(runs, names, descriptions, strict=True)):
        model = nets.box_nets[place].model if nets else load_model(run)
        labels = positions_among(description, run, opened)[val.labels]
        for scale in scales[place]:
            result = center_test(model, val, labels, scale, computing, np.arange(len(val)))
            present[np.setdiff1d(np.arange(len(val)), result.indices)] = False
            center.append(CenterRow(name, description, scale, result.error, result.mean_iou))
    if opened.train is not None:
        train = objects_of(opened.train.read_as(reading), bad_boxes=options.bad_boxes, workers=workers, name="train")
        for name, count in baselines(train, val, len(opened.classes)).items():
            center.append(CenterRow(name, None, None, count, None))
    dense: tuple[DenseRow, ...] = ()
    if nets is not None:
        dense = _dense_rows(options, nets, names, descriptions, scales, views, opened, val, present, computing)
    notes = opened.notes + learnt
    if nets is not None:
        notes += (f"classes: {_classified_by(nets, views)}; boxes merged by {options.merging}",)
    notes += input_notes(opened.val, nets.shown if nets is not None else shown_nets(runs, descriptions, mirrors=False))
    if not present.all():
        notes += (f"not counted: {int((~present).sum())} of {len(val)} images, which could not be used",)
    facts: dict[str, Any] = {
        "models": [str(run) for run in runs],
        "classifiers": [str(path) for path in options.classifier],
        "classifier_views": [[view.key for view in each] for each in views],
        "merging": options.merging,
    }
    return LocalizationReport(opened.name, tuple(center), dense, notes, facts | {"environment": environment()})


def _check_classifier_options(options: LocalizeEvaluateOptions) -> None:
    """Raise UserError for options of the classifiers where there is none."""
    for name in ("classifier_views", "classifier_scale"):
        if getattr(options, name) and not options.classifier:
            raise UserError(f"`{name}` is for the classifiers: name them with `classifier`")


def _classified_by(nets: LocalizationNets, views: Sequence[Sequence[View]]) -> str:
    """Name the classifiers and their views: `D (dense + crops, Q=256,384,512) + E (dense, Q=384)`."""
    names = [description.architecture.net for description in nets.descriptions]
    return " + ".join(f"{name} ({describe(shown)})" for name, shown in zip(names, views, strict=True))


def _dense_rows(
    options: LocalizeEvaluateOptions,
    nets: LocalizationNets,
    names: Sequence[str],
    descriptions: Sequence[ModelDescription],
    scales: Sequence[Scales],
    views: Sequence[Sequence[View]],
    opened: ImageData,
    val: Objects,
    present: np.ndarray,
    computing: Computing,
) -> tuple[DenseRow, ...]:
    rows = table_9_rows(scales)
    labels = positions_among(nets.descriptions[0], options.classifier[0], opened)[val.labels]
    posteriors, there = classify(nets, val.split, views, computing)
    present &= there
    indices = np.flatnonzero(present)
    truth = val.padded()[indices]
    result = []
    found = guess(nets, rows, val.split, val.sizes, posteriors, indices, computing, options.merging)
    for row, guesses in zip(rows, found, strict=True):
        errors = count_localization_errors(guesses.classes, guesses.edges, labels[indices], truth)
        used_nets = sorted({place for place, _ in row})
        name = " + ".join(names[place] for place in used_nets)
        used = tuple(sorted({scale for _, scale in row}))
        by_net = tuple(tuple(scale for place, scale in row if place == net) for net in used_nets)
        described = tuple(descriptions[place] for place in used_nets)
        result.append(DenseRow(name, described, used, errors, by_net, options.merging))
    return tuple(result)


def table_9_rows(scales: Sequence[Sequence[int]]) -> list[BoxSources]:
    """Return the rows of Table 9: each net at each Q, each net over all its Q, and all nets.

    `scales[i]` are the Q of box net i.
    """
    rows: list[BoxSources] = []
    for place, each in enumerate(scales):
        rows += [((place, scale),) for scale in each]
        if len(each) > 1:
            rows.append(tuple((place, scale) for scale in each))
    if len(scales) > 1:
        rows.append(tuple((place, scale) for place, each in enumerate(scales) for scale in each))
    return rows


def _names(runs: Sequence[str], descriptions: Sequence[ModelDescription]) -> list[str]:
    """Return the name of each net; nets of one name have the name of their run, too."""
    nets = [description.architecture.net for description in descriptions]
    return [net if nets.count(net) == 1 else f"{net} ({Path(run).name})" for run, net in zip(runs, nets, strict=True)]
