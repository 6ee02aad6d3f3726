"""features, transfer."""

from vggnet.commands.output import write_json
from vggnet.console import progress, say
from vggnet.errors import UserError
from vggnet.options.transfer import FeaturesOptions, TransferOptions
from vggnet.transfer.descriptors import DescriptorSettings, settings_of
from vggnet.transfer.transferring import transfer as run_transfer
from vggnet.transfer.writing import write_features


def features(options: FeaturesOptions) -> None:
    """`vggnet features`."""
    models, data = _inputs(options.inputs, "features")
    with progress("describing") as tick:
        found, out = write_features(models, data, options.out, _settings(options), tick)
    for error in found.bad:
        say(f"left out: {error}")
    images, numbers = found.values.shape
    say(f"{images} descriptors of {numbers} numbers written to {out}")


def transfer(options: TransferOptions) -> None:
    """`vggnet transfer`."""
    models, data = _inputs(options.inputs, "transfer")
    with progress("describing") as tick:
        report = run_transfer(
            models,
            data,
            _settings(options),
            protocol=options.protocol,
            train_per_class=options.train_per_class,
            test_per_class=options.test_per_class,
            splits=options.splits,
            train_set=options.train_set,
            test_set=options.test_set,
            against=options.against,
            costs=options.costs,
            validation=options.validation,
            seed=options.seed,
            on_progress=tick,
        )
    if options.json is not None:
        write_json(options.json, report.to_dict())
        if str(options.json) == "-":
            return
    for error in report.bad:
        say(f"left out: {error}")
    for line in report.lines():
        say(line)


def _inputs(inputs: tuple[str, ...], command: str) -> tuple[tuple[str, ...], str]:
    if len(inputs) < 2:
        raise UserError(f"give the models first and the images last: vggnet {command} MODEL... DATA")
    return inputs[:-1], inputs[-1]


def _settings(options: FeaturesOptions | TransferOptions) -> DescriptorSettings:
    return settings_of(
        options.layer,
        options.test_scale,
        options.pool,
        options.device,
        options.precision,
        options.workers,
        options.bad_images,
    )
