"""Options of data check and data pack. Field texts are the help texts; of shared ones, see `common`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vggnet.options.common import BadImagesOption, DataInput, JsonOption, option

_WorkersOption = Annotated[
    int | None,
    option("Processes that read images; 0 reads them in the main process.", default="one for each core, at most 16"),
]


@dataclass(frozen=True)
class DataCheckOptions:
    """Decode every image, and report unreadable files, copies, contradictory classes, and changes since last time."""

    data: DataInput
    out: Annotated[Path | None, option(default="runs/DATA-check")] = None
    """A folder for report.json and for leave-out.csv, the images that should not be used. Nothing is deleted."""
    workers: _WorkersOption = None
    json: JsonOption = None


@dataclass(frozen=True)
class DataPackOptions:
    """Copy a data set into a few tar files with an index, which DATA of every command, and WebDataset, read."""

    data: DataInput
    out: Path
    """The folder to write; it must not exist."""
    resize: Annotated[int | None, option(default="all images are copied as they are", metavar="S")] = None
    """Reduce images to this smallest side in pixels: the largest S and Q that will be used."""
    quality: int = 95
    """Quality of the JPEGs that are written for reduced images."""
    shard_mb: int = 500
    """A tar file ends when it has this many megabytes."""
    bad_images: BadImagesOption = "stop"
    workers: _WorkersOption = None
    json: JsonOption = None


@dataclass(frozen=True)
class DataOptions:
    """Check the images of a data set, or pack them into a few files."""

    command: tyro.conf.OmitArgPrefixes[
        tyro.conf.OmitSubcommandPrefixes[
            Annotated[DataCheckOptions, tyro.conf.subcommand("check")]
            | Annotated[DataPackOptions, tyro.conf.subcommand("pack")]
        ]
    ]
