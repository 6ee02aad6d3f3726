"""Make small nets for tests."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vggnet.description import BoxKind, InputPolicy, ModelDescription, Preprocessing
from vggnet.network.initialization import build, initialize
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import save_model
from vggnet.paper.configurations import Architecture

AROUND_ZERO = Preprocessing((60.0, 60.0, 60.0), (64.0, 64.0, 64.0))


def random_net(
    classes: Sequence[str],
    *,
    net: str = "A",
    width: float = 0.04,
    crop: int = 32,
    seed: int = 0,
    boxes: BoxKind = "",
    preprocessing: Preprocessing = AROUND_ZERO,
    policy: InputPolicy | None = None,
    recipe: dict[str, Any] | None = None,
    **options: Any,
) -> VGG:
    """Return a described net with He's weights, in training mode; `boxes` makes it one that draws boxes.

    `options` are fields of the architecture.
    """
    outputs = {"": len(classes), "scr": 4, "pcr": 4 * len(classes)}[boxes]
    description = ModelDescription(
        Architecture(net, outputs, width, crop, **options),  # type: ignore[arg-type]
        preprocessing,
        tuple(classes),
        train_scale=(40,),
        recipe=recipe or {},
        boxes=boxes,
        policy=policy or InputPolicy(),
    )
    model = on_meta(description).to_empty(device="cpu")
    initialize(model, "he", seed=seed)
    return model


def save_random_net(path: Path, classes: Sequence[str], **options: Any) -> VGG:
    """Write what `random_net` returns to a weight file, and return it."""
    model = random_net(classes, **options)
    save_model(path, model)
    return model


def worn_net(net: str, *, width: float = 1 / 8, crop: int = 32, **options: Any) -> VGG:
    """Return a net of ten classes in evaluation mode whose biases and statistics are not those of a new one.

    A computation that leaves one of them out then gives other scores.
    """
    model = build(net, num_classes=10, width=width, crop=crop, init="he", **options).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif name.endswith("bias"):
                tensor.copy_(0.5 * torch.randn(tensor.shape, generator=generator))
    return model


def sharp_net(
    net: str = "D",
    *,
    classes: Sequence[str] = (),
    outputs: int = 7,
    width: float = 0.04,
    crop: int = 64,
    **options: Any,
) -> VGG:
    """Return a net whose posteriors are far from uniform, with biases that padding must not hide, to evaluate.

    `outputs` is the number of classes where `classes` does not name them.
    """
    model = build(net, num_classes=len(classes) or outputs, width=width, crop=crop, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("bias"):
                tensor.uniform_(0, 0.5, generator=generator)
        for name, tensor in model.named_buffers():
            if name.endswith("running_mean"):
                tensor.uniform_(-1, 1, generator=generator)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
        images = torch.randn(4, 3, crop, crop, generator=generator) * 60
        scores = model.eval()(images).flatten(1)
        model.fc8.weight /= scores.std()
        model.fc8.bias -= scores.mean(0) / scores.std()
    model.description = dataclasses.replace(model.description, classes=tuple(classes), train_scale=(73,))
    return model.eval()
