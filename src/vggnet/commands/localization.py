"""localize train, localize evaluate, localize predict."""

from vggnet.localization.training import train_localizer
from vggnet.options.localization import (
    LocalizeEvaluateOptions,
    LocalizeOptions,
    LocalizeTrainOptions,
)


def localize(options: LocalizeOptions) -> None:
    """`vggnet localize`."""
    command = options.command
    if isinstance(command, LocalizeTrainOptions):
        train_localizer(command)
    elif isinstance(command, LocalizeEvaluateOptions):
        raise NotImplementedError
    else:
        raise NotImplementedError
