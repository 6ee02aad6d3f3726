"""Fine-tune a trained net: fill options that were not given from the source net, and from measured defaults.

A new training that starts from another net (`init_from`) takes net, width and batch normalisation of that net. Where
the data have other classes, the last layer is new. Epochs, batch and patience are then those of `FINE_TUNING`. The
learning rate is `RATE_WITH_BATCH_NORM` or `RATE_WITHOUT`, that of the last layer `HEAD_FACTOR` times as large. The
paper has none for this; docs/how-to/fine-tune.md says how they were measured.
"""

from collections.abc import Callable
from typing import Any

from vggnet.data.splits import ImageData
from vggnet.description import ModelDescription
from vggnet.options.flat import changed
from vggnet.options.training import TrainOptions
from vggnet.paper.configurations import Architecture
from vggnet.paper.recipes import LATER_STAGE_RATE, Recipe

DEFAULT_NET = "D"
HEAD_FACTOR = 10.0  # the rate of a new last layer, as a multiple of the others'
FINE_TUNING: dict[str, Any] = {"epochs": 30, "batch": 32, "patience": 4}  # of a net whose last layer is new
# Of its other layers. Without batch normalisation, a rate of 0.01 and so small a batch kill units.
RATE_WITH_BATCH_NORM, RATE_WITHOUT = 1e-2, 3e-3


def with_source(options: TrainOptions, source: ModelDescription | None) -> TrainOptions:
    """Return options with net, width and batch normalisation filled in: as given, else the source net's, else ours."""
    given = source.architecture if source is not None else None
    return _filled(
        options,
        net=given.net if given else DEFAULT_NET,
        width=given.width if given else Architecture.width,
        batch_norm=given.batch_norm if given else False,
    )


def with_head(options: TrainOptions, source: ModelDescription | None, opened: Callable[[], ImageData]) -> TrainOptions:
    """Return options with `new_head` filled in: whether the data have other classes than the source net.

    Args:
        opened: returns the data; called only where the classes decide.
    """
    if options.new_head is not None:
        return options
    return changed(options, new_head=source is not None and has_other_classes(source, opened().classes))


def has_other_classes(source: ModelDescription, classes: tuple[str, ...]) -> bool:
    """Whether a net with these classes needs another last layer than the source net's; their order does not count."""
    if source.classes and classes:
        return set(source.classes) != set(classes)
    return source.architecture.outputs != len(classes)


def with_recipe(options: TrainOptions, source: ModelDescription | None) -> TrainOptions:
    """Return options with learning rates, epochs, batch and patience filled in.

    A net with a new last layer takes those of this module; one that goes on from the same net the paper's rate of a
    later stage; any other one the paper's first (Sect. 3.1).
    """
    same = source is not None and source.architecture.net == options.net
    if same and options.new_head:
        rate = RATE_WITH_BATCH_NORM if options.batch_norm else RATE_WITHOUT
        options = _filled(options, learning_rate=rate, **FINE_TUNING)
        assert options.learning_rate is not None
        return _filled(options, head_learning_rate=HEAD_FACTOR * options.learning_rate)
    rate = LATER_STAGE_RATE if same else Recipe.learning_rate
    return _filled(options, learning_rate=rate, epochs=Recipe.epochs, batch=Recipe.batch, patience=Recipe.patience)


def _filled(options: TrainOptions, **values: Any) -> TrainOptions:
    return changed(options, **{name: value for name, value in values.items() if getattr(options, name) is None})
