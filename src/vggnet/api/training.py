"""Train classifiers from Python, and judge the weights that a training starts from: `train`, `ladder`, `diagnose`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vggnet.api.arguments import like_command, options_of
from vggnet.network.diagnosis import Diagnosis
from vggnet.options.choices import (
    BadImages,
    DecoderName,
    ExchangeFormat,
    ImageCheck,
    InitMethod,
    OnDivergence,
    Orientation,
    PrecisionName,
    StepName,
)
from vggnet.options.training import DiagnoseOptions, LadderOptions, TrainOptions
from vggnet.reporting.unasked import finish_training, refreshed
from vggnet.training.classification import TrainResult, train_classifier
from vggnet.training.diagnosing import diagnose_on_images
from vggnet.training.ladder import StageResult
from vggnet.training.ladder import ladder as run_ladder


@like_command(TrainOptions)
def train(
    data: str | Path,
    *,
    out: str | Path,
    net: str | None = None,
    resume: bool = False,
    data_changed: bool = False,
    init: InitMethod = "glorot",
    sigma: float = 0.01,
    init_from: str | Path | None = None,
    new_head: bool | None = None,
    train_from: str | None = None,
    head_learning_rate: float | None = None,
    train_scale: int | Sequence[int] = (),
    crop: int | None = None,
    width: float | None = None,
    batch_norm: bool | None = None,
    dropout: float = 0.5,
    divide: bool = False,
    mirror: bool | None = None,
    orientation: Orientation | None = None,
    pixel_range: tuple[int, int] | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float = 5e-4,
    patience: int | None = None,
    seed: int = 0,
    holdout: float = 0.1,
    check: ImageCheck | None = None,
    leave_out: str | Path | None = None,
    device: str = "auto",
    precision: PrecisionName = "auto",
    bad_images: BadImages = "stop",
    workers: int | None = None,
    decoder: DecoderName = "auto",
    micro_batch: int | None = None,
    threads: int | None = None,
    step: StepName = "auto",
    on_divergence: OnDivergence = "stop",
    exchange: ExchangeFormat = "fp32",
    save_every: float = 300.0,
    keep: int = 2,
    report: bool = True,
) -> TrainResult:
    """Train one net on your images (Sect. 3.1), as `vggnet train` does, and print the progress.

    Returns:
        The run folder, the errors on val by view ("center", "dense"; empty without labelled val), epochs, seconds.

    Raises:
        UserError: for images, weights or arguments that cannot be used; BadImage for a single image.

    Example:
        >>> result = vggnet.train("photos", net="A", width=0.1, crop=32, epochs=2, batch=16, out="runs/A")
    """
    options = options_of(TrainOptions, locals())
    result = train_classifier(options, refreshed(None, options.machine.report))
    finish_training(result.run, options.machine)
    return result


@like_command(LadderOptions)
def ladder(
    data: str | Path,
    *,
    out: str | Path,
    preset: Literal["desk", "paper"] = "desk",
    shallow: str = "A",
    nets: str | Sequence[str] = ("D", "E"),
    crop: int | None = None,
    width: float | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    init: InitMethod | None = None,
    batch_norm: bool = False,
    mirror: bool = True,
    orientation: Orientation | None = None,
    pixel_range: tuple[int, int] | None = None,
    seed: int = 0,
    check: ImageCheck | None = None,
    leave_out: str | Path | None = None,
    device: str = "auto",
    precision: PrecisionName = "auto",
    bad_images: BadImages = "stop",
    data_changed: bool = False,
    workers: int | None = None,
    decoder: DecoderName = "auto",
    micro_batch: int | None = None,
    threads: int | None = None,
    step: StepName = "auto",
    on_divergence: OnDivergence = "stop",
    exchange: ExchangeFormat = "fp32",
    save_every: float = 300.0,
    keep: int = 2,
    report: bool = True,
) -> list[StageResult]:
    """Train a shallow net, then deeper nets that start with its layers (Sect. 3.1), and print the progress.

    Finished stages of an earlier call are not trained again.

    Returns:
        The stages in order: `stage.name`, `progress` (epochs, held-out errors in percent, seconds) and `errors` on val
        by view ("center", "dense").

    Raises:
        UserError: for images or arguments that cannot be used; BadImage for a single image.

    Example:
        >>> small = {"width": 0.1, "crop": 32, "epochs": 1, "batch": 16}
        >>> stages = vggnet.ladder("photos", nets=["D"], out="runs/ladder", **small)
        >>> [each.stage.name for each in stages]
        ['A-S37', 'D-S37', 'D-S37-73']
    """
    options = options_of(LadderOptions, locals())
    results = run_ladder(options, refreshed(options.out, options.machine.report))
    finish_training(options.out, options.machine)
    return results


@like_command(DiagnoseOptions)
def diagnose(
    data: str | Path = "scenes",
    *,
    net: str = "D",
    init: InitMethod = "glorot",
    sigma: float = 0.01,
    init_from: str | Path | None = None,
    crop: int | None = None,
    width: float = 1.0,
    batch_norm: bool = False,
    divide: bool = False,
    images: int = 16,
    learning_rate: float = 0.01,
    seed: int = 0,
    device: str = "auto",
) -> Diagnosis:
    """Judge whether training can start from a net's weights, by each layer's signal and gradient on a few images.

    Returns:
        The layers in the paper's order, the loss, `verdict` ("learns", "vanishes" or "explodes"), and the reason in
        `words`.

    Raises:
        UserError: for images, weights or arguments that cannot be used.

    Example:
        >>> found = vggnet.diagnose("photos", net="E", init="gaussian", width=0.1, crop=32)
        >>> found.verdict
        'vanishes'
    """
    return diagnose_on_images(options_of(DiagnoseOptions, locals())).diagnosis
