"""Nets whose weights have diverged: every command stops with one message, and writes nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import random_net
from safetensors.torch import load_file, save_file

from vggnet.cli import run
from vggnet.description import Preprocessing
from vggnet.errors import Diverged
from vggnet.formats.writing import write_layout
from vggnet.localization.judging import CenterResult
from vggnet.localization.regression import regression_losses
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG, without_head
from vggnet.network.weights import DESCRIPTION_KEY, load_model, save_model

CLASSES = ("class0", "class1", "class2")


def net(boxes: str = "") -> VGG:
    return random_net(CLASSES, boxes=boxes, preprocessing=Preprocessing((60.0, 60.0, 60.0))).eval()  # type: ignore[arg-type]


def overflowing(path: Path, boxes: str = "") -> Path:
    """Weights that are finite, and overflow to NaN on their way through the net."""
    model = net(boxes)
    with torch.no_grad():
        for layer in (model.conv1_1, model.fc6, model.fc8):
            layer.weight.mul_(1e30)
    save_model(path, model)
    return path


def not_finite(path: Path) -> Path:
    """A file with a NaN, as earlier versions wrote them."""
    model = net()
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    tensors["fc7.weight"][1] = float("nan")
    save_file(tensors, path, {DESCRIPTION_KEY: model.description.to_json()})
    return path


COMMANDS = {
    "evaluate": ["evaluate", "MODEL", "DATA"],
    "predict": ["predict", "MODEL", "IMAGE"],
    "features": ["features", "MODEL", "DATA", "--layer", "fc7", "--out", "OUT.npz"],
    "transfer": ["transfer", "MODEL", "DATA", "--train-per-class", "2", "--splits", "1"],
    "export": ["export", "MODEL", "--format", "torch-export", "--out", "OUT.pt2"],
    "convert": ["convert", "MODEL", "--layout", "vggnet", "--out", "OUT"],
    "convert to": ["convert", "MODEL", "--layout", "vggnet", "--to", "torchvision", "--out", "OUT"],
    "quantize": ["quantize", "MODEL", "DATA", "--out", "OUT"],
    "localize predict": ["localize", "predict", "MODEL", "IMAGE", "--classifier", "MODEL", "--out", "OUT"],
}


@pytest.mark.parametrize("make", [overflowing, not_finite])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_stops_with_one_message(
    class_folders: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[..., Path],
    command: str,
) -> None:
    if command == "quantize" and not torch.cpu._is_vnni_supported():
        pytest.skip("this CPU has no VNNI instructions")
    if command == "localize predict" and make is not_finite:
        pytest.skip("loaded as the others are")
    data = class_folders(train=3, val=3)
    model = make(tmp_path / "net.safetensors")
    places = {"MODEL": model, "DATA": data, "IMAGE": data / "val/class0/0.jpg", "OUT": tmp_path / "out"}
    places |= {name: tmp_path / name.lower() for name in ("OUT.pt2", "OUT.npz")}
    arguments = [str(places.get(each, each)) for each in COMMANDS[command]]
    if command == "localize predict":
        arguments[2] = str(overflowing(tmp_path / "boxes.safetensors", "scr"))
    before = set(tmp_path.iterdir())
    assert run(arguments) == 2
    message = capsys.readouterr().err
    assert message.count("the weights have diverged") == 1
    assert "not finite" in message
    assert "Traceback" not in message
    left = {each for each in set(tmp_path.iterdir()) - before if not each.is_dir() or any(each.iterdir())}
    assert {each.name for each in left} <= {"net.safetensors.posteriors"}


def test_localize_evaluate_stops_too(
    tmp_path: Path, class_folders: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = class_folders(train=2, val=2)
    files = sorted(path.relative_to(data) for path in data.glob("*/*/*.jpg"))
    rows = [f"{file},{file.parts[1]},2,2,20,30\n" for file in files]
    (data / "boxes.csv").write_text("image,class,xmin,ymin,xmax,ymax\n" + "".join(rows))
    boxes = overflowing(tmp_path / "boxes.safetensors", "scr")
    assert run(["localize", "evaluate", str(boxes), str(data), "--workers", "0"]) == 2
    assert "the weights have diverged: the numbers of 6 of 6 boxes" in capsys.readouterr().err
    good = tmp_path / "good.safetensors"
    save_model(good, net("scr"))
    classifier = overflowing(tmp_path / "classifier.safetensors")
    assert run(["localize", "evaluate", str(good), str(data), "--classifier", str(classifier), "--workers", "0"]) == 2
    assert "the weights have diverged" in capsys.readouterr().err


def test_boxes_of_absurd_size_are_not_clipped_to_the_image_and_counted(
    tmp_path: Path, class_folders: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Their numbers are finite. The true boxes cover most of the image: the whole image would be right."""
    data = class_folders(train=2, val=2)
    files = sorted(path.relative_to(data) for path in data.glob("*/*/*.jpg"))
    rows = [f"{file},{file.parts[1]},1,1,38,38\n" for file in files]
    (data / "boxes.csv").write_text("image,class,xmin,ymin,xmax,ymax\n" + "".join(rows))
    model = net("scr")
    with torch.no_grad():
        model.fc8.weight.zero_()
        model.fc8.bias.copy_(torch.tensor([0, 0, 1e30, 1e30]))
    save_model(tmp_path / "boxes.safetensors", model)
    assert run(["localize", "evaluate", str(tmp_path / "boxes.safetensors"), str(data), "--workers", "0"]) == 2
    assert "the weights have diverged: the numbers of 6 of 6 boxes" in capsys.readouterr().err
    with torch.no_grad():
        model.fc8.bias.copy_(torch.tensor([0, 0, 1e3, 1e3]))  # large, and a box
    save_model(tmp_path / "boxes.safetensors", model)
    assert run(["localize", "evaluate", str(tmp_path / "boxes.safetensors"), str(data), "--workers", "0"]) == 0


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    model = build("A", num_classes=3, width=0.04, crop=32)
    file = tmp_path / "net.safetensors"
    save_model(file, model)
    before = file.read_bytes()
    with torch.no_grad():
        model.fc8.bias[0] = float("inf")
    with pytest.raises(Diverged, match=r"fc8\.bias has values that are not finite: .*net\.safetensors is not written"):
        save_model(file, model)
    trunk = without_head(model)
    with torch.no_grad():
        trunk.conv1_1.bias[0] = float("nan")
    with pytest.raises(Diverged, match="nothing is written"):
        write_layout(trunk, "torchvision", tmp_path / "out")
    assert file.read_bytes() == before
    assert load_file(file).keys() == model.state_dict().keys()
    assert not (tmp_path / "out").exists()


def test_finite_doubles_that_overflow_in_fp32_are_refused(tmp_path: Path) -> None:
    model = net()
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    tensors["fc8.weight"] = tensors["fc8.weight"].double() + 1e300
    save_file(tensors, tmp_path / "net.safetensors", {DESCRIPTION_KEY: model.description.to_json()})
    with pytest.raises(Diverged, match=r"fc8\.weight has values that are not finite"):
        load_model(tmp_path / "net.safetensors")


def test_an_overlap_that_is_not_a_number_is_wrong() -> None:
    overlaps = np.array([np.nan, 0.9, 0.5])
    result = CenterResult(np.arange(3), overlaps, np.zeros(3), np.zeros((3, 4)))
    assert result.wrong.tolist() == [True, False, True]
    outputs = torch.tensor([[float("nan")] * 4, [0.0, 0.0, 1.0, 1.0]])
    targets = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0, 1.0]] * 2)
    assert regression_losses(outputs, targets, "scr")[1].tolist() == [True, False]
