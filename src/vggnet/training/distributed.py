"""Data parallelism (Sect. 3.3) under `torchrun`: which rank this is, and what ranks share.

The model is single-device code; distribution is applied from outside. One global batch is cut into `size` parts, each
rank computes the gradient of its part, and DistributedDataParallel averages them.

The run folder belongs to the first rank alone: the others receive its options, progress and weights. So the machines
of one training need no common file system.
"""

import itertools
import json
import os
import pickle
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from vggnet.errors import UserError, reason_of
from vggnet.evaluation.ranks import shared_among
from vggnet.hardware import choose_device
from vggnet.training.meeting import meet

EXCHANGE_LIMIT = timedelta(minutes=10)  # until a rank that does not come to an exchange ends the training
SCAN_LIMIT = timedelta(hours=12)  # for the ranks that wait while another one checks every image
LONGEST_POLL_S = 0.5
LEAVE_S = 10.0  # how long the first rank stays at most until the others have read its error

Result = TypeVar("Result")


@dataclass(frozen=True)
class World:
    """The processes that train one net together. A single process is a world of size 1.

    All methods but `share` are called by all ranks, in the same order. `store` holds small texts, `control` is a group
    on the CPU for flags; both are None in a world of size 1. A rank waits `exchange_limit` for another's text.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    store: Store | None = None
    control: Any = None
    machine: int = 0  # this rank's, and its place among the ranks there
    place: int = 0
    exchange_limit: timedelta = EXCHANGE_LIMIT
    _calls: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, indices: np.ndarray) -> np.ndarray:
        """This rank's part of a global batch; over all ranks each index occurs once."""
        return indices[self.rank :: self.size]

    def total(self, values: Sequence[float]) -> list[float]:
        """Sum each value over all ranks."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def maximum(self, tensor: torch.Tensor) -> None:
        """Replace the values of a tensor on the device, in place, by the largest among the ranks."""
        if self.size > 1:
            dist.all_reduce(tensor, dist.ReduceOp.MAX)

    def least(self, value: int) -> int:
        """Return the smallest of the values of all ranks."""
        negative = torch.tensor(-value, dtype=torch.int64, device=self.device)
        self.maximum(negative)
        return -int(negative)

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite the tensors, in place, with those of the first rank."""
        if self.size == 1:
            return
        for tensor in tensors:
            sent = tensor.detach().contiguous()
            dist.broadcast(sent, src=0)
            with torch.no_grad():
                tensor.copy_(sent)

    def from_first(self, make: Callable[[], Result]) -> Result:
        """Call `make` on the first rank only, and return its result (which can be pickled) on all.

        A UserError that it raises there is raised on all ranks.
        """
        if self.store is None:
            return make()
        key = f"first/{next(self._calls)}"
        if self.is_first:
            try:
                return self._announce(key, make)
            except BaseException:
                self._let_read(key)
                raise
        try:
            return self._receive(key, self.exchange_limit)
        except UserError:
            self._put(f"{key}/read/{self.rank}", None)
            raise

    def gathered(self, value: Any) -> list[Any]:
        """Return the values of all ranks (which can be pickled), in their order, on all ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def spread(self, make: Callable[[], Result]) -> Result:
        """Return what `from_first` does, for results of any size. A rank that waits does not see signals."""
        if self.size == 1:
            return make()
        made: list[Any] = [None]
        if self.is_first:
            try:
                made = [make()]
            except UserError as error:
                made = [error]
        dist.broadcast_object_list(made, src=0, group=self.control)
        if isinstance(made[0], UserError):
            raise made[0]
        result: Result = made[0]
        return result

    def in_turn(self, make: Callable[[], Result]) -> Result:
        """Call `make` on the first rank, then on the first rank of each other machine, then on the rest.

        So the later ones find in a cache what the earlier ones have computed, which may take hours.
        """
        if self.store is None:
            return make()
        call = next(self._calls)
        if not self.is_first:
            self._receive(f"turn/{call}/{self.machine if self.place else 0}", SCAN_LIMIT)
            if self.place or not self.machine:
                return make()
        made: list[Result] = []
        self._announce(f"turn/{call}/{self.machine}", lambda: made.append(make()))
        return made[0]

    def check_same(self, facts: dict[str, Any], advice: str) -> None:
        """Raise the same UserError on all ranks where a fact (a JSON value) differs from the first rank's."""
        if self.store is None:
            return
        call = next(self._calls)
        self.store.set(f"facts/{call}/{self.rank}", json.dumps([socket.gethostname(), facts]))
        self.from_first(lambda: self._compare(call, advice))

    def _compare(self, call: int, advice: str) -> None:
        keys = [f"facts/{call}/{rank}" for rank in range(self.size)]
        everyone = [json.loads(self._wait_for(key, self.exchange_limit)) for key in keys]
        first_host, first = everyone[0]
        for rank, (host, theirs) in enumerate(everyone):
            for name, value in first.items():
                if theirs[name] != value:
                    raise UserError(
                        f"the processes of this training disagree. {name}: {_short(value)} on rank 0 ({first_host}), "
                        f"{_short(theirs[name])} on rank {rank} ({host}). {advice}"
                    )

    def _announce(self, key: str, make: Callable[[], Result]) -> Result:
        """Call `make`; put its result, or its error, into the store for the ranks that wait for it."""
        try:
            made = make()
        except UserError as error:
            self._put(key, UserError(str(error)))
            raise
        except BaseException as error:
            self._put(key, UserError(f"rank {self.rank} failed: {reason_of(error)}"))
            raise
        self._put(key, made)
        return made

    def _let_read(self, key: str) -> None:
        """Wait on the first rank until the others have read its error: without `torchrun` the store ends with it."""
        assert self.store is not None
        readers = [f"{key}/read/{rank}" for rank in range(1, self.size)]
        deadline = time.monotonic() + LEAVE_S
        while time.monotonic() < deadline and not self.store.check(readers):
            time.sleep(0.01)

    def _put(self, key: str, value: object) -> None:
        assert self.store is not None
        self.store.set(key, pickle.dumps(value))  # type: ignore[arg-type]  # bytes are taken, too

    def _receive(self, key: str, limit: timedelta) -> Any:
        received = pickle.loads(self._wait_for(key, limit))
        if isinstance(received, UserError):
            raise received
        return received

    def _wait_for(self, key: str, limit: timedelta) -> bytes:
        """The value of `key`, once it is there. Polls, so that signals are handled meanwhile."""
        assert self.store is not None
        deadline, pause = time.monotonic() + limit.total_seconds(), 0.01
        while not self.store.check([key]):
            if time.monotonic() > deadline:
                raise UserError(
                    f"another process of this training has not answered for {limit}: it hangs or has ended. Look at "
                    "its machine; the same command with `resume` continues"
                )
            time.sleep(pause)
            pause = min(LONGEST_POLL_S, 2 * pause)
        return bytes(self.store.get(key))


