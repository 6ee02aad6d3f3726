"""Plan the training of a box net (App. A): `training.plan` with the net that it starts from, and data with boxes.

Preprocessing, crop, width and S come from the net that the training starts from, since its weights expect them.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from vggnet.data.leaving_out import leave_out
from vggnet.data.opening import has_boxes_of_stored_pixels
from vggnet.data.splits import ImageData
from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.localization.objects import open_localizable
from vggnet.localization.regression import outputs_of
from vggnet.network.weights import read_description
from vggnet.options.flat import changed
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.training.agreement import continued
from vggnet.training.continuing import as_started
from vggnet.training.distributed import World
from vggnet.training.plan import Resolved, TrainPlan, default_run, policy_of, resolve_together, resolved_with
from vggnet.training.runs import RunFolder

SOURCE = "source"  # in config.json: the description of the net that the run started from


@dataclass(frozen=True)
class LocalizePlan(TrainPlan[LocalizeTrainOptions]):
    """A training's plan, and the description of the net that it starts from."""

    source: ModelDescription


def plan_localizer(options: LocalizeTrainOptions, world: World) -> LocalizePlan:
    """Plan a box net's training. All ranks call.

    Raises:
        UserError: for the net to start from, the run to continue, data without boxes, or options of another rank.
    """
    resolved, source = resolve_together(options, world, resolve_localizer)
    data = world.in_turn(lambda: _open(resolved.options))
    plan = TrainPlan.of(resolved, data, outputs_of(options.boxes, len(data.classes)))
    return LocalizePlan(**vars(plan), source=source)


def resolve_localizer(options: LocalizeTrainOptions) -> tuple[Resolved[LocalizeTrainOptions], ModelDescription]:
    """Resolve the options of a box net's training, and describe the net that it starts from.

    A net that does not exist is an error before any image is read.
    """
    out = options.out or _default_run(options)
    options = continued(options, out)
    if options.resume:
        options = as_started(options, out)
    source = _source(options, out)
    given = source.architecture
    net, crop = options.net or given.net, options.crop or given.crop_px
    scale = options.train_scale or tuple(round(px * crop / given.crop_px) for px in source.train_scale)
    policy = policy_of(options, out, source.policy, "ignore" if _is_ilsvrc(options) else "apply")
    architecture = dataclasses.replace(given, net=net, outputs=1, crop_px=crop, dropout=options.dropout)
    options = changed(options, net=net, crop=crop, train_scale=scale)
    return resolved_with(options, out, architecture, policy), source


def _default_run(options: LocalizeTrainOptions) -> Path:
    net = options.net or read_description(options.init_from).architecture.net
    return default_run(options.data, f"{net}-{options.boxes}")


def _source(options: LocalizeTrainOptions, out: Path) -> ModelDescription:
    """Return the description of the net to start from. A run that goes on stores it, and its file may be gone."""
    config = RunFolder(out).config if options.resume else None
    if config is not None and SOURCE in config:
        return ModelDescription.from_dict(config[SOURCE], str(out))
    return read_description(options.init_from)


def _is_ilsvrc(options: LocalizeTrainOptions) -> bool:
    """Whether the boxes are those of the ILSVRC download, which refer to the pixels as they are stored."""
    return options.annotations is None and has_boxes_of_stored_pixels(options.data)


def _open(options: LocalizeTrainOptions) -> ImageData:
    opened = open_localizable(options.data, options.annotations, options.val_annotations)
    if options.leave_out is not None:
        opened = leave_out(opened, options.leave_out)
    if opened.train is None:
        raise UserError(f"{options.data}: no training image has a box")
    return opened
