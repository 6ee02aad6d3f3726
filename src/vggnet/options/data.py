"""Options of data check and data pack. The text below a field is its help; shared texts are in `common`."""

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
    """Decode every image, and report unreadable files, copies, images that are in two classes, and changes since the
    last check of the same data."""

    data: DataInput
    out: Annotated[
        Path | None,
        option(
            "A folder for report.json and leave-out.csv. leave-out.csv lists the images that should not be used; no "
            "image is deleted.",
            default="runs/DATA-check",
        ),
    ] = None
    workers: _WorkersOption = None
    json: JsonOption = None


@dataclass(frozen=True)
class DataPackOptions:
    """Copy a data set into a new folder that holds a few tar files and an index. This folder can be given as DATA.
    WebDataset reads the tar files, too."""

    data: DataInput
    out: Path
    """The folder to write; it must not exist."""
    resize: Annotated[int | None, option(default="all images are copied as they are", metavar="S")] = None
    """Reduce images so that their smaller side has this many pixels. Choose the largest S or Q that you will use."""
    quality: int = 95
    """Quality of the JPEGs that are written for reduced images, 1 to 100."""
    shard_mb: int = 500
    """A tar file ends when it has this many megabytes (of a million bytes)."""
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
