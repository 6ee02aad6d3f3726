"""Write descriptors of images (`vggnet features`), and learn other data from them (`vggnet transfer`)."""

from vggnet.commands.inputs import models_and_data
from vggnet.commands.output import report, stdout_for_json
from vggnet.console import counted, progress, say
from vggnet.evaluation.policy import policy_notes
from vggnet.options.transfer import FeaturesOptions, TransferOptions
from vggnet.transfer_learning.descriptors import DescriptorSettings, settings_of, shown_models
from vggnet.transfer_learning.devkit import DevkitOptions, Sets
from vggnet.transfer_learning.transferring import transfer as run_transfer
from vggnet.transfer_learning.writing import write_features


def features(options: FeaturesOptions) -> None:
    """Write the descriptors of all images to --out, and print how many there are."""
    models, data = models_and_data(options.inputs, "features")
    with progress("describing") as tick:
        found, out = write_features(models, data, options.out, _settings(options), tick)
    for error in found.bad:
        say(f"left out: {error}")
    for line in policy_notes(shown_models(models, _settings(options))):
        say(line)
    images, numbers = found.values.shape
    say(f"{counted(images, 'descriptor')} of {counted(numbers, 'number')} written to {out}")


def transfer(options: TransferOptions) -> None:
    """Fit linear SVMs on the descriptors, and print their recall or average precision."""
    models, data = models_and_data(options.inputs, "transfer")
    with stdout_for_json(options.json), progress("describing") as tick:
        result = run_transfer(
            models,
            data,
            _settings(options),
            protocol=options.protocol,
            train_per_class=options.train_per_class,
            test_per_class=options.test_per_class,
            splits=options.splits,
            devkit=DevkitOptions(
                Sets(options.train_set, options.test_set, options.cost_sets),
                options.regions,
                options.results,
                options.competition,
            ),
            against=options.against,
            costs=options.costs,
            validation=options.validation,
            seed=options.seed,
            on_progress=tick,
        )
    report(options.json, result.to_dict(), result.print)


def _settings(options: FeaturesOptions | TransferOptions) -> DescriptorSettings:
    return settings_of(
        options.layer,
        options.test_scale,
        options.pool,
        options.device,
        options.precision,
        options.workers,
        options.bad_images,
        options.mirror,
    )
