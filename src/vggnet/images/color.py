"""Mean RGB and PCA of RGB over a training set, and Krizhevsky's colour shift.

All values are gray levels, 0 to 255. The "random RGB colour shift" of Sect. 3.1 is that of Krizhevsky et al. 2012,
Sect. 4.1, second form.
"""

from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import numpy as np

from vggnet.description import Rgb, rgb

STORED_AS = "colors"  # the name of the statistics in a description's recipe
_MOST_PIXELS = 1 << 20  # of an image that enter the sums; a larger one is sampled on a regular grid


@dataclass(frozen=True)
class ColorStatistics:
    """Mean and deviation by channel of RGB pixels in 0..255, and the principal axes of their covariance.

    `eigenvalues` (variances) descend; column i of `eigenvectors` (three rows of three) is the axis of eigenvalue i,
    its sign chosen so that its largest component is positive.
    """

    mean: Rgb
    deviation: Rgb
    eigenvalues: Rgb
    eigenvectors: tuple[Rgb, Rgb, Rgb]

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as lists and numbers."""
        return {
            "mean": list(self.mean),
            "deviation": list(self.deviation),
            "eigenvalues": list(self.eigenvalues),
            "eigenvectors": [list(row) for row in self.eigenvectors],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ColorStatistics":
        """Invert `to_dict`. Raises KeyError, TypeError or ValueError for other values."""
        rows = values["eigenvectors"]
        first, second, third = (rgb(row) for row in rows)
        mean, deviation, eigenvalues = (rgb(values[key]) for key in ("mean", "deviation", "eigenvalues"))
        return cls(mean, deviation, eigenvalues, (first, second, third))


@dataclass(frozen=True)
class ColorSums:
    """Sums over images, float64, of each image's mean pixel and mean products of channels.

    Each image has the same weight whatever its size, because training uses one crop of each image.
    """

    count: int = 0
    sum: np.ndarray = field(default_factory=lambda: np.zeros(3))  # (3,)
    products: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))

    @classmethod
    def of_image(cls, pixels: np.ndarray) -> "ColorSums":
        """Return the sums of one image, uint8 (H, W, 3)."""
        height, width = pixels.shape[:2]
        step = 1 + isqrt((height * width - 1) // _MOST_PIXELS)
        values = pixels[::step, ::step].reshape(-1, 3).astype(np.float32).T.copy()
        # Products of bytes are exact in float32, and numpy adds them in pairs: 1e-6 relative at worst.
        products = np.empty((3, 3))
        for row in range(3):
            for column in range(row, 3):
                products[row, column] = products[column, row] = np.mean(values[row] * values[column])
        return cls(1, values.mean(axis=1).astype(np.float64), products)

    def __add__(self, other: "ColorSums") -> "ColorSums":
        return ColorSums(self.count + other.count, self.sum + other.sum, self.products + other.products)

    def statistics(self) -> ColorStatistics:
        """Return mean, deviation and principal axes. Raises ValueError where no image was added."""
        if not self.count:
            raise ValueError("no image was counted: there is no mean colour")
        mean = self.sum / self.count
        covariance = self.products / self.count - np.outer(mean, mean)
        eigenvalues, eigenvectors = np.linalg.eigh(covariance)
        eigenvalues, eigenvectors = np.clip(eigenvalues[::-1], 0.0, None), eigenvectors[:, ::-1]
        largest = eigenvectors[np.abs(eigenvectors).argmax(axis=0), np.arange(3)]
        eigenvectors = eigenvectors * np.where(largest < 0, -1.0, 1.0)
        deviation = np.sqrt(np.clip(np.diag(covariance), 0.0, None))
        first, second, third = (rgb(row) for row in eigenvectors)
        return ColorStatistics(rgb(mean), rgb(deviation), rgb(eigenvalues), (first, second, third))


def color_shift(statistics: ColorStatistics, normals: np.ndarray, sigma: float) -> np.ndarray:
    """Return the shift that is added to every pixel of one image: float32 (3,), gray levels.

    `normals` are three draws from N(0, 1).

    Along principal axis i the shift is sigma * normal_i * sqrt(eigenvalue_i), a part of the axis's standard deviation.
    Krizhevsky's text multiplies by the eigenvalue itself, which depends on the unit of the pixels (for ILSVRC's
    pixels in 0..1, as common code has it, the first axis moves half as much). The standard deviation has no such unit.
    """
    axes = np.asarray(statistics.eigenvectors)
    return (axes @ (sigma * normals * np.sqrt(statistics.eigenvalues))).astype(np.float32)
