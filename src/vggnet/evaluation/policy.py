"""Note in words where mirrored views are not used as in the paper."""

from collections.abc import Iterable
from dataclasses import dataclass

from vggnet.description import InputPolicy


@dataclass(frozen=True)
class Shown:
    """A net's name, how it was trained, and how images are shown to it now."""

    name: str
    trained: InputPolicy
    used: InputPolicy


def policy_notes(nets: Iterable[Shown]) -> tuple[str, ...]:
    """Return sentences to print below a result; none where everything is as in the paper.

    There is one for nets whose mirrored views are left out, and one for nets that see mirrored views without having
    been trained with them.
    """
    found: dict[tuple[bool, bool], list[str]] = {}
    for net in nets:
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
