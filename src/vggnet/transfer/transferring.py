"""`vggnet features` and `vggnet transfer`, for the command line and for Python.

Notable: the nets are compared with baselines on the same test images: `pixels` (the image at 32x32 as it is) and
`random` (the same net as it was drawn), or any other model.
"""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from vggnet.errors import BadImage, UserError
from vggnet.evaluation.matching import open_split, split_seed
from vggnet.evaluation.metrics import PairedTest
from vggnet.evaluation.scoring import BadImages
from vggnet.files import write_whole
from vggnet.hardware import Precision, choose_device, choose_precision, environment
from vggnet.images.loading import whole_images
from vggnet.images.splits import Split
from vggnet.network.initialization import initialize
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import read_description
from vggnet.transfer.descriptors import Descriptors, DescriptorSettings, Pool, Progress, describe_images, unit
from vggnet.transfer.examples import MultiLabelSet, open_actions, open_labelled, open_voc
from vggnet.transfer.protocols import (
    PrecisionResult,
    RandomSplit,
    RecallResult,
    average_precision_protocol,
    class_recall_protocol,
    random_splits,
)
from vggnet.transfer.svm import COSTS, VALIDATION

Protocol = Literal["caltech", "voc", "actions"]
THUMBNAIL_PX = 32
Model = str | Path


def settings_of(
    layer: str = "fc7",
    test_scale: Sequence[int] = (),
    pool: Pool = "stack",
    device: str = "auto",
    precision: Precision = "auto",
    workers: int | None = None,
    bad_images: BadImages = "stop",
) -> DescriptorSettings:
    """Settings from options, the machine's choices made."""
    chosen = choose_device(device)
    if pool not in ("stack", "average"):
        raise UserError(f"--pool {pool}: stack or average")
    return DescriptorSettings(
        layer,
        tuple(test_scale),
        pool,
        str(chosen),
        choose_precision(precision, chosen),
        (1 if chosen.type == "cpu" else 8) if workers is None else workers,
        bad_images,
    )


def write_features(
    models: Sequence[Model],
    data: str,
    out: str | Path,
    settings: DescriptorSettings,
    on_progress: Progress | None = None,
) -> tuple[Descriptors, Path]:
    """Descriptors of all images of `data` (class folders, or a folder without labels) into `out` (.npz or .csv).

    The .npz holds `descriptors` float32 (n, D), `files` (n,), and where there are labels `labels` (n,) and `classes`
    (K,); no pickles.
    """
    out = Path(out)
    if out.suffix not in (".npz", ".csv"):
        raise UserError(f"--out {out}: descriptors are written as .npz or .csv")
    _check_models(models)
    opened = open_split(data, split_seed(Path(models[0])))
    classes: tuple[str, ...] = ()
    if isinstance(opened, Split):
        split = opened
    else:
        labelled = open_labelled(data, split_seed(Path(models[0])))
        split, classes = labelled.split, labelled.classes
    found = describe_images(models, [split], settings, on_progress)
    files = [split.path(int(index)) for index in found.indices]
    labels = None if split.labels is None else split.labels[found.indices]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(
        out, _as_csv(found, files, labels, classes) if out.suffix == ".csv" else _as_npz(found, files, labels, classes)
    )
    return found, out


def _as_npz(found: Descriptors, files: list[str], labels: np.ndarray | None, classes: tuple[str, ...]) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"descriptors": found.values, "files": np.array(files)}
    if labels is not None:
        arrays |= {"labels": labels, "classes": np.array(classes)}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _as_csv(found: Descriptors, files: list[str], labels: np.ndarray | None, classes: tuple[str, ...]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "class", *range(found.values.shape[1])])
    for row, (file, values) in enumerate(zip(files, found.values, strict=True)):
        writer.writerow([file, "" if labels is None else classes[labels[row]], *(f"{value:.7g}" for value in values)])
    return text.getvalue().encode()


@dataclass(frozen=True)
class Against:
    """A baseline on the same splits: its own result, and a paired test of each split (first the model)."""

    name: str
    result: RecallResult
    paired: tuple[PairedTest, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "mean_class_recall": self.result.mean_class_recall,
            "deviation": self.result.deviation,
            "paired": [dataclasses.asdict(test) for test in self.paired],
        }


