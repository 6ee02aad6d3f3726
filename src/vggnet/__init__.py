"""VGG, the whole system: `build` a net of Table 1, `load` a trained one.

>>> model = vggnet.build("D", num_classes=1000)      # doctest: +SKIP
>>> model = vggnet.load("runs/mine")                 # doctest: +SKIP
>>> model.scores(images)                             # doctest: +SKIP
"""

import importlib
from typing import Any

_PUBLIC = {
    "build": ("vggnet.network.initialization", "build"),
    "load": ("vggnet.network.weights", "load_model"),
    "save": ("vggnet.network.weights", "save_model"),
    "features": ("vggnet.network.taps", "features"),
    "PerceptualLoss": ("vggnet.network.perceptual", "PerceptualLoss"),
    "convert": ("vggnet.network.foreign.converting", "convert"),
    "from_pretrained": ("vggnet.network.pretrained", "from_pretrained"),
    "save_pretrained": ("vggnet.network.pretrained", "save_pretrained"),
}

__version__ = "0.1.0"
__all__ = [
    "PerceptualLoss",
    "__version__",
    "build",
    "convert",
    "features",
    "from_pretrained",
    "load",
    "save",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: `vggnet --help` needs no torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'vggnet' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)
