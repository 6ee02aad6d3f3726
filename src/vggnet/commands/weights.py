"""Read and write other libraries' weight files (`vggnet convert`), and export nets (`vggnet export`)."""

from pathlib import Path

from vggnet.commands.inputs import check_models
from vggnet.console import say
from vggnet.errors import UserError
from vggnet.formats.converting import convert_as_asked
from vggnet.formats.writing import library_name, write_layout
from vggnet.network.pretrained import check_free, save_pretrained
from vggnet.network.weights import check_outputs
from vggnet.options.weights import ConvertOptions, ExportOptions


def convert(options: ConvertOptions) -> None:
    """Convert a weight file into a model folder, or a model into another library's layout; print what was read."""
    check_models([options.file], "vggnet convert FILE")
    if options.to == "vggnet":
        check_free(options.out)
    elif options.out.exists() and not options.out.is_dir():
        raise UserError(f"`out` {options.out} is a file; give a folder")
    conversion = convert_as_asked(options)
    check_outputs(conversion.model)
    for line in conversion.report:
        say(str(line))
    for note in conversion.notes:
        say(note)
    if options.to == "vggnet":
        save_pretrained(conversion.model, options.out)
        say(f"written to {options.out}; other commands take it as MODEL")
    else:
        say(f"written to {write_layout(conversion.model, options.to, options.out)}")
        width = conversion.model.architecture.width
        if width != 1:
            name = library_name(conversion.model)
            say(f"note: {options.to}'s {name} has width 1 and this net {width:g}: build its class with these channels")


def export(options: ExportOptions) -> None:
    """Export a model to a file that runs without vggnet, and print how to use it."""
    from vggnet.formats.exporting import SUFFIXES, export_model

    model = options.model
    check_models([model], "vggnet export MODEL")
    name = model.resolve().name if model.is_dir() else model.stem  # a folder's name may have dots in it
    out = options.out or Path(name + SUFFIXES[options.format])
    for line in export_model(model, out, options.format):
        say(line)
