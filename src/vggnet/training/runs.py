"""The run folder: everything about one training, whole after a kill, used by one process at a time.

config.json        the resolved options         environment.json   versions, hardware, command
images.csv.gz      the images at the start      skipped.csv        those that could not be read (--bad-images skip)
saves/             the last saves, which `--resume` continues from (`training/saves.py`)
metrics.csv        one row an epoch             events/            the same for TensorBoard
best.safetensors   weights of the best epoch    last.safetensors   weights of the last epoch
val.json           the best epoch's error on val
"""

import csv
import io
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
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
from vggnet.training.saves import (
    PUBLISHED,
    SAVES,
    STATE,
    Content,
    Save,
    newest_save,
    prune,
    publish,
    remove_unfinished,
    write_save,
)

CONFIG = "config.json"
IMAGES = "images.csv.gz"
SKIPPED = "skipped.csv"
IMAGES_HASH = "images_sha256"  # in config.json and in each save: of the list in IMAGES
IMAGES_BEFORE = "images_sha256_before"  # in config.json: of lists that --data-changed has replaced
RESULTS = (*PUBLISHED, "val.json")  # there is a save where one of them is
SPARE_BYTES = 50_000_000  # beside the weights: metrics, events, posteriors


class RunFolder:
    """One run on disk. Made by `open_run`, which holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best, self.last = path / BEST_FILE, path / LAST_FILE
        self.report = path / "val.json"
        self._save: Save | None = None
        self._broken: list[Path] = []  # saves that were passed over

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
    def save(self) -> Save | None:
        """The newest save that is whole; None where nothing was saved yet. UserError where none is whole."""
        if self._save is None:
            config = self.config or {}
            images = config.get(IMAGES_HASH)
            only = None if images is None else {images, *config.get(IMAGES_BEFORE, ())}
            self._save, self._broken = newest_save(self.path, only)
        return self._save

    def write_save(self, new: Mapping[str, Content], facts: Mapping[str, Any], *, keep: int) -> None:
        """Write the next save, publish its weights and metrics, and remove all but the last `keep` saves."""
        self._save = write_save(self.path, self.save, new, facts)
        publish(self.path, self._save)
        prune(self.path, keep, self._broken)
        self._broken = []

    def publish(self) -> None:
        """Make best, last and metrics.csv in the run folder those of the newest save."""
        if self.save is not None:
            publish(self.path, self.save)

    @property
    def progress(self) -> TrainingProgress | None:
        """Where the training stands; None where nothing was saved yet."""
        return read_progress(self.save.state) if self.save is not None else None

    @property
    def images(self) -> bytes | None:
        """The list of the images at the start, for `ImageList.of_bytes`; None for a run that did not write it.

        UserError where it is damaged.
        """
        expected = (self.config or {}).get(IMAGES_HASH)
        return None if expected is None else ImageList.read(self.path / IMAGES, expected)

    def check_complete(self) -> None:
        """UserError where a file is missing without which the run cannot be continued; says which are there."""
        save = self.save
        there = [name for name in (CONFIG, *RESULTS) if (self.path / name).exists()]
        saved = "" if save is None else SAVES if save.number else STATE
        missing, holds = "", ""
        if CONFIG not in there and (there or saved):
            missing, holds = CONFIG, "the options that the run was started with"
        elif save is None and set(there) & set(RESULTS):
            missing, holds = SAVES, "weights and momentum to continue from"
        elif saved == STATE and BEST_FILE not in there and (self.progress or TrainingProgress()).epoch:
            missing, holds = BEST_FILE, "the weights of the best epoch so far"
        if missing:
            weights = [name for name in (BEST_FILE, LAST_FILE) if name in there]
            source = f", from its weights with `init_from` {self.path / weights[0]}" if weights else ""
            raise UserError(
                f"`resume`: {self.path / missing} is missing ({holds}); there are "
                f"{', '.join([*there, *filter(None, [saved])])}. Put it back from a backup; or start another run in "
                f"another `out`{source}; or remove {self.path}, and the same command starts anew"
            )

    def check_weights(self) -> None:
        """UserError where best or last of a run without saves are not as they were written.

        A save has been checked already (`save`), and its weights are published again.
        """
        if self.save is not None and self.save.number:
            return
        for file in (self.best, self.last):
            if file.exists():
                check_undamaged(file)

    def write_config(self, config: dict[str, Any], images: ImageList | None = None) -> None:
        """Write how the run was started, and the list of its images."""
        if images is not None:
            before, now = config.get(IMAGES_HASH), images.write(self.path / IMAGES)
            if before not in (None, now):  # saves until now belong to the list before
                config = config | {IMAGES_BEFORE: sorted({before, *config.get(IMAGES_BEFORE, ())})}
            config = config | {IMAGES_HASH: now}
        write_whole(self.path / CONFIG, json.dumps(config, indent=2) + "\n")
        write_whole(self.path / "environment.json", json.dumps(environment(), indent=2) + "\n")

    def change_config(self, changes: dict[str, Any]) -> None:
        """Write values that the program has found out into config.json, where there is one."""
        if self.config is not None:
            write_whole(self.path / CONFIG, json.dumps(self.config | changes, indent=2) + "\n")

    def write_skipped(self, skipped: Iterable[tuple[str, BadImage]]) -> None:
        """List the images that were left out: their part ("train", "held-out", "val"), file and reason."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["part", "image", "reason"])
        writer.writerows([part, error.path, error.reason] for part, error in skipped)
        write_whole(self.path / SKIPPED, text.getvalue().encode("utf-8", "surrogateescape"))

    def write_report(self, report: dict[str, Any]) -> None:
        write_whole(self.report, json.dumps(report, indent=2) + "\n")

    def check_space(self, parameters: int, keep: int) -> None:
        """Raise UserError where the weights of `keep` saves and of the next one (state, last, best) would not fit."""
        needed = parameters * 4 * 4 * (keep + 1) + SPARE_BYTES
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise UserError(
                f"`out` {self.path}: {free / 1e9:.2f} GB are free there and this run may need {needed / 1e9:.2f} GB; "
                "free some space, choose another `out` or keep fewer saves (`keep`)"
            )


def metrics_text(rows: list[dict[str, float]]) -> str:
    """Return the table of metrics, one row an epoch, as CSV."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[-1]), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


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
    started = names & {CONFIG, STATE, SAVES}
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
            remove_unfinished(path)
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
