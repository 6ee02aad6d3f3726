"""Five classes an image where there are no labels, as ILSVRC's submissions are.

Shapes: n images, K classes.
"""

import csv
import io
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console

from vggnet.console import rich_console
from vggnet.description import ModelDescription
from vggnet.errors import BadImage, Diverged, UserError

Guess = tuple[str, str, float]  # class, its readable name, posterior
SHOWN = 10  # images that `print` lists


def best_classes(posteriors: np.ndarray, description: ModelDescription, top: int) -> list[list[Guess]]:
    """The `top` classes of each image: posteriors (n, K) -> n lists, the most probable first (equals by index).

    Raises UserError where the net does not name its classes, or its posteriors are not finite.
    """
    if not description.classes:
        raise UserError("the model does not name its classes, so there is nothing to call its outputs")
    if not np.isfinite(posteriors).all():
        raise Diverged(f"the posteriors are not finite; {Diverged.RETRAIN}")
    order = np.argsort(-posteriors, axis=1, kind="stable")[:, :top]
    return [
        [(description.classes[k], description.title(k), float(row[k])) for k in best.tolist()]
        for row, best in zip(posteriors, order, strict=True)
    ]


@dataclass(frozen=True)
class Submission:
    """`guesses[i]` are the five classes of `images[i]` (fewer where the net has fewer); `protocol` is how.

    `notes` are the sentences below the result.
    """

    protocol: str
    images: tuple[str, ...]
    guesses: tuple[tuple[Guess, ...], ...]
    expected: int
    bad: tuple[BadImage, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_csv(self) -> str:
        """One line an image: image, five classes, their posteriors."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        count = max((len(guess) for guess in self.guesses), default=0)
        numbers = range(1, count + 1)
        writer.writerow(["image", *(f"class_{i}" for i in numbers), *(f"posterior_{i}" for i in numbers)])
        for image, guess in zip(self.images, self.guesses, strict=True):
            writer.writerow([image, *(name for name, _, _ in guess), *(f"{p:.6f}" for _, _, p in guess)])
        return text.getvalue()

    def to_json(self) -> str:
        """Everything, for programs."""
        images = [
            {"image": image, "classes": [{"class": name, "title": title, "posterior": p} for name, title, p in guess]}
            for image, guess in zip(self.images, self.guesses, strict=True)
        ]
        bad = [{"path": error.path, "reason": error.reason} for error in self.bad]
        content = {"protocol": self.protocol, **self.facts, "expected": self.expected, "images": images}
        content["notes"] = list(self.notes)
        return json.dumps({**content, "bad_images": bad}, indent=2) + "\n"

    def to_markdown(self) -> str:
        """A Markdown table of images and their best classes."""
        lines = [f"**{self.protocol}**", "", "| image | classes |", "| --- | --- |"]
        for image, guess in zip(self.images, self.guesses, strict=True):
            lines.append(f"| {image} | {', '.join(f'{title} {p:.2f}' for _, title, p in guess)} |")
        lines += [""] if self.notes else []
        return "\n".join([*lines, *self.notes]) + "\n"

    def print(self, console: Console | None = None) -> None:
        """Print the first images; all of them are in the CSV."""
        console = console or rich_console()

        def say(line: str) -> None:
            console.print(line, markup=False, soft_wrap=True)

        say(f"{self.protocol}: {len(self.images)} of {self.expected} images, without labels")
        for image, guess in list(zip(self.images, self.guesses, strict=True))[:SHOWN]:
            say(f"  {image}: {', '.join(f'{title} {p:.2f}' for _, title, p in guess)}")
        if len(self.images) > SHOWN:
            say(f"  and {len(self.images) - SHOWN} more, which --csv FILE writes, too")
        for error in self.bad:
            say(f"  not used: {error}")
        for line in self.notes:
            say(line)