class Votes:
    """Flags that any rank may set, and that all ranks see at the same step, without waiting for each other.

    They are exchanged in the background while the next step is computed; hence they are seen one call later.
    """

    def __init__(self, world: World, flags: int) -> None:
        self._world, self._none = world, [False] * flags
        self._pending: tuple[dist.Work, torch.Tensor] | None = None

    def __call__(self, flags: Sequence[bool], *, last: bool) -> list[bool]:
        """Return the flags that some rank has set in the call before; with `last` those of this call, too."""
        if self._world.size == 1:
            return list(flags)
        found = self._take()
        if not any(found):  # else this call's flags are those that are about to be acted on
            tensor = torch.tensor(flags, dtype=torch.int32)
            self._pending = (dist.all_reduce(tensor, group=self._world.control, async_op=True), tensor)
            if last:
                found = self._take()
        return found

    def _take(self) -> list[bool]:
        if self._pending is None:
            return self._none
        (work, tensor), self._pending = self._pending, None
        work.wait()
        return [bool(value) for value in tensor]


@contextmanager
def join_world(device_name: str) -> Iterator[World]:
    """The world that `torchrun` set up (its environment variables), or a world of one.

    Within another `join_world` it is the same world.
    """
    global _joined
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device=choose_device(device_name))
        return
    if _joined is not None:
        yield _joined
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    device = choose_device(device_name, local_rank)
    store, _, _ = next(rendezvous("env://", rank, size, timeout=EXCHANGE_LIMIT))
    # torch 2.14 keeps one store for all restarts of a launch: without a prefix of its own a restarted rank would read
    # the addresses that the ranks of the attempt before have left there
    store = PrefixStore(meet(store, rank, size, EXCHANGE_LIMIT), store)
    dist.init_process_group(store=store, rank=rank, world_size=size, timeout=EXCHANGE_LIMIT, **backend_of(device))
    try:
        control = dist.new_group(backend="gloo", timeout=EXCHANGE_LIMIT)
        machine = int(os.environ.get("GROUP_RANK", "0"))
        _joined = World(rank, size, device, PrefixStore("vggnet", store), control, machine, local_rank)
        yield _joined
    finally:
        _joined = None
        dist.destroy_process_group()


_joined: World | None = None


def backend_of(device: torch.device) -> dict[str, Any]:
    """Return the arguments of `init_process_group` for a device. Without its GPU, NCCL would guess one and warn."""
    return {"backend": "nccl", "device_id": device} if device.type == "cuda" else {"backend": "gloo"}


@contextmanager
def among_ranks(device_name: str) -> Iterator[None]:
    """Share the images of what is evaluated in the block among the ranks of a launch by `torchrun`."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    with join_world(device_name) as world, shared_among(world):
        yield


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
