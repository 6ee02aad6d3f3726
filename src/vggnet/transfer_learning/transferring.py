"""Learn other data from a net's descriptors by linear classifiers (App. B): `vggnet transfer`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vggnet.console import counted
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.policy import input_notes
from vggnet.network.weights import read_description
from vggnet.options.choices import TransferProtocol
from vggnet.options.transfer import TransferOptions
from vggnet.provenance import environment
from vggnet.transfer_learning.baselines import describe_baseline, other_models
from vggnet.transfer_learning.beside_paper import BesidePaper, Setting, beside_paper
from vggnet.transfer_learning.descriptors import (
    Descriptors,
    DescriptorSettings,
    Model,
    Progress,
    check_models,
    describe_images,
    settings_from,
    shown_models,
)
from vggnet.transfer_learning.devkit import DevkitOptions, Sets, open_actions, open_voc
from vggnet.transfer_learning.examples import LabelledSet, open_labelled
from vggnet.transfer_learning.protocols import (
    PrecisionResult,
    RandomSplit,
    RecallResult,
    average_precision_protocol,
    class_recall_protocol,
    random_splits,
)
from vggnet.transfer_learning.report import Against, TransferReport
from vggnet.transfer_learning.svm import COSTS, VALIDATION, check_installed
from vggnet.transfer_learning.svm_head import check_head, write_head
from vggnet.transfer_learning.voc_results import check_competition, write_voc_results

NO_DEVKIT = DevkitOptions()
CALTECH_SIZES = {"train_per_class": 30, "test_per_class": 50, "splits": 3}  # the paper's of Caltech-101 (App. B)


def transfer(
    models: Sequence[Model],
    data: str,
    settings: DescriptorSettings,
    *,
    protocol: TransferProtocol = "caltech",
    train_per_class: int | None = None,
    test_per_class: int | None = None,
    splits: int | None = None,
    devkit: DevkitOptions = NO_DEVKIT,
    against: Sequence[str] = (),
    costs: Sequence[float] = COSTS,
    validation: float = VALIDATION,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> TransferReport:
    """Fit linear classifiers on descriptors of `data` by a protocol of Appendix B. The descriptors of nets are stacked.

    `caltech` takes class folders and draws `splits` of `train_per_class` images. `voc` and `actions` take one year's
    folder of the devkit, and its sets. `against` names baselines (caltech only): pixels, random, or a model. Raises
    UserError for an option that the protocol does not have, and BadImage for an unreadable image unless it is skipped.
    """
    sizes = {"train_per_class": train_per_class, "test_per_class": test_per_class, "splits": splits}
    given = {name: value for name, value in sizes.items() if value is not None}
    _refuse_options_of_others(protocol, [*given, *(["against"] if against else [])], devkit)
    check_models(models)
    check_installed()
    svm: dict[str, Any] = {"costs": costs, "validation": validation, "seed": seed}
    facts = _facts(models, data, settings, protocol, svm)
    shown = shown_models([*models, *other_models(against)], settings)
    if protocol == "caltech":
        drawn, labelled = CALTECH_SIZES | given, open_labelled(data)
        result, compared, bad = _class_recalls(models, labelled, settings, against, drawn, svm, on_progress)
        notes = input_notes(labelled.split, shown)
        used = {name: drawn[name] for name in ("train_per_class", "test_per_class")}
        paper = _beside_paper(models, facts, sizes=drawn, classes=len(labelled.classes))
        facts |= used | {"classes": list(labelled.classes)}
        return TransferReport(result, compared, bad, facts, notes, paper)
    precision, bad, more, remarks = _average_precisions(models, data, settings, protocol, devkit, svm, on_progress)
    paper = _beside_paper(models, facts, sets=more["sets"], regions=devkit.regions)
    return TransferReport(precision, (), bad, facts | more, remarks, paper)


def transfer_with(
    options: TransferOptions, models: Sequence[Model], data: str, on_progress: Progress | None = None
) -> TransferReport:
    """Run `transfer` on the models and the data with a command's options; write the model of --out."""
    settings = settings_from(options)
    if options.out is not None:
        check_head(models, settings, options.protocol, options.out)
    report = transfer(
        models,
        data,
        settings,
        protocol=options.protocol,
        train_per_class=options.train_per_class,
        test_per_class=options.test_per_class,
        splits=options.splits,
        devkit=DevkitOptions(
            Sets(options.train_set, options.test_set, options.cost_sets),
            options.regions,
            options.results,
            options.competition,
        ),
        against=options.against,
        costs=options.costs,
        validation=options.validation,
        seed=options.seed,
        on_progress=on_progress,
    )
    if options.out is None:
        return report
    svm: dict[str, Any] = {"costs": options.costs, "validation": options.validation, "seed": options.seed}
    return replace(report, head=write_head(models[0], data, settings, options.out, **svm, on_progress=on_progress))


def _beside_paper(models: Sequence[Model], facts: dict[str, Any], **more: Any) -> BesidePaper | None:
    scales = tuple(tuple(each) for each in facts["test_scale"])
    if "sets" in more:
        more["sets"] = tuple(more["sets"])
    setting = Setting(
        facts["protocol"], facts["data"], facts["layer"], scales, facts["pool"], tuple(facts["mirror"]), **more
    )
    return beside_paper([read_description(model) for model in models], setting)


