"""Note in words how images are shown to nets, where this is not as in the paper or does not fit the images."""

from collections.abc import Iterable
from dataclasses import dataclass

from vggnet.data.splits import Split
from vggnet.description import InputPolicy
from vggnet.images.brightness import range_notes


@dataclass(frozen=True)
class Shown:
    """A net's name, how it was trained, and how images are shown to it now.

    `mirrors` is False where only views are shown that have no mirror image, such as centre crops.
    """

    name: str
    trained: InputPolicy
    used: InputPolicy
    mirrors: bool = True


def input_notes(split: Split, nets: Iterable[Shown]) -> tuple[str, ...]:
    """Return the notes of everything that shows the images of `split` to nets: `policy_notes`, then `range_notes`."""
    nets = tuple(nets)
    return policy_notes(nets) + range_notes(split, [(net.name, net.used.reading) for net in nets])


def policy_notes(nets: Iterable[Shown]) -> tuple[str, ...]:
    """Return sentences to print below a result; none where everything is as in the paper.

    There is one for nets whose mirrored views are left out, and one for nets that see mirrored views without having
    been trained with them.
    """
    found: dict[tuple[bool, bool], list[str]] = {}
    for net in nets:
        if not net.mirrors:
            continue
        names = found.setdefault((net.trained.mirror, net.used.mirror), [])
        if net.name not in names:
            names.append(net.name)
    notes = []
    for (trained, used), names in found.items():
        were = f"{', '.join(names[:-1])} and {names[-1]} were" if len(names) > 1 else f"{names[0]} was"
        if not trained and not used:
            notes.append(f"Without the mirror: {were} trained without mirrored crops.")
        elif trained and not used:
            notes.append(f"Without the mirror, as asked: {were} trained with mirrored crops.")
        elif used and not trained:
            notes.append(f"With the mirror, as asked: {were} trained without mirrored crops.")
    return tuple(notes)