@dataclass(frozen=True)
class TransferReport:
    """What `transfer` found: recalls (Caltech) or average precisions (VOC, actions), and what they depend on."""

    result: RecallResult | PrecisionResult
    against: tuple[Against, ...]
    bad: tuple[BadImage, ...]
    facts: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """JSON values. Caltech: `mean_class_recall` in percent; VOC: `mean_average_precision` (area), and by class."""
        if isinstance(self.result, RecallResult):
            numbers: dict[str, Any] = {
                "mean_class_recall": self.result.mean_class_recall,
                "deviation": self.result.deviation,
                "splits": [
                    {
                        "mean_class_recall": split.mean_class_recall,
                        "cost": split.cost,
                        "train_images": split.train_images,
                        "test_images": len(split.wrong),
                    }
                    for split in self.result.splits
                ],
                "against": [each.to_dict() for each in self.against],
            }
        else:
            rows = zip(self.result.classes, self.result.eleven_point, self.result.area, strict=True)
            numbers = {
                "mean_average_precision": self.result.mean_area,
                "mean_average_precision_11_points": self.result.mean_eleven_point,
                "cost": self.result.cost,
                "classes": {
                    name: {"area": _counted(area), "11_points": _counted(points)} for name, points, area in rows
                },
            }
        return numbers | {"bad_images": [str(error) for error in self.bad], **self.facts}

    def lines(self) -> list[str]:
        """The result in words."""
        if isinstance(self.result, PrecisionResult):
            result = self.result
            lines = [
                f"  {name:20} " + ("not counted: an image is lacking" if math.isnan(area) else f"{area:6.2f}")
                for name, area in zip(result.classes, result.area, strict=True)
            ]
            both = f"mean average precision {result.mean_area:.2f} (area), {result.mean_eleven_point:.2f} (11 points)"
            return [*lines, f"{both}, C={result.cost:g}"]
        costs = ", ".join(f"{split.cost:g}" for split in self.result.splits)
        lines = [f"mean class recall {_recall(self.result)}; C={costs}"]
        for each in self.against:
            worst = max(test.p_value for test in each.paired)
            lines.append(f"{each.name}: {_recall(each.result)}; paired, the largest p of the splits: {worst:.2g}")
        return lines


def _counted(value: float) -> float | None:
    """JSON has no "not a number"."""
    return None if math.isnan(value) else value


def _recall(result: RecallResult) -> str:
    return f"{result.mean_class_recall:.2f} % +- {result.deviation:.2f} over {len(result.splits)} splits"


