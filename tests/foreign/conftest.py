"""Small nets of other libraries, whose weights they drew and wrote themselves, and whose scores are far from equal."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

SMALL = (4, 8, 16, 32, 32)  # channels by stage: width 1/16
STAGES = {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}


def stage_list(net: str = "D") -> list[int | str]:
    """A net's layers as torchvision and timm write them: 4, 4, "M", 8, ..."""
    layers: list[int | str] = []
    for channels, count in zip(SMALL, STAGES[net], strict=True):
        layers += [channels] * count + ["M"]
    return layers


def liven(net: nn.Module, seed: int = 0) -> nn.Module:
    """Biases, norms and scores that a mistake would change visibly."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                module.bias.normal_(0, 0.1)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return net.eval()


def torchvision_net(net: str = "D", classes: int = 5, batch_norm: bool = False) -> nn.Module:
    """torchvision's own class at width 1/16."""
    from torchvision.models.vgg import VGG, make_layers

    features = make_layers(stage_list(net), batch_norm=batch_norm)  # type: ignore[arg-type]
    with torch.device("meta"):  # its own head is of width 1
        small = VGG(features, num_classes=classes, init_weights=False)
    hidden = 4096 // 16
    small.classifier[0], small.classifier[3] = nn.Linear(32 * 49, hidden), nn.Linear(hidden, hidden)
    small.classifier[6] = nn.Linear(hidden, classes)
    return liven(small)


@pytest.fixture(scope="session", name="torchvision_net")
def _torchvision_net() -> Callable[..., nn.Module]:
    return torchvision_net


@pytest.fixture(scope="session", name="stage_list")
def _stage_list() -> Callable[..., list[int | str]]:
    return stage_list


@pytest.fixture(scope="session", name="liven")
def _liven() -> Callable[..., nn.Module]:
    return liven


@pytest.fixture(scope="session")
def pixels() -> torch.Tensor:
    """Two images, uint8 (2, 224, 224, 3), whose channels differ."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 14, 14, 3), np.uint8).astype(np.float32) * (1.0, 0.8, 0.5)
    return torch.from_numpy(np.repeat(np.repeat(coarse, 16, 1), 16, 2).astype(np.uint8))


CLASSES = ("ant", "bee", "cat", "dog", "elk")


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of five classes, each with its own colour: two train and two val images."""
    root = tmp_path_factory.mktemp("animals")
    for place, name in enumerate(CLASSES):
        for part in ("train", "val"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(2):
                rng = np.random.default_rng([place, number, len(part)])
                noise = rng.integers(0, 60, (230, 240, 3)) + 190 * np.eye(6)[place % 6, :3]
                Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def class_file(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(CLASSES))
    return path
