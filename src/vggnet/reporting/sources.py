"""Find out what lies at the paths of a report, and read it as far as it is there.

A report must show what there is: a run that is still training, that lost files or was copied in part. So a file that is
missing or damaged becomes a note, and only a path with nothing to show raises UserError.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.network.weights import RUN_FILES, find_weights, read_description
from vggnet.training.checkpoints import TrainingProgress, read_progress
from vggnet.training.runs import CONFIG
from vggnet.training.saves import STATE, newest_save

KINDS = {  # by the fields that their JSON has
    "evaluations": {"title", "rows"},
    "localisations": {"test1", "test2"},
    "diagnoses": {"layers", "verdict"},
    "transfers": {"paper", "bad_images", "notes"},
}
LADDERS = ("ladder.json", "quickstart.json")
METRICS, VAL, ENVIRONMENT = "metrics.csv", "val.json", "environment.json"
Read = TypeVar("Read")


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder, a model folder or a weight file, as far as it can be read.

    `rows` are those of metrics.csv. `source` is the name of the run in this report that it started from.
    """

    path: Path
    name: str
    description: ModelDescription | None = None
    config: dict[str, Any] = field(default_factory=dict)
    rows: tuple[dict[str, float], ...] = ()
    val: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    wall_s: float | None = None
    finished: bool | None = None  # None: there is no state that tells
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str | None:
        """Return the name of the run that this one started from."""
        start = self.config.get("init_from")
        return Path(str(start)).name if start else None

    @property
    def data(self) -> str | None:
        """Return the data that the run was started on, as it was given then."""
        data = self.config.get("data")
        return data if isinstance(data, str) else None

    @property
    def best(self) -> dict[str, float] | None:
        """Return the row of the epoch with the lowest held-out error, the last of equal ones by loss."""
        rows = [row for row in self.rows if "error" in row]
        return min(rows, key=lambda row: (row["error"], row.get("loss", 0.0), -row["epoch"]), default=None)

    @property
    def of_boxes(self) -> bool:
        """Return whether the net draws boxes."""
        return "boxes" in self.config or (self.description is not None and bool(self.description.boxes))


@dataclass(frozen=True)
class Sources:
    """Everything that a report is about. The three lists hold the contents of JSON files, with the file."""

    runs: tuple[Run, ...] = ()
    evaluations: tuple[tuple[Path, dict[str, Any]], ...] = ()
    localisations: tuple[tuple[Path, dict[str, Any]], ...] = ()
    diagnoses: tuple[tuple[Path, dict[str, Any]], ...] = ()
    transfers: tuple[tuple[Path, dict[str, Any]], ...] = ()
    folder: Path = Path()  # where report.html goes
    ladder: str = ""  # "ladder" or "quickstart"

    def source_of(self, run: Run) -> Run | None:
        """Return the run of this report that another one started from; None where it is not among them."""
        return next((other for other in self.runs if other.name == run.source and other is not run), None)

    @property
    def data(self) -> str | None:
        """Return the data of the evaluations, or of the runs."""
        named = [content.get("data") for _, content in (*self.evaluations, *self.localisations)]
        found = [data for data in (*named, *(run.data for run in self.runs)) if isinstance(data, str)]
        return found[0] if found else None


def read_sources(paths: Sequence[str | Path]) -> Sources:
    """Return what lies at the paths. Raises UserError for a path with nothing to report on."""
    if not paths:
        raise UserError("`paths`: give a run, a folder of runs, or the JSON of an evaluation")
    found = Sources()
    for path in map(Path, paths):
        one = _read_path(path.expanduser())
        runs = {run.path.resolve(): run for run in (*one.runs, *found.runs)}  # each once
        found = replace(
            found,
            runs=tuple(dict.fromkeys(runs[run.path.resolve()] for run in (*found.runs, *one.runs))),
            folder=found.folder if found.folder != Path() else one.folder,
            ladder=found.ladder or one.ladder,
            **{name: getattr(found, name) + getattr(one, name) for name in KINDS},
        )
    return found


def _read_path(path: Path) -> Sources:
    if path.suffix.lower() == ".json" and path.is_file():
        return _read_json(path)
    if path.is_dir():
        return _read_folder(path)
    if path.suffix.lower() == ".safetensors" and path.is_file():
        return Sources(runs=(read_run(path),), folder=path.parent)
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder; give a run, a folder of runs, or a JSON file")
    raise _nothing(path)


def _nothing(path: Path) -> UserError:
    return UserError(
        f"{path}: no run and no result of vggnet. A report is about a run folder, a folder of runs (as `vggnet ladder` "
        "writes it), or the JSON of `vggnet evaluate`, `localize evaluate`, `transfer` or `diagnose` (`json`)"
    )


def _read_folder(path: Path) -> Sources:
    for name in LADDERS:
        if (path / name).is_file():
            return _read_ladder(path / name)
    if is_run(path):
        return Sources(runs=(read_run(path),), folder=path)
    inner = sorted(each for each in path.iterdir() if each.is_dir() and is_run(each))
    if not inner:
        raise _nothing(path)
    runs = in_order([read_run(each) for each in inner])
    return Sources(runs=runs, folder=path, ladder="ladder" if any(run.source for run in runs) else "")


