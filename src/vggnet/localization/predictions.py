"""The boxes that `vggnet localize predict` finds: for people, for drawing and as JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vggnet.console import say


@dataclass(frozen=True)
class LabelledBox:
    """A box with its class: the class's name, readable title and posterior; inclusive pixel corners on the image."""

    name: str
    title: str
    posterior: float
    xmin: int
    ymin: int
    xmax: int
    ymax: int


@dataclass(frozen=True)
class ImageBoxes:
    """The boxes of one image, the most probable class first, and the picture that shows them, where it was drawn."""

    image: str
    boxes: tuple[LabelledBox, ...]
    picture: Path | None = None


@dataclass(frozen=True)
class BoxPredictions:
    """The boxes of several images, in the order of the images."""

    images: tuple[ImageBoxes, ...]

    def to_dict(self) -> list[dict[str, Any]]:
        """Return JSON values: for each image its path, its picture (None: not drawn) and its boxes."""
        return [
            {
                "image": each.image,
                "picture": None if each.picture is None else str(each.picture),
                "boxes": [asdict(box) for box in each.boxes],
            }
            for each in self.images
        ]

    def print(self) -> None:
        """Print each image with its picture, and a line for each box."""
        for each in self.images:
            say(each.image if each.picture is None else f"{each.image} -> {each.picture}")
            for box in each.boxes:
                corners = f"{box.xmin} {box.ymin} {box.xmax} {box.ymax}"
                say(f"  {100 * box.posterior:5.1f} %  {box.title}: {corners}")
