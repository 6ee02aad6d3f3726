"""What a named model is made from: its file, preprocessing and classes, as its source states them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vggnet.errors import UserError
from vggnet.formats.class_names import Names
from vggnet.formats.inputs import CONVENTIONS, InputConvention
from vggnet.options.choices import Layout
from vggnet.paper.imagenet import imagenet_classes
from vggnet.pretrained.catalogue import Pretrained
from vggnet.pretrained.fetching import Remote

KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
KERAS_FILES = {  # MD5 and megabytes, as keras.applications checks them
    "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5": ("64373286793e3c8b2b4e3219cbf3544b", 553.5),
    "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels.h5": ("cbe5617147190e668d6c5d5026f83318", 574.7),
}
TEST_SCALE_PX = 256  # the smallest side to which torchvision and timm rescale a test image of these nets


@dataclass(frozen=True)
class Stated:
    """What a source states about a model: the file, how to convert it, and its published errors in percent."""

    remote: Remote
    layout: Layout
    convention: InputConvention
    classes: Names
    elsewhere: tuple[Path, ...]  # where the source's own library may have the file already
    published: tuple[float, float, str] | None
    test_scale: int | None = None


def stated(entry: Pretrained) -> Stated:
    """Return what Keras or torchvision states about `entry`."""
    return _by_keras(entry) if entry.source == "keras" else _by_torchvision(entry)


def _by_keras(entry: Pretrained) -> Stated:
    md5, megabytes = KERAS_FILES[entry.file]
    name = Path(entry.file).name
    remote = Remote(KERAS_URL + entry.file, _conversion(name, "keras", "caffe", entry), md5=md5, megabytes=megabytes)
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
    return Stated(remote, "keras", CONVENTIONS["caffe"], imagenet_classes(), (keras,), entry.published)


def _by_torchvision(entry: Pretrained) -> Stated:
    weights = torchvision_weights(entry)
    meta, preset, name = weights.meta, weights.transforms(), Path(weights.url).name
    hash_ = re.search(r"-([a-f0-9]{8,})\.", name)  # torch.hub's convention
    if hash_ is None:
        raise UserError(f"{entry.name}: {weights.url} has no hash in its name, so it cannot be checked")
    convention = InputConvention("RGB", 1 / 255, tuple(preset.mean), tuple(preset.std))
    usual = convention == CONVENTIONS["torchvision"]
    remote = Remote(
        weights.url,
        _conversion(name, "torchvision", "torchvision", entry) if usual else "",
        sha256=hash_[1],
        megabytes=meta.get("_file_size", 0.0) * 2**20 / 1e6,
    )
    rates = meta.get("_metrics", {}).get("ImageNet-1K", {})
    published = None
    if rates.get("acc@1", float("nan")) > 0:  # of the convolutions alone it is not a number
        errors = (round(100 - rates[which], 3) for which in ("acc@1", "acc@5"))
        published = (*errors, f"centre crop, Q={preset.resize_size[0]}")
    checkpoints = Path(torch.hub.get_dir()) / "checkpoints"
    classes = _classes_of(meta.get("categories"))
    return Stated(remote, "torchvision", convention, classes, (checkpoints,), published, preset.resize_size[0])


def torchvision_weights(entry: Pretrained) -> Any:
    """Return torchvision's own record of the weights."""
    from torchvision.models import get_model_weights

    model, member = entry.file.split()
    return get_model_weights(model)[member]


def _classes_of(categories: Any) -> Names:
    """Return codes and words of torchvision's categories; words alone where they are not ImageNet's in its order."""
    if not categories:
        return (), ()
    codes, words = imagenet_classes()
    return (codes, words) if tuple(categories) == words else (tuple(categories), ())


def _conversion(file: str, layout: str, preprocessing: str, entry: Pretrained) -> str:
    """Return the command that converts a file that was brought by hand."""
    folder = entry.name.replace("/", "-")
    return (
        f"`vggnet convert {file} --layout {layout} --preprocessing {preprocessing} --classes imagenet --out {folder}`"
    )
