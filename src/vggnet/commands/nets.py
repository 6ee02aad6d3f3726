"""Print depth, parameters and the like of each net of Table 1 (without torch), or list the models with a name."""

from rich.table import Table

from vggnet.commands.output import report
from vggnet.console import counted, rich_console, say
from vggnet.options.training import NetsOptions
from vggnet.paper.configurations import CONFIGURATIONS, Architecture


def nets(options: NetsOptions) -> None:
    """Print depth, parameters, multiply-adds and receptive field of every net of Table 1; or the models by name."""
    if options.pretrained:
        _list_pretrained(options)
        return
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


def _list_pretrained(options: NetsOptions) -> None:
    """Print the models that can be given by name, where they come from, and their published errors."""
    from vggnet.pretrained.listing import listed  # imports torchvision

    rows = listed()

    def show() -> None:
        table = Table(title="Models by name: published errors on ILSVRC-2012 val in %")
        for column in ("name", "net", "MB", "input", "S", "top-1", "top-5", "protocol", "licence", "cached"):
            right = column in ("MB", "top-1", "top-5")
            table.add_column(column, justify="right" if right else "left", no_wrap=column in ("name", "net"))
        for row in rows:
            table.add_row(*row.cells())
        rich_console().print(table)
        say("vgg16 alone is torchvision/vgg16; keras/vgg16 and keras/vgg19 are oxford/D and oxford/E.")
        say("hf-hub:OWNER/NAME is a repository of the Hugging Face hub, in timm's form or that of `save_pretrained`.")

    report(options.json, [row.to_dict() for row in rows], show)


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
