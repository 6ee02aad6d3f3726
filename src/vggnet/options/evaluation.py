"""Options of evaluate and predict. Field texts are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vggnet.options.common import BadImages, InferencePrecisionName, ModelAndImages, ModelsAndData


@dataclass(frozen=True)
class EvaluateOptions:
    """Error of trained nets on labelled images by the paper's test protocol (Sect. 3.2); several nets are fused.

    A folder of images without labels gives a csv of five classes an image."""

    inputs: ModelsAndData
    """Runs or weight files, then the images (their val split)."""
    views: tuple[str, ...] = ()
    """Of dense, crops (5x5 and mirrors), center, ten; by default center and dense."""
    test_scale: tuple[int, ...] = ()
    """Q, smallest side after rescaling; by default the net's S (its middle when jittered)."""
    protocol: Literal["table3", "table4", "table5", "table6"] | None = None
    """One of the paper's tables; chooses views and Q."""
    device: str = "auto"
    """As for train."""
    precision: InferencePrecisionName = "auto"
    """As for train; or int8, on a CPU and for models that `quantize` wrote."""
    bad_images: BadImages = "stop"
    """As for train."""
    workers: int | None = None
    """As for train."""
    json: Path | None = None
    """Write the table as JSON."""
    csv: Path | None = None
    """Write the table (or, without labels, the five classes an image) as CSV."""
    markdown: Path | None = None
    """Write the table as Markdown."""


@dataclass(frozen=True)
class PredictOptions:
    """The five most probable classes of images."""

    inputs: ModelAndImages
    """A run or weight file, then images or folders of images."""
    top: int = 5
    """Classes per image."""
    test_scale: int | None = None
    """Q; by default the net's S."""
    device: str = "auto"
    """As for train."""
    precision: InferencePrecisionName = "auto"
    """As for train; or int8, on a CPU and for models that `quantize` wrote."""
    json: Path | None = None
    """Write the predictions there, too."""
