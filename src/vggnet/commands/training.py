"""diagnose, train, ladder, quickstart."""

import dataclasses
import json

from vggnet.classification import train_classifier
from vggnet.commands.output import write_json
from vggnet.diagnosing import diagnose_on_images
from vggnet.ladder import ladder as run_ladder
from vggnet.ladder import to_json
from vggnet.options.training import DiagnoseOptions, LadderOptions, QuickstartOptions, TrainOptions
from vggnet.quickstart import quickstart as run_quickstart


def train(options: TrainOptions) -> None:
    """`vggnet train`."""
    train_classifier(options)


def ladder(options: LadderOptions) -> None:
    """`vggnet ladder`."""
    results = run_ladder(options)
    if options.json is not None:
        write_json(options.json, json.loads(to_json(results)))


def quickstart(options: QuickstartOptions) -> None:
    """`vggnet quickstart`."""
    run_quickstart(options)


def diagnose(options: DiagnoseOptions) -> None:
    """`vggnet diagnose`."""
    report = diagnose_on_images(options)
    if options.json is not None:
        write_json(options.json, dataclasses.asdict(report))
