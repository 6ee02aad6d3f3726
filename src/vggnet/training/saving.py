"""Save a training in the background: it goes on as soon as its state is copied.

One save is written at a time (`saves.write_save`; `checkpoints` says what it holds). An error of the disk is raised by
the next call.
"""

import json
import threading
from contextlib import suppress
from dataclasses import asdict, replace
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from vggnet.description import BEST_FILE, LAST_FILE
from vggnet.network.vgg import VGG
from vggnet.network.weights import weight_parts
from vggnet.training.checkpoints import TrainingProgress, state_parts, training_tensors
from vggnet.training.epoch_results import write_events
from vggnet.training.runs import IMAGES_HASH, RunFolder, metrics_text
from vggnet.training.saves import METRICS, STATE, Content


class Saver:
    """Write the saves of a run. A context manager, which waits at its end until the last save is on the disk."""

    def __init__(self, run: RunFolder, *, keep: int) -> None:
        self._run, self._keep = run, keep
        self._copies: dict[str, Tensor] = {}  # reused: new memory would cost more than the copy
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def save(
        self,
        model: VGG,
        optimizer: torch.optim.Optimizer,
        progress: TrainingProgress,
        *,
        epochs_seen: int | None = None,
        is_best: bool = False,
    ) -> None:
        """Copy the state, and begin to write it.

        A finished training keeps its progress only. Waits for the save before, and raises its error.

        Args:
            model: The net.
            optimizer: The optimizer, whose momentum is saved.
            progress: Where the training stands.
            epochs_seen: At the end of an epoch: how many epochs the net was trained for. Its weights and the metrics
                are then saved, too.
            is_best: Whether the weights are those of the best epoch.
        """
        self.wait()
        tensors = self._copied(training_tensors(model, optimizer))
        record = asdict(progress)
        new: dict[str, Content] = {STATE: state_parts({} if progress.finished else tensors, json.dumps(record))}
        row = None
        if epochs_seen is not None:
            description = replace(model.description, epochs_seen=epochs_seen).to_json()
            weights = {name.removeprefix("model."): each for name, each in tensors.items() if name.startswith("model.")}
            new[LAST_FILE] = weight_parts(description, weights)
            if is_best:
                new[BEST_FILE] = LAST_FILE
            new[METRICS] = [metrics_text(progress.rows).encode()]
            row = dict(progress.rows[-1])
        facts = {name: record[name] for name in ("epoch", "step", "finished")}
        facts |= {IMAGES_HASH: (self._run.config or {}).get(IMAGES_HASH)}
        self._thread = threading.Thread(target=self._write, args=(new, facts, row), name="vggnet-save")
        self._thread.start()

    def _copied(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return copies on the CPU, in memory that is reused."""
        if self._copies.keys() != tensors.keys():
            on_gpu = any(each.is_cuda for each in tensors.values())
            self._copies = {
                name: torch.empty(each.shape, dtype=each.dtype, pin_memory=on_gpu) for name, each in tensors.items()
            }
        for name, each in tensors.items():
            self._copies[name].copy_(each.detach(), non_blocking=each.is_cuda)
        if any(each.is_cuda for each in tensors.values()):
            torch.cuda.synchronize()
        return self._copies

    def _write(self, new: dict[str, Content], facts: dict[str, object], row: dict[str, float] | None) -> None:
        try:
            self._run.write_save(new, facts, keep=1 if facts["finished"] else self._keep)
            if row is not None:
                write_events(self._run.path / "events", row)
        except Exception as error:
            self._error = error

    def wait(self) -> None:
        """Wait until the save in work is on the disk. Raise the error of a save that was not written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with suppress(*((Exception,) if error is not None else ())):  # the error itself is what the user needs to see
            self.wait()
