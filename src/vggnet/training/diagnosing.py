"""Show an untrained net real training images and judge whether it can learn (`vggnet diagnose`)."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from vggnet.console import counted, named, note, rich_console, say
from vggnet.data.learnt import Learnt
from vggnet.data.opening import open_data
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
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model
from vggnet.options.choices import TrainPrecision
from vggnet.options.training import DiagnoseOptions, TrainOptions
from vggnet.paper.recipes import Recipe
from vggnet.training.distributed import World
from vggnet.training.image_list import ImageList
from vggnet.training.plan import plan_training
from vggnet.training.prepare_images import Pictures
from vggnet.training.replay import WEIGHTS, Replay, read_replay
from vggnet.training.runs import RunFolder
from vggnet.training.start_net import build_model


@dataclass(frozen=True)
class DiagnosisReport:
    """A diagnosis, and what was diagnosed in words. `notes` are printed above the verdict."""

    title: str
    diagnosis: Diagnosis
    notes: tuple[str, ...] = ()

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
        for line in self.notes:
            say(line)
        say(f"loss {self.diagnosis.loss:.3f}. {self.diagnosis.words}")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self.diagnosis)


def diagnose_on_images(options: DiagnoseOptions, opened: ImageData | None = None) -> DiagnosisReport:
    """Build the net as `train` would, and diagnose it on crops of a few training images.

    The images' colours are measured on these few, where the weights do not come with a mean of their own. Where the
    data is the file of a batch that diverged, that batch and the weights before it are diagnosed. `opened` is the data
    where the caller has opened it. Raises UserError.
    """
    if options.images < 2:
        raise UserError(f"`images` {options.images}: at least 2 are needed, since what differs between images counts")
    if options.data.endswith(".json"):
        return diagnose_replay(Path(options.data), options)
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
        opened,
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
    listed = ImageList.of(replace(opened, train=split, val=None))
    return Pictures(opened, split, split, None, "", statistics, learnt, None, listed)


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


def diagnose_replay(path: Path, options: DiagnoseOptions) -> DiagnosisReport:
    """Diagnose the batch that a training wrote down when its loss or gradient was not finite.

    Names the images whose own loss is not finite, or else those with the largest. The layers are measured on these.
    """
    replay = read_replay(path)
    config = RunFolder(path.parent).config
    if config is None:
        raise UserError(f"{path}: {path.parent / 'config.json'} is not there; leave the file in its run")
    model = load_model(path.with_name(WEIGHTS), device=choose_device(options.device))
    if model.description.boxes:
        raise UserError(f"{path}: a batch of a box net, which is not diagnosed; its images: {named(replay.images)}")
    split = _split_of(replay, open_data(str(config["data"])), model.description.policy.reading)
    recipe = model.description.recipe
    augmentation = Augmentation(
        replay.place.seed,
        tuple(model.description.train_scale),
        model.architecture.crop_px,
        ColorStatistics.from_dict(config["statistics"]),
        model.description.policy.mirror,
        recipe.get("color_deviation", Recipe.color_deviation),
    )
    scaled = config.get("decoder") == "scaled"
    with TrainingLoader(split, augmentation, workers=0, scaled=scaled) as loader:
        (batch,) = loader.batches(replay.place.draws, [np.array(replay.indices)])
    images = normalize(batch.pixels, model.description.preprocessing, batch.shift)
    losses = _losses(model, images, batch.labels, replay.place.precision)
    order = torch.argsort(torch.nan_to_num(losses, nan=float("inf"), posinf=float("inf")), descending=True, stable=True)
    files = [split.files[index] for index in batch.indices.tolist()]
    worst = order[: options.images]
    device = next(model.parameters()).device
    found = diagnose(model, images[worst].to(device), batch.labels[worst].to(device), replay.place.learning_rate)
    infinite = [files[place] for place in order.tolist() if not bool(torch.isfinite(losses[place]))]
    notes = [f"images whose loss is not finite: {named(infinite)}"] if infinite else []
    if not infinite:
        largest = ", ".join(f"{files[place]} {float(losses[place]):.3g}" for place in order[:3].tolist())
        notes = [f"every image's own loss is finite; the largest: {largest}"]
    place = replay.place
    title = f"batch {place.step + 1} of epoch {place.epoch + 1} of {path.parent}, {counted(len(files), 'image')}"
    return DiagnosisReport(f"{title}; layers on {len(worst)} of them", found, tuple(notes))


def _split_of(replay: Replay, opened: ImageData, reading: ImageReading) -> Split:
    """Return the training images so that the batch's images have the numbers that their crops follow from."""
    assert opened.train is not None
    places = {file: place for place, file in enumerate(opened.train.files)}
    missing = [name for name in replay.images if name not in places]
    if missing or len(replay.images) != len(replay.indices):
        raise UserError(f"{opened.train.root}: {named(missing)} of the batch cannot be found there any more")
    order = np.zeros(max(replay.indices) + 1, np.int64)
    order[replay.indices] = [places[name] for name in replay.images]
    return opened.train.read_as(reading).subset(order)


def _losses(model: VGG, images: Tensor, labels: Tensor, precision: TrainPrecision) -> Tensor:
    """Return each image's loss (n,), without dropout, in the precision of the training."""
    device = next(model.parameters()).device
    found = []
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        for rows in torch.arange(len(images)).split(16):
            outputs = model.eval()(images[rows].to(device)).flatten(1).float()
            found.append(F.cross_entropy(outputs, labels[rows].to(device), reduction="none").cpu())
    return torch.cat(found)
