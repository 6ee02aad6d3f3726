"""The paper's result tables as data: what a reproduction is compared with.

Source: Simonyan and Zisserman, arXiv 1409.1556v6; each row names its table. Errors are percentages, top-1 and top-5, on
the ILSVRC-2012 validation set (50,000 images) unless a field says test. Scales are the smallest side in pixels:
`train_scale` is S in the paper, (256,) fixed or (256, 512) jittered; `test_scales` is Q.
"""

from dataclasses import dataclass

JITTERED = (256, 512)
THREE_SCALES = (256, 384, 512)


@dataclass(frozen=True)
class ClassificationRow:
    """One line of Tables 3 to 6. `method` is dense, multi-crop or both (their posteriors averaged, Sect. 4.3).

    `nets` holds one net, or the fused ones (Table 6). None where the paper gives no number. `members` are (net, S, Q)
    of each net where these differ; `train_scale` and `test_scales` are then empty.
    """

    table: int
    nets: tuple[str, ...]
    train_scale: tuple[int, ...]
    test_scales: tuple[int, ...]
    method: str
    top1: float
    top5: float
    test_top5: float | None = None
    members: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()

    @property
    def source(self) -> str:
        return f"Table {self.table}"


@dataclass(frozen=True)
class LocalizationRow:
    """One line of Table 8 (error for the ground-truth class) or 9 (top-5 error), App. A, all with net D.

    `regression` is SCR (one box for all classes) or PCR (one per class); `fine_tuned` names the fine-tuned layers.
    `scales_by_net` are the Q of each of two nets, in the order of `train_scales`; `test_scales` are all of them.
    """

    table: int
    regression: str
    fine_tuned: str
    train_scales: tuple[int, ...]  # two: two nets, their boxes fused
    test_scales: tuple[int, ...]
    error: float
    test_error: float | None = None
    scales_by_net: tuple[tuple[int, ...], ...] = ()

    @property
    def source(self) -> str:
        return f"Table {self.table}"


@dataclass(frozen=True)
class FeatureRow:
    """One line of Table 11 or 12 (App. B): `score` in % (mAP, or mean class recall), with its deviation over splits."""

    table: int
    nets: tuple[str, ...]
    data: str
    score: float
    deviation: float | None = None

    @property
    def source(self) -> str:
        return f"Table {self.table}"


def _single_scale() -> tuple[ClassificationRow, ...]:
    """Return Table 3: Q = S for fixed S, Q = 384 for jittered S."""
    numbers = (
        ("A", (256,), 256, 29.6, 10.4),
        ("A-LRN", (256,), 256, 29.7, 10.5),
        ("B", (256,), 256, 28.7, 9.9),
        ("C", (256,), 256, 28.1, 9.4),
        ("C", (384,), 384, 28.1, 9.3),
        ("C", JITTERED, 384, 27.3, 8.8),
        ("D", (256,), 256, 27.0, 8.8),
        ("D", (384,), 384, 26.8, 8.7),
        ("D", JITTERED, 384, 25.6, 8.1),
        ("E", (256,), 256, 27.3, 9.0),
        ("E", (384,), 384, 26.9, 8.7),
        ("E", JITTERED, 384, 25.5, 8.0),
    )
    return tuple(ClassificationRow(3, (net,), s, (q,), "dense", top1, top5) for net, s, q, top1, top5 in numbers)


def _multi_scale() -> tuple[ClassificationRow, ...]:
    """Return Table 4: Q in {S - 32, S, S + 32} for fixed S, {256, 384, 512} for jittered S."""
    numbers = (
        ("B", (256,), 28.2, 9.6),
        ("C", (256,), 27.7, 9.2),
        ("C", (384,), 27.8, 9.2),
        ("C", JITTERED, 26.3, 8.2),
        ("D", (256,), 26.6, 8.6),
        ("D", (384,), 26.5, 8.6),
        ("D", JITTERED, 24.8, 7.5),
        ("E", (256,), 26.9, 8.7),
        ("E", (384,), 26.7, 8.6),
        ("E", JITTERED, 24.8, 7.5),
    )
    return tuple(
        ClassificationRow(
            4, (net,), s, THREE_SCALES if s == JITTERED else (s[0] - 32, s[0], s[0] + 32), "dense", top1, top5
        )
        for net, s, top1, top5 in numbers
    )


