"""Packs: a data set in a few tar files with an index, written by `vggnet data pack`.

A folder with `vggnet-pack.json` (classes, what each part holds), `train-000000.tar` and so on, and `train.npz` and
`val.npz`, the index: names as in the original data, labels, boxes, and where each image lies. Any image is read by one
`pread`, so shuffling and exact resume are those of the original folder. WebDataset reads the same tars as a stream:
sample 000000012 is `000000012.jpg` with its label in `000000012.cls`.

Shapes: N images of a part.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from vggnet.data.compact import BoxLists, Names
from vggnet.data.members import Archive, Members
from vggnet.data.splits import ImageData, Split
from vggnet.errors import UserError
from vggnet.files import json_text

DESCRIPTION = "vggnet-pack.json"
STORED_PIXELS = "boxes_of_stored_pixels"
FORMAT = 1  # counts changes of what is written
ALL = "all"  # the part of data without a validation part
Part = str  # train, val or all


@dataclass(frozen=True)
class PackedPart:
    """A part of a pack as it was written: the shards' names, and where each image lies (`which` among the shards)."""

    shards: tuple[str, ...]
    which: np.ndarray  # int32 (N,)
    starts: np.ndarray  # int64 (N,)
    lengths: np.ndarray  # int64 (N,)


def is_pack(root: Path) -> bool:
    """Return whether `root` is a folder that `vggnet data pack` wrote."""
    return (root / DESCRIPTION).is_file()


def has_boxes_of_stored_pixels(root: Path) -> bool:
    """Return whether a pack is of data whose boxes refer to pixels as they are stored; False for other folders."""
    try:
        return is_pack(root) and bool(json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))[STORED_PIXELS])
    except (OSError, ValueError, KeyError, TypeError):
        return False  # `open_pack` raises the reason


def write_description(folder: Path, data: ImageData, parts: dict[Part, PackedPart], more: dict[str, Any]) -> None:
    """Write `vggnet-pack.json` and each part's index beside its shards in `folder`; `more` tells how it was packed."""
    described = {}
    for name, part in parts.items():
        split = data.train if name == "train" else data.val  # all images are val, too
        assert split is not None
        np.savez(folder / f"{name}.npz", **_arrays(split, part))  # type: ignore[arg-type]
        sizes = [(folder / shard).stat().st_size for shard in part.shards]
        shards = [{"file": shard, "bytes": size} for shard, size in zip(part.shards, sizes, strict=True)]
        described[name] = {"images": len(split), "below": split.part, "shards": shards}
    content = {
        "format": FORMAT,
        "name": data.name,
        "classes": data.classes,
        "titles": data.titles,
        **more,
        "parts": described,
    }
    (folder / DESCRIPTION).write_text(json_text(content), encoding="utf-8")


def _arrays(split: Split, part: PackedPart) -> dict[str, np.ndarray]:
    text, lengths = Names.of(split.files).arrays()
    arrays = {
        "names": text,
        "name_lengths": lengths,
        "which": part.which,
        "starts": part.starts,
        "lengths": part.lengths,
    }
    if split.labels is not None:
        arrays["labels"] = split.labels
    if split.boxes is not None:
        boxes = BoxLists.of(split.boxes)
        arrays |= {"boxes": boxes.rows(), "box_counts": boxes.counts}
    if split.stated_sizes is not None:
        arrays["stated_sizes"] = split.stated_sizes
    return arrays


def open_pack(root: Path, name: str) -> ImageData:
    """Return the data of a pack. Where it was packed without a validation part, all of it is `val`, to be divided.

    Raises UserError for a pack that is damaged, incomplete, or of a later version.
    """
    path = root / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise UserError(f"{path}: format {content['format']} is of a later version of vggnet: install that")
        parts = {part: _open_part(root, part, facts) for part, facts in content["parts"].items()}
        classes, titles = tuple(map(str, content["classes"])), tuple(map(str, content["titles"]))
        resized = content.get("resized")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: the pack is damaged ({error!r}): copy it again, or pack the data again") from error
    notes = () if resized is None else (f"packed with a smallest side of at most {resized} pixels",)
    val = parts.get(ALL, parts.get("val"))
    return ImageData(name, str(root), classes, titles, parts.get("train"), val, notes, divided=ALL in parts)


def _open_part(root: Path, part: Part, facts: dict[str, Any]) -> Split:
    archives = []
    for shard in facts["shards"]:
        path = root / str(shard["file"])
        if not path.is_file():
            raise UserError(f"{path}: is missing: copy the pack again")
        archive = Archive.at(str(path), "plain")
        if archive.state[0] != shard["bytes"]:
            raise UserError(
                f"{path}: {archive.state[0]:,} bytes in place of {shard['bytes']:,}: truncated or changed, copy it "
                "again"
            )
        archives.append(archive)
    index = root / f"{part}.npz"
    try:
        with index.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{index}: the index cannot be read ({error}): copy the pack again") from error
    count = facts["images"]
    if any(len(found[key]) != count for key in ("name_lengths", "which", "starts", "lengths")):
        raise UserError(f"{index}: the index is not that of {count:,} images: copy the pack again")
    sizes = np.array([archive.state[0] for archive in archives] or [0])
    if count and (
        (found["which"] < 0).any()
        or found["which"].max() >= len(archives)
        or (found["starts"] < 0).any()
        or (found["starts"] + found["lengths"] > sizes[found["which"]]).any()
    ):
        raise UserError(f"{index}: points beyond the shards: copy the pack again")
    split = Split(
        str(root),
        Names.joined(found["names"], found["name_lengths"]),
        found.get("labels"),
        part=str(facts["below"]),
        stated_sizes=found.get("stated_sizes"),
        members=Members(tuple(archives), found["which"], found["starts"], found["lengths"], found["lengths"]),
    )
    return split if "boxes" not in found else replace(split, boxes=BoxLists.joined(found["boxes"], found["box_counts"]))
