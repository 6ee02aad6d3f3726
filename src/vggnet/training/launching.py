"""Start the processes of a training on this machine (`--processes`), by the agent that `torchrun` runs, too.

The agent restarts all processes where one has ended, at most `--max-restarts` times. They then go on from the last save
(`agreement.continued`).
"""

import os
import signal
import socket
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from vggnet.console import warn

_OURS = "vggnet-processes-"  # begins the name of a launch by `--processes`


def is_launched() -> bool:
    """Return whether this process is one of those that `launch` has started."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(_OURS)


def launch(arguments: Sequence[str], processes: int, max_restarts: int) -> int:
    """Run `vggnet ARGUMENTS` in several processes, and return the exit status: that of the rank that failed first.

    Each process computes with its share of the cores, where OMP_NUM_THREADS says nothing else.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"{_OURS}{uuid.uuid4().hex}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=max_restarts,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "vggnet", *arguments)
    except ChildFailedError as error:
        return _status(error)
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _status(error: ChildFailedError) -> int:
    """Return the exit status of the rank that failed first; name ranks that were ended by a signal."""
    ended = {rank: failure for rank, failure in error.failures.items() if failure.exitcode < 0}
    for rank, failure in sorted(ended.items()):
        if failure.exitcode != -signal.SIGTERM:  # with which the agent ends those that are left
            warn(f"vggnet: {_described(rank, failure)}; the same command with `resume` continues")
    first = min(error.failures.values(), key=lambda failure: (failure.exitcode < 0, failure.timestamp))
    return first.exitcode if first.exitcode > 0 else 1


def _described(rank: int, failure: ProcessFailure) -> str:
    name = signal.Signals(-failure.exitcode).name
    return f"rank {rank} (process {failure.pid} on {socket.gethostname()}) was ended by {name}"
