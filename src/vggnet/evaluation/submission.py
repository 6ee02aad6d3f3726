"""The best classes of images without labels: records, CSV (as ILSVRC's submissions) and JSON.

Shapes: n images, K classes.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console

from vggnet.console import html_table, rich_console
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.metrics import refuse_not_finite
from vggnet.evaluation.other_classifiers import Description
from vggnet.files import json_text

SHOWN = 10  # images that `print` lists


@dataclass(frozen=True)
class ClassGuess:
    """A class that an image may be of: its name in the data (n01440764), its readable title, its posterior (0 to 1)."""

    name: str
    title: str
    posterior: float

    @property
    def percent(self) -> str:
        """Return the posterior in percent, as `vggnet predict` prints it: 97.3."""
        return f"{100 * self.posterior:.1f}"


@dataclass(frozen=True)
class Prediction:
    """An image's file, and its most probable classes, the best first."""

    path: str
    classes: tuple[ClassGuess, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the file and its classes as JSON values."""
        classes = [{"class": each.name, "title": each.title, "posterior": each.posterior} for each in self.classes]
        return {"image": self.path, "classes": classes}

    def _repr_html_(self) -> str:
        """Return the classes for a notebook."""
        rows = [(f"{100 * each.posterior:.1f}", each.title, each.name) for each in self.classes]
        return html_table(self.path, ("%", "title", "class"), rows)

    def __str__(self) -> str:
        """Return the titles and posteriors in one line: `cat 0.91, dog 0.05`."""
        return ", ".join(f"{each.title} {each.posterior:.2f}" for each in self.classes)


def best_classes(posteriors: np.ndarray, description: Description, top: int) -> list[tuple[ClassGuess, ...]]:
    """Return the `top` classes of n images, the most probable first, equal ones by index: posteriors (n, K).

    Raises UserError where the net does not name its classes, or its posteriors are not finite.
    """
    if not description.classes:
        raise UserError("the model does not name its classes, so its outputs cannot be named")
    refuse_not_finite(posteriors)
    order = np.argsort(-posteriors, axis=1, kind="stable")[:, :top]
    return [
        tuple(ClassGuess(description.classes[k], description.title(k), float(row[k])) for k in best.tolist())
        for row, best in zip(posteriors, order, strict=True)
    ]


def predictions_csv(predictions: Sequence[Prediction]) -> str:
    """Return CSV text, a line for each image: the file, its best classes, their posteriors."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    count = max((len(each.classes) for each in predictions), default=0)
    numbers = range(1, count + 1)
    writer.writerow(["image", *(f"class_{i}" for i in numbers), *(f"posterior_{i}" for i in numbers)])
    for each in predictions:
        names = [guess.name for guess in each.classes]
        writer.writerow([each.path, *names, *(f"{guess.posterior:.6f}" for guess in each.classes)])
    return text.getvalue()


@dataclass(frozen=True)
class Submission:
    """The five classes of each image (fewer where the net has fewer); `protocol` is the nets, the views and Q.

    `expected` counts the images that were given, `bad` are those that cannot be used; `notes` are the sentences below
    the result.
    """

    protocol: str
    predictions: tuple[Prediction, ...]
    expected: int
    bad: tuple[BadImage, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_csv(self) -> str:
        """Return a line for each image: the file, five classes, their posteriors."""
        return predictions_csv(self.predictions)

    def to_json(self) -> str:
        """Return `to_dict` as text."""
        return json_text(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        images = [each.to_dict() for each in self.predictions]
        bad = [{"path": error.path, "reason": error.reason} for error in self.bad]
        content = {"protocol": self.protocol, **self.facts, "expected": self.expected, "images": images}
        content["notes"] = list(self.notes)
        return {**content, "bad_images": bad}

    def to_markdown(self) -> str:
        """Return a Markdown table of images and their best classes."""
        lines = [f"**{self.protocol}**", "", "| image | classes |", "| --- | --- |"]
        lines += [f"| {each.path} | {each} |" for each in self.predictions]
        lines += [""] if self.notes else []
        return "\n".join([*lines, *self.notes]) + "\n"

    def print(self, console: Console | None = None) -> None:
        """Print the first SHOWN images; `to_csv` has all of them."""
        console = console or rich_console()

        def say(line: str) -> None:
            console.print(line, markup=False, soft_wrap=True)

        say(f"{self.protocol}: {len(self.predictions)} of {self.expected} images, without labels")
        for each in self.predictions[:SHOWN]:
            say(f"  {each.path}: {each}")
        if len(self.predictions) > SHOWN:
            say(f"  and {len(self.predictions) - SHOWN} more; all of them are in the CSV and in the JSON")
        for error in self.bad:
            say(f"  not used: {error}")
        for line in self.notes:
            say(line)