def transfer(
    models: Sequence[Model],
    data: str,
    settings: DescriptorSettings,
    *,
    protocol: Protocol = "caltech",
    train_per_class: int = 30,
    test_per_class: int = 50,
    splits: int = 3,
    train_set: str | None = None,
    test_set: str | None = None,
    against: Sequence[str] = (),
    costs: Sequence[float] = COSTS,
    validation: float = VALIDATION,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> TransferReport:
    """Linear classifiers on the nets' descriptors of `data`, by one of Appendix B's protocols; nets are stacked.

    `caltech` takes class folders and draws `splits` of `train_per_class` images; `voc` and `actions` take one year's
    folder of the devkit and its own sets. `against` names baselines (caltech only): pixels, random, or a model.
    """
    _check_models(models)
    svm: dict[str, Any] = {"costs": costs, "validation": validation, "seed": seed}
    facts = _facts(models, data, settings, protocol, svm)
    if protocol == "caltech":
        if train_set is not None or test_set is not None:
            raise UserError("--train-set and --test-set are the devkit's: with --protocol voc or actions only")
        sizes = {"train": train_per_class, "test": test_per_class, "splits": splits}
        result, compared, bad, classes = _class_recalls(models, data, settings, against, sizes, svm, on_progress)
        facts |= {"train_per_class": train_per_class, "test_per_class": test_per_class, "classes": list(classes)}
        return TransferReport(result, compared, bad, facts)
    if protocol not in ("voc", "actions"):
        raise UserError(f"--protocol {protocol}: caltech, voc or actions")
    if against:
        raise UserError("--against compares class recalls: with --protocol caltech only")
    examples = (open_voc if protocol == "voc" else open_actions)(data, train_set, test_set)
    precision, bad = _average_precisions(models, examples, settings, svm, on_progress)
    return TransferReport(precision, (), bad, facts | {"sets": list(examples.sets)})


def _average_precisions(
    models: Sequence[Model],
    examples: MultiLabelSet,
    settings: DescriptorSettings,
    svm: dict[str, Any],
    on_progress: Progress | None,
) -> tuple[PrecisionResult, tuple[BadImage, ...]]:
    """VOC's protocol on the nets' descriptors, and the bad images."""
    found = describe_images(models, examples.parts, settings, on_progress)
    row = np.full(len(examples.parts[0]), -1)
    row[found.indices] = np.arange(len(found.indices))
    train, test = (row[part][row[part] >= 0] for part in (examples.train, examples.test))
    targets = examples.targets[found.indices]
    return average_precision_protocol(found.values, targets, examples.classes, train, test, **svm), found.bad


def _class_recalls(
    models: Sequence[Model],
    data: str,
    settings: DescriptorSettings,
    against: Sequence[str],
    sizes: dict[str, int],
    svm: dict[str, Any],
    on_progress: Progress | None,
) -> tuple[RecallResult, tuple[Against, ...], tuple[BadImage, ...], tuple[str, ...]]:
    """Caltech's protocol on the nets' descriptors and on the baselines', the bad images, and the classes."""
    labelled = open_labelled(data, split_seed(Path(models[0])))
    assert labelled.split.labels is not None
    labels, seed = labelled.split.labels, svm["seed"]
    drawn = random_splits(labels, labelled.classes, seed=seed, **sizes)
    wanted = np.unique(np.concatenate([part for split in drawn for part in (split.train, split.test)]))
    found = describe_images(models, [labelled.split], settings, on_progress, wanted)
    others = [(name, _baseline(name, models, labelled.split, settings, seed, on_progress, wanted)) for name in against]
    usable = found.indices  # in every descriptor: all are counted on the same images
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
    return result, compared, found.bad, labelled.classes


def _check_models(models: Sequence[Model]) -> None:
    if not models:
        raise UserError("give at least one model: a run or model folder, or a weight file")
    for model in models:
        read_description(model)


def _facts(
    models: Sequence[Model], data: str, settings: DescriptorSettings, protocol: str, svm: dict[str, Any]
) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "data": data,
        "models": [str(model) for model in models],
        "layer": settings.layer,
        "test_scale": [[view.scale for view in settings.views(read_description(model))] for model in models],
        "pool": settings.pool,
        "precision": settings.precision,
        "svm": {name: list(value) if isinstance(value, tuple) else value for name, value in svm.items()},
        "environment": environment(),
    }


def _baseline(
    name: str,
    models: Sequence[Model],
    split: Split,
    settings: DescriptorSettings,
    seed: int,
    on_progress: Progress | None,
    wanted: np.ndarray,
) -> Descriptors:
    if name == "pixels":
        return _pixels(split, settings, wanted)
    if name == "random":
        return describe_images([_untrained(model, seed) for model in models], [split], settings, on_progress, wanted)
    if not Path(name).exists():
        raise UserError(f"--against {name}: pixels, random, or a model")
    return describe_images([name], [split], settings, on_progress, wanted)


def _untrained(model: Model, seed: int) -> VGG:
    """The same net with the same preprocessing, its weights as they are drawn (Glorot)."""
    net = on_meta(read_description(model)).to_empty(device="cpu")
    initialize(net, "glorot", seed=seed)
    return net.to_fast_layout().eval()


@dataclass(frozen=True)
class _Thumbnail:
    """An image at 32x32; runs where images are decoded."""

    def __call__(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR))


def _pixels(split: Split, settings: DescriptorSettings, wanted: np.ndarray) -> Descriptors:
    """Raw pixels, centred on gray, of unit length."""
    values, indices, bad = [], [], []
    for result in whole_images(split, wanted, settings.workers, _Thumbnail()):
        if isinstance(result, BadImage):
            if settings.bad_images == "stop":
                raise result
            bad.append(result)
        else:
            indices.append(result[0])
            values.append(result[1].astype(np.float32).ravel() - 127.5)
    return Descriptors(unit(np.stack(values)), np.array(indices), tuple(bad))
