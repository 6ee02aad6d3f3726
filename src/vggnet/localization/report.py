"""Print the results of both localisation tests beside the rows of the paper's Tables 8 and 9."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vggnet.console import rich_console
from vggnet.description import ModelDescription
from vggnet.evaluation.metrics import Count
from vggnet.evaluation.tables import mark_of
from vggnet.localization.beside_paper import Beside, beside_table_8, beside_table_9
from vggnet.localization.judging import LocalizationErrors

NOTHING = "-"
PAPER = (
    "Paper: net D of width 1, crop 224, ILSVRC-2014 val (50,000 images, 1000 classes), arXiv 1409.1556v6; Table 9's "
    "classes are those of D and E fused, dense and multi-crop."
)
HOW = (
    "Errors with 95 % intervals (Wilson). A box is right above an overlap (intersection over union) of 0.5; several "
    "true boxes of an image: any of them counts."
)


@dataclass(frozen=True)
class CenterRow:
    """A row of test 1: the box of the true class in the centre crop. `net` is None for a baseline without a net."""

    name: str
    net: ModelDescription | None
    test_scale: int | None
    error: Count
    mean_iou: float | None

    @property
    def beside(self) -> Beside | None:
        """Return the row of Table 8 with the same boxes and fine-tuned layers; None for a baseline."""
        return None if self.net is None else beside_table_8(self.net, self.test_scale)

    def cells(self, marks: Mapping[str, str]) -> tuple[str, ...]:
        """Return the row as text. `marks` has a letter for each text of what is not as in the paper."""
        net = self.net
        return (
            self.name,
            net.boxes.upper() if net else NOTHING,
            str(net.recipe.get("layers", NOTHING)) if net else NOTHING,
            _scale(net.train_scale) if net else NOTHING,
            str(self.test_scale or NOTHING),
            self.error.cell(),
            NOTHING if self.mean_iou is None else f"{self.mean_iou:.3f}",
            _paper(self.beside, marks),
        )


@dataclass(frozen=True)
class DenseRow:
    """A row of test 2: merged dense boxes of `nets` for the five best classes of the classifiers.

    `test_scales` are all Q of the row, `by_net` those of each net (empty: all nets have all Q). `merging` names the way
    that boxes were merged (`merging.Merging`).
    """

    name: str
    nets: tuple[ModelDescription, ...]
    test_scales: tuple[int, ...]
    errors: LocalizationErrors
    by_net: tuple[tuple[int, ...], ...] = ()
    merging: str = "overfeat"

    @property
    def beside(self) -> Beside:
        """Return the row of Table 9 that fits best."""
        return beside_table_9(self.nets, self.by_net or (self.test_scales,) * len(self.nets), self.merging)

    def _scales(self) -> str:
        """Return Q as text: one list if all nets have the same Q, else one for each net: `256 + 352,384`."""
        lists = self.by_net if len(set(self.by_net)) > 1 else (self.test_scales,)
        return " + ".join(",".join(map(str, scales)) for scales in lists)

    def cells(self, marks: Mapping[str, str]) -> tuple[str, ...]:
        """Return the row as text. `marks` has a letter for each text of what is not as in the paper."""
        errors = self.errors
        return (
            self.name,
            " + ".join(_scale(net.train_scale) for net in self.nets),
            self._scales(),
            errors.top1.cell(),
            errors.top5.cell(),
            f"{100 * errors.class_top1.rate:.1f}/{100 * errors.class_top5.rate:.1f}",
            f"{errors.mean_iou:.3f}",
            _paper(self.beside, marks),
        )


CENTER_COLUMNS = ("net", "boxes", "fine-tuned", "S", "Q", "error %", "mean overlap", "paper")
DENSE_COLUMNS = ("nets", "S", "Q", "top-1 error %", "top-5 error %", "class top-1/5", "mean overlap", "paper top-5")


@dataclass(frozen=True)
class LocalizationReport:
    """The rows of both tests; `dense` is empty without a classifier. `facts` are further JSON values."""

    data: str
    center: tuple[CenterRow, ...]
    dense: tuple[DenseRow, ...]
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def print(self, console: Console | None = None) -> None:
        """Print both tables, what is not as in the paper, and the notes."""
        console = console or rich_console()
        marks = self._marks()
        title = f"Test 1 on {self.data}: true class, centre crop (as Table 8)"
        _print(console, title, CENTER_COLUMNS, [row.cells(marks) for row in self.center])
        if self.dense:
            title = f"Test 2 on {self.data}: dense, merged, five best classes (as Table 9)"
            _print(console, title, DENSE_COLUMNS, [row.cells(marks) for row in self.dense])
        for text, letter in marks.items():
            console.print(f"{letter}  not as in the paper: {text}", markup=False, soft_wrap=True)
        for line in (HOW, PAPER, *self.notes):
            console.print(line, markup=False, soft_wrap=True)

    def _marks(self) -> dict[str, str]:
        """Return a letter for each text of what is not as in the paper, in the order of the rows."""
        found = [row.beside for row in self.center] + [row.beside for row in self.dense]
        texts = dict.fromkeys(beside.text for beside in found if beside is not None)
        return {text: mark_of(place) for place, text in enumerate(text for text in texts if text)}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; errors are in percent."""
        return {
            "data": self.data,
            **self.facts,
            "test1": [
                {
                    **_described(row.name, (row.net,) if row.net else (), (row.test_scale,) if row.test_scale else ()),
                    "error": row.error.to_dict(),
                    "mean_iou": row.mean_iou,
                    **_beside_json(row.beside),
                }
                for row in self.center
            ],
            "test2": [
                {
                    **_described(row.name, row.nets, row.test_scales),
                    "test_scales_by_net": [list(scales) for scales in row.by_net],
                    "top1": row.errors.top1.to_dict(),
                    "top5": row.errors.top5.to_dict(),
                    "classification_top1": row.errors.class_top1.to_dict(),
                    "classification_top5": row.errors.class_top5.to_dict(),
                    "mean_iou_of_true_class": row.errors.mean_iou,
                    **_beside_json(row.beside),
                }
                for row in self.dense
            ],
            "notes": list(self.notes),
        }


def _print(console: Console, title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    console.print(table)


def _paper(beside: Beside | None, marks: Mapping[str, str]) -> str:
    """Return the paper's number with its mark: `26.9 a`."""
    return NOTHING if beside is None else f"{beside.paper.error:.1f} {marks.get(beside.text, '')}".rstrip()


def _beside_json(beside: Beside | None) -> dict[str, Any]:
    if beside is None:
        return {"paper": None, "not_as_in_the_paper": []}
    return {"paper": beside.paper.error, "not_as_in_the_paper": list(beside.differences)}


def _scale(scale: tuple[int, ...]) -> str:
    return "-".join(map(str, scale)) or NOTHING


def _described(name: str, nets: tuple[ModelDescription, ...], scales: tuple[int, ...]) -> dict[str, Any]:
    return {
        "name": name,
        "nets": [
            {
                "net": net.architecture.net,
                "width": net.architecture.width,
                "crop_px": net.architecture.crop_px,
                "boxes": net.boxes,
                "layers": net.recipe.get("layers"),
                "train_scale": list(net.train_scale),
                "trained_with": asdict(net.policy),
            }
            for net in nets
        ],
        "test_scales": list(scales),
    }
