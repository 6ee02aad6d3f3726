"""What all ranks of a training must have in common before its first step, and what the first rank gives the others."""

import dataclasses
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

from vggnet.console import say
from vggnet.data.fingerprints import fingerprint
from vggnet.data.splits import Split
from vggnet.description import ModelDescription
from vggnet.options.flat import changed, flat
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.options.training import TrainOptions
from vggnet.training.distributed import World
from vggnet.training.meeting import launch_names
from vggnet.training.runs import RunFolder

# where files lie, and how many processes and threads there are, differs from machine to machine
OF_THE_MACHINE = ("data", "out", "init_from", "annotations", "val_annotations", "workers", "threads")

Options = TypeVar("Options", TrainOptions, LocalizeTrainOptions)
Extra = TypeVar("Extra")


class RunOfFirst(RunFolder):
    """The run folder as the other ranks see it: its configuration comes from the first rank, which alone opens it."""

    def __init__(self, path: Path, config: dict[str, Any] | None) -> None:
        super().__init__(path)
        self._config = config

    @property
    def config(self) -> dict[str, Any] | None:
        return self._config


def settle_together(
    options: Options, world: World, settle: Callable[[Options], tuple[Options, Extra]], *, workers: int
) -> tuple[Options, Extra]:
    """Return `settle(options)` of the first rank, which sees the run folder, with what is each machine's own matter.

    Args:
        workers: reading processes of this machine, where the options leave it open.

    Raises:
        UserError: on all ranks, where they were given other options.
    """
    values = flat(options)
    own = {name: values[name] for name in OF_THE_MACHINE if values.get(name) is not None}
    given = {
        "--" + name.replace("_", "-"): plain(value) for name, value in values.items() if name not in OF_THE_MACHINE
    }
    world.check_same(given, "Give all processes the same options")
    settled, extra = world.from_first(lambda: settle(options))
    if world.is_first:
        return settled, extra
    own.setdefault("workers", workers)
    return changed(settled, **own), extra


def check_same_start(world: World, splits: dict[str, Split | None], net: ModelDescription, precision: str) -> None:
    """Raise UserError on all ranks where they would not train the same net on the same images in the same way."""
    facts: dict[str, Any] = {"vggnet's version": version("vggnet"), "PyTorch's version": torch.__version__}
    facts |= {"precision": precision, "number of classes": len(net.classes or ())}
    for name, split in splits.items():
        if split is not None:
            facts[f"number of {name} images"] = len(split)
            facts[f"hash of the {name} images' names and labels"] = fingerprint(split, tuple(net.classes or ()))
    facts["the net's description"] = net.to_json()
    world.check_same(facts, "Give all machines the same data, options and programs")


def continued(options: Options, out: Path) -> Options:
    """Return options with `resume` where the same launch of `torchrun` started the run in `out`: it has restarted."""
    if options.resume or not set((RunFolder(out).config or {}).get("launch", ())) & set(launch_names()):
        return options
    say(f"{out}: this launch of torchrun has restarted: continuing the run that it started")
    return dataclasses.replace(options, resume=True)


def plain(value: object) -> object:
    """A value of an option as JSON has it."""
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
