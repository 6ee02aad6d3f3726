"""Options of serve. Field texts are the help texts; those of shared options are theirs (`common`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vggnet.options.common import DeviceOption, InferencePrecisionOption, ModelInputs, option
from vggnet.options.models import Models


@dataclass(frozen=True)
class ServeOptions:
    """Serve a page and a JSON API to try nets on images: classes, score maps, crops, boxes and saliency."""

    models: ModelInputs
    """Classification runs, model folders, weight files or names such as vgg16; two of them can be compared side by
    side. One of them may be a run of localize train, as with --boxes."""
    classifier: Annotated[tuple[Path, ...], Models(), option(default="those among MODEL", metavar="MODEL...")] = ()
    """More classification runs or weight files."""
    boxes: Annotated[Path | None, Models(), option(default="no boxes", metavar="RUN")] = None
    """A run of localize train, for boxes that the classification runs choose and score."""
    samples: Annotated[
        Path | None,
        option(
            default="val images of the data that the first model was trained on, else two photographs",
            metavar="FOLDER",
        ),
    ] = None
    """Images that the page offers as samples."""
    host: Annotated[str, option(metavar="HOST")] = "127.0.0.1"
    """The address to listen on. Others can reach the page only if it is not that of this machine alone; there is no
    password."""
    port: int = 8000
    """The port to listen on; 0 takes a free one."""
    allowed_host: Annotated[tuple[str, ...], option(default="localhost and --host", metavar="NAME...")] = ()
    """More names by which browsers may ask for the page, without the port. Requests for other names are refused."""
    max_megabytes: float = 20.0
    """The largest image file that is taken, in megabytes (1,000,000 bytes)."""
    max_megapixels: float = 50.0
    """The largest image that is taken, in millions of pixels."""
    max_seconds: float = 60.0
    """The longest time for an answer, in seconds."""
    max_images: int = 64
    """How many images may wait and be computed at once; further requests are told to come back (status 429)."""
    device: DeviceOption = "auto"
    precision: InferencePrecisionOption = "auto"
