"""Runs as a training leaves them, without training: random nets, metrics that fall, options, versions."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from nets import random_net

from vggnet.description import InputPolicy
from vggnet.network.weights import save_model

METRICS = "epoch,learning_rate,train_loss,train_error,error,loss,images_per_s,waiting_share\n"


@pytest.fixture(autouse=True)
def no_reports() -> None:
    """Take the place of the fixture of this name for all other tests: here reports are written."""


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a run folder of a small random net."""

    def make(
        name: str,
        data: Path,
        classes: Sequence[str] = ("class0", "class1", "class2"),
        *,
        net: str = "A",
        titles: Sequence[str] = (),
        source: str | None = None,
        errors: Sequence[float] = (60.0, 40.0, 30.0),
        seed: int = 0,
        mirror: bool = True,
    ) -> Path:
        folder = tmp_path / "ladder" / name
        folder.mkdir(parents=True)
        model = random_net(classes, net=net, seed=seed, policy=InputPolicy(mirror=mirror))
        model.description = dataclasses.replace(model.description, class_titles=tuple(titles))
        save_model(folder / "best.safetensors", model)
        rows = [
            f"{place},{0.01 if place < 3 else 0.001},{3 - place / 2},{error + 5},{error},{2 - place / 3},100,0.1\n"
            for place, error in enumerate(errors, start=1)
        ]
        (folder / "metrics.csv").write_text(METRICS + "".join(rows))
        start = str(folder.parent / source) if source else None
        config = {"data": str(data), "net": net, "seed": 3, "epochs": len(errors), "init_from": start}
        (folder / "config.json").write_text(json.dumps(config | {"train_images": 36, "holdout": 0.1}))
        environment = {"command": ["vggnet", "train", str(data)], "cpu": "Test 9000", "torch": "2.9", "python": "3.11"}
        (folder / "environment.json").write_text(json.dumps(environment))
        return folder

    return make