def is_run(path: Path) -> bool:
    """Return whether a folder holds a run or a model, or a part of one."""
    if any((path / name).is_file() for name in (*RUN_FILES, METRICS, STATE)):
        return True
    notes: list[str] = []
    config = _json_of(path / CONFIG, notes)
    return isinstance(config, dict) and ("data" in config or config.get("model_type") == "vggnet")


def in_order(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Return runs so that each comes after the one that it started from, shallow nets first."""
    left = sorted(runs, key=lambda run: (run.description.architecture.depth if run.description else 99, run.name))
    names, ordered = {run.name for run in runs}, list[Run]()
    while left:
        done = {run.name for run in ordered}
        ready = [run for run in left if run.source in done or run.source not in names or run.source == run.name]
        ordered.append((ready or left)[0])
        left.remove(ordered[-1])
    return tuple(ordered)


def _read_ladder(file: Path) -> Sources:
    """Return the runs beside ladder.json or quickstart.json, in the order of the stages."""
    notes: list[str] = []
    content = _json_of(file, notes)
    stages = [each.get("stage") for each in content if isinstance(each, dict)] if isinstance(content, list) else []
    folders = [file.parent / str(stage) for stage in stages if stage and (file.parent / str(stage)).is_dir()]
    folders += sorted(each for each in file.parent.iterdir() if each.is_dir() and each not in folders and is_run(each))
    if not folders:
        raise UserError(f"{file}: the runs that it is about do not lie beside it: {', '.join(map(str, stages))}")
    return Sources(runs=tuple(map(read_run, folders)), folder=file.parent, ladder=file.stem)


def _read_json(path: Path) -> Sources:
    if path.name in LADDERS:
        return _read_ladder(path)
    notes: list[str] = []
    content = _json_of(path, notes)
    kind = _kind_of(content)
    if kind is None:
        raise UserError(notes[0]) if notes else _nothing(path)
    return with_results(Sources(runs=_models_of(content), folder=path.parent), content, path)


def with_results(sources: Sources, content: dict[str, Any] | None, file: Path = Path("this evaluation")) -> Sources:
    """Return sources with the result of a command, as its JSON has it."""
    kind = _kind_of(content)
    if kind is None:
        return sources
    found: dict[str, Any] = {kind: (*getattr(sources, kind), (file, content))}
    return replace(sources, **found)


def _kind_of(content: Any) -> str | None:
    """Return which of KINDS the JSON of a command is; None for others."""
    if not isinstance(content, dict):
        return None
    return next((kind for kind, fields in KINDS.items() if fields <= content.keys()), None)


def _models_of(content: dict[str, Any]) -> tuple[Run, ...]:
    """Return the runs of an evaluation that are still where they were."""
    named = [each.get("path") if isinstance(each, dict) else each for each in content.get("models", [])]
    named += content.get("classifiers", [])
    paths = [Path(each) for each in named if isinstance(each, str)]
    return tuple(read_run(each) for each in paths if each.is_file() or (each.is_dir() and is_run(each)))


def read_run(path: Path) -> Run:
    """Return what can be read of a run folder, a model folder or a weight file."""
    notes: list[str] = []
    description = _tried(lambda: read_description(path), notes) if _has_weights(path) else None
    if description is None and not notes:
        notes.append("there are no weights yet: the first epoch has not ended" if path.is_dir() else "no weights")
    if not path.is_dir():
        return Run(path, path.stem, description, notes=tuple(notes))
    config = _json_of(path / CONFIG, notes)
    progress = _tried(lambda: _progress_of(path), notes)
    val, environment = _json_of(path / VAL, notes), _json_of(path / ENVIRONMENT, notes)
    rows = _metrics(path / METRICS, notes)
    return Run(
        path,
        path.resolve().name,
        description,
        config if isinstance(config, dict) and "model_type" not in config else {},
        rows,
        val if isinstance(val, dict) else {},
        environment if isinstance(environment, dict) else {},
        None if progress is None else progress.wall_s,
        None if progress is None else progress.finished,
        tuple(notes),
    )


def _progress_of(run: Path) -> TrainingProgress | None:
    """Return where a training stands; None where nothing was saved."""
    save, _ = newest_save(run)
    return None if save is None else read_progress(save.state)


def _has_weights(path: Path) -> bool:
    return path.is_file() or any((path / name).is_file() for name in RUN_FILES)


def weights_of(run: Run) -> Path | None:
    """Return the weight file of a run; None where there is none."""
    return find_weights(run.path) if run.description is not None else None


def _tried(read: Callable[[], Read], notes: list[str]) -> Read | None:
    try:
        return read()
    except (UserError, OSError) as error:
        notes.append(str(error))
        return None


def _json_of(file: Path, notes: list[str]) -> Any:
    """Return the content of a JSON file; None where it is missing, or damaged, with a note then."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        notes.append(f"{file.name}: cannot be read ({error})")
        return None


def _metrics(file: Path, notes: list[str]) -> tuple[dict[str, float], ...]:
    """Return the rows of metrics.csv; a line that is no row of numbers is left out with a note."""
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, ValueError) as error:
        notes.append(f"{file.name}: cannot be read ({error})")
        return ()
    rows = []
    for row in csv.DictReader(io.StringIO(text)):
        try:
            rows.append({name: float(value) for name, value in row.items() if name})
        except (TypeError, ValueError):
            notes.append(f"{file.name}: a line that is no row of numbers is left out")
    return tuple(row for row in rows if "epoch" in row)
