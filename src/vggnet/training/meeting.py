"""Let the ranks of a launch by `torchrun` find each other, also after a restart; and name the launch.

The store of a launch still holds what ended processes wrote. Nothing in the environment numbers the attempts: an agent
that joined later has counted fewer restarts. So each process writes a new number, and the first rank lists them.
"""

import hashlib
import json
import os
import socket
import time
import uuid
from datetime import timedelta
from pathlib import Path

from torch.distributed import Store  # type: ignore[attr-defined]

from vggnet.errors import UserError

_PAUSE_S = 0.02
_LAUNCH_KEY = "vggnet/launch"
_launch: str | None = None  # of this process, once it has met the others


def meet(store: Store, rank: int, size: int, limit: timedelta) -> str:
    """Return a name for this attempt: the same on all its ranks, and one that no other attempt has.

    Each rank writes a number that was never used. The first rank lists the numbers of all, anew as long as one of them
    turns out to be of a process that is gone; the others confirm the list with their own number in it.
    Raises UserError where not all ranks have come within `limit`.
    """
    global _launch
    store.compare_set(_LAUNCH_KEY, "", uuid.uuid4().hex)
    _launch = store.get(_LAUNCH_KEY).decode()
    own = uuid.uuid4().hex
    store.set(f"vggnet/here/{rank}", own)
    deadline = time.monotonic() + limit.total_seconds()
    while time.monotonic() < deadline:
        name = _list_all(store, own, size) if rank == 0 else _confirm(store, own, rank)
        if name is not None:
            return name
        time.sleep(_PAUSE_S)
    raise UserError(f"rank {rank}: not all {size} processes have come within {limit}; look at the other machines")


def _list_all(store: Store, own: str, size: int) -> str | None:
    """On the first rank: list the ranks that are there. Return the attempt's name once all have confirmed the list."""
    keys = [f"vggnet/here/{rank}" for rank in range(1, size)]
    if not store.check(keys):
        return None
    numbers = [own, *(store.get(key).decode() for key in keys)]
    name = hashlib.sha256(" ".join(numbers).encode()).hexdigest()[:16]
    store.set("vggnet/list", json.dumps(numbers))
    if not store.check([f"vggnet/{name}/{rank}" for rank in range(1, size)]):
        return None
    store.set(f"vggnet/{name}/complete", "1")
    return name


def _confirm(store: Store, own: str, rank: int) -> str | None:
    """On another rank: confirm the list that has its number. Return the attempt's name once all have confirmed."""
    if not store.check(["vggnet/list"]):
        return None
    numbers = json.loads(store.get("vggnet/list"))
    if len(numbers) <= rank or numbers[rank] != own:
        return None
    name = hashlib.sha256(" ".join(numbers).encode()).hexdigest()[:16]
    store.set(f"vggnet/{name}/{rank}", "1")
    return name if store.check([f"vggnet/{name}/complete"]) else None


def launch_names(agent: int | None = None) -> list[str]:
    """Return the names of the launch that this process belongs to, the same after a restart; empty without torchrun.

    Two names, each enough: that in the launch's store, and its agent with the time it began. `agent` is the agent's
    process ID; None: the parent's.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return []
    agent = os.getppid() if agent is None else agent
    try:
        began = Path(f"/proc/{agent}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        began = "?"  # not Linux
    names = [f"{socket.gethostname()} {agent} {began}"]
    return names if _launch is None else [_launch, *names]
