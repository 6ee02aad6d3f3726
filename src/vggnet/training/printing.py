"""Print how a training starts, or where it goes on."""

import math

import torch

from vggnet.console import counted, duration, say
from vggnet.provenance import cpu_name
from vggnet.training.loop import Loop
from vggnet.training.prepare_images import Pictures
from vggnet.training.timing import seconds_per_image


def print_resumed(loop: Loop) -> None:
    """Print where a continued run goes on."""
    progress = loop.progress
    if progress.finished:
        say(f"{loop.run.path}: this run is finished ({counted(progress.epoch, 'epoch')}); nothing is left to train")
    else:
        where = f"epoch {progress.epoch + 1}, after {progress.step} of {loop.steps_per_epoch} batches"
        say(f"{loop.run.path}: continuing in {where}")


def announce(loop: Loop, pictures: Pictures) -> None:
    """Print what the user should know of a new run before its first epoch."""
    model, world = loop.model, loop.world
    architecture, recipe, settings = model.architecture, loop.recipe, loop.settings
    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else cpu_name()
    spent = seconds_per_image(loop.form, settings, world.device)
    expected = spent / world.size * loop.task.images * recipe.epochs
    scale = " to ".join(map(str, recipe.train_scale))
    val = f"{len(pictures.val)} val" if pictures.val is not None else "no val"
    name = f"net {architecture.net}" + (" with batch normalisation" if architecture.batch_norm else "")
    say(f"{name}, width {architecture.width:g}, crop {architecture.crop_px}: {architecture.parameters:,} parameters")
    say(f"device    {device}, {counted(world.size, 'process')}, {settings.precision}")
    classes = counted(len(pictures.data.classes), "class")
    say(f"data      {pictures.data.name}: {classes}, {len(pictures.train)} train, {val} images")
    skipped = f"; {counted(len(pictures.skipped), 'bad image')} skipped" if pictures.skipped else ""
    say(f"judged    on {pictures.judged_on}{skipped}")
    mean = " ".join(f"{value:.1f}" for value in model.description.preprocessing.mean)
    mirrored = "half of the crops" if recipe.mirror else "no crop, and tests of this net use no mirrored images"
    say(f"images    smallest side S = {scale} px, crop {architecture.crop_px} px, minus the mean RGB {mean}")
    say(f"mirrored  {mirrored}")
    local = -(-loop.batch // world.size)
    parts = -(-local // settings.micro_batch)
    in_parts = [f"by {world.size} processes"] * (world.size > 1)
    in_parts += [f"in {parts} passes of up to {settings.micro_batch}"] * (parts > 1)
    batch = " ".join([counted(loop.batch, "image"), *in_parts])
    say(f"batch     {batch}; {counted(loop.steps_per_epoch, 'batch')} an epoch")
    if recipe.batch > loop.batch:
        say(f"          (`batch` {recipe.batch} is more than the {counted(loop.batch, 'training image')})")
    if architecture.batch_norm:
        say(f"          statistics of batch normalisation over {counted(settings.micro_batch, 'image')}")
    head = recipe.head_learning_rate
    rate = f"{recipe.learning_rate:g}" + (f" (last layer {head:g})" if head is not None else "")
    latest = [math.ceil(part * recipe.epochs) for part in recipe.latest_drops]
    drops = ", ".join(str(epoch) for epoch in latest if epoch < recipe.epochs)
    when = f"; at the latest after epoch {drops}" if drops else ""
    say(f"schedule  at most {counted(recipe.epochs, 'epoch')}, learning rate {rate}, divided by 10 up to 3 times")
    say(f"          after {counted(recipe.patience, 'epoch')} without improvement{when}")
    say(f"time      at most about {duration(expected)} of computation, without reading images")
    say(f"output    {loop.run.path}")