TABLE_3 = _single_scale()
TABLE_4 = _multi_scale()
TABLE_5 = (  # dense against multi-crop
    ClassificationRow(5, ("D",), JITTERED, THREE_SCALES, "dense", 24.8, 7.5),
    ClassificationRow(5, ("D",), JITTERED, THREE_SCALES, "multi-crop", 24.6, 7.5),
    ClassificationRow(5, ("D",), JITTERED, THREE_SCALES, "both", 24.4, 7.2),
    ClassificationRow(5, ("E",), JITTERED, THREE_SCALES, "dense", 24.8, 7.5),
    ClassificationRow(5, ("E",), JITTERED, THREE_SCALES, "multi-crop", 24.6, 7.4),
    ClassificationRow(5, ("E",), JITTERED, THREE_SCALES, "both", 24.4, 7.1),
)
TABLE_6 = (  # fusion; the post-submission pair. The submission's seven nets are `SUBMISSION`
    ClassificationRow(6, ("D", "E"), JITTERED, THREE_SCALES, "dense", 24.0, 7.1, 7.0),
    ClassificationRow(6, ("D", "E"), JITTERED, THREE_SCALES, "multi-crop", 23.9, 7.2),
    ClassificationRow(6, ("D", "E"), JITTERED, THREE_SCALES, "both", 23.7, 6.8, 6.8),
)
_SEVEN = (
    ("C", (256,), (224, 256, 288)),
    ("C", (384,), (352, 384, 416)),
    ("D", (256,), (224, 256, 288)),
    ("D", (384,), (352, 384, 416)),
    ("D", JITTERED, THREE_SCALES),
    ("E", (256,), (224, 256, 288)),
    ("E", (384,), (352, 384, 416)),
)
SUBMISSION = ClassificationRow(  # ILSVRC-2014, dense
    6, tuple(net for net, _, _ in _SEVEN), (), (), "dense", 24.7, 7.5, 7.3, members=_SEVEN
)
CLASSIFICATION = (*TABLE_3, *TABLE_4, *TABLE_5, *TABLE_6)

TABLE_8 = (  # one centre crop; Euclidean loss
    LocalizationRow(8, "SCR", "first and second FC", (384,), (384,), 36.4),
    LocalizationRow(8, "PCR", "first and second FC", (384,), (384,), 34.3),
    LocalizationRow(8, "PCR", "all", (384,), (384,), 33.1),
)
TABLE_9 = (  # dense, boxes merged
    LocalizationRow(9, "PCR", "all", (256,), (256,), 29.5),
    LocalizationRow(9, "PCR", "all", (384,), (384,), 28.2, 26.7),
    LocalizationRow(9, "PCR", "all", (384,), (352, 384), 27.5),
    LocalizationRow(9, "PCR", "all", (256, 384), (256, 352, 384), 26.9, 25.3, ((256,), (352, 384))),
)
TABLE_11 = (
    FeatureRow(11, ("D",), "VOC-2007", 89.3),
    FeatureRow(11, ("D",), "VOC-2012", 89.0),
    FeatureRow(11, ("D",), "Caltech-101", 91.8, 1.0),
    FeatureRow(11, ("D",), "Caltech-256", 85.0, 0.2),
    FeatureRow(11, ("E",), "VOC-2007", 89.3),
    FeatureRow(11, ("E",), "VOC-2012", 89.0),
    FeatureRow(11, ("E",), "Caltech-101", 92.3, 0.5),
    FeatureRow(11, ("E",), "Caltech-256", 85.1, 0.3),
    FeatureRow(11, ("D", "E"), "VOC-2007", 89.7),
    FeatureRow(11, ("D", "E"), "VOC-2012", 89.3),
    FeatureRow(11, ("D", "E"), "Caltech-101", 92.7, 0.5),
    FeatureRow(11, ("D", "E"), "Caltech-256", 86.2, 0.3),
)
TABLE_12 = (  # VOC-2012 actions
    FeatureRow(12, ("D", "E"), "VOC-2012 actions, whole image", 79.2),
    FeatureRow(12, ("D", "E"), "VOC-2012 actions, image and person's box", 84.0),
)
