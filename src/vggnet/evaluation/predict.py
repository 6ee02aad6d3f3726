"""Name the best classes of images, for `vggnet predict` and for Python."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vggnet.data.listing import images_at
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.computing import Computing, prediction_workers
from vggnet.evaluation.matching import refuse_without_classes
from vggnet.evaluation.protocols import default_scale
from vggnet.evaluation.scoring import Progress, score
from vggnet.evaluation.submission import Prediction, best_classes, predictions_csv
from vggnet.evaluation.views import View
from vggnet.files import write_result
from vggnet.network.weights import load_model
from vggnet.options.choices import BadImages, InferencePrecisionName


def predict(
    model: str | Path,
    paths: Sequence[str | Path],
    *,
    top: int = 5,
    test_scale: int | None = None,
    mirror: bool | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    workers: int | None = None,
    bad_images: BadImages = "stop",
    csv: str | Path | None = None,
    on_bad: Callable[[BadImage], Any] | None = None,
    on_progress: Progress | None = None,
) -> list[Prediction]:
    """Return the `top` most probable classes of each image, the best first.

    Args:
        model: a run folder or a weight file.
        paths: images, or folders of images.
        test_scale: Q, the smallest side in pixels at which the net sees the whole image. None: the net's S.
        mirror: whether the mirror image is averaged in. None: as the net was trained.
        device, precision: "auto" chooses by the machine.
        workers: the processes that read images. None: 0 for fewer than 64 images, else by the machine.
        bad_images: "stop" raises at an image that cannot be used, "skip" leaves such images out.
        csv: a file to write the classes of each image to.
        on_bad: called with each image that is left out.
        on_progress: called with the number of images done and the number of all.

    Raises:
        UserError: what was given does not fit together or cannot be read; BadImage where it is an image.
    """
    if top < 1:
        raise UserError(f"`top` {top}: at least one class is needed")
    net = load_model(model)
    refuse_without_classes(Path(model), net.description)
    split = images_at(paths)
    if not len(split):
        raise UserError("give at least one image, or a folder of images")
    scale = default_scale(net.description) if test_scale is None else test_scale
    view = View("dense", scale, net.description.policy.chosen(mirror).mirror)
    computing = Computing.of(device, precision, prediction_workers(workers, len(split)), bad_images)
    scores = score(net, split, [view], computing, on_progress=on_progress)
    if on_bad is not None:
        for bad in scores.bad:
            on_bad(bad)
    answers = best_classes(scores.values[view], net.description, top)
    files = [split.files[index] for index in scores.indices.tolist()]
    predictions = [Prediction(file, classes) for file, classes in zip(files, answers, strict=True)]
    if csv is not None:
        write_result(csv, predictions_csv(predictions))
    return predictions
