"""`vggnet localize predict`: the five best (class, box) pairs of an image, drawn on it."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vggnet.console import note
from vggnet.data.listing import OUTPUT_MARK, images_at
from vggnet.description import ImageReading
from vggnet.errors import UserError
from vggnet.evaluation.computing import Computing
from vggnet.files import write_result
from vggnet.images.decoding import decode
from vggnet.localization.boxes import corners_of
from vggnet.localization.drawing import Guess, draw
from vggnet.localization.guessing import Combining, classify, gather, guess
from vggnet.localization.objects import measure_sizes
from vggnet.localization.scales import classifier_views, test_scales
from vggnet.network.weights import read_description
from vggnet.options.localization import LocalizePredictOptions


def predict_boxes(
    run: str, images: Sequence[str], options: LocalizePredictOptions
) -> list[tuple[str, list[Guess], Path]]:
    """(image, its guesses, the picture drawn) of each image; pictures and boxes.json go to `options.out`."""
    if not options.classifier:
        raise UserError("--classifier is needed: a classification run, whose best classes name the boxes")
    if options.top < 1:
        raise UserError(f"--top {options.top}: at least one box is needed")
    split = images_at(images).read_as(read_description(run).policy.reading)
    for file in split.files:
        decode(file, split.reading)  # what cannot be read is said before any net is loaded
    party = gather([run], options.classifier, options.mirror)
    for line in party.notes:
        note(line)
    computing = Computing.of(options.device, options.precision, 0)
    scales = test_scales(options, read_description(run))
    sizes = measure_sizes(split)
    posteriors, _ = classify(party, split, classifier_views(options, party.descriptions, [scales]), computing)
    row = Combining(tuple((0, scale) for scale in scales))
    found = guess(party, [row], split, sizes, posteriors, np.arange(len(split)), computing, options.merging)[0]
    corners = corners_of(found.edges)
    description = party.descriptions[0]
    results = []
    for place, file in enumerate(split.files):
        guesses = [
            Guess(party.classes[label], description.title(label), float(posterior), *(int(v) for v in box))
            for label, posterior, box in zip(
                found.classes[place].tolist(), found.posteriors[place], corners[place], strict=True
            )
        ][: options.top]
        results.append((file, guesses, _write(options.out, place, file, split.reading, guesses)))
    _write_json(options.out / "boxes.json", results)
    return results


def _write(folder: Path, place: int, file: str, reading: ImageReading, guesses: list[Guess]) -> Path:
    """Write the picture into `folder`, numbered, since images of several folders may have one name; its path."""
    target = folder / f"{place:04d}-{Path(file).stem}.png"
    content = io.BytesIO()
    draw(decode(file, reading), guesses).save(content, "PNG")
    write_result(target, content.getvalue(), option="--out")
    if not (folder / OUTPUT_MARK).exists():  # its pictures are no images to learn from
        write_result(folder / OUTPUT_MARK, b"", option="--out")
    return target


def _write_json(path: Path, results: list[tuple[str, list[Guess], Path]]) -> None:
    content = [
        {"image": file, "picture": str(picture), "boxes": [asdict(each) for each in guesses]}
        for file, guesses, picture in results
    ]
    write_result(path, json.dumps(content, indent=2) + "\n", option="--out")
