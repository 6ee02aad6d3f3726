"""Write descriptors of images (`vggnet features`), and learn other data from them (`vggnet transfer`)."""

from vggnet.commands.inputs import models_and_data
from vggnet.commands.output import report, stdout_for_json
from vggnet.console import counted, progress, say
from vggnet.options.transfer import FeaturesOptions, TransferOptions
from vggnet.training.distributed import among_ranks
from vggnet.transfer_learning.descriptors import settings_from
from vggnet.transfer_learning.transferring import transfer_with
from vggnet.transfer_learning.writing import write_features


def features(options: FeaturesOptions) -> None:
    """Write the descriptors of all images to --out, and print how many there are."""
    models, data = models_and_data(options.inputs, "features")
    with among_ranks(options.device), progress("describing") as tick:
        found, out = write_features(models, data, options.out, settings_from(options), tick)
    for error in found.bad:
        say(f"left out: {error}")
    for line in found.notes:
        say(line)
    images, numbers = found.values.shape
    say(f"{counted(images, 'descriptor')} of {counted(numbers, 'number')} written to {out}")


def transfer(options: TransferOptions) -> None:
    """Fit linear SVMs on the descriptors, and print their recall or average precision."""
    models, data = models_and_data(options.inputs, "transfer")
    with stdout_for_json(options.json), among_ranks(options.device), progress("describing") as tick:
        result = transfer_with(options, models, data, tick)
    report(options.json, result.to_dict(), result.print)
