"""Views: the ways to show an image to a net, each of which gives one vector of posteriors (Sect. 3.2).

    dense    the whole uncropped image through the fully convolutional net; the class score map is averaged over its
             positions, then the soft-max; the posteriors of the image and of its mirror are averaged
    crops    a regular 5x5 grid of crops and their mirrors: a soft-max for each, the 50 *posteriors* averaged
    center   one crop in the middle, without a mirror image: what most libraries report
    ten      the middle and the four corners, with mirrors: the ten posteriors averaged (Krizhevsky et al.)

Notable: the image is first rescaled isotropically, its smallest side to Q, which need not be the S of training. A net
that was trained without mirrored crops is shown no mirror images (`View.mirror`): it never learnt to classify them.

To add a view: its name (letters only) in `Kind` here; the number of its crops in `forward` (`ViewScorer.batcher`),
their places in `forward.corners`; the help of --views in `options.evaluation`; `serving.questions`. The rows of Tables
5 and 6 are `protocols.METHODS`, which is not a list of views.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from vggnet.errors import UserError
from vggnet.evaluation.other_classifiers import OtherArchitecture
from vggnet.paper.configurations import TOTAL_STRIDE_PX, Architecture

Kind = Literal["dense", "crops", "center", "ten"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GRID = 5  # crops a side


@dataclass(frozen=True, order=True)
class View:
    """One way to show an image; `scale` is its smallest side in pixels after rescaling (Q in the paper).

    `mirror`: whether the mirrored image or crops are averaged in; False for `center`, which has none.
    """

    kind: Kind
    scale: int
    mirror: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"view {self.kind!r} does not exist; the views are {', '.join(KINDS)}")
        if self.scale < 1:
            raise UserError(f"test scale {self.scale}: the smallest side of an image must be at least 1 pixel")
        if self.kind == "center":
            object.__setattr__(self, "mirror", False)

    @property
    def key(self) -> str:
        """Return the view's name in files, different for each view: dense-384, dense-384-no-mirror."""
        return f"{self.kind}-{self.scale}{self._without}"

    @property
    def copies(self) -> int:
        """Return how often each pixel goes through the net: twice where the mirror image is averaged in."""
        return 2 if self.mirror else 1

    @property
    def _without(self) -> str:
        return "" if self.mirror or self.kind == "center" else "-no-mirror"

    def columns(self, architecture: Architecture | OtherArchitecture) -> int:
        """Return how many numbers a net gives for this view of an image: K posteriors."""
        return architecture.outputs

    def check(self, architecture: Architecture | OtherArchitecture) -> None:
        """Raise UserError where an image at this scale is too small for the net, naming the least Q.

        Also where the view is dense, and the module of another library takes crops only.
        """
        if isinstance(architecture, OtherArchitecture) and self.kind == "dense":
            if architecture.only_crops is not None:
                raise UserError(f"no dense evaluation: {architecture.only_crops}: use the views center, ten or crops")
            return  # any size: the module says where one is too small
        crop = architecture.crop_px
        if self.scale >= crop:
            return
        if self.kind == "dense" and isinstance(architecture, Architecture):
            side, kernel = self.scale // TOTAL_STRIDE_PX, architecture.fc_kernel
            problem = f"the pool5 map would be {side}x{side}, fc6 needs {kernel}x{kernel}"
        else:
            problem = f"a crop of {crop} does not fit into an image whose smallest side is {self.scale}"
        raise UserError(f"test scale {self.scale}: {problem}: Q must be at least {crop}")


def views_of(kinds: Iterable[str], scales: Iterable[int], *, mirror: bool = True) -> tuple[View, ...]:
    """Return every kind at every scale, in the order given. Raises UserError for a kind that does not exist."""
    scales = tuple(scales)
    return tuple(View(kind, scale, mirror) for kind in kinds for scale in scales)  # type: ignore[arg-type]


def describe(views: Sequence[View]) -> str:
    """Return views in words, as a table states a protocol: `dense + crops without mirror, Q=256,384,512`."""
    by_scales: dict[tuple[int, ...], list[str]] = {}
    for kind, mirror in dict.fromkeys((view.kind, view.mirror) for view in views):
        scales = tuple(sorted(view.scale for view in views if (view.kind, view.mirror) == (kind, mirror)))
        name = kind if mirror or kind == "center" else f"{kind} without mirror"
        by_scales.setdefault(scales, []).append(name)
    parts = (f"{' + '.join(kinds)}, Q={','.join(map(str, scales))}" for scales, kinds in by_scales.items())
    return "; ".join(parts)
