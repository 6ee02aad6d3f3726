"""Which posteriors make up a row of the paper's Tables 3 to 6, and which of the paper's rows stands beside it.

    table3   dense at one Q: S, or 0.5(Smin + Smax) when S was jittered                          (Sect. 4.1)
    table4   dense at three: {S - 32, S, S + 32}, or {Smin, 0.5(Smin + Smax), Smax}              (Sect. 4.2)
    table5   dense, crops, and both together, at Table 4's scales                                (Sect. 4.3)
    table6   the same three ways, the posteriors of several nets averaged                        (Sect. 4.4);
             beside D and E, or, where it is nearer in number, the submission's seven nets (dense)

Notable: every pixel size follows the crop in proportion (at a crop of 64, S=73 is tested at 64, 73, 82). Any nets may
be given; a row says in words where it differs from the paper's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from vggnet.console import counted
from vggnet.description import InputPolicy, ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.policy import Shown
from vggnet.evaluation.views import Kind, View, views_of
from vggnet.options.choices import TableName
from vggnet.paper.configurations import PAPER_CROP_PX
from vggnet.paper.recipes import FIXED_SCALE_PX, SCALE_STEP_PX, Recipe, scaled_px
from vggnet.paper.results import CLASSIFICATION, SUBMISSION, TABLE_3, TABLE_4, TABLE_5, TABLE_6, ClassificationRow

PROTOCOLS: tuple[TableName, ...] = get_args(TableName)
TABLES = {"table3": TABLE_3, "table4": TABLE_4, "table5": TABLE_5, "table6": (*TABLE_6, SUBMISSION)}
PAPER_CLASSES = 1000
DEFAULT_KINDS: tuple[Kind, ...] = ("center", "dense")
METHODS: dict[tuple[Kind, ...], str] = {("dense",): "dense", ("crops",): "multi-crop", ("dense", "crops"): "both"}


@dataclass(frozen=True)
class Entrant:
    """A net that takes part: its name in the tables, what is known about it, its run folder or weight file.

    `mirror` is the user's choice to average mirrored views in or not; None: as the net was trained.
    """

    name: str
    description: ModelDescription
    path: Path = Path()
    mirror: bool | None = None

    @property
    def policy(self) -> InputPolicy:
        """How images are shown to the net."""
        return self.description.policy.chosen(self.mirror)

    def views(self, kinds: Iterable[str], scales: Iterable[int]) -> tuple[View, ...]:
        """Every kind of view at every scale, as this net is shown images."""
        return views_of(kinds, scales, mirror=self.policy.mirror)

    @property
    def shown(self) -> Shown:
        """The net as `policy_notes` takes it."""
        return Shown(self.name, self.description.policy, self.policy)


@dataclass(frozen=True)
class Combination:
    """A row before its numbers: which views of which entrants (by their place) are averaged.

    `paper` is the row beside it (None where the paper has none) and `differences` says in words what is not the
    paper's.
    """

    members: tuple[tuple[int, tuple[View, ...]], ...]
    paper: ClassificationRow | None = None
    differences: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """As the paper calls it (dense, multi-crop, both), or the kinds of views."""
        kinds = tuple(dict.fromkeys(view.kind for _, views in self.members for view in views))
        return METHODS.get(kinds, " + ".join(kinds))

    @property
    def mirrors(self) -> tuple[bool, ...]:
        """For each net whether mirrored views are averaged in."""
        return tuple(any(view.mirror for view in views) for _, views in self.members)


def single_scale(description: ModelDescription) -> tuple[int, ...]:
    """The one Q of Table 3: S, or the middle of a jittered S. UserError where S is not known."""
    return (Recipe(train_scale=_train_scale(description)).judged_scale,)


def default_scale(description: ModelDescription) -> int:
    """The Q for whoever names none: Table 3's, and what S = 256 is for this crop where S is not known."""
    if description.train_scale:
        return single_scale(description)[0]
    return scaled_px(FIXED_SCALE_PX, description.architecture.crop_px)


def multiple_scales(description: ModelDescription) -> tuple[int, ...]:
    """The three Q of Table 4. UserError where S is not known, or S - 32 (in proportion) is below the crop."""
    scale, crop = _train_scale(description), description.architecture.crop_px
    if len(scale) == 2:
        return (scale[0], *single_scale(description), scale[1])
    step = scaled_px(SCALE_STEP_PX, crop)
    if scale[0] - step < crop:
        raise UserError(
            f"the net was trained at S={scale[0]}, and the paper's smallest test scale S - {step} = {scale[0] - step} "
            f"is below its crop of {crop}: give --test-scale, each at least {crop}"
        )
    return scale[0] - step, scale[0], scale[0] + step


