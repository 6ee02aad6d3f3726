"""What the corpus of bad inputs shares: a small net, a small data set, and how a refusal looks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nets import save_random_net
from PIL import Image

from vggnet.cli import run

Refused = Callable[..., str]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.safetensors"
    save_random_net(path, ("bee", "cat"))
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of two training and one val image each, 40 x 30. Tests do not change it."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for part, count in (("train", 2), ("val", 1)):
        for place, name in enumerate(("bee", "cat")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.random.default_rng(10 * place + number).integers(0, 256, (30, 40, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{part}{number}.png")
    return root


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that runs a command which has to refuse its input; it returns the message."""

    def refuse(*arguments: object) -> str:
        status = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert status == 2, printed.err
        lines = printed.err.splitlines()
        starts = [place for place, line in enumerate(lines) if line.startswith("vggnet: ")]  # notes may come before it
        assert starts, printed.err
        assert "Traceback" not in printed.err
        return "\n".join(lines[starts[0] :])

    return refuse
