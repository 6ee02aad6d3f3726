"""Merge boxes as OverFeat does (Sermanet et al. 2013, arXiv 1312.6229, Sect. 4.3), the classes of an image in step.

The two boxes with the smallest match score become one, their mean, until the smallest score exceeds a threshold.

Notable:
- Each box knows the box behind it with the smallest score, so that a step looks at n scores instead of n^2. Where that
  box has merged meanwhile, the score is a lower bound, and is computed anew when it is the smallest.
- All classes take a step together: for 200 boxes a class, NumPy's calls cost more than their arithmetic.

Shapes: T classes, n boxes, T_left classes that are not done.
"""

from dataclasses import dataclass, fields

import numpy as np

THRESHOLD = 0.7  # boxes of one size that are moved by 0.35 of their side
_TINY = 1e-12  # of an area, in square pixels: boxes without one are compared by their centres alone
_ROWS = 10  # of a table of scores that are computed at once: they stay in the processor's cache
_UNKNOWN = -1


def merge_pairs(edges: np.ndarray, scores: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Merge the boxes of each class: edges (T, n, 4), scores (T, n) -> for each class edges (m, 4) and rates (m,)."""
    left = _Boxes.of(edges, scores)
    done: list[tuple[np.ndarray, np.ndarray]] = [(np.empty((0, 4)), np.empty(0))] * len(edges)
    while len(left.classes):
        first = left.least.argmin(1)
        going = left.least[np.arange(len(first)), first] <= THRESHOLD
        if going.all():
            left.step(first)
        else:
            for place in np.flatnonzero(~going).tolist():
                done[left.classes[place, 0]] = left.result(place)
            left = left.only(going)
    return done


def match_scores(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return OverFeat's match scores (...,) of edges (..., 4) and (..., 4), which are broadcast; 0 for equal boxes."""
    edges = np.broadcast_arrays(np.asarray(first, np.float64), np.asarray(second, np.float64))
    corners = [np.moveaxis(each, -1, 0) for each in edges]
    low, high, low_2, high_2 = (part for each in corners for part in (each[:2], each[2:]))
    return _scores(low, high, _area(low, high), low_2, high_2, _area(low_2, high_2))


def _area(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    sides = np.maximum(high - low, 0)
    result: np.ndarray = sides[0] * sides[1]
    return result


def _scores(
    low: np.ndarray, high: np.ndarray, area: np.ndarray, low_2: np.ndarray, high_2: np.ndarray, area_2: np.ndarray
) -> np.ndarray:
    """Return match scores (...,) of corners (2, ...) and areas (...,), which are broadcast."""
    mean_area = area + area_2
    mean_area /= 2
    mean_area = np.maximum(mean_area, _TINY)
    sides = np.minimum(high, high_2) - np.maximum(low, low_2)
    sides = np.maximum(sides, 0, out=sides)
    common = np.maximum(sides[0] * sides[1], _TINY)
    common /= mean_area
    apart = (low + high) - (low_2 + high_2)  # twice the centres' distance along each axis
    apart *= apart
    result: np.ndarray = apart[0] + apart[1]
    result /= mean_area
    result = np.sqrt(result)
    result /= 2
    result += 1
    result -= common
    return result


@dataclass
class _Boxes:
    """The boxes of the classes that are not done. All arrays are C-contiguous, so that flat ones are views."""

    classes: np.ndarray  # int64 (T_left, 1), which these are
    low: np.ndarray  # float64 (2, T_left, n): left and top
    high: np.ndarray  # float64 (2, T_left, n): right and bottom
    area: np.ndarray  # float64 (T_left, n)
    rates: np.ndarray  # float64 (T_left, n)
    gone: np.ndarray  # float64 (T_left, n): infinite for a box that was merged into another one
    least: np.ndarray  # float64 (T_left, n): the smallest score with a box behind this one, or less
    partner: np.ndarray  # int64 (T_left, n): that box; _UNKNOWN where `least` is only a lower bound

    @classmethod
    def of(cls, edges: np.ndarray, scores: np.ndarray) -> "_Boxes":
        classes, count = scores.shape
        low, high = np.array(np.split(edges.transpose(2, 0, 1), 2), np.float64, order="C")
        area, rates = _area(low, high), np.array(scores, np.float64, order="C")
        least, partner = np.full((classes, count), np.inf), np.full((classes, count), _UNKNOWN)
        for start in range(0, count, _ROWS):
            rows, behind = slice(start, start + _ROWS), slice(start, None)
            ours = [each[..., rows, None] for each in (low, high, area)]
            theirs = [each[..., None, behind] for each in (low, high, area)]
            table = _scores(*ours, *theirs)
            table[:, np.arange(table.shape[2]) <= np.arange(table.shape[1])[:, None]] = np.inf
            partner[:, rows], least[:, rows] = table.argmin(2) + start, table.min(2)
        return cls(np.arange(classes)[:, None], low, high, area, rates, np.zeros_like(rates), least, partner)

    def only(self, chosen: np.ndarray) -> "_Boxes":
        """Return the chosen ones, bool (T_left,), of the classes."""
        return _Boxes(*(np.ascontiguousarray(getattr(self, each.name)[..., chosen, :]) for each in fields(self)))

    def result(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the edges (m, 4) and rates (m,) of class `place`."""
        there = self.gone[place] == 0
        edges = np.concatenate([self.low[:, place], self.high[:, place]])[:, there].T
        return edges, self.rates[place, there]

    def step(self, first: np.ndarray) -> None:
        """Merge box `first`, int64 (T_left,), of each class with its partner, or find its partner where unknown."""
        start = np.arange(len(first)) * self.rates.shape[1]  # of each class in flat arrays
        box = start + first
        second = self.partner.ravel()[box]
        known = second != _UNKNOWN
        kept, lost = box[known], (start + second)[known]
        low, high = self.low.reshape(2, -1), self.high.reshape(2, -1)
        for corners in (low, high):
            corners[:, kept] = (corners[:, kept] + corners[:, lost]) / 2
        low, high = low[:, box, None], high[:, box, None]
        area = _area(low, high)
        self.area.ravel()[box] = area[:, 0]
        rates = self.rates.ravel()
        rates[kept] += rates[lost]
        self.gone.ravel()[lost] = np.inf
        scores = _scores(self.low, self.high, self.area, low, high, area)
        scores += self.gone
        self._note(scores, first, second, start)
        self.least.ravel()[lost] = np.inf

    def _note(self, scores: np.ndarray, first: np.ndarray, second: np.ndarray, start: np.ndarray) -> None:
        """Note the scores (T_left, n) of box `first` with all others, after box `second` was merged into it."""
        box = first[:, None]
        self.partner[(self.partner == box) | (self.partner == second[:, None])] = _UNKNOWN
        before = np.arange(scores.shape[1]) < box
        smaller = scores < self.least
        smaller &= before
        np.copyto(self.least, scores, where=smaller)
        np.copyto(self.partner, box, where=smaller)
        scores[before] = np.inf
        scores.ravel()[start + first] = np.inf
        partner = scores.argmin(1)
        self.partner.ravel()[start + first] = partner
        self.least.ravel()[start + first] = scores.ravel()[start + partner]
