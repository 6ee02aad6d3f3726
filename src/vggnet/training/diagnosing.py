"""Show an untrained net real training images and judge whether it can learn (`vggnet diagnose`)."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from vggnet.console import counted, note, rich_console, say
from vggnet.data.learnt import Learnt
from vggnet.data.splits import ImageData, Split
from vggnet.description import ImageReading
from vggnet.errors import BadImage, UserError
from vggnet.hardware import choose_device
from vggnet.images.augmentation import Augmentation, epoch_order
from vggnet.images.color import ColorStatistics, ColorSums
from vggnet.images.decoding import decode
from vggnet.images.loading import TrainingLoader
from vggnet.images.normalization import normalize
from vggnet.network.diagnosis import Diagnosis, diagnose
from vggnet.options.training import DiagnoseOptions, TrainOptions
from vggnet.training.distributed import World
from vggnet.training.image_list import ImageList
from vggnet.training.plan import plan_training
from vggnet.training.prepare_images import Pictures
from vggnet.training.start_net import build_model


@dataclass(frozen=True)
class DiagnosisReport:
    """A diagnosis, and what was diagnosed in words."""

    title: str
    diagnosis: Diagnosis

    def print(self) -> None:
        """Print the layers as a table, and the verdict."""
        table = Table(title=self.title)
        for column in ("layer", "signal", "between images", "gradient", "first update / weight"):
            table.add_column(column, justify="left" if column == "layer" else "right", overflow="fold")
        for layer in self.diagnosis.layers:
            figures = (layer.signal_rms, layer.variation_rms, layer.gradient_rms, layer.relative_update)
            table.add_row(layer.name, *(f"{figure:.2e}" for figure in figures))
        rich_console().print(table)
        say("Root mean squares. signal: the layer's output; between images: what of it differs from image to image;")
        say("gradient: of the loss by the output; first update / weight: one step of SGD, relative to the weights.")
        say(f"loss {self.diagnosis.loss:.3f}. {self.diagnosis.words}")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self.diagnosis)


def diagnose_on_images(options: DiagnoseOptions) -> DiagnosisReport:
    """Build the net as `train` would, and diagnose it on crops of a few training images.

    The images' colours are measured on these few, where the weights do not come with a mean of their own. Raises
    UserError.
    """
    if options.images < 2:
        raise UserError(f"`images` {options.images}: at least 2 are needed, since what differs between images counts")
    device = choose_device(options.device)
    plan = plan_training(
        TrainOptions(
            options.data,
            net=options.net,
            init=options.init,
            sigma=options.sigma,
            init_from=options.init_from,
            crop=options.crop,
            width=options.width,
            batch_norm=options.batch_norm,
            divide=options.divide,
            learning_rate=options.learning_rate,
            seed=options.seed,
        ),
        World(),
    )
    pictures = _draw_images(options, plan.data, plan.policy.reading)
    model = build_model(plan, pictures)
    augmentation = Augmentation(options.seed, plan.recipe.train_scale, plan.architecture.crop_px, pictures.statistics)
    with TrainingLoader(pictures.train, augmentation, workers=0) as loader:
        (batch,) = loader.batches(0, [np.arange(len(pictures.train))])
    images = normalize(batch.pixels, model.description.preprocessing, batch.shift).to(device)
    found = diagnose(model.to(device), images, batch.labels.to(device), options.learning_rate)
    title = f"net {options.net}, {options.init}, {counted(len(images), 'image')} of {pictures.data.name}"
    return DiagnosisReport(title, found)


def _draw_images(options: DiagnoseOptions, opened: ImageData, reading: ImageReading) -> Pictures:
    """Draw --images training images that can be read; the others of the data are not read."""
    for line in opened.notes:
        say(f"note: {line}")
    if opened.train is None or not len(opened.train):
        raise UserError(f"{options.data}: there are no training images; put them into train/CLASS/ folders")
    split, statistics = _first_readable(opened.train.read_as(reading), options)
    learnt = Learnt.of(split, np.zeros(len(split), np.uint64))
    return Pictures(opened, split, split, None, "", statistics, learnt, None, ImageList.of(opened))


def _first_readable(split: Split, options: DiagnoseOptions) -> tuple[Split, ColorStatistics]:
    """Return the first readable images in the order of the first epoch, and the statistics of their colours."""
    chosen: list[int] = []
    sums = ColorSums()
    for index in epoch_order(options.seed, 0, len(split)).tolist():
        try:
            pixels = np.asarray(decode(split.file(index), split.reading))
        except BadImage as error:
            note(f"left out {error}")
            continue
        sums += ColorSums.of_image(pixels)
        chosen.append(index)
        if len(chosen) == options.images:
            break
    if len(chosen) < 2:
        raise UserError(f"{options.data}: {counted(len(chosen), 'training image')} can be read; at least 2 are needed")
    return split.subset(np.array(chosen)), sums.statistics()