def combinations(
    entrants: Sequence[Entrant],
    *,
    protocol: TableName | None = None,
    views: Sequence[str] | None = None,
    test_scale: Sequence[int] | None = None,
) -> list[Combination]:
    """The rows of a table, in its order. `test_scale` takes the place of the scales that follow from S.

    Without a protocol: each view, by default center and dense; then each kind over all scales, dense and crops
    together, and the entrants fused. Raises UserError for what does not go together.
    """
    if not entrants:
        raise UserError("give at least one model to evaluate")
    if protocol is None:
        rows = _free(entrants, views, test_scale)
    elif views:
        raise UserError(f"--protocol {protocol} chooses the views itself: leave out --views, or --protocol")
    elif protocol not in PROTOCOLS:
        raise UserError(f"--protocol {protocol} does not exist; the protocols are {', '.join(PROTOCOLS)}")
    elif protocol == "table3":
        rows = [
            Combination(((place, entrant.views(["dense"], [scale])),))
            for place, entrant in enumerate(entrants)
            for scale in _scales(entrant, test_scale, multiple=False)
        ]
    elif protocol == "table4":
        rows = _per_entrant(entrants, [("dense",)], test_scale)
    elif protocol == "table5":
        rows = _per_entrant(entrants, list(METHODS), test_scale)
    else:
        if len(entrants) < 2:
            raise UserError(
                "--protocol table6 averages several nets (the paper's are D and E): give two or more models"
            )
        rows = [_fused(entrants, kinds, test_scale) for kinds in METHODS]
    for row in rows:
        for place, shown in row.members:
            for view in shown:
                view.check(entrants[place].description.architecture)
    return [_beside_paper(row, entrants, protocol) for row in rows]


def _train_scale(description: ModelDescription) -> tuple[int, ...]:
    if not description.train_scale:
        raise UserError("the model does not say at which scale it was trained: give --test-scale")
    return description.train_scale


def _scales(entrant: Entrant, given: Sequence[int] | None, *, multiple: bool) -> tuple[int, ...]:
    if given:
        return tuple(sorted(set(given)))
    try:
        return (multiple_scales if multiple else single_scale)(entrant.description)
    except UserError as error:
        raise UserError(f"{entrant.name}: {error}") from error


def _per_entrant(
    entrants: Sequence[Entrant], ways: Sequence[tuple[Kind, ...]], given: Sequence[int] | None
) -> list[Combination]:
    return [
        Combination(((place, entrant.views(kinds, _scales(entrant, given, multiple=True))),))
        for place, entrant in enumerate(entrants)
        for kinds in ways
    ]


def _fused(
    entrants: Sequence[Entrant], kinds: tuple[Kind, ...], given: Sequence[int] | None, *, multiple: bool = True
) -> Combination:
    return Combination(
        tuple(
            (place, entrant.views(kinds, _scales(entrant, given, multiple=multiple)))
            for place, entrant in enumerate(entrants)
        )
    )


def _free(entrants: Sequence[Entrant], views: Sequence[str] | None, given: Sequence[int] | None) -> list[Combination]:
    """Rows without a protocol: from single views to their combinations to the fused nets."""
    kinds: tuple[Kind, ...] = tuple(dict.fromkeys(views or DEFAULT_KINDS))  # type: ignore[arg-type]
    ways: list[tuple[Kind, ...]] = [(kind,) for kind in kinds]
    if {"dense", "crops"} <= set(kinds):  # center and ten stand for other people's numbers: not mixed in
        ways.append(("dense", "crops"))
    rows: list[Combination] = []
    for place, entrant in enumerate(entrants):
        scales = _scales(entrant, given, multiple=False)
        rows += [Combination(((place, (view,)),)) for view in entrant.views(kinds, scales)]
        together = ways if len(scales) > 1 else ways[len(kinds) :]
        rows += [Combination(((place, entrant.views(way, scales)),)) for way in together]
    if len(entrants) > 1:
        rows += [_fused(entrants, way, given, multiple=False) for way in ways]
    return rows


