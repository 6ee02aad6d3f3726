"""List the models that have a name, with what their sources state about them (`vggnet nets --pretrained`)."""

from dataclasses import asdict, dataclass
from typing import Any

from vggnet.pretrained.catalogue import PRETRAINED, Pretrained, find
from vggnet.pretrained.resolving import folder_of
from vggnet.pretrained.sources import stated


@dataclass(frozen=True)
class Listed:
    """A model: its names, where it comes from, its input, and its published errors in percent (None: not published).

    `megabytes` is the size of the download. `train_scale` is S, () where unknown.
    """

    name: str
    also: tuple[str, ...]
    net: str
    source: str
    megabytes: float
    input: str
    train_scale: tuple[int, ...]
    top1_error: float | None
    top5_error: float | None
    protocol: str
    licence: str
    cached: bool

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        errors = ("-" if error is None else f"{error:.1f}" for error in (self.top1_error, self.top5_error))
        return (
            self.name,
            self.net,
            f"{self.megabytes:.0f}",
            self.input.partition(",")[0].replace(" of ", " "),
            " to ".join(map(str, self.train_scale)) or "-",
            *errors,
            self.protocol or "-",
            self.licence,
            "yes" if self.cached else "",
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def listed() -> tuple[Listed, ...]:
    """Return every model of the catalogue."""
    return tuple(map(_row, PRETRAINED))


def _row(entry: Pretrained) -> Listed:
    about = stated(find(entry.same_as) or entry)  # timm's weights are torchvision's
    top1, top5, protocol = about.published or (None, None, "")
    return Listed(
        entry.name,
        entry.aliases,
        entry.net + (" (convolutions)" if entry.convolutions_only else ""),
        f"hf-hub:{entry.file}" if entry.source == "hub" else about.remote.url,
        about.remote.megabytes,
        about.convention.describe(),
        entry.train_scale,
        top1,
        top5,
        protocol,
        entry.licence,
        folder_of(entry).is_dir(),
    )
