"""Options of evaluate and predict. The text below a field is its help; texts that commands share are in `common`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vggnet.options.choices import TableName
from vggnet.options.common import (
    BadImagesOption,
    DeviceOption,
    EvaluateScalesOption,
    InferencePrecisionOption,
    JsonOption,
    MirrorOption,
    ModelAndImages,
    ModelsAndData,
    PredictWorkersOption,
    TestScaleOption,
    WorkersOption,
    option,
    switch,
)

_TextFile = Annotated[Path | None, option(default="not written")]


@dataclass(frozen=True)
class EvaluateOptions:
    """Measure the error of nets on labelled images by the paper's test protocol (Sect. 3.2).

    Several nets are measured one by one and also fused. (--protocol table3, table4 and table5 print no fusion, table6
    prints only the fusion of all nets.) For a folder of images without labels, print the five most probable
    classes of each image."""

    inputs: Annotated[
        ModelsAndData,
        option(
            "Models (runs, model folders, weight files or names), then the data. With --module, the data alone is "
            "enough. Errors are measured on the val images. A folder without val is measured whole. If a model was "
            "trained on that folder, only the images that were set aside for validation count."
        ),
    ]
    module: Annotated[
        tuple[str, ...],
        option(
            "Also test classifiers of other libraries: functions that return a torch.nn.Module, such as "
            "torchvision.models:resnet18 or 'mynets:resnet(depth=18)'. vggnet imports and runs this code: name "
            "only packages that you trust.",
            default="none",
            metavar="PACKAGE:FUNCTION...",
        ),
    ] = ()
    preprocessing: Annotated[str | None, option(default="as the module states", metavar="NAME")] = None
    """With --module: the input it expects: torchvision, caffe, paper, tf, unit, or a JSON file (docs/weights.md)."""
    classes: Annotated[
        Path | None,
        option(
            "With --module: a file of its class names in the order of its outputs (a name a line, or a JSON "
            "list), or imagenet.",
            default="as the module states",
        ),
    ] = None
    crop: Annotated[int | None, option(default="as the module states, else 224")] = None
    """With --module: the side in pixels of its crops."""
    views: Annotated[
        tuple[str, ...],
        option(
            "How images are shown to the nets. dense: the whole image; center: one crop; ten: crops of the centre and "
            "the four corners; crops: a grid of 5x5 crops. With --mirror, every view but center also "
            "has the mirror images: that makes ten crops for ten, and 50 for crops, at each Q.",
            default="center dense; without labels, dense",
            metavar="VIEW...",
        ),
    ] = ()
    test_scale: EvaluateScalesOption = ()
    mirror: MirrorOption = None
    protocol: Annotated[
        TableName | None,
        option(
            "Take views and Q from a table of the paper, in place of --views. table3: dense at one Q (S, or the middle "
            "of its range if S was jittered); table4: dense at three Q (S - 32, S and S + 32, with 32 in proportion to "
            "the crop; or the ends and the middle of a jittered range); table5: dense, crops, and both together, at "
            "the Q of table4; table6: as table5, with all nets fused. --test-scale gives other Q.",
            default="none",
        ),
    ] = None
    against: Annotated[
        str | None,
        option(
            "Compare all rows with this one, such as 'A dense Q=73', in paired tests, and show by how many points they "
            "differ. Choose it before you see the errors. Without it, all rows are compared with the best row. Since "
            "this row is chosen after the errors are known, the p values are then corrected for all pairs of rows.",
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
    report: Annotated[
        bool,
        tyro.conf.FlagConversionOff,
        switch(
            "report",
            "Write report.html, with figures and wrongly classified images, into the folder of the --json file, else "
            "into the first run folder.",
            default="--no-report",
        ),
    ] = False
    per_image: Annotated[
        _TextFile,
        option(
            "Write the answers of each row of the table, as CSV: for each image the true class, five classes with "
            "their posteriors, and whether the first is right."
        ),
    ] = None


@dataclass(frozen=True)
class PredictOptions:
    """Print the most probable classes of images, by dense evaluation at one Q (Sect. 3.2)."""

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
