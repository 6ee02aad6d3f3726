"""Match classes by their words where the names differ: a folder `great_white_shark` is the class n01484850.

A class has a name, perhaps a code, and perhaps a title of several words for the same thing ("tench, Tinca tinca").
"""

import re
from collections.abc import Callable, Sequence

from vggnet.console import named
from vggnet.errors import UserError


def match_words(
    strangers: Sequence[tuple[str, str]], classes: Sequence[str], titles: Sequence[str], where: str
) -> dict[str, int]:
    """Return {name: position among `classes`} for those of `strangers` (name, title) that words tell apart.

    Words are compared as they are written, then in small letters: ImageNet has the dog Cardigan and the cardigan.

    Raises UserError where two of them mean the same class, or one may be two classes.
    """
    as_written = _places(classes, titles, str)
    in_small = _places(classes, titles, str.lower)
    found: dict[str, int] = {}
    for name, title in strangers:
        said = _words(name, title)
        places = {place for words in said for place in as_written.get(words, ())}
        places = places or {place for words in said for place in in_small.get(words.lower(), ())}
        if len(places) > 1:
            candidates = named([classes[place] for place in sorted(places)])
            raise UserError(f"{where}: the class {name!r} may be {candidates}: rename its folder to one of these")
        for place in places:
            twice = next((other for other, taken in found.items() if taken == place), None)
            if twice is not None:
                raise UserError(f"{where}: {named([twice, name])} are the same class of the model, {classes[place]!r}")
            found[name] = place
    return found


def _places(classes: Sequence[str], titles: Sequence[str], spelled: Callable[[str], str]) -> dict[str, set[int]]:
    """Return where the classes stand that may be called so, by words."""
    found: dict[str, set[int]] = {}
    for place, name in enumerate(classes):
        for words in _words(name, titles[place] if titles else ""):
            found.setdefault(spelled(words), set()).add(place)
    return found


def _words(name: str, title: str) -> set[str]:
    """Return what a class may be called, with single spaces."""
    parts = {name, *title.split(",")}
    return {" ".join(re.split(r"[\W_]+", part)).strip() for part in parts} - {""}
