"""Figures of matplotlib for notebooks, the same that reports show: curves, score maps, crops, confusion, signal."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from vggnet.api.nets import load
from vggnet.data.opening import open_data
from vggnet.errors import UserError
from vggnet.evaluation.protocols import default_scale
from vggnet.evaluation.rows import find_row
from vggnet.evaluation.tables import Table
from vggnet.images.decoding import decode
from vggnet.network.diagnosis import Diagnosis
from vggnet.network.vgg import VGG
from vggnet.reporting.confusion import confusion as draw_confusion
from vggnet.reporting.curves import curves as draw_curves
from vggnet.reporting.images import explain
from vggnet.reporting.panels import picture_panels
from vggnet.reporting.seeing import augmentation_of, training_crops
from vggnet.reporting.signals import signal as draw_signal
from vggnet.reporting.sources import read_run, read_sources
from vggnet.reporting.style import Plot


def curves(runs: str | Path | Sequence[str | Path]) -> Plot:
    """Draw the training of one run, loss and error by epoch; of several runs the held-out errors on one axis.

    Args:
        runs: a run folder or a folder of runs; or several.

    Raises:
        UserError: where no run has finished an epoch.

    Example:
        >>> len(vggnet.plot.curves("runs/A").axes)
        2
    """
    paths = [runs] if isinstance(runs, str | Path) else list(runs)
    found = [run for run in read_sources(paths).runs if run.rows]
    if not found:
        raise UserError("`runs`: no run has finished an epoch, so there is nothing to draw")
    return draw_curves(found)


def score_map(model: VGG | str | Path, image: str | Path | Image.Image, name: str | None = None) -> Plot:
    """Draw an image, the score map of a class laid over it, and the saliency of its pixels.

    Args:
        model: a net, a run folder, a model folder, a weight file or a name such as vgg16.
        image: a file, or an image of Pillow.
        name: the class. (default: the one with the highest score)

    Raises:
        UserError: for a class that the net does not have; BadImage for an image that cannot be used.

    Example:
        >>> len(vggnet.plot.score_map("runs/A", "photograph.jpg").axes)
        3
    """
    net = model if isinstance(model, VGG) else load(model)
    description = net.description
    opened = image if isinstance(image, Image.Image) else decode(str(image), description.policy.reading)
    if name is not None and name not in description.classes:
        raise UserError(f"`name` {name!r}: the net has no such class; it has {', '.join(description.classes[:5])}, ...")
    index = None if name is None else description.classes.index(name)
    explained = explain(net, opened, index, default_scale(description))
    title = description.title(explained.index) if description.classes else str(explained.index)
    laid_over = (f"score map: {title}", explained.map_of(explained.index))
    return picture_panels([("image", opened.convert("RGB")), laid_over, ("saliency", explained.saliency_shown())])


def crops(run: str | Path, data: str | Path | None = None, images: int = 3, epochs: int = 6) -> Plot:
    """Draw training crops as a run draws them: a row for each image, a column for each epoch.

    Args:
        run: a run folder.
        data: the images. (default: those that the run was trained on)
        images: how many images.
        epochs: how many epochs.

    Raises:
        UserError: for a folder that does not tell how its crops are drawn, and for images that cannot be opened.

    Example:
        >>> len(vggnet.plot.crops("runs/A", images=2, epochs=3).axes)
        6
    """
    read = read_run(Path(run))
    augmentation = augmentation_of(read)
    given = str(data) if data is not None else read.data
    if augmentation is None or given is None or read.description is None:
        raise UserError(f"{run}: no run of `train` that tells how its crops are drawn")
    train = open_data(given).train
    if train is None:
        raise UserError(f"{given}: there are no training images")
    chosen = np.unique(np.linspace(0, len(train) - 1, images + 2).astype(int)[1:-1]).tolist()
    rows, _, _ = training_crops(train.read_as(read.description.policy.reading), augmentation, chosen, epochs)
    return picture_panels([("", crop) for row in rows for crop in row], columns=epochs)


def confusion(table: Table, row: str | None = None) -> Plot:
    """Draw the confusion matrix of a row of an evaluation.

    Args:
        table: what `evaluate` returned.
        row: the label of a row, such as "A dense Q=73". (default: the last row)

    Raises:
        UserError: for a row that the table does not have.

    Example:
        >>> table = vggnet.evaluate("runs/A", "photos", test_scale=40)
        >>> vggnet.plot.confusion(table, "A dense Q=40").axes[0].get_ylabel()
        'true'
    """
    if not table.answers:
        raise UserError("`table`: it has no answers by image; take what `evaluate` returned")
    place = len(table.rows) - 1 if row is None else find_row([each.label for each in table.rows], row)
    return draw_confusion(table.answers[place], table.answers[place].classes)


def signal(*diagnoses: Diagnosis) -> Plot:
    """Draw what reaches each layer of a net, from results of `diagnose`; several are drawn together.

    Args:
        diagnoses: results of `diagnose`, of one net.

    Raises:
        UserError: where none is given.

    Example:
        >>> first = vggnet.diagnose("photos", net="A", width=0.1, crop=32)
        >>> len(vggnet.plot.signal(first).axes)
        2
    """
    if not diagnoses:
        raise UserError("give at least one result of `diagnose`")
    return draw_signal([(each.verdict, asdict(each)["layers"]) for each in diagnoses])
