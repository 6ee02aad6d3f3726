"""Compute for all requests in one thread: images that wait for the same net and views share its forward passes.

Notable: nobody waits for others to come. While one batch is computed, requests gather for the next one.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from torch import Tensor

from vggnet.evaluation.computing import Computing
from vggnet.evaluation.forward import Scorer, ready_to_score
from vggnet.evaluation.scoring import Shard
from vggnet.evaluation.views import View
from vggnet.network.vgg import VGG

Result = TypeVar("Result")


@dataclass(eq=False)
class _Scoring:
    """An image whose posteriors are asked for: its pixels by Q, and where they go."""

    net: str
    views: tuple[View, ...]
    pixels: dict[int, Tensor]
    future: "Future[dict[View, np.ndarray]]" = field(default_factory=Future)


@dataclass(eq=False)
class _Call:
    """Anything else that a net computes for one image."""

    net: str
    compute: Callable[[Scorer], Any]
    future: "Future[Any]" = field(default_factory=Future)


@dataclass
class Counts:
    """How many images were scored, in how many batches, and the largest of these."""

    images: int = 0
    batches: int = 0
    largest: int = 0


class Engine:
    """The nets, prepared for inference, and the thread that computes with them. A context manager."""

    def __init__(self, nets: Mapping[str, VGG], computing: Computing) -> None:
        self.computing = computing
        self.counts = Counts()
        self._nets = nets
        self._waiting: queue.SimpleQueue[_Scoring | _Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="vggnet-engine", daemon=True)
        self._ready: Future[None] = Future()

    def score(self, net: str, views: tuple[View, ...], pixels: dict[int, Tensor]) -> "Future[dict[View, np.ndarray]]":
        """Return the future posteriors, float32 (K,), of one image in each view; `pixels` are uint8 (H, W, 3) by Q."""
        job = _Scoring(net, views, pixels)
        self._waiting.put(job)
        return job.future

    def call(self, net: str, compute: Callable[[Scorer], Result]) -> "Future[Result]":
        """Return the future result of `compute`, which runs in the engine's thread with the net's scorer."""
        job = _Call(net, compute)
        self._waiting.put(job)
        return job.future

    def __enter__(self) -> Self:
        """Start the thread. Raises what the nets' preparation raises, such as UserError for a precision."""
        self._thread.start()
        self._ready.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what waits, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        with ExitStack() as stack:
            try:
                device, precision = self.computing.device, self.computing.precision
                scorers = {
                    name: stack.enter_context(ready_to_score(model, device, precision))
                    for name, model in self._nets.items()
                }
            except BaseException as error:
                self._ready.set_exception(error)
                return
            self._ready.set_result(None)
            ended = False
            while not ended:
                jobs, ended = self._take()
                self._compute(scorers, jobs)

    def _take(self) -> tuple[list[_Scoring | _Call], bool]:
        """Return all jobs that wait, at least one, and whether the engine is to end after them."""
        found = [self._waiting.get()]
        while not self._waiting.empty():
            found.append(self._waiting.get())
        jobs = [job for job in found if job is not None and job.future.set_running_or_notify_cancel()]
        return jobs, None in found

    def _compute(self, scorers: Mapping[str, Scorer], jobs: Sequence[_Scoring | _Call]) -> None:
        groups: dict[tuple[str, tuple[View, ...]], list[_Scoring]] = {}
        for job in jobs:
            if isinstance(job, _Scoring):
                groups.setdefault((job.net, job.views), []).append(job)
        for (net, views), group in groups.items():
            self._score(scorers[net], views, group)
        for job in jobs:
            if isinstance(job, _Call):
                try:
                    job.future.set_result(job.compute(scorers[job.net]))
                except Exception as error:
                    job.future.set_exception(error)

    def _score(self, scorer: Scorer, views: tuple[View, ...], group: Sequence[_Scoring]) -> None:
        """Score the images of a group together, as `vggnet predict` scores those of a folder."""
        self.counts.images += len(group)
        self.counts.batches += 1
        self.counts.largest = max(self.counts.largest, len(group))
        try:
            shard = Shard(scorer, views, np.arange(len(group)))
            for place, job in enumerate(group):
                shard.add(place, {scale: pixels.to(scorer.device) for scale, pixels in job.pixels.items()})
            values = shard.finish().values
        except Exception as error:
            for job in group:
                job.future.set_exception(error)
            return
        for place, job in enumerate(group):
            job.future.set_result({view: values[view][place] for view in views})
