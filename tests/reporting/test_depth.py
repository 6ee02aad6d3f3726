"""Error against depth: which nets a line joins, and what else than depth may be the reason of a difference."""

from pathlib import Path

import numpy as np
import pytest

from vggnet.data.splits import ImageData
from vggnet.description import ModelDescription
from vggnet.evaluation.answers import Answers
from vggnet.evaluation.metrics import Count, Errors
from vggnet.evaluation.protocols import Combination
from vggnet.evaluation.tables import Row, Table
from vggnet.evaluation.views import View
from vggnet.paper.configurations import Architecture
from vggnet.reporting.measuring import Measured, MeasuredRow
from vggnet.reporting.results import depth_chart, depth_lines
from vggnet.reporting.sources import Run

IMAGES = 200


def measured_of(*nets: tuple[str, int], source: str | None = None) -> Measured:
    """Return dense rows of nets, "A" or "D-bn", with so many errors of IMAGES; `source`: what the last started from."""
    rows = []
    for place, (name, wrong) in enumerate(nets):
        architecture = Architecture(name[0], 2, 0.04, 32, batch_norm=name.endswith("bn"))
        config = {"init_from": source} if source is not None and place == len(nets) - 1 else {}
        run = Run(Path(name), name, ModelDescription(architecture, classes=("a", "b"), train_scale=(40,)), config)
        truth, places = np.zeros(IMAGES, np.int64), (np.arange(IMAGES) < wrong).astype(np.int64)
        files = tuple(map(str, range(IMAGES)))
        answers = Answers.of("", "", files, ("a", "b"), np.full((IMAGES, 2), 0.5), truth, places)
        row = Row(name, "40", "dense", "40", Errors(Count(wrong, IMAGES), None), IMAGES)
        rows.append(MeasuredRow((run,), Combination(((place, (View("dense", 40),)),)), row, answers))
    return Measured(Table("", ()), tuple(rows), ImageData("", "", (), (), None, None))


@pytest.mark.parametrize(
    ("nets", "source", "said", "lines"),
    [
        (
            [("A", 90), ("D-bn", 30)],
            None,
            [
                "D-bn (16 layers) against A (11 layers): 30.0 points",
                "D-bn also has batch normalisation, which A has not: ",
            ],
            {"fixed S": ["A"], "fixed S, batch normalisation": ["D-bn"]},
        ),
        (
            [("D", 30), ("A-bn", 90)],
            None,
            ["D (16 layers) against A-bn", "A-bn also has batch normalisation, which D has not: depth alone need not"],
            {"fixed S": ["D"], "fixed S, batch normalisation": ["A-bn"]},
        ),
        (
            [("A", 90), ("D-bn", 30), ("B", 50)],
            "A",
            ["B (13 layers) against A (11 layers)", "B started from A, so its layers have learnt for longer."],
            {"fixed S": ["A", "B"], "fixed S, batch normalisation": ["D-bn"]},
        ),
        (
            [("A", 90), ("D", 90)],
            "elsewhere/E",
            ["D (16 layers) against A (11 layers): no difference that 200 images can show."],
            {"fixed S": ["A", "D"]},
        ),
    ],
)
def test_depth_is_the_reason_only_where_nothing_else_differs(
    nets: list[tuple[str, int]], source: str | None, said: list[str], lines: dict[str, list[str]]
) -> None:
    measured = measured_of(*nets, source=source)
    chart = depth_chart(measured)
    assert chart is not None
    assert all(each in chart.says for each in said), chart.says
    assert ("batch normalisation" in chart.says) == ("bn" in chart.says)
    assert ("started from" in chart.says) == (source == "A")
    joined = depth_lines([(row.runs[0], row) for row in measured.rows])
    assert {label: [run.name for run, _ in own] for label, own in joined.items()} == lines
    assert all(label in chart.svg for label in lines)
