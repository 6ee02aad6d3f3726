"""Check the images of a data set, and pack them into a few files (`vggnet data check`, `vggnet data pack`)."""

from dataclasses import replace

from vggnet.commands.inputs import check_images
from vggnet.commands.output import report
from vggnet.console import progress, say
from vggnet.images.checking import LIST, check_with
from vggnet.images.packing import pack_with
from vggnet.options.data import DataCheckOptions, DataOptions, DataPackOptions
from vggnet.training.plan import default_run


def data(options: DataOptions) -> None:
    """Run the subcommand: check or pack."""
    command = options.command
    if isinstance(command, DataCheckOptions):
        _check(command)
    else:
        _pack(command)


def _check(options: DataCheckOptions) -> None:
    check_images([options.data], "vggnet data check DATA")
    folder = options.out or default_run(options.data, "check")
    with progress("checking images") as tick:
        found = check_with(replace(options, out=folder), tick)

    def show() -> None:
        for line in found.lines():
            say(line)
        say(f"written to {folder}")
        if found.left_out:
            say(f"to train without these images: `vggnet train {options.data} --leave-out {folder / LIST}`")

    report(options.json, found.to_dict(), show)


def _pack(options: DataPackOptions) -> None:
    check_images([options.data], "vggnet data pack DATA")
    with progress("packing images") as tick:
        packed = pack_with(options, tick)

    def show() -> None:
        for line in packed.lines():
            say(line)

    report(options.json, packed.to_dict(), show)
