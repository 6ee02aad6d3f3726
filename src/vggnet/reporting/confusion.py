"""Which classes are taken for which: the confusion matrix, the most confused pairs, numbers by class, calibration.

Notable:
- Classes are ordered by clustering (average linkage on how often two classes are confused), so that classes which are
  taken for each other stand side by side and form blocks.
- More than MOST_SHOWN classes are joined to groups of neighbours in that order: the matrix of 1,000 classes shows 40
  groups. The list of pairs is that of the classes.

Shapes: n images, K classes, G groups.
"""

from dataclasses import dataclass

import numpy as np

from vggnet.console import counted
from vggnet.description import ModelDescription
from vggnet.evaluation.answers import Answers
from vggnet.evaluation.metrics import Count
from vggnet.reporting.contents import Chart, Grid, Section, Text, section, shortened
from vggnet.reporting.style import INK, MUTED, SERIES, Plot, new_plot, styled, svg
from vggnet.reporting.words import no_difference, percent

MOST_SHOWN = 40
PAIRS = 12
BINS = 10


def counts_of(answers: Answers) -> np.ndarray:
    """Return how often each true class (row) was named as each class (column), int64 (K, K)."""
    classes = len(answers.classes)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (answers.truth, answers.best[:, 0]), 1)
    return counts


def ordered(counts: np.ndarray) -> np.ndarray:
    """Return an order of the classes in which those that are confused stand together, int64 (K,).

    Agglomerative clustering with average linkage. Two groups are joined so that the two classes that meet are confused
    as often as their ends allow.
    """
    classes = len(counts)
    rates = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    likeness = rates + rates.T
    np.fill_diagonal(likeness, -1)
    table, alive = likeness.copy(), np.ones(classes, bool)
    groups = [[place] for place in range(classes)]
    for _ in range(classes - 1):
        one, other = sorted(divmod(int(table.argmax()), classes))
        if table[one, other] <= 0:
            break
        sizes = len(groups[one]), len(groups[other])
        groups[one] = _joined(groups[one], groups[other], likeness)
        groups[other] = []
        alive[other] = False
        mean = np.where(alive, (sizes[0] * table[one] + sizes[1] * table[other]) / sum(sizes), -1)
        mean[one] = -1
        table[one] = table[:, one] = mean
        table[other] = table[:, other] = -1
    return np.array([place for group in groups for place in group], np.int64)


def _joined(first: list[int], second: list[int], likeness: np.ndarray) -> list[int]:
    """Return both groups in a row, each turned so that the classes which meet are most alike."""
    ways = [(one, other) for one in (first, first[::-1]) for other in (second, second[::-1])]
    one, other = max(ways, key=lambda way: likeness[way[0][-1], way[1][0]])
    return [*one, *other]


