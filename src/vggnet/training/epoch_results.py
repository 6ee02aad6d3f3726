"""Tell whether an epoch is the best so far, write its TensorBoard events, and make the line that is printed."""

import math
from collections.abc import Callable
from pathlib import Path

from vggnet.console import note
from vggnet.errors import is_installed
from vggnet.training.checkpoints import TrainingProgress

Row = dict[str, float]  # a row of metrics.csv
# what the first rank calls after an epoch: the run's folder, where the training stands, the epochs at most
AfterEpoch = Callable[[Path, TrainingProgress, int], object]
# what every rank calls after a step, and after the step's save where one was due: where the training stands
AfterStep = Callable[[TrainingProgress], object]


def is_best_so_far(judged: dict[str, float], best: dict[str, float]) -> bool:
    """Whether the figures of an epoch are no worse than the best ones before: by error, then by loss."""
    before = (best.get("error", math.inf), best.get("loss", math.inf))
    return (judged["error"], judged.get("loss", 0.0)) <= before


def write_events(folder: Path, row: Row) -> None:
    """Write the figures of an epoch as events of TensorBoard, where that is installed."""
    if not is_installed("tensorboard"):
        note("events/ is not written, since it needs tensorboard: pip install 'vggnet[tensorboard]'")
        return
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and only the first rank needs it

    epoch = int(row["epoch"])
    with SummaryWriter(folder, purge_step=epoch) as events:
        for name, value in row.items():
            events.add_scalar(name, value, epoch)


def describe_epoch(row: Row, judged: dict[str, float], epochs: int, *, is_best: bool) -> str:
    """Return the line that is printed after an epoch."""
    unit = {"error": " %"}
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.4g}{unit.get(name, '')}" for name, value in judged.items())
    return (
        f"epoch {row['epoch']}/{epochs}: train loss {row['train_loss']:.3f}, train error {row['train_error']:.1f} %, "
        f"held out: {figures}; {row['images_per_s']:.0f} images/s" + (" (best so far)" if is_best else "")
    )