def _beside_paper(row: Combination, entrants: Sequence[Entrant], protocol: TableName | None) -> Combination:
    """The row with the paper's row of the same table beside it, and what differs."""
    descriptions = [entrants[place].description for place, _ in row.members]
    nets = tuple(sorted(description.architecture.net for description in descriptions))
    if protocol is not None:
        candidates = [paper for paper in TABLES[protocol] if paper.method == row.method]
        if protocol == "table6":  # two nets, or the submission's seven: the nearest number stands beside what was fused
            candidates = [min(candidates, key=lambda paper: abs(len(paper.nets) - len(nets)))]
        else:
            candidates = [paper for paper in candidates if paper.nets == nets]
    else:  # no table was asked for: only a row that is the same
        candidates = [paper for paper in CLASSIFICATION if paper.nets == nets and paper.method == row.method]
        candidates = [paper for paper in candidates if not _scale_differences(row, descriptions, paper)]
    if not candidates:
        return row
    jittered = len(descriptions[0].train_scale) == 2  # where S is none of the paper's, at least of the same kind
    paper = min(
        candidates,
        key=lambda paper: (
            len(_scale_differences(row, descriptions, paper)),
            (len(paper.train_scale) == 2) != jittered,
        ),
    )
    differences = list(_scale_differences(row, descriptions, paper))
    if paper.nets != nets:
        differences.insert(0, "net")
    for description in descriptions:
        differences += architecture_differences(description)
    differences += _mirror_differences(row, descriptions)
    return Combination(row.members, paper, tuple(dict.fromkeys(differences)))


def _scale_differences(
    row: Combination, descriptions: Sequence[ModelDescription], paper: ClassificationRow
) -> tuple[str, ...]:
    """Return which of S and Q are not the paper's, in proportion to the crop."""
    if paper.members:
        return _member_differences(row, descriptions, paper)
    differences = []
    for description, (_, views) in zip(descriptions, row.members, strict=True):
        crop = description.architecture.crop_px
        train_scale = tuple(scaled_px(scale, crop) for scale in paper.train_scale)
        if train_scale != description.train_scale:
            differences.append("S")
        known = ModelDescription(description.architecture, train_scale=train_scale)
        scales = (multiple_scales if len(paper.test_scales) > 1 else single_scale)(known)
        if set(scales) != {view.scale for view in views}:
            differences.append("Q")
    return tuple(dict.fromkeys(differences))


def _member_differences(
    row: Combination, descriptions: Sequence[ModelDescription], paper: ClassificationRow
) -> tuple[str, ...]:
    """Return which of S and Q are not those of the paper's fused nets, each of which has its own."""
    crop = descriptions[0].architecture.crop_px
    scaled = [
        (net, *(tuple(scaled_px(scale, crop) for scale in scales) for scales in (train, test)))
        for net, train, test in paper.members
    ]
    ours = [
        (description.architecture.net, description.train_scale, tuple(sorted({view.scale for view in views})))
        for description, (_, views) in zip(descriptions, row.members, strict=True)
    ]
    s_differs = sorted(each[:2] for each in scaled) != sorted(each[:2] for each in ours)
    q_differs = sorted((net, test) for net, _, test in scaled) != sorted((net, test) for net, _, test in ours)
    return (("S",) if s_differs else ()) + (("Q",) if q_differs else ())


def _mirror_differences(row: Combination, descriptions: Sequence[ModelDescription]) -> list[str]:
    """Whether mirrored crops were learnt and mirrored views are tested: both are in the paper's dense and crops."""
    differences = []
    for description, mirror in zip(descriptions, row.mirrors, strict=True):
        if not description.policy.mirror:
            differences.append("no mirrored crops in training")
        if not mirror:
            differences.append("no mirror in the test")
    return differences


def architecture_differences(description: ModelDescription) -> list[str]:
    """Return in words what is not the paper's about a net, whatever the row of whatever table."""
    architecture = description.architecture
    differences = []
    if architecture.crop_px != PAPER_CROP_PX:
        differences.append(f"crop {architecture.crop_px}")
    if architecture.width != 1:
        differences.append(f"width {architecture.width:g}")
    if architecture.batch_norm:
        differences.append("batch norm")
    classes = len(description.classes) if description.boxes else architecture.outputs
    if architecture.convolutions_only:
        differences.append("convolutions only")
    elif classes != PAPER_CLASSES:
        differences.append(counted(classes, "class"))
    return differences
