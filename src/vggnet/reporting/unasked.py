"""Reports that nobody asked for: at the end of a training, and after each epoch of a long one.

The command has done its work when a report is written. So a report that fails becomes a note.
"""

from collections.abc import Sequence
from pathlib import Path

from vggnet.console import is_first_rank, note, say
from vggnet.options.machine import MachineOptions
from vggnet.reporting.building import write_report
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.epoch_results import AfterEpoch

LONG_S = 300.0  # a training that is expected to last longer has its report refreshed after each epoch


def finish_training(out: str | Path, machine: MachineOptions) -> Path | None:
    """Write the report of a training that has ended into its folder, unless `machine` says --no-report; return it."""
    return finish_with_report([out], machine.report, device=machine.device, workers=machine.workers)


def finish_with_report(paths: Sequence[str | Path], wanted: bool, **options: object) -> Path | None:
    """Write the report of a command that has ended, on the first rank, and print its file; return it.

    `wanted` is the option --report. `options` are those of `build_report`.
    """
    if not wanted or not is_first_rank():
        return None
    file = written(paths, **options)
    if file is not None:
        say(f"report: {file}")
    return file


def refreshed(folder: Path | None, wanted: bool) -> AfterEpoch | None:
    """Return what a long training calls after each epoch: it writes the curves so far.

    `folder` is that of several runs; None: the run's own.
    """
    if not wanted:
        return None

    def write(run: Path, progress: TrainingProgress, epochs: int) -> None:
        if not progress.finished and progress.wall_s / progress.epoch * epochs >= LONG_S:
            written([folder or run], measured=False)

    return write


def written(paths: Sequence[str | Path], **options: object) -> Path | None:
    """Write a report and return its file; None, with a note, where it fails."""
    try:
        return write_report(paths, **options).file
    except Exception as error:  # whatever it is, the result of the command counts
        note(f"no report was written ({type(error).__name__}: {error}); `vggnet report` tries again")
        return None
