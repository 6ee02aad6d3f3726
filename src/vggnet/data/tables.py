"""Images in tables: parquet files, and the Arrow files of Hugging Face's `datasets`.

Read in place, with pyarrow (`pip install 'vggnet[tables]'`):
- a folder of parquet files as on Hugging Face's hub (`data/train-00000-of-00002.parquet`, `validation-...`), or a file;
- a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote;
- `hf:OWNER/NAME`: a set of the hub, downloaded by `datasets` into its own cache.

The image column holds the bytes of image files, the label column a number whose names are in the table's metadata. An
Arrow file is not compressed, so an image is named by offset and length, as in a tar. A parquet file is: a row is read
with its row group, so it is fast in order and slow in random order. `vggnet data pack` makes it fast.

Shapes: N rows.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vggnet.data.compact import Names
from vggnet.data.members import Archive, Members, concatenated
from vggnet.data.names import Part, part_of
from vggnet.data.splits import ImageData, Split
from vggnet.errors import UserError, missing_package, reason_of

HUB = "hf:"
_IMAGES, _LABELS = ("image", "img", "jpg", "png", "picture", "photo"), ("label", "labels", "fine_label", "class", "cls")
_SHARD = re.compile(r"[-_.]\d+(-of-\d+)?$")
_GROUPED_ROWS = 4  # with larger row groups, reading in random order is slow
_STATE = "dataset_info.json"


@dataclass(frozen=True, eq=False)
class _Table:
    """One file: where its images lie, their names and labels, and the names of the classes as the file states them."""

    members: Members
    names: list[str]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    group: int = 1  # rows that are read together


def is_table(path: Path) -> bool:
    """Return whether `path` is a parquet file, or a folder of parquet files or of `Dataset.save_to_disk`."""
    if path.is_file():
        return path.suffix == ".parquet"
    return path.is_dir() and bool(_files_of(path))


def _files_of(root: Path) -> dict[Part, list[Path]]:
    """Return the files of each part, sorted; files that name no part are training images."""
    found: dict[Part, list[Path]] = {}
    parquet = sorted([*root.glob("*.parquet"), *root.glob("data/*.parquet")])
    for path in parquet:
        found.setdefault(part_of(_SHARD.sub("", path.stem)) or "train", []).append(path)
    if parquet:
        return found
    for folder in (root, *sorted(each for each in root.iterdir() if each.is_dir())):
        if (folder / _STATE).is_file() and (files := sorted(folder.glob("*.arrow"))):
            found.setdefault("train" if folder == root else part_of(folder.name) or "train", []).extend(files)
    return found


def open_tables(path: Path, name: str) -> ImageData:
    """Return the images of a parquet file or of a folder of tables. A test part is used where there is no val part.

    Where there is one part only, all of it is `val`, to be divided. Raises UserError.
    """
    return _opened({"train": [path]} if path.is_file() else _files_of(path), path, name)


def open_hub(data: str) -> ImageData:
    """Return the set `hf:OWNER/NAME`, which `datasets` downloads or finds in its cache. Raises UserError."""
    name = data.removeprefix(HUB)
    try:
        import datasets
    except ImportError as error:
        raise missing_package(data, "datasets", "tables") from error
    try:
        sets = datasets.load_dataset(name)
    except Exception as error:  # of network, hub and parsers of any kind
        raise UserError(f"{data}: could not be loaded ({reason_of(error)})") from error
    found: dict[Part, list[Path]] = {}
    for key, each in sets.items():
        files = [Path(file["filename"]) for file in each.cache_files]
        found.setdefault(part_of(str(key)) or "train", []).extend(files)
    return _opened(found, Path(name), name.rpartition("/")[2])


def _opened(files: dict[Part, list[Path]], root: Path, name: str) -> ImageData:
    _pyarrow()
    notes: tuple[str, ...] = ()
    if "val" in files and "test" in files:
        notes += ("not used: the part test, since val is there",)
    chosen = {"train": files.get("train"), "val": files.get("val", files.get("test"))}
    tables = {part: [_read(path, part) for path in paths] for part, paths in chosen.items() if paths}
    if not tables:
        raise UserError(f"{root}: no table of images")
    stated = {table.classes for part in tables.values() for table in part if table.classes}
    if len(stated) > 1:
        raise UserError(f"{root}: the tables name different classes: they are not of one set")
    every = [table for part in tables.values() for table in part]
    classes = next(iter(stated), ()) or _numbered(every)
    group = max(table.group for table in every)
    if group > _GROUPED_ROWS:
        slow = f"parquet: {group} images are read to use one, which is slow in random order"
        notes += (f"{slow}; `vggnet data pack` makes a copy that is fast",)
    parts = {part: _split(root, found, classes) for part, found in tables.items()}
    if len(parts) == 1:
        (only,) = parts.values()
        return ImageData(name, str(root), classes, (), None, only, notes, divided="train" in parts)
    return ImageData(name, str(root), classes, (), parts["train"], parts["val"], notes)


def _numbered(tables: Sequence[_Table]) -> tuple[str, ...]:
    """Return names for labels that have none: their numbers, with as many digits as the largest."""
    largest = max(
        (int(table.labels.max()) for table in tables if table.labels is not None and len(table.labels)), default=0
    )
    return tuple(f"{label:0{len(str(largest))}d}" for label in range(largest + 1))


def _split(root: Path, tables: list[_Table], classes: tuple[str, ...]) -> Split:
    labels = [table.labels for table in tables if table.labels is not None]
    joined = np.concatenate(labels) if len(labels) == len(tables) else None
    if joined is not None and len(joined) and (joined.min() < 0 or joined.max() >= len(classes)):
        raise UserError(f"{root}: a label of {int(joined.min())} to {int(joined.max())} for {len(classes)} classes")
    names = Names.of(name for table in tables for name in table.names)
    return Split(str(root), names, joined, members=concatenated([table.members for table in tables]))


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise missing_package("a parquet or an Arrow file", "pyarrow", "tables") from error
    return pyarrow


def _read(path: Path, part: str) -> _Table:
    """Read where the images of one file lie. Raises UserError for a damaged file, or one without images."""
    pa = _pyarrow()
    try:
        return _read_parquet(path, part) if path.suffix == ".parquet" else _read_arrow(path, part)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: damaged, or no table of images ({reason_of(error)})") from error


def _columns(path: Path, schema: Any) -> tuple[str, str | None, tuple[str, ...]]:
    """Return the names of the image column and of the label column, and the classes that the metadata names."""
    pa = _pyarrow()
    features: dict[str, Any] = {}
    if schema.metadata and b"huggingface" in schema.metadata:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]

    def is_image(field: Any) -> bool:
        kind = field.type
        inner = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        return inner or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    images = [field.name for field in schema if is_image(field)]
    images.sort(key=lambda name: _IMAGES.index(name) if name in _IMAGES else len(_IMAGES))
    if not images:
        raise UserError(f"{path}: no column of image files (bytes) among {', '.join(schema.names)}")
    kinds = {name: each.get("_type") for name, each in features.items() if isinstance(each, dict)}
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels += [name for name in _LABELS if name in schema.names and pa.types.is_integer(schema.field(name).type)]
    label = labels[0] if labels else None
    names = features.get(label, {}).get("names", ()) if label else ()
    return images[0], label, tuple(map(str, names))


def _names(part: str, first: int, paths: Sequence[str | None]) -> Iterator[str]:
    """Yield a name for each row: its number, and the name of the file that it was, if the table has that."""
    for row, path in enumerate(paths, start=first):
        yield f"{part}/{row:08d}" + (f"-{os.path.basename(path)}" if path else "")


def _read_arrow(path: Path, part: str) -> _Table:
    """Read an Arrow file: images lie in it as they are."""
    pa = _pyarrow()
    memory = pa.memory_map(str(path))
    base = memory.read_buffer().address
    memory.seek(0)
    try:
        batches = list(pa.ipc.open_stream(memory))
    except pa.ArrowInvalid:
        memory.seek(0)
        reader = pa.ipc.open_file(memory)
        batches = [reader.get_batch(place) for place in range(reader.num_record_batches)]
    if not batches:
        raise UserError(f"{path}: an empty table")
    column, label, classes = _columns(path, batches[0].schema)
    size = path.stat().st_size
    starts, lengths, labels = [], [], []
    names: list[str] = []
    for batch in batches:
        array = batch.column(column)
        content, paths = _parts_of(array)
        begin, end = _bounds(path, content)
        address = content.buffers()[2].address - base
        if address < 0 or address + int(end[-1] if len(end) else 0) > size:
            raise UserError(f"{path}: is compressed: write it with `Dataset.save_to_disk`")
        starts.append(address + begin)
        lengths.append(end - begin)
        names += _names(part, len(names), paths)
        if label is not None:
            labels.append(np.asarray(batch.column(label).to_numpy(zero_copy_only=False), np.int64))
    stored = np.concatenate(lengths)
    members = Members(
        (Archive.at(str(path), "plain"),), np.zeros(len(names), np.int32), np.concatenate(starts), stored, stored
    )
    return _Table(
        members, [f"{path.stem}/{name}" for name in names], np.concatenate(labels) if labels else None, classes
    )


def _parts_of(array: Any) -> tuple[Any, list[str | None]]:
    """Return the array of the files' bytes and the files' names, of a column of bytes or of structs."""
    pa = _pyarrow()
    if not pa.types.is_struct(array.type):
        return array, [None] * len(array)
    has_path = array.type.get_field_index("path") >= 0
    return array.field("bytes"), array.field("path").to_pylist() if has_path else [None] * len(array)


def _bounds(path: Path, content: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return where each row's bytes begin and end in the data of a binary array, int64 (rows,)."""
    if content.null_count:
        raise UserError(
            f"{path}: {content.null_count} rows hold no bytes of an image, but perhaps a path: embed the images"
        )
    wide = _pyarrow().types.is_large_binary(content.type)
    offsets = np.frombuffer(content.buffers()[1], np.int64 if wide else np.int32)
    part = offsets[content.offset : content.offset + len(content) + 1].astype(np.int64)
    return part[:-1], part[1:]


def _read_parquet(path: Path, part: str) -> _Table:
    """Read names, labels and sizes of a parquet file, one row group after another."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        column, label, classes = _columns(path, file.schema_arrow)
        names: list[str] = []
        sizes, labels, group = [], [], 1
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number, columns=[column, *([label] if label else [])])
            for chunk in rows.column(column).chunks:
                content, paths = _parts_of(chunk)
                begin, end = _bounds(path, content)
                sizes.append(end - begin)
                names += _names(part, len(names), paths)
            if label is not None:
                labels.append(np.asarray(rows.column(label).to_numpy(), np.int64))
            group = max(group, rows.num_rows)
    if not names:
        raise UserError(f"{path}: an empty table")
    archive = Archive.at(str(path), "parquet", column)
    count = len(names)
    found = np.concatenate(sizes)
    members = Members((archive,), np.zeros(count, np.int32), np.arange(count), found, found)
    return _Table(
        members, [f"{path.stem}/{name}" for name in names], np.concatenate(labels) if labels else None, classes, group
    )
