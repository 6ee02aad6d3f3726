"""localize train, localize evaluate, localize predict."""

from vggnet.commands.inputs import check_images, check_models, model_and_images, models_and_data
from vggnet.commands.output import aside, report
from vggnet.console import say
from vggnet.localization.evaluating import evaluate_localizers
from vggnet.localization.predicting import predict_boxes
from vggnet.localization.training import train_localizer
from vggnet.options.localization import (
    LocalizeEvaluateOptions,
    LocalizeOptions,
    LocalizePredictOptions,
    LocalizeTrainOptions,
)


def localize(options: LocalizeOptions) -> None:
    """`vggnet localize`."""
    command = options.command
    if isinstance(command, LocalizeTrainOptions):
        check_images([command.data], "vggnet localize train DATA")
        check_models([command.init_from], "--init-from MODEL")
        train_localizer(command)
    elif isinstance(command, LocalizePredictOptions):
        _predict(command)
    else:
        _evaluate(command)


def _evaluate(options: LocalizeEvaluateOptions) -> None:
    runs, data = models_and_data(options.inputs, "localize evaluate")
    check_models(options.classifier, "--classifier MODEL...")
    with aside(options.json):
        result = evaluate_localizers(runs, data, options)
    report(options.json, result.to_json_dict(), result.print)


def _predict(options: LocalizePredictOptions) -> None:
    run, images = model_and_images(options.inputs, "localize predict")
    check_models(options.classifier, "--classifier MODEL...")
    for file, guesses, picture in predict_boxes(run, images, options):
        say(f"{file} -> {picture}")
        for guess in guesses:
            box = f"{guess.xmin} {guess.ymin} {guess.xmax} {guess.ymax}"
            say(f"  {100 * guess.posterior:5.1f} %  {guess.title}: {box}")
