"""diagnose, train, ladder, quickstart."""

import dataclasses
import json
from pathlib import Path

from vggnet.commands.inputs import check_images, check_models
from vggnet.commands.output import aside, write_json
from vggnet.options.training import DiagnoseOptions, LadderOptions, QuickstartOptions, TrainOptions
from vggnet.training.classification import train_classifier
from vggnet.training.diagnosing import diagnose_on_images
from vggnet.training.ladder import ladder as run_ladder
from vggnet.training.ladder import to_json
from vggnet.training.quickstart import quickstart as run_quickstart


def train(options: TrainOptions) -> None:
    """`vggnet train`."""
    _check(options.data, options.init_from, "train")
    train_classifier(options)


def ladder(options: LadderOptions) -> None:
    """`vggnet ladder`."""
    _check(options.data, None, "ladder")
    with aside(options.json):
        results = run_ladder(options)
    if options.json is not None:
        write_json(options.json, json.loads(to_json(results)))


def quickstart(options: QuickstartOptions) -> None:
    """`vggnet quickstart`."""
    run_quickstart(options)


def diagnose(options: DiagnoseOptions) -> None:
    """`vggnet diagnose`."""
    _check(options.data, options.init_from, "diagnose")
    with aside(options.json):
        report = diagnose_on_images(options)
    if options.json is not None:
        write_json(options.json, dataclasses.asdict(report))


def _check(data: str, source: Path | None, command: str) -> None:
    check_images([data], f"vggnet {command} DATA")
    if source is not None:
        check_models([source], "--init-from MODEL")
