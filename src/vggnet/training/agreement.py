"""Check that all ranks of a training have the same options, data and net before its first step."""

import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

from vggnet.console import say
from vggnet.data.fingerprints import fingerprint
from vggnet.data.splits import Split
from vggnet.description import ModelDescription
from vggnet.options.flat import flat
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.options.training import TrainOptions
from vggnet.training.distributed import World
from vggnet.training.meeting import launch_names
from vggnet.training.runs import RunFolder

# where files lie, and how many processes and threads there are, differs from machine to machine
OF_THE_MACHINE = (
    *("data", "out", "init_from", "annotations", "val_annotations", "leave_out"),
    *("workers", "threads", "processes"),
)

Options = TypeVar("Options", TrainOptions, LocalizeTrainOptions)


class RunOfFirst(RunFolder):
    """The run folder on the other ranks. Its configuration comes from the first rank, which alone opens the folder."""

    def __init__(self, path: Path, config: dict[str, Any] | None) -> None:
        super().__init__(path)
        self._config = config

    @property
    def config(self) -> dict[str, Any] | None:
        return self._config


def check_same_options(options: TrainOptions | LocalizeTrainOptions, world: World) -> None:
    """Raise UserError on all ranks where they were given other options, beside those that are each machine's own."""
    given = {f"`{name}`": plain(value) for name, value in flat(options).items() if name not in OF_THE_MACHINE}
    world.check_same(given, "Give all processes the same options")


def of_this_machine(options: TrainOptions | LocalizeTrainOptions) -> dict[str, Any]:
    """Return the options by name that were given and that may differ between machines."""
    values = flat(options)
    return {name: values[name] for name in OF_THE_MACHINE if values.get(name) is not None}


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
    names = set(launch_names())
    if options.resume or not names or not names & set((RunFolder(out).config or {}).get("launch", ())):
        return options
    say(f"{out}: this launch of torchrun has restarted: continuing the run that it started")
    return dataclasses.replace(options, resume=True)


def plain(value: object) -> object:
    """Return an option's value as JSON has it."""
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
