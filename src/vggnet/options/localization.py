"""Options of localize train, evaluate and predict. Field texts are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from vggnet.options.common import (
    BadImages,
    DecoderName,
    InferencePrecisionName,
    Mirrored,
    ModelAndImages,
    ModelsAndData,
    PrecisionName,
)


@dataclass(frozen=True)
class LocalizeTrainOptions:
    """Train a net that draws boxes, from a classification run (App. A)."""

    data: Positional[str]
    """As for train, with boxes: the ILSVRC download, or class folders with boxes.csv beside them
    (image,class,xmin,ymin,xmax,ymax); or with --annotations."""
    init_from: Path
    """The classification run or weight file to start from; the last layer starts at random."""
    net: str | None = None
    """By default the net of --init-from; a deeper one takes the layers that staged initialisation takes."""
    boxes: Literal["pcr", "scr"] = "pcr"
    """pcr: a box for each class; scr: one box for all classes."""
    layers: Literal["all", "fc"] = "all"
    """Which layers are fine-tuned: all, or the fully connected ones only."""
    out: Path | None = None
    """The run folder; by default runs/DATA-NET-BOXES."""
    resume: bool = False
    """Continue the run in --out; starts anew where nothing was saved yet."""
    annotations: Path | None = None
    """Where DATA itself has no boxes: a csv, a COCO json, an XML file or a folder of them (VOC, ILSVRC)."""
    val_annotations: Path | None = None
    """Those of the val images, where they are apart."""
    train_scale: tuple[int, ...] = ()
    """S, as for train; by default that of --init-from, in proportion to the crop."""
    crop: int | None = None
    """By default that of --init-from. A larger one sees the same objects on a finer map; fc6 is resized."""
    dropout: float = 0.0
    """On fc6 and fc7. Classification has 0.5; coordinates are learnt much slower with it (docs/localisation.md)."""
    mirror: Mirrored = True
    """Mirror no training crops; else half of them are, unless --init-from was trained without."""
    epochs: int = 20
    """Passes over the training images."""
    batch: int = 256
    """As for train."""
    learning_rate: float = 1e-2
    """Of coordinates in units of the crop; see docs/localisation.md. The paper's 0.001 is for an unknown unit."""
    weight_decay: float = 5e-4
    """As for train."""
    patience: int = 6
    """As for train."""
    init: Literal["glorot", "gaussian", "he"] = "glorot"
    """How the last layer is drawn."""
    seed: int = 0
    """Of everything random."""
    holdout: float = 0.1
    """As for train."""
    device: str = "auto"
    """As for train."""
    precision: PrecisionName = "auto"
    """As for train."""
    bad_images: BadImages = "stop"
    """As for train."""
    bad_boxes: BadImages = "stop"
    """What to do about boxes that are not on their images: stop, or skip (they are counted)."""
    workers: int | None = None
    """As for train."""
    decoder: DecoderName = "auto"
    """As for train."""
    micro_batch: int | None = None
    """As for train."""
    threads: int | None = None
    """As for train."""
    save_every: float = 300.0
    """As for train."""


@dataclass(frozen=True)
class LocalizeEvaluateOptions:
    """Localisation error on val images (Tables 8 and 9); several runs are fused."""

    inputs: ModelsAndData
    """Runs of localize train, then the images with boxes (their val split)."""
    classifier: tuple[Path, ...] = ()
    """Classification runs or weight files: their five best classes name and rate the boxes. Without: Table 8 only."""
    test_scale: tuple[int, ...] = ()
    """Q of both tests, for all runs; by default each run's S."""
    annotations: Path | None = None
    """As for localize train."""
    val_annotations: Path | None = None
    """As for localize train."""
    device: str = "auto"
    """As for train."""
    precision: InferencePrecisionName = "auto"
    """As for evaluate."""
    bad_images: BadImages = "stop"
    """As for train."""
    bad_boxes: BadImages = "stop"
    """As for localize train."""
    workers: int | None = None
    """As for train."""
    json: Path | None = None
    """Write the tables as JSON."""


@dataclass(frozen=True)
class LocalizePredictOptions:
    """Draw the five best (class, box) pairs on images."""

    inputs: ModelAndImages
    """A run of localize train, then images or folders of images."""
    classifier: tuple[Path, ...] = ()
    """As for localize evaluate; needed."""
    out: Path = Path("boxes")
    """A folder for the pictures with their boxes, and boxes.json."""
    test_scale: tuple[int, ...] = ()
    """Q; by default the run's S."""
    top: int = 5
    """Boxes an image."""
    device: str = "auto"
    """As for train."""
    precision: InferencePrecisionName = "auto"
    """As for evaluate."""


@dataclass(frozen=True)
class LocalizeOptions:
    """Where in the image: train nets that draw boxes, test them, use them (App. A)."""

    command: tyro.conf.OmitArgPrefixes[
        tyro.conf.OmitSubcommandPrefixes[
            Annotated[LocalizeTrainOptions, tyro.conf.subcommand("train")]
            | Annotated[LocalizeEvaluateOptions, tyro.conf.subcommand("evaluate")]
            | Annotated[LocalizePredictOptions, tyro.conf.subcommand("predict")]
        ]
    ]
