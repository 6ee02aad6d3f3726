"""Draw the most probable classes of an image with their boxes (`vggnet localize predict`)."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vggnet.console import note
from vggnet.data.image_files import File
from vggnet.data.listing import OUTPUT_MARK, images_at
from vggnet.data.splits import Split
from vggnet.description import ImageReading
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.computing import Computing, prediction_workers
from vggnet.evaluation.policy import input_notes
from vggnet.files import json_text, write_result
from vggnet.images.decoding import decode
from vggnet.images.whole_images import whole_images
from vggnet.localization.boxes import corners_of
from vggnet.localization.drawing import draw
from vggnet.localization.guessing import Guesses, LocalizationNets, classify, guess, load_nets
from vggnet.localization.merging import check_installed
from vggnet.localization.predictions import BoxPredictions, ImageBoxes, LabelledBox
from vggnet.localization.scales import classifier_views, test_scales
from vggnet.network.weights import read_description
from vggnet.options.localization import LocalizePredictOptions


def predict_boxes(run: str, images: Sequence[str], options: LocalizePredictOptions) -> BoxPredictions:
    """Find the boxes of each image; write the pictures and boxes.json to `options.out`. Raises UserError."""
    found = find_boxes(run, images, options)
    reading = read_description(run).policy.reading
    split = images_at(images)
    files = {split.path(index): split.file(index) for index in range(len(split))}
    drawn = [
        replace(each, picture=_write_picture(options.out, place, files[each.image], reading, each.boxes))
        for place, each in enumerate(found.images)
    ]
    result = BoxPredictions(tuple(drawn))
    write_result(options.out / "boxes.json", json_text(result.to_dict()), option="`out`")
    return result


def find_boxes(run: str, images: Sequence[str], options: LocalizePredictOptions) -> BoxPredictions:
    """Find the boxes of each image; nothing is written. Raises UserError.

    An image that cannot be read is left out, and named on standard error, where `options.bad_images` is "skip".
    """
    if not options.classifier:
        raise UserError("`classifier` is needed: a classification run, whose best classes name the boxes")
    check_installed(options.merging)
    split = images_at(images).read_as(read_description(run).policy.reading)
    workers = prediction_workers(options.workers, len(split))
    computing = Computing.of(options.device, options.precision, workers, options.bad_images)
    split, sizes = _readable(split, computing)  # before any net is loaded
    nets = load_nets([run], options.classifier, options.mirror)
    for line in input_notes(split, nets.shown):
        note(line)
    scales = test_scales(options, read_description(run))
    posteriors, _ = classify(nets, split, classifier_views(options, nets.descriptions, [scales]), computing)
    sources = tuple((0, scale) for scale in scales)
    found = guess(nets, [sources], split, sizes, posteriors, np.arange(len(split)), computing, options.merging)[0]
    boxes = [labelled_boxes(nets, found, place)[: options.top] for place in range(len(split))]
    return BoxPredictions(tuple(map(ImageBoxes, split.files, boxes)))


@dataclass(frozen=True)
class _ImageSize:
    """Return the width and height of an image; runs in a worker."""

    def __call__(self, image: Image.Image) -> np.ndarray:
        return np.array(image.size, np.int64)


def _readable(split: Split, computing: Computing) -> tuple[Split, np.ndarray]:
    """Return the images that can be decoded, and their widths and heights, int64 (N, 2).

    Raises BadImage for the first one that cannot, unless bad images are skipped, and UserError where none is left.
    """
    indices, sizes = [], []
    for result in whole_images(split, np.arange(len(split)), computing.workers, _ImageSize()):
        if isinstance(result, BadImage):
            note(f"left out {computing.skipped(result)}")
            continue
        indices.append(result[0])
        sizes.append(result[1])
    if not indices:
        raise UserError(f"not one of {len(split)} images can be read: give images that can be, or mend these")
    return split.subset(np.array(indices)), np.stack(sizes)


def labelled_boxes(nets: LocalizationNets, found: Guesses, place: int) -> tuple[LabelledBox, ...]:
    """Return the boxes of the image at `place`, the most probable class first."""
    description = nets.descriptions[0]
    corners = corners_of(found.edges[place])
    return tuple(
        LabelledBox(nets.classes[label], description.title(label), float(posterior), *(int(value) for value in box))
        for label, posterior, box in zip(found.classes[place].tolist(), found.posteriors[place], corners, strict=True)
    )


def _write_picture(folder: Path, place: int, file: File, reading: ImageReading, boxes: Sequence[LabelledBox]) -> Path:
    """Write the picture of one image into `folder`, and return its path.

    Its name begins with the number of the image, since images of several folders may have one name.
    """
    target = folder / f"{place:04d}-{Path(str(file)).stem}.png"
    content = io.BytesIO()
    draw(decode(file, reading), boxes).save(content, "PNG")
    write_result(target, content.getvalue(), option="`out`")
    if not (folder / OUTPUT_MARK).exists():  # marks the folder's pictures as results, which are no images to learn from
        write_result(folder / OUTPUT_MARK, b"", option="`out`")
    return target
