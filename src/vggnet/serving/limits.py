"""What a request may cost."""

from dataclasses import dataclass
from typing import Self

from vggnet.options.serving import ServeOptions


@dataclass(frozen=True)
class Limits:
    """Bytes of a file, pixels of an image, seconds of a request, images at once."""

    bytes: int = 20_000_000
    pixels: int = 50_000_000
    seconds: float = 60.0
    images: int = 64

    @classmethod
    def of(cls, options: ServeOptions) -> Self:
        """Return the limits that the options state in millions."""
        millions = 1_000_000
        return cls(
            int(options.max_megabytes * millions),
            int(options.max_megapixels * millions),
            options.max_seconds,
            options.max_images,
        )
