"""The result of `vggnet transfer`, in words and as JSON."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from vggnet.console import counted, say
from vggnet.errors import BadImage
from vggnet.evaluation.metrics import PairedTest
from vggnet.files import json_text
from vggnet.transfer_learning.beside_paper import BesidePaper
from vggnet.transfer_learning.protocols import PrecisionResult, RecallResult
from vggnet.transfer_learning.svm_head import Head

_NOT_COUNTED = "not counted: the class has no positive, or no negative, image"


@dataclass(frozen=True)
class Against:
    """The result of a baseline on the same splits, and a paired test for each split, with the model as the first."""

    name: str
    result: RecallResult
    paired: tuple[PairedTest, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; recalls are in percent."""
        return {
            "name": self.name,
            "mean_class_recall": self.result.mean_class_recall,
            "deviation": self.result.deviation,
            "paired": [dataclasses.asdict(test) for test in self.paired],
        }


@dataclass(frozen=True)
class TransferReport:
    """Recalls (Caltech) or average precisions (VOC, actions), and what they depend on (`facts`, JSON values)."""

    result: RecallResult | PrecisionResult
    against: tuple[Against, ...]
    bad: tuple[BadImage, ...]
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()
    paper: BesidePaper | None = None
    head: Head | None = None

    def to_json(self) -> str:
        """Return `to_dict` as text."""
        return json_text(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values in percent: `mean_class_recall` (Caltech), or `mean_average_precision` (area)."""
        if isinstance(self.result, RecallResult):
            numbers: dict[str, Any] = {
                "mean_class_recall": self.result.mean_class_recall,
                "deviation": self.result.deviation,
                "splits": [
                    {
                        "mean_class_recall": split.mean_class_recall,
                        "cost": split.cost,
                        "train_images": split.train_images,
                        "test_images": len(split.wrong),
                    }
                    for split in self.result.splits
                ],
                "against": [each.to_dict() for each in self.against],
            }
        else:
            rows = zip(self.result.classes, self.result.eleven_point, self.result.area, strict=True)
            numbers = {
                "mean_average_precision": _counted(self.result.mean_area),
                "mean_average_precision_11_points": _counted(self.result.mean_eleven_point),
                "cost": self.result.cost,
                "classes": {
                    name: {"area": _counted(area), "11_points": _counted(points)} for name, points, area in rows
                },
            }
        more = {
            "paper": self.paper.to_dict() if self.paper is not None else None,
            "bad_images": [str(error) for error in self.bad],
            "notes": list(self.notes),
            "head": None if self.head is None else self.head.to_dict(),
        }
        return numbers | more | self.facts

    def print(self) -> None:
        """Print the images left out, the result, the paper's beside it, and notes."""
        for error in self.bad:
            say(f"left out: {error}")
        for line in self.lines():
            say(line)

    def lines(self) -> list[str]:
        """Return the result in words, the paper's beside it, and notes."""
        paper = [] if self.paper is None else [self.paper.line()]
        head = [] if self.head is None else [self.head.line()]
        return [*self._numbers(), *paper, *self.notes, *head]

    def _numbers(self) -> list[str]:
        if isinstance(self.result, PrecisionResult):
            result = self.result
            if math.isnan(result.mean_area):
                return [f"{counted(len(result.classes), 'class')} learnt, C={result.cost:g}"]
            lines = [
                f"  {name:20} " + (_NOT_COUNTED if math.isnan(area) else f"{area:6.2f}")
                for name, area in zip(result.classes, result.area, strict=True)
            ]
            both = f"mean average precision {result.mean_area:.2f} (area), {result.mean_eleven_point:.2f} (11 points)"
            return [*lines, f"{both}, C={result.cost:g}"]
        costs = ", ".join(f"{split.cost:g}" for split in self.result.splits)
        lines = [f"mean class recall {_recall(self.result)}; C={costs}"]
        for each in self.against:
            worst = max(test.p_value for test in each.paired)
            lines.append(f"{each.name}: {_recall(each.result)}; paired, the largest p of the splits: {worst:.2g}")
        return lines


def _counted(value: float) -> float | None:
    """Return `value`, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def _recall(result: RecallResult) -> str:
    return f"{result.mean_class_recall:.2f} % +- {result.deviation:.2f} over {counted(len(result.splits), 'split')}"
