"""Take the run folder of a planned training, and check its images: what comes before the net is built."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

import torch

from vggnet.console import say
from vggnet.errors import UserError
from vggnet.training.agreement import RunOfFirst
from vggnet.training.distributed import World
from vggnet.training.image_list import ImageList
from vggnet.training.plan import Options, TrainPlan
from vggnet.training.prepare_images import AsStarted, Pictures, learnt_before, prepare_pictures
from vggnet.training.runs import RunFolder, open_run


@dataclass(frozen=True)
class PreparedRun(Generic[Options]):
    """A run folder that this process holds, and the checked images of its training.

    Attributes:
        started: config.json of the run to continue; empty for a new run.
        resuming: The run folder holds a saved state, with which the net is to be filled.
    """

    plan: TrainPlan[Options]
    world: World
    run: RunFolder
    pictures: Pictures
    started: dict[str, Any]
    resuming: bool


@contextmanager
def prepare_run(plan: TrainPlan[Options], world: World) -> Iterator[PreparedRun[Options]]:
    """Take the run folder and check the images. All ranks call; the first one holds the folder's lock.

    Sets PyTorch's number of threads on a CPU: to that of the run's start, since sums that are split otherwise round
    otherwise.
    """
    options = plan.options
    with ExitStack() as stack:
        run = _take_run(plan, world, stack)
        started = (run.config or {}) if options.resume else {}
        pictures = _pictures(plan, run, bool(started), world)
        resuming = world.from_first(lambda: options.resume and run.save is not None)
        threads = options.machine.threads or started.get("threads")
        if threads and world.device.type == "cpu":
            torch.set_num_threads(threads)
        yield PreparedRun(plan, world, run, pictures, started, resuming)


def _take_run(plan: TrainPlan[Options], world: World, stack: ExitStack) -> RunFolder:
    """Return the run folder; the first rank holds its lock until `stack` ends."""
    taken: list[RunFolder] = []

    def take() -> dict[str, Any] | None:
        taken.append(stack.enter_context(open_run(plan.out, resume=plan.options.resume)))
        return taken[0].config

    config = world.from_first(take)
    return taken[0] if taken else RunOfFirst(plan.out, config)


def _pictures(plan: TrainPlan[Options], run: RunFolder, goes_on: bool, world: World) -> Pictures:
    """Check the images, on the first rank first: the others find its results in the cache."""
    options = plan.options
    learnt = world.from_first(partial(learnt_before, options.init_from, plan.out))
    at_start = _images_at_start(run, options.data_changed, world) if goes_on else None
    prepare = partial(
        prepare_pictures,
        plan.data,
        options.data,
        holdout=options.holdout,
        bad_images=options.machine.bad_images,
        workers=plan.workers,
        reading=plan.policy.reading,
        check=options.check,
        learnt_before=learnt,
        started=at_start,
    )
    return world.in_turn(prepare)


def _images_at_start(run: RunFolder, data_changed: bool, world: World) -> AsStarted:
    """Return the list of the run's images at its start, as the first rank reads it.

    A damaged list is an error, unless other images are accepted (`data_changed`).
    """

    def read() -> bytes | None:
        try:
            return run.images
        except UserError as error:
            if not data_changed:
                raise
            say(f"note: {error}")
            return None

    written = world.from_first(read)
    return AsStarted(None if written is None else ImageList.of_bytes(written), data_changed)
