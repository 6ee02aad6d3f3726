"""Sentences from numbers. A difference whose interval crosses zero makes no claim."""

from collections.abc import Sequence

from vggnet.console import counted
from vggnet.description import ModelDescription
from vggnet.evaluation.comparing import Difference
from vggnet.evaluation.metrics import Count
from vggnet.paper.configurations import Architecture

SMALL = 0.0005  # a rate below it would be rounded to 0.0 %


def percent(rate: float) -> str:
    """Return a rate, 0 to 1, in percent: 3.8 %, or below 0.1 %, which is not 0."""
    return f"{100 * rate:.1f} %" if rate == 0 or rate >= SMALL else "below 0.1 %"


def at_most(rate: float) -> str:
    """Return the largest of several rates in words: at most 3.8 %, or all below 0.1 %."""
    return f"at most {percent(rate)}" if rate >= SMALL else "all below 0.1 %"


def error_in_words(count: Count) -> str:
    """Return an error with its interval: 3.8 % (95 % interval 2.4 to 6.0)."""
    low, high = count.interval
    return f"{percent(count.rate)} (95 % interval {100 * low:.1f} to {100 * high:.1f})"


def points(difference: Difference) -> str:
    """Return the size of a difference with its interval: 3.1 points (95 % interval 1.2 to 5.0)."""
    ends = sorted((abs(difference.low), abs(difference.high)))
    return f"{abs(difference.points):.1f} points (95 % interval {ends[0]:.1f} to {ends[1]:.1f})"


def no_difference(images: int) -> str:
    """Return what is said where an interval crosses zero."""
    return f"no difference that {counted(images, 'image')} can show"


def span(low: str, high: str) -> str:
    """Return the ends of a range as they are written: 2 to 3; one of them where both are written alike."""
    return low if low == high else f"{low} to {high}"


def listed(parts: Sequence[str]) -> str:
    """Return parts in a sentence: a; a and b; a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def times(width: float) -> str:
    """Return a net's width against the paper's in words."""
    if width == 1:
        return "as wide as in the paper"
    return f"with {100 * width:.3g} % of the paper's channels in every layer"


def scale_in_words(train_scale: Sequence[int]) -> str:
    """Return S in words: S=73, or S from 73 to 146."""
    if not train_scale:
        return "an unknown S"
    return f"S={train_scale[0]}" if len(train_scale) == 1 else f"S from {train_scale[0]} to {train_scale[1]}"


def net_in_words(architecture: Architecture) -> str:
    """Return a net in words: net D (16 layers)."""
    norm = ", with batch normalisation" if architecture.batch_norm else ""
    return f"net {architecture.net} ({architecture.depth} layers{norm})"


def short_net(description: ModelDescription | None, name: str) -> str:
    """Return the net's letter, with the run's name where that says more."""
    if description is None:
        return name
    net = description.architecture.net
    return net if name == net else f"{net} ({name})"
