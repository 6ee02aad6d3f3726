"""Find the row of the paper's Tables 8 and 9 for a row of ours, and list what is not as in the paper.

S and Q of the paper are scaled in proportion to the crop, as in the tables of classification (`evaluation.protocols`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vggnet.description import ModelDescription
from vggnet.evaluation.protocols import architecture_differences
from vggnet.paper.recipes import scaled_px
from vggnet.paper.results import TABLE_8, TABLE_9, LocalizationRow

NET = "D"  # the net of all rows of both tables
FINE_TUNED = {"fc": "first and second FC", "all": "all"}


@dataclass(frozen=True)
class Beside:
    """A row of the paper, and what differs from it."""

    paper: LocalizationRow
    differences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The differences in one line; empty where there is none."""
        return ", ".join(self.differences)


def beside_table_8(net: ModelDescription, test_scale: int | None) -> Beside | None:
    """Return the row of Table 8 with the same boxes and fine-tuned layers; None where the paper has no such row."""
    wanted = (net.boxes.upper(), _fine_tuned(net))
    row = next((row for row in TABLE_8 if (row.regression, row.fine_tuned) == wanted), None)
    return None if row is None else Beside(row, _differences(row, [net], [(test_scale,) if test_scale else ()]))


def beside_table_9(nets: Sequence[ModelDescription], test_scales: Sequence[tuple[int, ...]], merging: str) -> Beside:
    """Return the row of Table 9 that fits best: of one net or of several, then by S and Q.

    `test_scales[i]` are the Q of net i; `merging` is how boxes were merged (the paper's is OverFeat's).
    """
    rows = [row for row in TABLE_9 if (len(row.train_scales) > 1) == (len(nets) > 1)]
    found = [Beside(row, _differences(row, nets, test_scales)) for row in rows]
    best = min(found, key=lambda each: (len(each.differences), _distance(each.paper, nets, test_scales)))
    more = () if merging == "overfeat" else ("merging",)
    return Beside(best.paper, best.differences + more)


def _differences(
    row: LocalizationRow, nets: Sequence[ModelDescription], test_scales: Sequence[tuple[int, ...]]
) -> tuple[str, ...]:
    differences = []
    if any(net.architecture.net != NET for net in nets):
        differences.append("net")
    if len(nets) != len(row.train_scales):
        differences.append(f"{len(nets)} nets")
    if any(net.boxes.upper() != row.regression for net in nets):
        differences.append("boxes")
    if any(_fine_tuned(net) != row.fine_tuned for net in nets):
        differences.append("fine-tuned layers")
    crop = nets[0].architecture.crop_px  # nets of different crops are not fused
    if sorted(net.train_scale for net in nets) != _scaled([(scale,) for scale in row.train_scales], crop):
        differences.append("S")
    if sorted(tuple(sorted(each)) for each in test_scales) != _scaled(_scales_by_net(row), crop):
        differences.append("Q")
    for net in nets:
        differences += architecture_differences(net)
        differences += [] if net.policy.mirror else ["no mirrored crops in training"]
    return tuple(dict.fromkeys(differences))


def _distance(
    row: LocalizationRow, nets: Sequence[ModelDescription], test_scales: Sequence[tuple[int, ...]]
) -> tuple[int, float]:
    """Return how far a row of other S or Q is: the difference in the number of Q, then in the mean S."""
    crop = nets[0].architecture.crop_px
    ours = [scale for net in nets for scale in net.train_scale]
    theirs = [scaled_px(scale, crop) for scale in row.train_scales]
    apart = abs(sum(ours) / len(ours) - sum(theirs) / len(theirs)) if ours else 0.0
    return abs(sum(map(len, test_scales)) - sum(map(len, _scales_by_net(row)))), apart


def _scales_by_net(row: LocalizationRow) -> tuple[tuple[int, ...], ...]:
    return row.scales_by_net or (row.test_scales,)


def _scaled(lists: Sequence[tuple[int, ...]], crop: int) -> list[tuple[int, ...]]:
    return sorted(tuple(scaled_px(scale, crop) for scale in each) for each in lists)


def _fine_tuned(net: ModelDescription) -> str | None:
    return FINE_TUNED.get(str(net.recipe.get("layers")))
