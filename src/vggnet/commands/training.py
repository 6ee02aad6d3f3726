"""nets, diagnose, train, ladder, quickstart."""

import dataclasses
import json

from rich.table import Table

from vggnet.classification import train_classifier
from vggnet.commands.output import write_json
from vggnet.console import rich_console
from vggnet.diagnosing import diagnose_on_images
from vggnet.ladder import ladder as run_ladder
from vggnet.ladder import to_json
from vggnet.options.training import DiagnoseOptions, LadderOptions, NetsOptions, QuickstartOptions, TrainOptions
from vggnet.paper.configurations import CONFIGURATIONS, Architecture
from vggnet.quickstart import quickstart as run_quickstart


def nets(options: NetsOptions) -> None:
    """`vggnet nets`: Table 1 and what it implies."""
    architectures = [
        Architecture(name, options.num_classes, options.width, options.crop, options.batch_norm)
        for name in CONFIGURATIONS
    ]
    rows = [_facts(net) for net in architectures]
    if options.json is not None:
        write_json(options.json, rows)
        if str(options.json) == "-":
            return
    title = f"Table 1: {options.num_classes} classes, crop {options.crop}, width {options.width:g}"
    table = Table(title=title)
    for column in ("net", "depth", "kernels", "parameters", "mult-adds", "sees"):
        table.add_column(column, justify="left" if column in ("net", "kernels") else "right")
    for net in architectures:
        table.add_row(
            net.net,
            str(net.depth),
            " ".join(_kernels(net)),
            f"{net.parameters:,}",
            f"{net.multiply_adds() / 1e9:.2f} G",
            f"{net.receptive_field_px} px",
        )
    rich_console().print(table)


def _kernels(net: Architecture) -> list[str]:
    """Kernel sizes by stage: "331" is two 3x3 convolutions and a 1x1."""
    return ["".join(map(str, kernels)) for kernels in net.configuration.kernels]


def _facts(net: Architecture) -> dict[str, object]:
    return {
        "net": net.net,
        "depth": net.depth,
        "kernels_by_stage": _kernels(net),
        "parameters": net.parameters,
        "multiply_adds": net.multiply_adds(),
        "receptive_field_px": net.receptive_field_px,
        "least_input_px": net.crop_px,
    }


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
