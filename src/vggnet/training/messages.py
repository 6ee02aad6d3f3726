"""Decide which rank prints a message, so that an error that all ranks have is printed once; tell `torchrun` the reason.

`torchrun` ends with a traceback of its own and status 1 whatever its processes return. What it prints last, the summary
of the failure, holds the reason that a process has written into a file for it.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from torch.distributed import TCPStore  # type: ignore[attr-defined]

FIRST_RANK_S = 10.0
_PAUSE_S = 0.05


def is_to_print(message: str, patience_s: float = FIRST_RANK_S) -> bool:
    """Return whether this rank prints a message: the first one does, and another only what the first does not.

    The launch's store remembers what was printed, also by an attempt that `torchrun` has restarted since. Without
    `torchrun` there is no store that outlives a failure, and every rank prints. Another rank waits `patience_s` for the
    first one to say the same.
    """
    rank = int(os.environ.get("RANK", "0"))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    key = f"vggnet/printed/{hashlib.sha256(message.encode(errors='replace')).hexdigest()[:16]}"
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=patience_s))
        deadline = time.monotonic() + patience_s * (rank > 0)
        while time.monotonic() < deadline and not store.check([key]):
            time.sleep(_PAUSE_S)
        return bool(store.add(key, 1) == 1)
    except RuntimeError:  # the launch is ending, and its store is gone
        return rank == 0


def tell_torchrun(message: str) -> None:
    """Write why this rank ends into the file that `torchrun` reads for its summary."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return
    content = {"message": {"message": message.strip(), "extraInfo": {"timestamp": str(int(time.time()))}}}
    with suppress(OSError):  # the message was printed; this is a second place for it
        Path(path).write_text(json.dumps(content), encoding="utf-8")
