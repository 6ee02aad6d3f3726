"""Small nets of other libraries, whose weights they drew and wrote themselves, and whose scores are far from equal."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import SMALL, STAGES, liven, stage_list, torchvision_net
from PIL import Image
from torch import nn


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


@pytest.fixture(scope="session")
def keras():
    """Keras on its torch backend."""
    os.environ["KERAS_BACKEND"] = "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras", reason="keras is not installed")


@pytest.fixture(scope="session")
def keras_net(keras) -> Callable[..., Any]:
    """Keras's VGG at width 1/16, built with Keras's layers in its applications' order and names."""

    def build(include_top: bool = True, net: str = "D"):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Input((224, 224, 3) if include_top else (None, None, 3), name="images")]
        draw = {"kernel_initializer": "he_normal", "bias_initializer": keras.initializers.RandomNormal(0, 0.1)}
        for stage, (channels, count) in enumerate(zip(SMALL, STAGES[net], strict=True), start=1):
            for place in range(1, count + 1):
                name = f"block{stage}_conv{place}"
                layers.append(keras.layers.Conv2D(channels, 3, padding="same", activation="relu", name=name, **draw))
            layers.append(keras.layers.MaxPooling2D(2, name=f"block{stage}_pool"))
        if include_top:
            layers.append(keras.layers.Flatten(name="flatten"))
            layers += [keras.layers.Dense(256, activation="relu", name=name, **draw) for name in ("fc1", "fc2")]
            layers.append(keras.layers.Dense(5, name="predictions", **draw))
        return keras.Sequential(layers)

    return build
