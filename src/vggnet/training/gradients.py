"""The gradient of a batch: in micro-batches on this rank, averaged over the ranks."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vggnet.backends.choose_training import compiled, step_form
from vggnet.console import counted, warn
from vggnet.network.vgg import VGG
from vggnet.training.distributed import World
from vggnet.training.exchange import Exchange, check_exchange
from vggnet.training.memory import FITTING, is_out_of_memory
from vggnet.training.runs import RunFolder
from vggnet.training.tasks import Inputs, LoopSettings, Task

_TRIALS = 2  # steps: momentum takes its memory after the first one


class Gradients:
    """Compute the gradients of `model` for batches of `batch` images over all ranks.

    Attributes:
        form: What a step runs.
        trained: `form`, or with several ranks the module that exchanges its gradients.
        sums: float64 (3,) on the device: loss, wrong answers and images, added up until they are set to zero.
    """

    def __init__(
        self, model: VGG, task: Task, run: RunFolder, world: World, settings: LoopSettings, batch: int
    ) -> None:
        self._model, self._task, self._run, self._world, self._settings = model, task, run, world, settings
        self._batch, self._micro_batch = batch, settings.micro_batch
        self._trials = _TRIALS if world.size > 1 else 0
        self.sums = torch.zeros(3, dtype=torch.float64, device=world.device)
        self.form = step_form(model, world.device, settings.precision, settings.step)
        self.trained: nn.Module = self.form
        self.exchange: Exchange | None = None
        if world.size > 1:
            check_exchange(settings.exchange, world.size, world.device)
            ids = [world.device] if world.device.type == "cuda" else None
            self.trained = DistributedDataParallel(self.form, device_ids=ids, gradient_as_bucket_view=True)
            self.exchange = Exchange(self.trained, settings.exchange, world.device)
        self._net: Callable[..., Tensor] = self.trained
        if self.form.compiles and settings.step != "plain":
            self._net = compiled(self.trained, world.device)

    def add(self, inputs: Inputs, keys: Tensor) -> None:
        """Add the gradients of this rank's part of a batch to the net, and its loss and errors to the sums.

        Where memory does not suffice, the micro-batch is halved, and stays so. Several ranks find that out together in
        their first steps, before they exchange anything.
        """
        before = [each.clone() for each in (self.sums, *self._model.buffers())]
        if self._trials:
            self._trials -= 1
            self._fit_all_ranks(inputs, keys, before)
        while True:
            try:
                self._add_parts(inputs, keys)
                break
            except (RuntimeError, MemoryError) as error:
                self._use_less_memory(error, before)
        if self.exchange is not None:
            self.exchange.step_ended()

    def _add_parts(self, inputs: Inputs, keys: Tensor) -> None:
        """Add up the gradients of the micro-batches."""
        count = len(inputs.images)
        parts = max(1, math.ceil(count / self._micro_batch))
        for number, rows in enumerate(map(slice_of, np.array_split(np.arange(count), parts))):
            with self._synchronised(number == parts - 1):
                self._accumulate(inputs.images[rows], inputs.targets[rows], keys[rows])

    def _synchronised(self, last: bool) -> AbstractContextManager[None]:
        """Return a context in which ranks exchange gradients after the last micro-batch of a step only."""
        if isinstance(self.trained, DistributedDataParallel) and not last:
            return self.trained.no_sync()
        return nullcontext()

    def _accumulate(self, images: Tensor, targets: Tensor, keys: Tensor) -> None:
        if len(images) == 0:
            # a rank without images in a short last batch still takes part in the exchange, with nothing to say
            crop = self._model.architecture.crop_px
            (self.forward(images.new_zeros(1, 3, crop, crop), keys.new_zeros(1)).sum() * 0).backward()
            return
        losses, wrong = self._task.losses(self.forward(images, keys), targets)
        # averaging over the ranks divides by their number: the factor makes it the mean over the global batch
        (losses.sum() * (self._world.size / self._batch)).backward()
        # no float() and no torch.tensor() here: on a GPU they wait until it has done all that is queued
        count = losses.new_full((), len(losses))
        self.sums += torch.stack([losses.detach().sum(), wrong.sum(), count]).double()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the net's outputs (n, K), fp32, for images and, in training, their keys for dropout."""
        reduced = self._settings.precision == "bf16"
        with torch.autocast(self._world.device.type, dtype=torch.bfloat16, enabled=reduced):
            outputs: Tensor = self._net(*inputs)
        return outputs.flatten(1).float()

    def _fit_all_ranks(self, inputs: Inputs, keys: Tensor, before: list[Tensor]) -> None:
        """Try the largest micro-batch without an exchange. Where it does not fit on one rank, halve it on all."""
        while True:
            error = self._try_part(inputs, keys)
            self._undo(before)
            if not any(self._world.total([float(error is not None)])):
                return
            if self._micro_batch == 1:
                raise error or torch.OutOfMemoryError("out of memory on another process of this training")
            self._halve()

    def _try_part(self, inputs: Inputs, keys: Tensor) -> Exception | None:
        """Return the error of a pass that does not fit into memory; None where it fits."""
        rows = slice(0, self._micro_batch)
        net, self._net = self._net, self.form  # without DDP, which exchanges buffers, too
        try:
            self._accumulate(inputs.images[rows], inputs.targets[rows], keys[rows])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return error.with_traceback(None)  # which holds the tensors of the pass
        finally:
            self._net = net
        return None

    def _use_less_memory(self, error: Exception, before: list[Tensor]) -> None:
        """Halve the micro-batch and undo what the step has done so far. Raise the error where that is no help.

        Not with several ranks: the others are already waiting for this one's gradients.
        """
        if not is_out_of_memory(error) or self._micro_batch == 1 or self._world.size > 1:
            raise error
        self._undo(before)
        self._halve()

    def _undo(self, before: list[Tensor]) -> None:
        """Set sums, buffers and gradients as they were before the step."""
        for each, old in zip((self.sums, *self._model.buffers()), before, strict=True):
            each.copy_(old)
        self._model.zero_grad(set_to_none=True)

    def _halve(self) -> None:
        """Halve the micro-batch, and remember it in the run."""
        self._micro_batch = -(-self._micro_batch // 2)
        if self._world.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._world.is_first:
            self._run.change_config({FITTING: self._micro_batch})
        warn(f"note: out of memory: the micro-batch is now {counted(self._micro_batch, 'image')}, the batch as before")


def slice_of(rows: np.ndarray) -> slice:
    """Return consecutive row numbers as a slice, so that indexing copies nothing."""
    return slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
