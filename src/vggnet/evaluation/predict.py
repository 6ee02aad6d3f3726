"""Run a net over images and return their best classes, for `vggnet predict` and for Python."""

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
from vggnet.options.evaluation import PredictOptions


def predict(
    options: PredictOptions,
    model: str | Path,
    paths: Sequence[str | Path],
    *,
    on_bad: Callable[[BadImage], Any] | None = None,
    on_progress: Progress | None = None,
) -> list[Prediction]:
    """Return the most probable classes of each image, the best first.

    Args:
        options: how many classes, what is shown to the net, where and how to compute; `options.inputs` is not used.
        model: a run folder or a weight file.
        paths: images, or folders of images.
        on_bad: called with each image that is left out.
        on_progress: called with the number of images done and the number of all.

    Raises:
        UserError: what was given does not fit together or cannot be read; BadImage where it is an image.
    """
    net = load_model(model)
    refuse_without_classes(Path(model), net.description)
    split = images_at(paths)
    if not len(split):
        raise UserError("give at least one image, or a folder of images")
    scale = default_scale(net.description) if options.test_scale is None else options.test_scale
    view = View("dense", scale, net.description.policy.chosen(options.mirror).mirror)
    workers = prediction_workers(options.workers, len(split))
    computing = Computing.of(options.device, options.precision, workers, options.bad_images)
    scores = score(net, split, [view], computing, on_progress=on_progress)
    if on_bad is not None:
        for bad in scores.bad:
            on_bad(bad)
    answers = best_classes(scores.values[view], net.description, options.top)
    files = [split.files[index] for index in scores.indices.tolist()]
    predictions = [Prediction(file, classes) for file, classes in zip(files, answers, strict=True)]
    if options.csv is not None:
        write_result(options.csv, predictions_csv(predictions))
    return predictions
