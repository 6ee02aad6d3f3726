"""Options of evaluate and predict. Field texts are the help texts; those of shared options are theirs (`common`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vggnet.options.choices import TableName
from vggnet.options.common import (
    BadImagesOption,
    DeviceOption,
    InferencePrecisionOption,
    JsonOption,
    MirrorOption,
    ModelAndImages,
    ModelsAndData,
    PredictWorkersOption,
    TestScaleOption,
    TestScalesOption,
    WorkersOption,
    option,
)

_TextFile = Annotated[Path | None, option(default="not written")]


@dataclass(frozen=True)
class EvaluateOptions:
    """Error of trained nets on labelled images by the paper's test protocol (Sect. 3.2); several nets are fused.

    A folder of images without labels gives a csv of five classes an image."""

    inputs: ModelsAndData
    """Runs or weight files, then the images (their val split)."""
    views: Annotated[tuple[str, ...], option(default="center dense; without labels, dense", metavar="VIEW...")] = ()
    """Of dense, crops (5x5), center, ten."""
    test_scale: TestScalesOption = ()
    mirror: MirrorOption = None
    protocol: Annotated[TableName | None, option(default="none, --views and --test-scale choose")] = None
    """One of the paper's tables; chooses views and Q."""
    against: Annotated[str | None, option(default="the best row", metavar="ROW")] = None
    """The row that the others are tested against, such as "A dense Q=73". The best row is corrected for more pairs."""
    device: DeviceOption = "auto"
    precision: InferencePrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: WorkersOption = None
    json: JsonOption = None
    csv: _TextFile = None
    """Write the table (or, without labels, the five classes an image) as CSV."""
    markdown: _TextFile = None
    """Write the table as Markdown."""


@dataclass(frozen=True)
class PredictOptions:
    """The five most probable classes of images."""

    inputs: ModelAndImages
    """A run or weight file, then images or folders of images."""
    top: int = 5
    """Classes per image."""
    test_scale: TestScaleOption = None
    mirror: MirrorOption = None
    device: DeviceOption = "auto"
    precision: InferencePrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: PredictWorkersOption = None
    json: JsonOption = None
