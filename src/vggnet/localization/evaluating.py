"""`vggnet localize evaluate`: Tables 8 and 9 of the user's data.

Both tests of all nets judge the same images: those with a box that every net could see.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vggnet.contract import ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.matching import positions_among, split_seed
from vggnet.evaluation.protocols import default_scale
from vggnet.evaluation.scoring import default_workers
from vggnet.hardware import InferencePrecision, choose_device, choose_inference_precision, environment
from vggnet.images.splits import ImageData
from vggnet.localization.baselines import baselines
from vggnet.localization.dense import Computing
from vggnet.localization.guessing import Combining, Party, check_draws_boxes, classify, gather, guess
from vggnet.localization.judging import center_test, judge_guesses
from vggnet.localization.objects import Objects, objects_of, open_localizable
from vggnet.localization.report import CenterRow, DenseRow, Report
from vggnet.network.weights import load_model, read_description
from vggnet.options.localization import LocalizeEvaluateOptions, LocalizePredictOptions


def evaluate_localizers(runs: Sequence[str], data: str, options: LocalizeEvaluateOptions) -> Report:
    """Both tests of the runs, alone and together, on the val images of the data. Raises UserError."""
    descriptions = [read_description(run) for run in runs]
    for run, description in zip(runs, descriptions, strict=True):
        check_draws_boxes(run, description)
    opened = open_localizable(data, options.annotations, options.val_annotations, split_seed(Path(runs[0])))
    if opened.val is None:
        raise UserError(f"{data}: no val image has a box")
    party = gather(runs, options.classifier) if options.classifier else None  # what does not fit is said first
    computing = computing_of(options.device, options.precision, options.workers, options.bad_images == "skip")
    workers = computing.workers
    val = objects_of(opened.val, bad_boxes=options.bad_boxes, workers=workers, name="val")
    names = _names(runs, descriptions)
    present = np.ones(len(val), bool)
    center = []
    for place, (run, name, description) in enumerate(zip(runs, names, descriptions, strict=True)):
        model = party.drawers[place].model if party else load_model(run).to_fast_layout()
        labels = positions_among(description.classes, run, opened)[val.labels]
        for scale in test_scales(options, description):
            result = center_test(model, val, labels, scale, computing, np.arange(len(val)))
            present[np.setdiff1d(np.arange(len(val)), result.indices)] = False
            center.append(CenterRow(name, description, scale, result.error, result.mean_iou))
    if opened.train is not None:
        train = objects_of(opened.train, bad_boxes=options.bad_boxes, workers=workers, name="train")
        for name, count in baselines(train, val, len(opened.classes)).items():
            center.append(CenterRow(name, None, None, count, None))
    dense: tuple[DenseRow, ...] = ()
    if party is not None:
        dense = _dense_rows(options, party, names, descriptions, opened, val, present, computing)
    notes = opened.notes
    if not present.all():
        notes += (f"not counted: {int((~present).sum())} of {len(val)} images, which could not be used",)
    facts = {"models": [str(run) for run in runs], "classifiers": [str(path) for path in options.classifier]}
    return Report(opened.name, tuple(center), dense, notes, facts | {"environment": environment()})


def _dense_rows(
    options: LocalizeEvaluateOptions,
    party: Party,
    names: Sequence[str],
    descriptions: Sequence[ModelDescription],
    opened: ImageData,
    val: Objects,
    present: np.ndarray,
    computing: Computing,
) -> tuple[DenseRow, ...]:
    scales = [test_scales(options, each) for each in descriptions]
    rows = combinations(scales)
    labels = positions_among(party.classes, options.classifier[0], opened)[val.labels]
    posteriors, there = classify(party, val.split, [scale for each in scales for scale in each], computing)
    present &= there
    indices = np.flatnonzero(present)
    truth = val.padded()[indices]
    result = []
    for row, guesses in zip(
        rows, guess(party, rows, val.split, val.sizes, posteriors, indices, computing), strict=True
    ):
        errors, _ = judge_guesses(guesses.classes, guesses.edges, labels[indices], truth)
        nets = sorted({place for place, _ in row.members})
        name = " + ".join(names[place] for place in nets)
        used = tuple(sorted({scale for _, scale in row.members}))
        result.append(DenseRow(name, tuple(descriptions[place] for place in nets), used, errors))
    return tuple(result)


def combinations(scales: Sequence[Sequence[int]]) -> list[Combining]:
    """Table 9's rows: each net at each Q, each net over all its Q, and all nets together; `scales[i]` are net i's Q."""
    rows = []
    for place, each in enumerate(scales):
        rows += [Combining(((place, scale),)) for scale in each]
        if len(each) > 1:
            rows.append(Combining(tuple((place, scale) for scale in each)))
    if len(scales) > 1:
        rows.append(Combining(tuple((place, scale) for place, each in enumerate(scales) for scale in each)))
    return rows


def computing_of(device: str, precision: InferencePrecision, workers: int | None, skip_bad: bool) -> Computing:
    """Device, precision and workers as the user gave them, or by the machine."""
    chosen = choose_device(device)
    precision = choose_inference_precision(precision, chosen)
    return Computing(chosen, precision, default_workers(workers, chosen), skip_bad)


def test_scales(
    options: LocalizeEvaluateOptions | LocalizePredictOptions, description: ModelDescription
) -> tuple[int, ...]:
    """The Q asked for, in order; without any, Q = S."""
    return tuple(sorted(set(options.test_scale))) or (default_scale(description),)


def _names(runs: Sequence[str], descriptions: Sequence[ModelDescription]) -> list[str]:
    """A net's name where it is the only one, else with its run's."""
    nets = [description.architecture.net for description in descriptions]
    return [net if nets.count(net) == 1 else f"{net} ({Path(run).name})" for run, net in zip(runs, nets, strict=True)]
