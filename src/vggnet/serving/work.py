"""Compute what a request asks for one image, by the functions of the commands: classes, maps, saliency, boxes."""

import asyncio
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vggnet.data.splits import Split
from vggnet.description import ImageReading
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.forward import Scorer
from vggnet.evaluation.metrics import combine
from vggnet.evaluation.policy import input_notes
from vggnet.evaluation.preprocessing import preprocess
from vggnet.evaluation.submission import ClassGuess, best_classes
from vggnet.evaluation.views import View, views_of
from vggnet.explaining.pictures import fitted, overlay, saliency_picture
from vggnet.explaining.saliency import saliency
from vggnet.explaining.score_maps import ScoreMap, fitting_step, score_map
from vggnet.images.rescaled import rescaled_arrays
from vggnet.localization.guessing import guess
from vggnet.localization.predicting import labelled_boxes
from vggnet.localization.predictions import LabelledBox
from vggnet.serving.engine import Engine
from vggnet.serving.limits import Limits
from vggnet.serving.nets import ServedNet
from vggnet.serving.questions import Question
from vggnet.serving.uploads import read_upload

Result = TypeVar("Result")
PICTURE_PX = 1024  # the longer side of pictures that are sent
READERS = 2  # threads that decode and rescale


class Work:
    """Answers for single images; each method is for one kind of request. Files are decoded in threads."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine, self._limits = engine, limits
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="vggnet-reader")

    async def classes(self, file: Path, question: Question, top: int) -> tuple[tuple[ClassGuess, ...], tuple[int, int]]:
        """Return the most probable classes, and the image's width and height."""
        reading = question.net.description.policy.reading
        pixels, size = await self._in_thread(lambda: self._pixels(file, reading, question.scales))
        values = await asyncio.wrap_future(self._engine.score(question.net.name, question.views, pixels))
        return best_classes(_mean(question.views, values), question.net.description, top)[0], size

    async def notes(self, file: Path, question: Question) -> tuple[str, ...]:
        """Return what `vggnet predict` prints below its result."""
        return await self._in_thread(lambda: input_notes(Split("", (str(file),)), [question.shown]))

    async def score_map(self, file: Path, net: ServedNet, scale: int) -> tuple[ScoreMap, Image.Image]:
        """Return the class score map at Q = `scale`, and the image that it lies on."""
        image = await self._rescaled(file, net, scale)

        def compute(scorer: Scorer) -> ScoreMap:
            step = fitting_step(net.description.architecture.crop_px, image.height, image.width)
            with _plain(scorer):
                return score_map(net.model, _input(net, image), step)

        return await asyncio.wrap_future(self._engine.call(net.name, compute)), image

    async def saliency(self, file: Path, net: ServedNet, scale: int, label: int) -> bytes:
        """Return a picture (PNG) of how much each pixel matters to the score of class `label`."""
        image = await self._rescaled(file, net, scale)

        def compute(scorer: Scorer) -> np.ndarray:
            with _plain(scorer):
                return saliency(net.model, _input(net, image), torch.tensor([label]))[0]

        values = await asyncio.wrap_future(self._engine.call(net.name, compute))
        return await self._in_thread(lambda: png(saliency_picture(values)))

    async def boxes(
        self, file: Path, net: ServedNet, scales: Sequence[int], top: int
    ) -> tuple[tuple[LabelledBox, ...], tuple[int, int]]:
        """Return the boxes of the most probable classes, and the image's width and height."""
        assert net.localization is not None
        views = views_of(("dense",), scales, mirror=net.description.policy.chosen().mirror)
        for view in views:
            view.check(net.description.architecture)
        own, reading = net.description.policy.reading, net.localization.box_nets[0].model.description.policy.reading
        pixels, size = await self._in_thread(lambda: self._pixels(file, own, scales))
        if reading != own:  # boxes lie on the image as the box net reads it
            size = (await self._in_thread(lambda: read_upload(file, reading, self._limits))).size
        values = await asyncio.wrap_future(self._engine.score(net.name, views, pixels))
        posteriors = _mean(views, values)
        computing = Computing(self._engine.computing.device, self._engine.computing.precision)
        found = self._engine.call(net.name, lambda _: _boxes(net, file, size, posteriors, scales, computing))
        return (await asyncio.wrap_future(found))[:top], size

    async def picture(self, file: Path, net: ServedNet) -> bytes:
        """Return the image as the net reads it, as a JPEG of at most PICTURE_PX pixels a side."""
        reading = net.description.policy.reading
        return await self._in_thread(lambda: jpeg(fitted(read_upload(file, reading, self._limits), PICTURE_PX)))

    async def map_picture(self, found: ScoreMap, image: Image.Image, label: int) -> bytes:
        """Return a picture (PNG): the posteriors of class `label` over the image."""
        return await self._in_thread(lambda: png(overlay(image, found.on_image(found.posteriors[label]))))

    def close(self) -> None:
        """End the threads when they have finished what they do."""
        self._readers.shutdown()

    async def _in_thread(self, compute: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._readers, compute)

    async def _rescaled(self, file: Path, net: ServedNet, scale: int) -> Image.Image:
        View("dense", scale).check(net.description.architecture)
        reading = net.description.policy.reading
        pixels, _ = await self._in_thread(lambda: self._pixels(file, reading, [scale]))
        return Image.fromarray(pixels[scale].numpy())

    def _pixels(
        self, file: Path, reading: ImageReading, scales: Sequence[int]
    ) -> tuple[dict[int, Tensor], tuple[int, int]]:
        """Return the pixels, uint8 (H, W, 3), at each Q, and the width and height of the image."""
        image = read_upload(file, reading, self._limits)
        arrays = rescaled_arrays(image, "the image", scales)
        return {scale: torch.tensor(array) for scale, array in zip(scales, arrays, strict=True)}, image.size


def png(image: Image.Image) -> bytes:
    """Return an image as a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def jpeg(image: Image.Image) -> bytes:
    """Return an image as a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _input(net: ServedNet, image: Image.Image) -> Tensor:
    """Return a rescaled image as the net's input (1, 3, H, W)."""
    return preprocess(net.model, image, min(image.size))


def _plain(scorer: Scorer) -> torch.autocast:
    """Return a context in which the net computes in fp32, whatever the server's precision."""
    return torch.autocast(scorer.device.type, enabled=False)


def _mean(views: Sequence[View], values: dict[View, np.ndarray]) -> np.ndarray:
    """Return the mean posteriors (1, K) over views; those of a single view as they are, as `vggnet predict` does."""
    if len(views) == 1:
        return values[views[0]][None]
    return combine(values[view][None] for view in views)


def _boxes(
    net: ServedNet,
    file: Path,
    size: tuple[int, int],
    posteriors: np.ndarray,
    scales: Sequence[int],
    computing: Computing,
) -> tuple[LabelledBox, ...]:
    assert net.localization is not None
    reading = net.localization.box_nets[0].model.description.policy.reading
    split = Split("", (str(file),), reading=reading)
    sources = [tuple((0, scale) for scale in scales)]
    guesses = guess(net.localization, sources, split, np.array([size]), posteriors, np.arange(1), computing)[0]
    return labelled_boxes(net.localization, guesses, 0)
