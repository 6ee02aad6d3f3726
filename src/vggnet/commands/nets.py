"""Print what follows from Table 1 for each net (`vggnet nets`); without torch."""

from rich.table import Table

from vggnet.commands.output import report
from vggnet.console import counted, rich_console
from vggnet.options.training import NetsOptions
from vggnet.paper.configurations import CONFIGURATIONS, Architecture


def nets(options: NetsOptions) -> None:
    """Print depth, parameters, multiply-adds and receptive field of every net of Table 1."""
    architectures = [
        Architecture(name, options.num_classes, options.width, options.crop, options.batch_norm)
        for name in CONFIGURATIONS
    ]
    report(options.json, [_facts(net) for net in architectures], lambda: _show(options, architectures))


def _show(options: NetsOptions, architectures: list[Architecture]) -> None:
    title = f"Table 1: {counted(options.num_classes, 'class')}, crop {options.crop}, width {options.width:g}"
    table = Table(title=title)
    for column in ("net", "depth", "kernels", "parameters", "multiply-adds", "receptive field"):
        table.add_column(column, justify="left" if column in ("net", "kernels") else "right", overflow="fold")
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
    """Return kernel sizes by stage: "331" is two 3x3 convolutions and a 1x1."""
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
