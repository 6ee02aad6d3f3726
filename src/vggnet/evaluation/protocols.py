"""Choose the views that make up each row of the paper's Tables 3 to 6, and the paper's row beside it.

    table3   dense at one Q: S, or 0.5(Smin + Smax) when S was jittered                          (Sect. 4.1)
    table4   dense at three: {S - 32, S, S + 32}, or {Smin, 0.5(Smin + Smax), Smax}              (Sect. 4.2)
    table5   dense, crops, and both together, at Table 4's scales                                (Sect. 4.3)
    table6   the same three ways, the posteriors of several nets averaged                        (Sect. 4.4);
             beside D and E, or, where it is nearer in number, the submission's seven nets (dense)

Notable: every size in pixels is in proportion to the crop (at a crop of 64, S=73 is tested at 64, 73, 82). Any nets
may be given. Each row lists in words where it differs from the paper's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from vggnet.console import counted
from vggnet.description import InputPolicy, ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.other_classifiers import Classifier, ClassifierDescription, Description
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
    """A net of an evaluation: its name in the tables, its description, its run folder or weight file.

    `mirror`: whether mirrored views are averaged in. None: as the net was trained. `model`: the net itself where it was
    given in memory; it then has no path.
    """

    name: str
    description: Description
    path: Path = Path()
    mirror: bool | None = None
    model: Classifier | None = None

    @property
    def source(self) -> str:
        """Return where the net is, for messages."""
        return str(self.path) if self.model is None else self.name

    @property
    def own_description(self) -> ModelDescription:
        """Return the description of one of vggnet's own nets; the others have none of this kind."""
        assert isinstance(self.description, ModelDescription), self.name
        return self.description

    @property
    def takes_any_size(self) -> bool:
        """Return whether the net can be evaluated densely."""
        about = self.description
        return not isinstance(about, ClassifierDescription) or about.architecture.only_crops is None

    @property
    def policy(self) -> InputPolicy:
        """Return how images are shown to the net."""
        return self.description.policy.chosen(self.mirror)

    def views(self, kinds: Iterable[str], scales: Iterable[int]) -> tuple[View, ...]:
        """Return every kind of view at every scale, with mirror images where this net is shown them."""
        return views_of(kinds, scales, mirror=self.policy.mirror)

    @property
    def shown(self) -> Shown:
        """Return what `policy_notes` needs to know about the net."""
        return Shown(self.name, self.description.policy, self.policy)


@dataclass(frozen=True)
class Combination:
    """The views whose posteriors a row averages, by entrant: `members` are (the entrant's place, its views).

    `paper` is the paper's row (None where the paper has none); `differences` lists in words what is not as in the
    paper.
    """

    members: tuple[tuple[int, tuple[View, ...]], ...]
    paper: ClassificationRow | None = None
    differences: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """Return the paper's name for the kinds of views (dense, multi-crop, both), or the kinds."""
        kinds = tuple(dict.fromkeys(view.kind for _, views in self.members for view in views))
        return METHODS.get(kinds, " + ".join(kinds))

    @property
    def mirrors(self) -> tuple[bool, ...]:
        """Return for each net whether mirrored views are averaged in."""
        return tuple(any(view.mirror for view in views) for _, views in self.members)


def single_scale(description: Description) -> tuple[int, ...]:
    """Return the one Q of Table 3: S, or the middle of a jittered S. Raises UserError where S is not known."""
    return (Recipe(train_scale=_train_scale(description)).judged_scale,)


def default_scale(description: ModelDescription) -> int:
    """Return the Q to use where the user gives none: Table 3's, or S = 256 in proportion to the crop for unknown S."""
    if description.train_scale:
        return single_scale(description)[0]
    return published_scale(description) or scaled_px(FIXED_SCALE_PX, description.architecture.crop_px)


def published_scale(description: ModelDescription) -> int | None:
    """Return the Q at which a library published the error of its weights, whose S is not known; None without one."""
    stated = description.recipe.get("published")
    scale = stated.get("test_scale") if isinstance(stated, dict) else None
    return scale if isinstance(scale, int) and scale > 0 else None


def multiple_scales(description: Description) -> tuple[int, ...]:
    """Return the three Q of Table 4.

    Raises UserError where S is not known, or S - 32 (in proportion) is below the crop.
    """
    scale, crop = _train_scale(description), description.architecture.crop_px
    if len(scale) == 2:
        return (scale[0], *single_scale(description), scale[1])
    step = scaled_px(SCALE_STEP_PX, crop)
    if scale[0] - step < crop:
        raise UserError(
            f"the net was trained at S={scale[0]}, and the paper's smallest test scale S - {step} = {scale[0] - step} "
            f"is below its crop of {crop}: give `test_scale`, each at least {crop}"
        )
    return scale[0] - step, scale[0], scale[0] + step


