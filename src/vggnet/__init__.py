"""VGG, the whole system. What is public in Python:

build, load, save                 a net of Table 1 with new weights; a trained one, from a run or a weight file
preprocess                        an image (a file, or Pillow's) as a net wants it
predict, evaluate                 as the commands: classes of images; errors by the paper's test protocol
features, PerceptualLoss          activations of named layers, and a loss on them
convert                           another library's weights
from_pretrained, save_pretrained  the Hugging Face form
UserError                         what all of them raise for a mistake in what they are given (a ValueError)

>>> model = vggnet.load("runs/mine")                                      # doctest: +SKIP
>>> model.posteriors(vggnet.preprocess(model, "photograph.jpg"))          # doctest: +SKIP

`model.description` says which classes, preprocessing and scales a net has.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; see `__getattr__`
    from vggnet.errors import UserError
    from vggnet.evaluation.evaluate import evaluate
    from vggnet.evaluation.predict import predict
    from vggnet.evaluation.preprocessing import preprocess
    from vggnet.formats.converting import convert
    from vggnet.network.initialization import build
    from vggnet.network.perceptual import PerceptualLoss
    from vggnet.network.pretrained import from_pretrained, save_pretrained
    from vggnet.network.taps import features
    from vggnet.network.weights import load_model as load
    from vggnet.network.weights import save_model as save

_PUBLIC = {
    "build": ("vggnet.network.initialization", "build"),
    "as_classifier": ("vggnet.network.vgg", "as_classifier"),
    "load": ("vggnet.network.weights", "load_model"),
    "save": ("vggnet.network.weights", "save_model"),
    "preprocess": ("vggnet.evaluation.preprocessing", "preprocess"),
    "predict": ("vggnet.evaluation.predict", "predict"),
    "evaluate": ("vggnet.evaluation.evaluate", "evaluate"),
    "features": ("vggnet.network.taps", "features"),
    "PerceptualLoss": ("vggnet.network.perceptual", "PerceptualLoss"),
    "convert": ("vggnet.formats.converting", "convert"),
    "from_pretrained": ("vggnet.network.pretrained", "from_pretrained"),
    "save_pretrained": ("vggnet.network.pretrained", "save_pretrained"),
    "UserError": ("vggnet.errors", "UserError"),
}

__version__ = "0.1.0"
__all__ = [
    "PerceptualLoss",
    "UserError",
    "__version__",
    "build",
    "convert",
    "evaluate",
    "features",
    "from_pretrained",
    "load",
    "predict",
    "preprocess",
    "save",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: `vggnet --help` needs no torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'vggnet' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    """With the public names, for those who complete them with a key."""
    return sorted({*globals(), *__all__})
