"""Look into a run's saves."""

import os
import shutil
from pathlib import Path

from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.runs import RunFolder
from vggnet.training.saves import SAVES, Save


def save_of(run: Path) -> Save:
    """Return the newest save of a run; it must have one."""
    save = RunFolder(run).save
    assert save is not None
    return save


def progress_of(run: Path) -> TrainingProgress:
    """Return where a run stands, as its newest save says."""
    progress = RunFolder(run).progress
    assert progress is not None
    return progress


def without_saves(run: Path) -> None:
    """Lay out a run as versions without saves did: the newest save's files lie in the run folder itself."""
    save = save_of(run)
    for name in save.files:
        os.replace(save.folder / name, run / name)
    shutil.rmtree(run / SAVES)
