"""localize train, localize evaluate, localize predict."""

from vggnet.console import say
from vggnet.localization.evaluating import evaluate_localizers
from vggnet.localization.predicting import predict_boxes
from vggnet.localization.training import train_localizer
from vggnet.options.localization import LocalizeOptions, LocalizePredictOptions, LocalizeTrainOptions


def localize(options: LocalizeOptions) -> None:
    """`vggnet localize`."""
    command = options.command
    if isinstance(command, LocalizeTrainOptions):
        train_localizer(command)
    elif isinstance(command, LocalizePredictOptions):
        for file, guesses, picture in predict_boxes(command):
            say(f"{file} -> {picture}")
            for guess in guesses:
                box = f"{guess.xmin} {guess.ymin} {guess.xmax} {guess.ymax}"
                say(f"  {100 * guess.posterior:5.1f} %  {guess.title}: {box}")
    else:
        evaluate_localizers(command).print()
