"""Build net D of other libraries with our weights, and check that installation and machine can run it."""

import importlib
import shutil
import warnings
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

from vggnet.benchmarking.problem import CLASSES, Absent, Problem, give_weights
from vggnet.hardware import choose_precision
from vggnet.paper.configurations import PAPER_CROP_PX


def library(name: str) -> ModuleType:
    """Import an optional library. Raises Absent where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        raise Absent(f"{name} is not installed: pip install 'vggnet[bench]'") from None


def vgg16(problem: Problem, source: str) -> nn.Module:
    """Return another library's vgg16 with our weights, on the device.

    On a GPU this process then lets cuDNN time its algorithms, as torchvision's reference script and `vggnet train` do.
    """
    if problem.device == "cuda":
        torch.backends.cudnn.benchmark = True
    if problem.width != 1 or problem.crop != PAPER_CROP_PX:
        model = _small_vgg16(problem, source)
    elif source == "timm":
        model = library("timm").create_model("vgg16", num_classes=CLASSES, pretrained=False, drop_rate=0.5)
    else:
        model = library("torchvision").models.vgg16(weights=None, init_weights=False)
    give_weights(problem.net(), model)
    return model.to(problem.device)


def _small_vgg16(problem: Problem, source: str) -> nn.Module:
    """Return torchvision's vgg16 with fewer channels and another crop. Raises Absent for timm, which has none."""
    if source == "timm":
        raise Absent("timm has net D at full width and a crop of 224 only")
    from torchvision.models import vgg

    own = problem.net().architecture
    channels = [size if isinstance(size, str) else round(size * problem.width) for size in vgg.cfgs["D"]]
    model = vgg.VGG(vgg.make_layers(channels), CLASSES, False)
    model.avgpool = nn.Identity()
    fc6, fc7, fc8 = (nn.Linear(layer.fan_in, layer.out_channels) for layer in own.fully_connected())
    model.classifier = nn.Sequential(fc6, nn.ReLU(True), nn.Dropout(), fc7, nn.ReLU(True), nn.Dropout(), fc8)
    return model


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return `model` compiled by torch.compile. Raises Absent without a C++ compiler."""
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise Absent("torch.compile finds no C++ compiler: install g++")
    return torch.compile(model)


def need_bf16(problem: Problem) -> None:
    """Raise Absent where the device has no bf16 instructions."""
    if choose_precision("auto", torch.device(problem.device)) != "bf16":
        raise Absent(f"this {problem.device} has no bf16 arithmetic")
