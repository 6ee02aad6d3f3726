"""Train one net (`vggnet train`) or staged ones (`ladder`, `quickstart`), and judge an untrained one (`diagnose`)."""

from pathlib import Path

from vggnet.commands.inputs import check_images, check_models
from vggnet.commands.output import stdout_for_json, write_json
from vggnet.console import say
from vggnet.options.training import DiagnoseOptions, LadderOptions, QuickstartOptions, TrainOptions
from vggnet.reporting.unasked import finish_training, refreshed
from vggnet.training.classification import train_classifier
from vggnet.training.diagnosing import diagnose_on_images
from vggnet.training.ladder import ladder as run_ladder
from vggnet.training.ladder import to_dicts
from vggnet.training.quickstart import quickstart as run_quickstart


def train(options: TrainOptions) -> None:
    """Train a net, or continue its training, and print its error on val."""
    _check_inputs(options.data, options.init_from, "train")
    with stdout_for_json(options.json):
        result = train_classifier(options, refreshed(None, options.machine.report))
        finish_training(result.run, options.machine)
    write_json(options.json, result.to_dict())


def ladder(options: LadderOptions) -> None:
    """Train the shallow net and the deeper ones from it, and print the table of their errors."""
    _check_inputs(options.data, None, "ladder")
    with stdout_for_json(options.json):
        results = run_ladder(options, refreshed(options.out, options.machine.report))
        finish_training(options.out, options.machine)
    write_json(options.json, to_dicts(results))


def quickstart(options: QuickstartOptions) -> None:
    """Train nets A and D on the embedded data set, and print three predictions."""
    run_quickstart(options, refreshed(options.out, options.machine.report))
    if file := finish_training(options.out, options.machine):
        say(f"open {file} in a browser: both nets, the predictions as pictures, and what the paper is about")


def diagnose(options: DiagnoseOptions) -> None:
    """Print each layer's signal and gradient, and whether the net can learn."""
    _check_inputs(options.data, options.init_from, "diagnose")
    with stdout_for_json(options.json):
        result = diagnose_on_images(options)
        result.print()
    write_json(options.json, result.to_dict())


def _check_inputs(data: str, source: Path | None, command: str) -> None:
    check_images([data], f"vggnet {command} DATA")
    if source is not None:
        check_models([source], "`init_from` MODEL")
