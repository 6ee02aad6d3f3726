"""The run folder: everything about one training, whole after a kill, used by one process at a time.

config.json        the resolved options         environment.json   versions, hardware, command
images.csv.gz      the images at the start      skipped.csv        those that could not be read (--bad-images skip)
metrics.csv        one row an epoch             events/            the same for TensorBoard
best.safetensors   weights of the best epoch    last.safetensors   weights of the last epoch
state.safetensors  what `--resume` continues from
val.json           the best epoch's error on val
"""

import csv
import io
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vggnet.description import BEST_FILE, LAST_FILE
from vggnet.errors import BadImage, UserError
from vggnet.files import remove_abandoned, write_whole
from vggnet.network.weights import check_undamaged
from vggnet.provenance import environment
from vggnet.training.checkpoints import TrainingProgress, read_progress
from vggnet.training.configs import check_config
from vggnet.training.image_list import ImageList
from vggnet.training.locking import LOCK, LOCK_FILE, locked

STATE = "state.safetensors"
CONFIG = "config.json"
IMAGES = "images.csv.gz"
SKIPPED = "skipped.csv"
IMAGES_HASH = "images_sha256"  # in config.json: of the list in IMAGES
RESULTS = (BEST_FILE, LAST_FILE, "metrics.csv", "val.json")  # there is a state where one of them is
SPARE_BYTES = 50_000_000  # beside the weights: metrics, events, posteriors


class RunFolder:
    """One run on disk. Made by `open_run`, which holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best, self.last = path / BEST_FILE, path / LAST_FILE
        self.state, self.report = path / STATE, path / "val.json"

    @property
    def config(self) -> dict[str, Any] | None:
        """The options that the run was started with; None where nothing was saved yet.

        UserError where it is damaged, or holds a value that no option can have.
        """
        file = self.path / CONFIG
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise UserError(
                f"{file}: damaged ({error}); put it back from a backup, or start anew in another `out`"
            ) from error
        return check_config(file, values)

    @property
    def progress(self) -> TrainingProgress | None:
        """Where the training stands; None where nothing was saved yet."""
        return read_progress(self.state) if self.state.exists() else None

    @property
    def images(self) -> bytes | None:
        """The list of the images at the start, for `ImageList.of_bytes`; None for a run that did not write it.

        UserError where it is damaged.
        """
        expected = (self.config or {}).get(IMAGES_HASH)
        return None if expected is None else ImageList.read(self.path / IMAGES, expected)

    def check_complete(self) -> None:
        """UserError where a file is missing without which the run cannot be continued; says which are there."""
        there = [name for name in (CONFIG, STATE, *RESULTS) if (self.path / name).exists()]
        missing, holds = "", ""
        if CONFIG not in there and there:
            missing, holds = CONFIG, "the options that the run was started with"
        elif STATE not in there and set(there) & set(RESULTS):
            missing, holds = STATE, "weights and momentum to continue from"
        elif BEST_FILE not in there and STATE in there and (self.progress or TrainingProgress()).epoch:
            missing, holds = BEST_FILE, "the weights of the best epoch so far"
        if missing:
            weights = [name for name in RESULTS[:2] if name in there]
            source = f", from its weights with `init_from` {self.path / weights[0]}" if weights else ""
            raise UserError(
                f"`resume`: {self.path / missing} is missing ({holds}); there are {', '.join(there)}. Put it back from "
                f"a backup; or start another run in another `out`{source}; or remove {self.path}, and the same command "
                "starts anew"
            )

    def check_weights(self) -> None:
        """UserError where best or last, as far as they are there, are not as they were written."""
        for file in (self.best, self.last):
            if file.exists():
                check_undamaged(file)

    def write_config(self, config: dict[str, Any], images: ImageList | None = None) -> None:
        """Write how the run was started, and the list of its images."""
        if images is not None:
            config = config | {IMAGES_HASH: images.write(self.path / IMAGES)}
        write_whole(self.path / CONFIG, json.dumps(config, indent=2) + "\n")
        write_whole(self.path / "environment.json", json.dumps(environment(), indent=2) + "\n")

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """The whole table anew, so that rows of epochs that a kill undid do not stay."""
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, fieldnames=list(rows[-1]), lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        write_whole(self.path / "metrics.csv", text.getvalue())

    def write_skipped(self, skipped: Iterable[tuple[str, BadImage]]) -> None:
        """List the images that were left out: their part ("train", "held-out", "val"), file and reason."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["part", "image", "reason"])
        writer.writerows([part, error.path, error.reason] for part, error in skipped)
        write_whole(self.path / SKIPPED, text.getvalue().encode("utf-8", "surrogateescape"))

    def write_report(self, report: dict[str, Any]) -> None:
        write_whole(self.report, json.dumps(report, indent=2) + "\n")

    def check_space(self, parameters: int) -> None:
        """Refuse to start where the weights (best, last, state with momentum, one of them twice) would not fit."""
        needed = parameters * 4 * 6 + SPARE_BYTES
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise UserError(
                f"`out` {self.path}: {free / 1e9:.2f} GB are free there and this run may need {needed / 1e9:.2f} GB; "
                "free some space or choose another `out`"
            )


@contextmanager
def open_run(path: Path, *, resume: bool) -> Iterator[RunFolder]:
    """Take the run folder for this process alone, and remove the temporary files of writes that were killed.

    A folder with anything in it is refused without `resume`, and with it, too, where that is no run's. A start that
    fails before anything is saved leaves neither the folder nor its lock behind.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"`out` {path}: a file stands there; give a folder that does not exist yet")
    # a start that was killed before anything was trained left its lock only (a hidden file), and is no run
    names = {each.name for each in path.iterdir() if not each.name.startswith(".")} if path.is_dir() else set()
    started = names & {CONFIG, STATE}
    if names and not (resume and (started or names & set(RESULTS))):
        hint = "`resume` continues it" if started else "it is no run of vggnet"
        raise UserError(f"`out` {path}: the folder is there already and is never overwritten; {hint}, or give another")
    made = [each for each in (path, *path.parents) if not each.exists()]  # the innermost first
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"`out` {path}: cannot be written to ({error.strerror}); give another folder") from error
    run = RunFolder(path)
    with locked(path):
        try:
            remove_abandoned(path)
            if resume:
                run.check_complete()
            yield run
        finally:
            _leave(path, made)


def _leave(path: Path, made: list[Path]) -> None:
    """Remove the lock where nothing lies beside it, and then the folders that were `made` for it."""
    left = list(path.iterdir())
    if any(each.name not in (LOCK, LOCK_FILE) for each in left):
        return
    for each in left:
        each.unlink(missing_ok=True)
    for folder in made:
        try:
            folder.rmdir()
        except OSError:  # another run lies in it by now
            return
