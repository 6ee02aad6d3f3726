"""Test nets on images from Python, and name the classes of images: `evaluate`, `classify`, `predict`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vggnet.api.arguments import like_command, options_of, several
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.evaluate import evaluate as run_evaluation
from vggnet.evaluation.input_conventions import Given
from vggnet.evaluation.matching import has_no_labels
from vggnet.evaluation.other_classifiers import Classifier, OtherClassifier, as_models
from vggnet.evaluation.predict import predict as run_prediction
from vggnet.evaluation.submission import Prediction, Submission
from vggnet.evaluation.tables import Table
from vggnet.files import write_result
from vggnet.options.choices import BadImages, InferencePrecisionName, TableName
from vggnet.options.evaluation import EvaluateOptions, PredictOptions
from vggnet.training.distributed import among_ranks

Model = str | Path
AnyModel = Model | nn.Module | OtherClassifier
TEXTS = {
    "models": "A run folder, a model folder, a weight file or a name such as vgg16; or several of them.",
    "json": "A file to write the result to, as JSON. (default: not written)",
    "on_progress": "Called with the number of images done, of all images, and the net's name. (default: nothing)",
}
_TEXTS = TEXTS | {
    "models": "A run folder, a model folder, a weight file or a name such as vgg16; a net in memory; or a PyTorch "
    "classifier of any library (a torch.nn.Module, or an OtherClassifier, which describes itself). Or several of them.",
    "preprocessing": "What pixels the modules take: torchvision, caffe, paper, tf or unit; the mean and deviation of "
    "pixels of 0 to 1; weights of torchvision or their transforms; timm's data configuration. (default: as the module "
    "states)",
    "classes": "The names of the modules' outputs in their order, or a file of them. (default: as `preprocessing` "
    "states)",
}


@like_command(EvaluateOptions, **_TEXTS, data="Images with labels: a folder or a name, as for `train`.")
def evaluate(
    models: AnyModel | Sequence[AnyModel],
    data: str | Path,
    *,
    views: str | Sequence[str] = (),
    test_scale: int | Sequence[int] = (),
    mirror: bool | None = None,
    protocol: TableName | None = None,
    against: str | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    bad_images: BadImages = "stop",
    workers: int | None = None,
    json: str | Path | None = None,
    csv: str | Path | None = None,
    markdown: str | Path | None = None,
    per_image: str | Path | None = None,
    preprocessing: Given | None = None,
    classes: str | Path | Sequence[str] | None = None,
    crop: int | None = None,
    on_progress: Callable[[int, int, str], Any] | None = None,
) -> Table:
    """Measure the error of nets on labelled images by the paper's test protocol (Sect. 3.2).

    Several nets are measured one by one and also fused. (With `protocol` table3, table4 or table5 they are not fused;
    with table6 only the fused nets are measured.) Posteriors are cached in the run, so views that were computed before
    need no forward pass. All images of a folder without a val part count; if one of the nets was trained on that
    folder, only the part that was set aside counts.

    Returns:
        The rows with their errors, each with a 95 % interval, what they are compared with, and notes. `print()` prints
        the table; `to_markdown()`, `to_csv()` and `to_json()` return it as text.

    Raises:
        UserError: for nets and images that do not fit, for images without labels (`classify` takes them), and for
            arguments that cannot be used; BadImage for a single image.

    Example:
        >>> table = vggnet.evaluate("runs/A", "photos", test_scale=[32, 40])
        >>> [row.label for row in table.rows][:2]
        ['A center Q=32', 'A center Q=40']
        >>> table.rows[0].errors.top1.images
        12
    """
    options, paths = _options(locals())
    if has_no_labels(str(data)):
        raise UserError(f"{data}: images without labels; `vggnet.classify` returns their classes")
    wanted = as_models(paths, classes=classes, preprocessing=preprocessing, crop=options.crop)
    table = _run(wanted, options, on_progress)
    assert isinstance(table, Table)
    return table


@like_command(EvaluateOptions, **_TEXTS, data="A folder of images without class folders.")
def classify(
    models: AnyModel | Sequence[AnyModel],
    data: str | Path,
    *,
    views: str | Sequence[str] = (),
    test_scale: int | Sequence[int] = (),
    mirror: bool | None = None,
    protocol: TableName | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    bad_images: BadImages = "stop",
    workers: int | None = None,
    json: str | Path | None = None,
    csv: str | Path | None = None,
    markdown: str | Path | None = None,
    preprocessing: Given | None = None,
    classes: str | Path | Sequence[str] | None = None,
    crop: int | None = None,
    on_progress: Callable[[int, int, str], Any] | None = None,
) -> Submission:
    """Name the five most probable classes of images without labels by the paper's test protocol (Sect. 3.2).

    `vggnet evaluate` does this for a folder without class folders. `predict` is the simpler way for a few images.

    Returns:
        `predictions`: for each image its path and its classes with name, title and posterior, the best first.
        `to_csv()` returns them in the layout of ILSVRC's submissions.

    Raises:
        UserError: for nets and images that do not fit, for images in class folders, and for arguments that cannot be
            used; BadImage for a single image.

    Example:
        >>> found = vggnet.classify(["runs/A"], "unlabelled", csv="submission.csv")
        >>> len(found.predictions)
        4
        >>> round(sum(guess.posterior for guess in found.predictions[0].classes), 3)
        1.0
    """
    options, paths = _options(locals())
    if not has_no_labels(str(data)):
        raise UserError(f"{data}: no folder of images without class folders; `vggnet.evaluate` takes labelled images")
    wanted = as_models(paths, classes=classes, preprocessing=preprocessing, crop=options.crop)
    found = _run(wanted, options, on_progress)
    assert isinstance(found, Submission)
    return found


def _options(given: dict[str, Any]) -> tuple[EvaluateOptions, list[AnyModel]]:
    """Return the options, and the models with paths in the place of names.

    `preprocessing` and `classes` are objects here, which no option holds.
    """
    models = several(given["models"])
    named = [each for each in models if isinstance(each, (str, Path))]
    given = {name: value for name, value in given.items() if name not in ("preprocessing", "classes")}
    options = options_of(EvaluateOptions, given, inputs=[*named, given["data"]])
    paths = iter(options.inputs)
    return options, [next(paths) if isinstance(each, (str, Path)) else each for each in models]


def _run(
    models: Sequence[str | Path | Classifier],
    options: EvaluateOptions,
    on_progress: Callable[[int, int, str], Any] | None,
) -> Table | Submission:
    with among_ranks(options.device):
        result = run_evaluation(options, models, options.inputs[-1], on_progress)
    if options.json is not None:
        write_result(options.json, result.to_json())
    return result


@like_command(
    PredictOptions,
    model="A run folder, a model folder, a weight file or a name such as vgg16.",
    images="An image or a folder of images; or several.",
    on_bad="Called with each image that is left out, as a BadImage. (default: nothing)",
    on_progress="Called with the number of images done and of all images. (default: nothing)",
)
def predict(
    model: Model,
    images: Model | Sequence[Model],
    *,
    top: int = 5,
    test_scale: int | None = None,
    mirror: bool | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    bad_images: BadImages = "stop",
    workers: int | None = None,
    csv: str | Path | None = None,
    on_bad: Callable[[BadImage], Any] | None = None,
    on_progress: Callable[[int, int], Any] | None = None,
) -> list[Prediction]:
    """Name the most probable classes of images, each seen as a whole (dense evaluation, Sect. 3.2).

    Returns:
        For each image its `path` and its `classes`, the best first, with `name`, `title` and `posterior` (0 to 1).

    Raises:
        UserError: for a model or arguments that cannot be used; BadImage for an image.

    Example:
        >>> predictions = vggnet.predict("runs/A", "photos/val", top=1)
        >>> best = predictions[0].classes[0]
        >>> best.name in ("class0", "class1", "class2"), 0 < best.posterior <= 1
        (True, True)
    """
    options = options_of(PredictOptions, locals(), inputs=[model, *several(images)])
    model, *images = options.inputs
    with among_ranks(options.device):
        return run_prediction(options, model, images, on_bad=on_bad, on_progress=on_progress)
