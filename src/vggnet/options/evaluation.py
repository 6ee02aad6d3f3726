"""Options of evaluate and predict. Field texts are the help texts; those of shared options are theirs (`common`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

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
    switch,
)

_TextFile = Annotated[Path | None, option(default="not written")]


@dataclass(frozen=True)
class EvaluateOptions:
    """Measure the error of nets on labelled images by the paper's test protocol (Sect. 3.2); several nets are fused.

    For a folder of images without labels, print the five most probable classes of each image."""

    inputs: ModelsAndData
    """Models (runs, model folders, weight files, or names such as oxford/D), then the data, whose val images count."""
    module: Annotated[tuple[str, ...], option(default="none", metavar="PACKAGE:FUNCTION...")] = ()
    """Also test classifiers of other libraries: functions that return a torch.nn.Module, such as
    torchvision.models:resnet18 or 'mynets:resnet(depth=18)'. Their code runs."""
    preprocessing: Annotated[str | None, option(default="as the module states")] = None
    """The pixels that the modules take: torchvision, caffe, paper, tf, unit, or a JSON file (docs/weights.md)."""
    classes: Annotated[Path | None, option(default="as the module states")] = None
    """A file of the modules' class names in the order of their outputs: a name a line, or a JSON list; or imagenet."""
    crop: Annotated[int | None, option(default="as the module states, else 224")] = None
    """Side in pixels of the crops that the modules are shown."""
    views: Annotated[tuple[str, ...], option(default="center dense; without labels, dense", metavar="VIEW...")] = ()
    """How images are shown to the nets: dense, crops (5x5 and mirrors), center, ten."""
    test_scale: TestScalesOption = ()
    mirror: MirrorOption = None
    protocol: Annotated[TableName | None, option(default="none")] = None
    """Take views and Q from a table of the paper, in place of --views and --test-scale."""
    against: Annotated[
        str | None,
        option(
            "The row that all others are compared with in paired tests, such as 'A dense Q=73'. Choose it before you "
            "see the errors. The best row is known only afterwards, so its p values are corrected for all row pairs.",
            default="the best row",
            metavar="ROW",
        ),
    ] = None
    device: DeviceOption = "auto"
    precision: InferencePrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: WorkersOption = None
    json: JsonOption = None
    csv: _TextFile = None
    """Write the table, or for images without labels the five classes of each image, as CSV."""
    markdown: _TextFile = None
    """Write the table as Markdown."""
    report: Annotated[bool, tyro.conf.FlagConversionOff, switch("report", default="--no-report")] = False
    """Write report.html, with figures and the images that go wrong: beside --json, else into the first run folder."""
    per_image: _TextFile = None
    """Write what each row of the table answered for each image, as CSV: the true class, right or wrong, five classes
    with their posteriors."""


@dataclass(frozen=True)
class PredictOptions:
    """Print the most probable classes of images."""

    inputs: ModelAndImages
    """A model (a run, a model folder, a weight file, or a name such as vgg16), then images or folders of images."""
    top: int = 5
    """Number of classes for each image."""
    test_scale: TestScaleOption = None
    mirror: MirrorOption = None
    device: DeviceOption = "auto"
    precision: InferencePrecisionOption = "auto"
    bad_images: BadImagesOption = "stop"
    workers: PredictWorkersOption = None
    json: JsonOption = None
    csv: _TextFile = None
    """Write the classes of each image with their posteriors, as CSV."""