def _refuse_options_of_others(protocol: str, caltech: Sequence[str], devkit: DevkitOptions) -> None:
    """Raise UserError for a given option that this protocol would ignore.

    `caltech` are the names of the given options that only the protocol of Caltech has.
    """
    if protocol not in ("caltech", "voc", "actions"):
        raise UserError(f"`protocol` {protocol}: caltech, voc or actions")
    if protocol == "caltech" and (names := devkit.given()):
        raise UserError(
            f"{_in_backticks(names)}: only for `protocol` voc and actions, which have the devkit's sets: leave it out"
        )
    if protocol == "voc" and devkit.regions != "both":
        raise UserError(f"`regions` {devkit.regions}: only for `protocol` actions, whose examples are persons")
    if devkit.competition is not None and devkit.results is None:
        raise UserError(f"`competition` {devkit.competition} names result files: give `results` FOLDER, too")
    if protocol != "caltech" and caltech:
        raise UserError(
            f"{_in_backticks(caltech)}: only for `protocol` caltech; {protocol} learns from the devkit's own sets "
            "(`train_set`, `test_set`) and gives average precisions: leave it out"
        )


def _in_backticks(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _average_precisions(
    models: Sequence[Model],
    data: str,
    settings: DescriptorSettings,
    protocol: str,
    devkit: DevkitOptions,
    svm: dict[str, Any],
    on_progress: Progress | None,
) -> tuple[PrecisionResult, tuple[BadImage, ...], dict[str, Any], tuple[str, ...]]:
    """Run the protocol of VOC. Return its result, the bad images, facts for JSON, and notes."""
    competition = check_competition(protocol, devkit.competition)
    examples = open_voc(data, devkit.sets) if protocol == "voc" else open_actions(data, devkit.sets, devkit.regions)
    test_set = examples.sets[1]
    if not examples.labelled and devkit.results is None:
        raise UserError(
            f"{data}: the set {test_set} has no labels, so nothing can be counted: give `results` FOLDER to write "
            "result files for its server, or another `test_set`"
        )
    found = describe_images(models, examples.parts, settings, on_progress)
    row = np.full(len(examples.ids), -1)
    row[found.indices] = np.arange(len(found.indices))
    train, test = (row[part][row[part] >= 0] for part in (examples.train, examples.test))
    cost_places = None
    if examples.cost is not None:
        learn, held = (row[part][row[part] >= 0] for part in examples.cost)
        cost_places = learn, held
    result = average_precision_protocol(
        found.values,
        examples.targets[found.indices],
        examples.classes,
        train,
        test,
        cost_places=cost_places,
        labelled=examples.labelled,
        **svm,
    )
    facts: dict[str, Any] = {"sets": list(examples.sets), "cost_sets": list(devkit.sets.cost)}
    facts |= {"regions": devkit.regions} if protocol == "actions" else {}
    notes = [*input_notes(examples.parts[0], shown_models(models, settings))]
    if not examples.labelled:
        notes.append(f"no labels in {test_set}: only VOC's server can count the result")
    if devkit.results is not None:
        ids = [examples.ids[place] for place in found.indices[test]]
        written = write_voc_results(
            devkit.results, protocol, competition, examples.year, test_set, examples.classes, ids, result.scores
        )
        facts["results"] = [str(path) for path in written]
        notes.append(f"{counted(len(written), 'result file')} in {written[0].parent}")
        if missing := len(examples.test) - len(test):
            notes.append(f"not in the result files: {counted(missing, 'test example')} that could not be described")
    return result, found.bad, facts, tuple(notes)


def _class_recalls(
    models: Sequence[Model],
    labelled: LabelledSet,
    settings: DescriptorSettings,
    against: Sequence[str],
    sizes: dict[str, int],
    svm: dict[str, Any],
    on_progress: Progress | None,
) -> tuple[RecallResult, tuple[Against, ...], tuple[BadImage, ...]]:
    """Run the protocol of Caltech on the nets and the baselines. Return results, and the bad images."""
    assert labelled.split.labels is not None
    labels, seed = labelled.split.labels, svm["seed"]
    drawn = random_splits(
        labels,
        labelled.classes,
        train=sizes["train_per_class"],
        test=sizes["test_per_class"],
        splits=sizes["splits"],
        seed=seed,
    )
    wanted = np.unique(np.concatenate([part for split in drawn for part in (split.train, split.test)]))
    found = describe_images(models, [labelled.split], settings, on_progress, wanted)
    others = [
        (name, describe_baseline(name, models, labelled.split, settings, seed, on_progress, wanted)) for name in against
    ]
    usable = found.indices  # images that all of them describe: every result counts the same images
    for _, other in others:
        usable = np.intersect1d(usable, other.indices)
    chosen = [RandomSplit(*(part[np.isin(part, usable)] for part in (each.train, each.test))) for each in drawn]

    def run(descriptors: Descriptors) -> RecallResult:
        values = np.zeros((len(labels), descriptors.values.shape[1]), np.float32)
        values[descriptors.indices] = descriptors.values
        return class_recall_protocol(values, labels, len(labelled.classes), chosen, **svm)

    result = run(found)
    theirs = [(name, run(other)) for name, other in others]
    compared = tuple(Against(name, recalls, result.against(recalls)) for name, recalls in theirs)
    return result, compared, found.bad


def _facts(
    models: Sequence[Model], data: str, settings: DescriptorSettings, protocol: str, svm: dict[str, Any]
) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "data": data,
        "models": [str(model) for model in models],
        "layer": settings.layer,
        "test_scale": [[view.scale for view in settings.views(read_description(model))] for model in models],
        "mirror": [shown.used.mirror for shown in shown_models(models, settings)],
        "pool": settings.pool,
        "precision": settings.computing.precision,
        "svm": {name: list(value) if isinstance(value, tuple) else value for name, value in svm.items()},
        "environment": environment(),
    }
