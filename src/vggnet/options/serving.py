"""Options of serve. The text below a field is its help; texts that commands share are in `common`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vggnet.options.common import DeviceOption, InferencePrecisionOption, ModelInputs, option
from vggnet.options.models import Models


@dataclass(frozen=True)
class ServeOptions:
    """Serve a page and a JSON API to try nets on images: classes, score maps, crops, boxes and saliency."""

    models: Annotated[
        ModelInputs,
        option(
            "Runs, model folders, weight files or names; the page compares any two of them side by side. A run of "
            "localize train is taken as --boxes."
        ),
    ]
    classifier: Annotated[tuple[Path, ...], Models(), option(default="none", metavar="MODEL...")] = ()
    """Classifiers in addition to MODEL."""
    boxes: Annotated[
        Path | None,
        Models(),
        option(
            "A run of localize train. The page then draws boxes. The classifiers choose the classes of the boxes and "
            "score the boxes.",
            default="no boxes",
            metavar="RUN",
        ),
    ] = None
    samples: Annotated[
        Path | None,
        option(
            default="val images of the data that the first model was trained on, else two photographs",
            metavar="FOLDER",
        ),
    ] = None
    """Images that the page offers as samples."""
    host: Annotated[
        str,
        option(
            "The address to listen on. 127.0.0.1: only this machine can open the page. 0.0.0.0: every machine of "
            "the network can. There is no password.",
            metavar="HOST",
        ),
    ] = "127.0.0.1"
    port: int = 8000
    """The port to listen on; 0 takes a free one."""
    allowed_host: Annotated[tuple[str, ...], option(default="none", metavar="NAME...")] = ()
    """Host names, without the port, to accept in addition to localhost and --host. Requests for others are refused."""
    max_megabytes: float = 20.0
    """The largest image file that is accepted, in megabytes (of a million bytes)."""
    max_megapixels: float = 50.0
    """The largest image that is accepted, in millions of pixels."""
    max_seconds: float = 60.0
    """The longest time for an answer, in seconds. A request that takes longer gets status 503."""
    max_images: Annotated[
        int,
        option(
            "The largest number of images that may be waiting or being computed at one time; further requests get "
            "status 429."
        ),
    ] = 64
    device: DeviceOption = "auto"
    precision: InferencePrecisionOption = "auto"