def combinations(
    entrants: Sequence[Entrant],
    *,
    protocol: TableName | None = None,
    views: Sequence[str] | None = None,
    test_scale: Sequence[int] | None = None,
) -> list[Combination]:
    """Return the rows of a table, in its order. `test_scale` replaces the scales that follow from S.

    Without a protocol: each view (by default center and dense), then each kind over all scales, dense and crops
    together, and the entrants fused. Raises UserError for arguments that exclude each other.
    """
    if not entrants:
        raise UserError("give at least one model to evaluate")
    if protocol is None:
        rows = _free(entrants, views, test_scale)
    elif views:
        raise UserError(f"`protocol` {protocol} chooses the views itself: leave out `views` or `protocol`")
    elif protocol not in PROTOCOLS:
        raise UserError(f"`protocol` {protocol} does not exist; the protocols are {', '.join(PROTOCOLS)}")
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
                "`protocol` table6 averages several nets (the paper's are D and E): give two or more models"
            )
        rows = [_fused(entrants, kinds, test_scale) for kinds in METHODS]
    for row in rows:
        for place, shown in row.members:
            for view in shown:
                view.check(entrants[place].description.architecture)
    return [_beside_paper(row, entrants, protocol) for row in rows]


def _train_scale(description: Description) -> tuple[int, ...]:
    """Return S, or in its place the Q that another library's preprocessing states."""
    if isinstance(description, ClassifierDescription) and description.test_scale is not None:
        return (description.test_scale,)
    if not description.train_scale:
        raise UserError("the model does not say at which scale it was trained: give `test_scale`")
    return description.train_scale


def _scales(entrant: Entrant, given: Sequence[int] | None, *, multiple: bool) -> tuple[int, ...]:
    if given:
        return tuple(sorted(set(given)))
    about = entrant.description
    published = None if isinstance(about, ClassifierDescription) else published_scale(about)
    if published is not None and not multiple and not entrant.description.train_scale:
        return (published,)
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


def default_kinds(entrants: Sequence[Entrant]) -> tuple[Kind, ...]:
    """Return the views where the user gives none: those that every net can be shown."""
    dense = all(entrant.takes_any_size for entrant in entrants)
    return tuple(kind for kind in DEFAULT_KINDS if dense or kind != "dense")


def _free(entrants: Sequence[Entrant], views: Sequence[str] | None, given: Sequence[int] | None) -> list[Combination]:
    """Return the rows without a protocol: single views, then their combinations, then the fused nets."""
    kinds: tuple[Kind, ...] = tuple(dict.fromkeys(views or default_kinds(entrants)))  # type: ignore[arg-type]
    ways: list[tuple[Kind, ...]] = [(kind,) for kind in kinds]
    if {"dense", "crops"} <= set(kinds):  # center and ten are other libraries' protocols: never averaged with others
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
    """Return the row with the paper's row of the same table, and what differs from it."""
    given = [entrants[place].description for place, _ in row.members]
    descriptions = [each for each in given if isinstance(each, ModelDescription)]
    if len(descriptions) < len(given):  # the paper has no row of another net than its own
        return row
    nets = tuple(sorted(description.architecture.net for description in descriptions))
    if protocol is not None:
        candidates = [paper for paper in TABLES[protocol] if paper.method == row.method]
        if protocol == "table6":  # D and E, or the submission's seven: the one nearer in number of nets
            candidates = [min(candidates, key=lambda paper: abs(len(paper.nets) - len(nets)))]
        else:
            candidates = [paper for paper in candidates if paper.nets == nets]
    else:  # without a table: only a row with the same scales
        candidates = [paper for paper in CLASSIFICATION if paper.nets == nets and paper.method == row.method]
        candidates = [paper for paper in candidates if not _scale_differences(row, descriptions, paper)]
    if not candidates:
        return row
    jittered = (
        len(descriptions[0].train_scale) == 2
    )  # where the paper has no row with this S, prefer one that is fixed or jittered likewise
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
    """Return where training or test does without the mirror images of the paper's dense and crops."""
    differences = []
    for description, mirror in zip(descriptions, row.mirrors, strict=True):
        if not description.policy.mirror:
            differences.append("no mirrored crops in training")
        if not mirror:
            differences.append("no mirror in the test")
    return differences


def architecture_differences(description: ModelDescription) -> list[str]:
    """Return in words what differs from the paper's nets, whatever the table."""
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
        return [*differences, "convolutions only"]
    return differences if classes == PAPER_CLASSES else [*differences, counted(classes, "class")]
