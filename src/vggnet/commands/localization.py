"""Train nets that locate objects, test them, and draw their boxes (`vggnet localize train`, `evaluate`, `predict`)."""

from vggnet.commands.inputs import check_images, check_models, model_and_images, models_and_data
from vggnet.commands.output import report, stdout_for_json, write_json
from vggnet.localization.evaluating import evaluate_localizers
from vggnet.localization.predicting import predict_boxes
from vggnet.localization.training import train_localizer
from vggnet.options.localization import (
    LocalizeEvaluateOptions,
    LocalizeOptions,
    LocalizePredictOptions,
    LocalizeTrainOptions,
)
from vggnet.reporting.unasked import finish_training, finish_with_report, refreshed
from vggnet.training.distributed import among_ranks


def localize(options: LocalizeOptions) -> None:
    """Run the subcommand: train, evaluate or predict."""
    command = options.command
    if isinstance(command, LocalizeTrainOptions):
        _train(command)
    elif isinstance(command, LocalizePredictOptions):
        _predict(command)
    else:
        _evaluate(command)


def _train(options: LocalizeTrainOptions) -> None:
    check_images([options.data], "vggnet localize train DATA")
    check_models([options.init_from], "`init_from` MODEL")
    with stdout_for_json(options.json):
        result = train_localizer(options, refreshed(None, options.machine.report))
        finish_training(result.run, options.machine)
    write_json(options.json, result.to_dict())


def _evaluate(options: LocalizeEvaluateOptions) -> None:
    runs, data = models_and_data(options.inputs, "localize evaluate")
    check_models(options.classifier, "`classifier` MODEL...")
    with stdout_for_json(options.json), among_ranks(options.device):
        result = evaluate_localizers(runs, data, options)
    report(options.json, result.to_dict(), result.print)
    with stdout_for_json(options.json):
        how = {"device": options.device, "workers": options.workers}
        finish_with_report([runs[0]], options.report, data=data, results=result.to_dict(), **how)


def _predict(options: LocalizePredictOptions) -> None:
    run, images = model_and_images(options.inputs, "localize predict")
    check_models(options.classifier, "`classifier` MODEL...")
    with among_ranks(options.device):
        result = predict_boxes(run, images, options)
    report(options.json, result.to_dict(), result.print)
