"""torch.hub: `torch.hub.load("FOLDER OF THIS REPOSITORY", "vgg_d", source="local", num_classes=10)`.

Nets of Table 1 with new weights, and trained ones from a run, a model folder, a weight file or by name (`load`).
"""

import sys
from pathlib import Path
from typing import Any

dependencies = ["torch", "torchvision", "numpy", "PIL", "pydantic", "safetensors"]

sys.path.insert(0, str(Path(__file__).parent / "src"))  # the package need not be installed
try:
    from vggnet.api.nets import from_pretrained as _from_pretrained
    from vggnet.api.nets import load as _load
    from vggnet.network.initialization import build as _build
    from vggnet.network.vgg import VGG as _VGG
finally:
    sys.path.pop(0)


def vgg(net: str = "D", **options: Any) -> _VGG:
    """A new net of Table 1; `options` are those of `vggnet.build` (num_classes, width, crop, batch_norm, ...)."""
    return _build(net, **options)


def vgg_a(**options: Any) -> _VGG:
    """Net A, 11 weight layers."""
    return _build("A", **options)


def vgg_b(**options: Any) -> _VGG:
    """Net B, 13 weight layers."""
    return _build("B", **options)


def vgg_c(**options: Any) -> _VGG:
    """Net C, 16 weight layers, three of them 1x1."""
    return _build("C", **options)


def vgg_d(**options: Any) -> _VGG:
    """Net D, 16 weight layers: VGG-16."""
    return _build("D", **options)


def vgg_e(**options: Any) -> _VGG:
    """Net E, 19 weight layers: VGG-19."""
    return _build("E", **options)


def load(path: str, **options: Any) -> _VGG:
    """The trained net in a run, a model folder or a weight file, or of a name (vgg16); options: device and dtype."""
    return _load(path, **options)


def from_pretrained(name: str, **options: Any) -> _VGG:
    """The net in a model folder, of a name (vgg16), or in a repository of the Hugging Face hub."""
    return _from_pretrained(name, **options)
