"""Measure the error of nets on labelled images (`vggnet evaluate`); name the classes of images (`vggnet predict`)."""

from collections.abc import Sequence
from pathlib import Path

from vggnet.commands.inputs import model_and_images, models_and_data
from vggnet.commands.output import report, stdout_for_json
from vggnet.console import is_first_rank, note, progress, say
from vggnet.data.listing import images_at
from vggnet.errors import UserError
from vggnet.evaluation.evaluate import evaluate as run_evaluation
from vggnet.evaluation.module_names import open_module
from vggnet.evaluation.other_classifiers import Classifier, OtherClassifier
from vggnet.evaluation.policy import Shown, input_notes
from vggnet.evaluation.predict import predict as run_prediction
from vggnet.evaluation.submission import Prediction, Submission
from vggnet.evaluation.tables import Table
from vggnet.network.weights import read_description
from vggnet.options.evaluation import EvaluateOptions, PredictOptions
from vggnet.reporting.building import FILE, write_report
from vggnet.training.distributed import among_ranks


def evaluate(options: EvaluateOptions) -> None:
    """Evaluate the models and print the table of errors, or the classes of images without labels."""
    paths, data = models_and_data(options.inputs, "evaluate", least=0 if options.module else 1)
    if options.report and options.module:
        raise UserError("`report` is about runs and weight files: leave it out, or leave out `module`")
    models: list[str | Path | Classifier] = [*paths, *_modules(options)]
    with stdout_for_json(options.json), among_ranks(options.device), progress("scoring") as tick:
        result = run_evaluation(options, models, data, tick)

    def show() -> None:
        result.print()
        for path in (options.json, options.csv, options.markdown, options.per_image):
            if path is not None:
                say(f"written to {path}")

    report(options.json, result.to_dict(), show)
    if options.report and is_first_rank():
        _report(options, paths, data, result)


def _report(options: EvaluateOptions, models: Sequence[str], data: str, result: Table | Submission) -> None:
    """Write the report on an evaluation, and name its file."""
    if isinstance(result, Submission):
        raise UserError("`report` is about errors, and these images have no labels")
    json = options.json
    out = json.with_name(FILE) if json is not None and str(json) not in ("-", "/dev/stdout") else None
    with stdout_for_json(json):
        how = {"device": options.device, "workers": options.workers}
        made = write_report(models, data=data, out=out, results=result.to_dict(), **how)
        for line in made.notes:
            note(line)
        say(f"report: {made.file}")


def _modules(options: EvaluateOptions) -> list[OtherClassifier]:
    """Return the classifiers of other libraries that the user names."""
    about = {"classes": options.classes, "preprocessing": options.preprocessing, "crop": options.crop}
    if not options.module and (needless := [name for name, value in about.items() if value is not None]):
        raise UserError(f"`{needless[0]}` is about the classifiers of `module`: give one, or leave it out")
    classes = None if options.classes is None else str(options.classes)
    return [
        open_module(name, classes=classes, preprocessing=options.preprocessing, crop=options.crop)
        for name in options.module
    ]


def predict(options: PredictOptions) -> None:
    """Print the most probable classes of each image, and how the net was shown the images."""
    model, images = model_and_images(options.inputs, "predict")
    with among_ranks(options.device), progress("predicting") as tick:
        predictions = run_prediction(
            options, model, images, on_bad=lambda bad: note(f"left out {bad}"), on_progress=tick
        )
    trained = read_description(model).policy
    shown = Shown(model, trained, trained.chosen(options.mirror))
    content = [each.to_dict() | {"mirror": shown.used.mirror} for each in predictions]
    notes = input_notes(images_at(images), [shown])
    report(options.json, content, lambda: _print(predictions, notes))
    if options.csv is not None and str(options.json) != "-":
        say(f"written to {options.csv}")


def _print(predictions: Sequence[Prediction], notes: Sequence[str]) -> None:
    for each in predictions:
        say(each.path)
        for guess in each.classes:
            name = f" ({guess.name})" if guess.title != guess.name else ""
            say(f"  {guess.percent:>5} %  {guess.title}{name}")
    for line in notes:
        say(line)
