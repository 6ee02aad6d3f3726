"""Say which options may differ on --resume (`FREE_ON_RESUME`), and refuse others that differ from the run's start."""

from pathlib import Path
from typing import Any, TypeVar

from vggnet.description import FULL_RANGE
from vggnet.errors import UserError
from vggnet.network.weights import hash_of
from vggnet.options.flat import changed, flat, flat_fields
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.options.training import TrainOptions
from vggnet.training.agreement import plain
from vggnet.training.runs import RunFolder

# Options that may differ on --resume: where and how fast it runs, and where the data lie (their list decides).
FREE_ON_RESUME = {"resume", "out", "workers", "save_every", "keep", "device", "step", "bad_images", "data_changed"}
FREE_ON_RESUME |= {"micro_batch"}  # less memory may be free; session.py says what that changes
FREE_ON_RESUME |= {"on_divergence", "json", "processes", "max_restarts", "report"}
FREE_ON_RESUME |= {"data", "annotations", "val_annotations"}
# Options that the program chooses where the user does not; config.json has the choice.
CHOSEN_AT_START = {"micro_batch", "threads", "decoder", "precision"}
PATHS = {"init_from", "leave_out"}  # options that are strings in config.json
NOT_WRITTEN = {"resume", "out", "data_changed", "json", "processes", "max_restarts", "report"}  # in config.json
OPEN = (None, (), "auto")  # values that stand for an option that was not given

# how runs read images that were started before this could be chosen
READ_BEFORE: dict[str, Any] = {"orientation": "ignore", "pixel_range": list(FULL_RANGE)}

Options = TypeVar("Options", TrainOptions, LocalizeTrainOptions)


def as_started(options: Options, out: Path) -> Options:
    """Return the options of a run to continue: those that were not given are as at its start.

    UserError where the run has lost a file that it needs, or where one is damaged.
    """
    run = RunFolder(out)
    run.check_complete()
    saved = run.config or {}
    missing: dict[str, Any] = {}
    for name, given in flat(options).items():
        kept = name not in FREE_ON_RESUME or name in CHOSEN_AT_START
        if kept and saved.get(name) is not None and given in OPEN:
            value = saved[name]
            missing[name] = tuple(value) if isinstance(value, list) else Path(value) if name in PATHS else value
    return changed(options, **missing)


def check_as_started(options: TrainOptions | LocalizeTrainOptions, out: Path) -> None:
    """Raise UserError where `--resume` continues the run in `out` and an option differs from those of its start."""
    saved = RunFolder(out).config if options.resume else None
    if saved is None:
        return
    saved = READ_BEFORE | saved
    fields = flat_fields(type(options))
    for name, value in flat(options).items():
        if name in FREE_ON_RESUME or (name in CHOSEN_AT_START and value in OPEN):
            continue
        _, default = fields[name]
        before = saved.get(name, plain(default))  # an earlier version may not have had the option
        if name == "precision" and before == "auto":
            before = saved.get("resolved_precision", before)
        if name == "init_from":
            same = _same_source(value, before, saved.get("init_from_sha256"))
        else:
            same = plain(value) == before
        if not same:
            raise _differs(options, name, before, value)


def _differs(options: TrainOptions | LocalizeTrainOptions, name: str, before: object, value: object) -> UserError:
    argument = f"`{name}`"
    trains_on = isinstance(options, TrainOptions)
    more = f"; `vggnet train --init-from {options.out}` begins with its weights" if trains_on else ""
    was = f"{argument} {before}" if before is not None else f"no {argument}"
    return UserError(
        f"`resume`: the run in {options.out} was started with {was}, now it says {value}; "
        f"repeat the run's own options, or start another with another `out`{more}"
    )


def _same_source(given: Path | None, before: str | None, sha256: str | None) -> bool:
    """Whether --init-from has the weights that the run was started from. Their file may be gone by now."""
    if given is None or before is None:
        return given is None and before is None
    if Path(before) == given or given.resolve() == Path(before).resolve():
        return True
    return sha256 is not None and given.exists() and hash_of(given) == sha256
