"""Descriptors of images and classifiers on them, from Python (Appendix B): `descriptors`, `transfer`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vggnet.api.arguments import like_command, options_of, several
from vggnet.api.evaluation import TEXTS, Model
from vggnet.options.choices import BadImages, Competition, Pool, PrecisionName, Regions, TransferProtocol
from vggnet.options.transfer import FeaturesOptions, TransferOptions
from vggnet.training.distributed import among_ranks
from vggnet.transfer_learning.descriptors import settings_from
from vggnet.transfer_learning.report import TransferReport
from vggnet.transfer_learning.transferring import transfer_with
from vggnet.transfer_learning.writing import ImageDescriptors, check_suffix, describe_data, write_descriptors

_TEXTS = TEXTS | {
    "models": "A run folder, a model folder, a weight file or a name; or several, whose descriptors are stacked."
}


@like_command(
    FeaturesOptions,
    **_TEXTS,
    data="A folder of images, with class folders or without.",
    out="A file to write them to: .npz (descriptors, files, labels, classes) or .csv. (default: not written)",
)
def descriptors(
    models: Model | Sequence[Model],
    data: str | Path,
    *,
    out: str | Path | None = None,
    layer: str = "fc7",
    test_scale: int | Sequence[int] = (),
    mirror: bool | None = None,
    pool: Pool = "stack",
    device: str = "auto",
    precision: PrecisionName = "auto",
    bad_images: BadImages = "stop",
    workers: int | None = None,
    on_progress: Callable[[int, int, str], Any] | None = None,
) -> ImageDescriptors:
    """Return descriptors of images: the activations of a layer, averaged and L2-normalised (App. B).

    The average is over all positions and over the image and its mirror image. `vggnet features` writes the same to a
    file. `vggnet.features` returns the activations of single positions.

    Returns:
        `values` float32 (N, D), `files` (N), `labels` int64 (N) and `classes`, or None and () without class folders.
        `notes`: where the images were shown otherwise than in the paper, or do not fit the net's range of pixels.

    Raises:
        UserError: for models, images or arguments that cannot be used; BadImage for a single image.

    Example:
        >>> found = vggnet.descriptors("runs/A", "photos", layer="fc6")
        >>> len(found.files) == len(found.values) == len(found.labels)
        True
        >>> found.values.shape[1] == vggnet.load("runs/A").fc6.out_channels
        True
    """
    options = options_of(FeaturesOptions, locals(), inputs=[*several(models), data], out=out or FeaturesOptions.out)
    if out is not None:
        check_suffix(options.out)
    *paths, images = options.inputs
    with among_ranks(options.device):
        found = describe_data(paths, images, settings_from(options), on_progress)
    if out is not None:
        write_descriptors(found, options.out)
    return found


@like_command(
    TransferOptions,
    **_TEXTS,
    data="Class folders; for the protocols voc and actions one year's folder of the devkit (VOCdevkit/VOC2007).",
)
def transfer(
    models: Model | Sequence[Model],
    data: str | Path,
    *,
    protocol: TransferProtocol = "caltech",
    train_per_class: int | None = None,
    test_per_class: int | None = None,
    splits: int | None = None,
    train_set: str | None = None,
    test_set: str | None = None,
    cost_sets: Sequence[str] = (),
    regions: Regions = "both",
    results: str | Path | None = None,
    competition: Competition | None = None,
    against: str | Sequence[str] = (),
    costs: float | Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0),
    validation: float = 0.2,
    seed: int = 0,
    out: str | Path | None = None,
    layer: str = "fc7",
    test_scale: int | Sequence[int] = (),
    mirror: bool | None = None,
    pool: Pool = "stack",
    device: str = "auto",
    precision: PrecisionName = "auto",
    bad_images: BadImages = "stop",
    workers: int | None = None,
    on_progress: Callable[[int, int, str], Any] | None = None,
) -> TransferReport:
    """Fit linear SVMs on the descriptors of other images, and test them by the paper's protocols (App. B).

    Returns:
        `result`: the mean class recall (caltech), or the average precisions (voc, actions), in percent; `lines()` in
        words, `to_dict()` as JSON values.

    Raises:
        UserError: for models, images or arguments that cannot be used, and for arguments of another protocol; BadImage
            for a single image.

    Example:
        >>> report = vggnet.transfer("runs/A", "photos", train_per_class=4, splits=2)
        >>> 0 <= report.result.mean_class_recall <= 100
        True
    """
    options = options_of(TransferOptions, locals(), inputs=[*several(models), data])
    *paths, images = options.inputs
    with among_ranks(options.device):
        return transfer_with(options, paths, images, on_progress)
