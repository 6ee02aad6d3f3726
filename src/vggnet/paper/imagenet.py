"""The 1,000 classes of ILSVRC-2012, in the order in which every library numbers a net's outputs.

`imagenet_classes.txt` has a class a line: its WordNet code (wnid) and the words that torchvision's weights have for it.
The codes are in alphabetical order.
"""

from functools import cache
from importlib.resources import files

FILE = "imagenet_classes.txt"


@cache
def imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (codes, words): n01440764 and tench, and so on."""
    lines = files("vggnet.paper").joinpath(FILE).read_text(encoding="utf-8").splitlines()
    codes, _, words = zip(*(line.partition(" ") for line in lines), strict=True)
    return codes, words
