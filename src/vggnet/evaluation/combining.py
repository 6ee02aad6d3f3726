"""Combine the stored posteriors of views and nets into those of a table's rows (Sect. 3.2, 4.4).

Shapes: n images, K classes.
"""

from collections.abc import Sequence

import numpy as np

from vggnet.evaluation.metrics import combine
from vggnet.evaluation.protocols import Combination
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View

CACHED_BYTES = 2**31  # posteriors that are held in memory between rows


class RowPosteriors:
    """Posteriors of rows, read from the stores of their nets and cached in memory up to CACHED_BYTES.

    `orders[first, other]` are the places of net `first`'s classes among the outputs of net `other`. `present` (N,) are
    the images that every view of every net could use: all rows count these.
    """

    def __init__(
        self, stores: Sequence[Store], rows: Sequence[Combination], orders: dict[tuple[int, int], np.ndarray]
    ) -> None:
        self.stores, self.orders = stores, orders
        self._cached: dict[tuple[int, View], np.ndarray] = {}
        self._bytes = 0
        self.present = np.ones(len(stores[0].keys.split), bool)
        for place, view in {(place, view): None for row in rows for place, views in row.members for view in views}:
            self.present &= self._read(place, view)[1]

    def of(self, row: Combination) -> np.ndarray:
        """Return the mean posteriors (n, K) of the images present, in the class order of the row's first net."""
        first = row.members[0][0]
        nets = []
        for place, views in row.members:
            mean = combine(self._posteriors(place, view) for view in views)
            nets.append(mean if place == first else mean[:, self.orders[first, place]])
        return combine(nets)[self.present]

    def _posteriors(self, place: int, view: View) -> np.ndarray:
        cached = self._cached.get((place, view))
        return self._read(place, view)[0] if cached is None else cached

    def _read(self, place: int, view: View) -> tuple[np.ndarray, np.ndarray]:
        posteriors, present = self.stores[place].read(view)
        if self._bytes + posteriors.nbytes <= CACHED_BYTES:
            self._cached[place, view] = posteriors
            self._bytes += posteriors.nbytes
        return posteriors, present
