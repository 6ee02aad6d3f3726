"""Models and images in each other's place on the command line: told apart before anything is read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vggnet.cli import run
from vggnet.commands.inputs import check_images
from vggnet.errors import UserError
from vggnet.network.initialization import build
from vggnet.network.weights import save_model

Folders = Callable[..., Path]


def refused(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """Run a command that must be refused; its message."""
    assert run(command.split()) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("evaluate {images} {model}", "vggnet evaluate MODEL... DATA"),
        ("predict {images} {model}", "vggnet predict MODEL IMAGE..."),
        ("predict {image} {model}", "vggnet predict MODEL IMAGE..."),
        ("features {images} {model}", "vggnet features MODEL... DATA"),
        ("transfer scenes {model}", "vggnet transfer MODEL... DATA"),
        ("quantize {images} {model} --out q", "vggnet quantize MODEL DATA"),
        ("localize evaluate {images} {model}", "vggnet localize evaluate MODEL... DATA"),
        ("localize predict {images} {model} --classifier {model}", "vggnet localize predict MODEL IMAGE..."),
        ("localize predict {model} {image} --classifier {images}", "--classifier MODEL..."),
        ("convert {images} --layout torchvision --out c", "vggnet convert FILE"),
        ("export {images}", "vggnet export MODEL"),
        ("train {images} --init-from {images}", "--init-from MODEL"),
        ("localize train {images} --init-from {images}", "--init-from MODEL"),
    ],
)
def test_images_where_a_model_goes_are_named_with_the_right_order(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, usage: str
) -> None:
    images, model = class_folders(), tmp_path / "a.safetensors"
    save_model(model, build("A", num_classes=3, width=1 / 16, crop=32))
    image = images / "val" / "class0" / "0.jpg"
    message = refused(capsys, command.format(images=images, image=image, model=model))
    assert "these are images, and a run, a model folder or a weight file goes there" in message
    assert message.rstrip().endswith(usage)


@pytest.mark.parametrize(
    "command",
    [
        *("evaluate {model} {model}", "predict {model} {model}", "features {model} {model}", "train {model}"),
        *("transfer {model} {model}", "quantize {model} {model} --out q", "ladder {model} --out l", "diagnose {model}"),
        *("localize evaluate {model} {model}", "localize predict {model} {model} --classifier {model}"),
        "localize train {model} --init-from {model}",
    ],
)
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_model_where_images_go_is_named_with_the_right_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, as_folder: bool
) -> None:
    model = tmp_path / "model.safetensors"
    save_model(model, build("A", num_classes=3, width=1 / 16, crop=32))
    message = refused(capsys, command.format(model=tmp_path if as_folder else model))
    assert "this is a model, and images go there: vggnet " in message


def test_a_folder_may_hold_a_model_beside_its_images(
    class_folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    images = class_folders()
    save_model(images / "model.safetensors", build("A", num_classes=3, width=1 / 16, crop=32))
    flags = ["--test-scale", "40", "--workers", "0", "--device", "cpu"]
    assert run(["features", str(images), str(images), "--out", str(images / "f.npz"), *flags]) == 0


def test_the_name_of_a_data_set_goes_before_a_run_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`vggnet train scenes --out scenes`, then `vggnet evaluate scenes scenes`: `open_data` takes the name."""
    (tmp_path / "scenes").mkdir()
    save_model(tmp_path / "scenes" / "best.safetensors", build("A", num_classes=3, width=1 / 16, crop=32))
    monkeypatch.chdir(tmp_path)
    check_images(["scenes"], "DATA")
    with pytest.raises(UserError, match="this is a model"):
        check_images(["./scenes"], "DATA")