def grouped(counts: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the matrix of at most MOST_SHOWN groups of neighbours in `order`, and the classes of each group."""
    groups = np.array_split(order, min(MOST_SHOWN, len(order)))
    rows = np.stack([counts[group].sum(0) for group in groups])
    return np.stack([rows[:, group].sum(1) for group in groups], 1), groups


def confusion(answers: Answers, titles: tuple[str, ...]) -> Plot:
    """Draw the confusion matrix: rows are true classes, columns what was answered; the shade is the part of the row."""
    matrix, groups = grouped(counts_of(answers), ordered(counts_of(answers)))
    single = all(len(group) == 1 for group in groups)
    names = [
        shortened(titles[int(group[0])].split(",")[0], 22) + ("" if len(group) == 1 else f" + {len(group) - 1}")
        for group in groups
    ]
    side = 2.6 + 0.13 * len(groups)
    with styled():
        plot = new_plot(min(side + 1.6, 7.6), min(side + 0.8, 7.2))
        axes = plot.subplots()
        shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        shade = np.zeros((*shares.shape, 4))
        shade[..., :3] = [int(SERIES[0][place : place + 2], 16) / 255 for place in (1, 3, 5)]
        shade[..., 3] = np.sqrt(shares)  # single errors stay visible beside a full diagonal
        axes.imshow(shade, interpolation="nearest")
        if single and len(groups) <= 12:
            for row, column in zip(*np.nonzero(matrix), strict=True):
                ink = "white" if shares[row, column] > 0.45 else INK
                axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=ink, fontsize=9)
        places = range(len(names))
        small = 9 if len(names) <= 20 else 7
        axes.set_xticks(places, names, rotation=90, fontsize=small)
        axes.set_yticks(places, names, fontsize=small)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.set(xlabel="answered", ylabel="true")
    return plot


@dataclass(frozen=True)
class Confused:
    """How often the class `true` was taken for `answered`, of the `images` of that class."""

    true: int
    answered: int
    times: int
    images: int


def confused_pairs(counts: np.ndarray, most: int = PAIRS) -> list[Confused]:
    """Return the most frequent confusions, by their number, then by their part of the class."""
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    totals = counts.sum(1)
    true, answered = np.nonzero(errors)
    found = [
        Confused(row, column, int(errors[row, column]), int(totals[row]))
        for row, column in zip(true.tolist(), answered.tolist(), strict=True)
    ]
    return sorted(found, key=lambda each: (-each.times, -each.times / each.images, each.true, each.answered))[:most]


def classes_section(answers: Answers, description: ModelDescription) -> Section | None:
    """Return the confusion matrix, the pairs, the table by class and the calibration of a row."""
    if not len(answers):
        return None
    titles = description.class_titles or answers.classes
    counts = counts_of(answers)
    pairs = confused_pairs(counts)
    chart = None
    if counts.any() and len(answers.classes) > 1:
        alt = f"Confusion matrix of {answers.row}. The pairs and the numbers by class are in the tables below."
        chart = Chart(svg(confusion(answers, titles)), alt, _says(counts, pairs, titles))
    joined = len(answers.classes) > MOST_SHOWN
    return section(
        "Which classes it mistakes",
        [
            Text(
                f"The answers of {answers.row} for {counted(len(answers), 'image')}. "
                + (f"The {len(answers.classes):,} classes are joined to {MOST_SHOWN} groups. " if joined else "")
                + "A row is a true class, a column what was answered; the diagonal is right. Classes that are confused "
                "stand side by side."
            ),
            chart,
            _pairs_table(pairs, titles),
            Text(
                "Recall: part of a class's images that are named right. Precision: part of the answers with this class "
                "that are right."
            ),
            _class_table(counts, answers, titles),
            calibration_chart(answers),
        ],
    )


def _says(counts: np.ndarray, pairs: list[Confused], titles: tuple[str, ...]) -> str:
    wrong = int(counts.sum() - np.trace(counts))
    if not wrong:
        return f"Not one of {counted(int(counts.sum()), 'image')} is named wrong."
    first = pairs[0]
    if first.times == 1:
        return (
            f"{counted(wrong, 'error')}, no confusion more than once: there is no pattern that these images can show."
        )
    most = shortened(titles[first.true], 40), shortened(titles[first.answered], 40)
    return (
        f"The most frequent confusion is {most[0]} taken for {most[1]}: {first.times} of {first.images} images, "
        f"{percent(first.times / wrong)} of all {counted(wrong, 'error')}."
    )


def _pairs_table(pairs: list[Confused], titles: tuple[str, ...]) -> Grid | None:
    rows = tuple((titles[pair.true], titles[pair.answered], f"{pair.times:,}", f"{pair.images:,}") for pair in pairs)
    return Grid("The most confused pairs", ("true class", "taken for", "images", "of"), rows) if rows else None


def _class_table(counts: np.ndarray, answers: Answers, titles: tuple[str, ...]) -> Grid:
    """Return recall and precision by class; a class without images has no recall."""
    images, answered, right = counts.sum(1), counts.sum(0), np.diag(counts)
    rows = []
    for place, title in enumerate(titles):
        recall = Count(int(right[place]), int(images[place]))
        precision = f"{100 * right[place] / answered[place]:.1f}" if answered[place] else "-"
        rows.append((title, f"{images[place]:,}", recall.cell(), precision, f"{answered[place]:,}"))
    columns = ("class", "images", "recall %", "precision %", "answered")
    many = len(titles) > 20
    title = f"By class: {counted(len(titles), 'class')}, recall with 95 % intervals"
    return Grid(title, columns, tuple(rows), sortable=True, folded=many)


def calibration(answers: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return mean posterior, part of right answers and images of BINS bins (B,), and the expected calibration error.

    Bins are of equal width over the posterior of the best class; the expected calibration error (Guo et al., 2017) is
    the mean distance of both, weighted by images.
    """
    confidence = answers.posteriors[:, 0]
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    images = np.bincount(bins, minlength=BINS)
    mean = np.bincount(bins, confidence, BINS) / np.maximum(images, 1)
    right = np.bincount(bins, ~answers.wrong, BINS) / np.maximum(images, 1)
    return mean, right, images, float((images * np.abs(mean - right)).sum() / max(images.sum(), 1))


def calibration_chart(answers: Answers) -> Chart:
    """Return the reliability diagram, with what the posteriors are worth in a sentence."""
    mean, right, images, error = calibration(answers)
    there = images > 0
    ends = np.array(
        [Count(round(part * count), int(count)).interval for part, count in zip(right, images, strict=True)]
    )
    with styled():
        plot = new_plot(4.6, 3.6)
        axes = plot.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1)
        bars = np.abs(ends[there].T - right[there])
        axes.errorbar(mean[there], right[there], bars, color=SERIES[0], marker="o", capsize=3)
        axes.set(title="calibration", xlabel="posterior of the answer", ylabel="part of answers that are right")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    confidence, accuracy = float(answers.posteriors[:, 0].mean()), float((~answers.wrong).mean())
    low, high = Count(int((~answers.wrong).sum()), len(answers)).interval
    says = (
        "On the dashed line answers are right as often as their posterior says. The mean distance from it, weighted by "
        f"images, is {100 * error:.1f} points (expected calibration error). "
    )
    if confidence > high or confidence < low:
        says += (
            f"The net is {'too sure' if confidence > high else 'too unsure'}: its answers have a mean posterior of "
            f"{percent(confidence)}, and {percent(accuracy)} of them are right."
        )
    else:
        says += (
            f"The answers have a mean posterior of {percent(confidence)}, and {percent(accuracy)} of them are right: "
            f"{no_difference(len(answers))}."
        )
    return Chart(
        svg(plot), "Reliability diagram: part of right answers against their posterior, with 95 % intervals.", says
    )
