"""Turn the parameters of a request into a net and its views of the image (Sect. 3.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vggnet.console import named
from vggnet.errors import UserError
from vggnet.evaluation.policy import Shown
from vggnet.evaluation.protocols import default_scale
from vggnet.evaluation.views import Kind, View, views_of
from vggnet.options.ranges import RANGES
from vggnet.serving.nets import ServedNet
from vggnet.serving.refusals import Refused

ViewName = Literal["center", "dense", "crops", "ten", "both"]
MOST_SCALES = 3
_KINDS: dict[ViewName, tuple[Kind, ...]] = {
    "center": ("center",),
    "dense": ("dense",),
    "crops": ("crops",),
    "ten": ("ten",),
    "both": ("dense", "crops"),
}


@dataclass(frozen=True)
class Question:
    """A net, and the views of the image whose posteriors are averaged; `mirror`: with those of mirror images."""

    net: ServedNet
    views: tuple[View, ...]
    mirror: bool

    @property
    def scales(self) -> tuple[int, ...]:
        """Return each Q, ascending."""
        return tuple(sorted({view.scale for view in self.views}))

    @property
    def shown(self) -> Shown:
        """Return how images are shown to the net."""
        trained = self.net.description.policy
        return Shown(self.net.name, trained, trained.chosen(self.mirror))


def find_net(nets: Mapping[str, ServedNet], name: str | None) -> ServedNet:
    """Return the net of this name, the first one for None. Raises Refused (404) for a name that is not served."""
    if name is None:
        return next(iter(nets.values()))
    if name not in nets:
        raise Refused(404, f"`model` {name!r}: no such net is served; the nets are {named(list(nets))}")
    return nets[name]


def ask(net: ServedNet, view: ViewName, test_scale: Sequence[int], mirror: bool | None) -> Question:
    """Return the question; without `test_scale` Q is the net's S, without `mirror` the mirror is as in its training.

    Raises UserError for Q that cannot be.
    """
    scales = tuple(sorted(set(test_scale))) or (default_scale(net.description),)
    if len(scales) > MOST_SCALES:
        raise UserError(f"`test_scale` {' '.join(map(str, scales))}: at most {MOST_SCALES} sizes in a request")
    for scale in scales:
        if scale not in RANGES["test_scale"]:
            raise UserError(f"`test_scale` {scale}: give a number {RANGES['test_scale']}")
    mirrored = net.description.policy.chosen(mirror).mirror
    views = views_of(_KINDS[view], scales, mirror=mirrored)
    for each in views:
        each.check(net.description.architecture)
    return Question(net, views, mirrored)


def class_index(net: ServedNet, name: str) -> int:
    """Return the place of a class among the net's outputs. Raises Refused (404) for a class it does not know."""
    try:
        return net.description.classes.index(name)
    except ValueError:
        raise Refused(404, f"`class` {name!r}: net {net.name} has no such class") from None
