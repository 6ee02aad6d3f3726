"""Localisation (Appendix A): nets that draw boxes. The functions of the command `vggnet localize`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vggnet.api.arguments import like_command, options_of, several
from vggnet.errors import UserError
from vggnet.localization.evaluating import evaluate_localizers
from vggnet.localization.predicting import find_boxes, predict_boxes
from vggnet.localization.predictions import BoxPredictions
from vggnet.localization.report import LocalizationReport
from vggnet.localization.training import LocalizeResult, train_localizer
from vggnet.options.choices import (
    BadImages,
    Boxes,
    BoxLoss,
    DecoderName,
    ExchangeFormat,
    ImageCheck,
    InferencePrecisionName,
    InitMethod,
    Merging,
    OnDivergence,
    Orientation,
    PrecisionName,
    StepName,
)
from vggnet.options.localization import LocalizeEvaluateOptions, LocalizePredictOptions, LocalizeTrainOptions
from vggnet.reporting.unasked import finish_training, refreshed
from vggnet.training.distributed import among_ranks

Model = str | Path


@like_command(LocalizeTrainOptions)
def train(
    data: str | Path,
    *,
    init_from: Model,
    out: str | Path,
    net: str | None = None,
    boxes: Boxes = "pcr",
    loss: BoxLoss = "euclidean",
    layers: Literal["all", "fc"] = "all",
    resume: bool = False,
    data_changed: bool = False,
    annotations: str | Path | None = None,
    val_annotations: str | Path | None = None,
    train_scale: int | Sequence[int] = (),
    crop: int | None = None,
    dropout: float = 0.0,
    mirror: bool | None = None,
    orientation: Orientation | None = None,
    pixel_range: tuple[int, int] | None = None,
    epochs: int = 20,
    batch: int = 256,
    learning_rate: float = 1e-2,
    weight_decay: float = 5e-4,
    patience: int = 6,
    init: InitMethod = "glorot",
    seed: int = 0,
    holdout: float = 0.1,
    check: ImageCheck | None = None,
    leave_out: str | Path | None = None,
    device: str = "auto",
    precision: PrecisionName = "auto",
    bad_images: BadImages = "stop",
    bad_boxes: BadImages = "stop",
    workers: int | None = None,
    decoder: DecoderName = "auto",
    micro_batch: int | None = None,
    threads: int | None = None,
    step: StepName = "auto",
    on_divergence: OnDivergence = "stop",
    exchange: ExchangeFormat = "fp32",
    save_every: float = 300.0,
    keep: int = 2,
    report: bool = True,
) -> LocalizeResult:
    """Train a net that predicts boxes, starting from a classification net (App. A), and print the progress.

    Returns:
        The run folder, the error of test 1 on val (None without val boxes), and that of boxes that need no learning.

    Raises:
        UserError: for images, boxes, weights or arguments that cannot be used; BadImage for a single image.

    Example:
        >>> 0 <= vggnet.localize.train("photos", init_from="runs/A", epochs=1, out="runs/A-boxes").error.rate <= 1
        True
    """
    options = options_of(LocalizeTrainOptions, locals())
    result = train_localizer(options, refreshed(None, options.machine.report))
    finish_training(result.run, options.machine)
    return result


@like_command(
    LocalizeEvaluateOptions,
    runs="A run of `localize.train`; or several. With `classifier` they are also fused.",
    data="Images with boxes, as for `localize.train`; their val split counts.",
)
def evaluate(
    runs: Model | Sequence[Model],
    data: str | Path,
    *,
    classifier: Model | Sequence[Model] = (),
    classifier_views: str | Sequence[str] = (),
    classifier_scale: str | Sequence[str] = (),
    test_scale: int | Sequence[int] = (),
    mirror: bool | None = None,
    test_scale_by_net: str | Sequence[str] = (),
    merging: Merging = "overfeat",
    annotations: str | Path | None = None,
    val_annotations: str | Path | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    bad_images: BadImages = "stop",
    bad_boxes: BadImages = "stop",
    workers: int | None = None,
) -> LocalizationReport:
    """Measure the localisation error of nets on val images (Tables 8 and 9).

    Returns:
        `center`: the rows of test 1 (the true class's box in the centre crop); `dense`: the rows of test 2, empty
        without `classifier`. `print()` prints both tables.

    Raises:
        UserError: for nets, images or boxes that do not fit, and for arguments that cannot be used; BadImage for a
            single image.

    Example:
        >>> report = vggnet.localize.evaluate("runs/A-boxes", "photos", classifier="runs/A", test_scale=40)
        >>> len(report.dense)
        1
        >>> report.dense[0].errors.top5.images
        12
    """
    options = options_of(LocalizeEvaluateOptions, locals(), inputs=[*several(runs), data])
    *paths, images = options.inputs
    with among_ranks(options.device):
        return evaluate_localizers(paths, images, options)


@like_command(
    LocalizePredictOptions,
    run="A run of `localize.train`.",
    images="An image or a folder of images; or several.",
    out="A folder for the pictures with their boxes, and boxes.json. (default: nothing is written)",
)
def predict(
    run: Model,
    images: Model | Sequence[Model],
    *,
    classifier: Model | Sequence[Model],
    classifier_views: str | Sequence[str] = (),
    classifier_scale: str | Sequence[str] = (),
    out: str | Path | None = None,
    test_scale: int | Sequence[int] = (),
    mirror: bool | None = None,
    merging: Merging = "overfeat",
    top: int = 5,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    bad_images: BadImages = "stop",
    workers: int | None = None,
) -> BoxPredictions:
    """Find the most probable classes of images with a box for each.

    Returns:
        `images`: for each its file (`image`), its `boxes` (name, title and posterior of the class, and the corners in
        pixels, inclusive), the most probable class first, and its `picture` where `out` is given.

    Raises:
        UserError: for nets or arguments that cannot be used; BadImage for an image.

    Example:
        >>> found = vggnet.localize.predict("runs/A-boxes", "photos/val", classifier="runs/A", out="boxes")
        >>> len(found.images), len(found.images[0].boxes)
        (12, 3)
        >>> box = found.images[0].boxes[0]
        >>> box.xmin <= box.xmax
        True
    """
    given = locals()
    if not several(classifier):
        raise UserError("`classifier`: give at least one classification run, whose best classes name the boxes")
    options = options_of(
        LocalizePredictOptions,
        given,
        inputs=[run, *several(images)],
        out=LocalizePredictOptions.out if out is None else out,
    )
    net, *files = options.inputs
    with among_ranks(options.device):
        return find_boxes(net, files, options) if out is None else predict_boxes(net, files, options)
