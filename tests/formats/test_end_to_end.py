"""A torchvision, a timm and a Keras checkpoint, and an ONNX graph: written by those libraries, then every command."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vggnet.cli import run
from vggnet.formats.converting import convert
from vggnet.formats.inputs import CONVENTIONS
from vggnet.images.normalization import normalize
from vggnet.network.weights import load_model


def every_command(
    checkpoint: Path, layout: str, preprocessing: str | None, data: Path, classes: Path, out: Path
) -> None:
    """convert, evaluate, features, transfer and export of one checkpoint."""
    model = str(out / "model")
    arguments = ["convert", str(checkpoint), "--layout", layout, "--classes", str(classes), "--out", model]
    assert run([*arguments, *(["--preprocessing", preprocessing] if preprocessing else [])]) == 0
    assert (
        run(["evaluate", model, str(data), "--test-scale", "224", "--json", str(out / "e.json"), "--device", "cpu"])
        == 0
    )
    assert json.loads((out / "e.json").read_text())["rows"]
    options = ["--test-scale", "224", "--device", "cpu"]
    assert run(["features", model, str(data), *options, "--out", str(out / "f.npz")]) == 0
    with np.load(out / "f.npz") as content:
        np.testing.assert_allclose(np.linalg.norm(content["descriptors"], axis=1), 1, rtol=1e-4)
        assert len(content["files"]) == 20
    options += ["--train-per-class", "2", "--splits", "1", "--layer", "pool5"]
    assert run(["transfer", model, str(data), *options, "--json", str(out / "t.json")]) == 0
    assert json.loads((out / "t.json").read_text())["mean_class_recall"] > 50  # each class has its own colour
    assert run(["export", model, "--format", "torch-export", "--out", str(out / "net.pt2")]) == 0


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def our_scores(folder: Path, pixels: torch.Tensor) -> torch.Tensor:
    model = load_model(folder)
    return model.scores(normalize(pixels, model.description.preprocessing))


def test_a_torchvision_checkpoint(
    torchvision_net: Callable, pixels: torch.Tensor, animals: Path, class_file: Path, tmp_path: Path
) -> None:
    theirs = torchvision_net("A", batch_norm=True)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    every_command(tmp_path / "w.pth", "torchvision", "torchvision", animals, class_file, tmp_path)
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        close(our_scores(tmp_path / "model", pixels), theirs((pixels.permute(0, 3, 1, 2) / 255 - mean) / deviation))


def timm_net(stage_list: Callable, liven: Callable, batch_norm: bool = False) -> nn.Module:
    """timm's own class at width 1/16, in its own folder form."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        timm_vgg = pytest.importorskip("timm.models.vgg", reason="timm is not installed")
    with torch.device("meta"):
        norm = nn.BatchNorm2d if batch_norm else None
        net = timm_vgg.VGG(stage_list("E"), num_classes=5, norm_layer=norm)
        net.pre_logits = timm_vgg.ConvMlp(32, 256, 7)
        net.head.fc = nn.Linear(256, 5)
    return liven(net.to_empty(device="cpu"))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_timm_checkpoint(
    stage_list: Callable,
    liven: Callable,
    pixels: torch.Tensor,
    animals: Path,
    class_file: Path,
    tmp_path: Path,
    batch_norm: bool,
) -> None:
    from safetensors.torch import save_file

    theirs = timm_net(stage_list, liven, batch_norm)
    folder = tmp_path / "timm"
    folder.mkdir()
    save_file(theirs.state_dict(), folder / "model.safetensors")
    cfg = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.2]}
    (folder / "config.json").write_text(json.dumps({"architecture": "vgg19", "pretrained_cfg": cfg}))
    if batch_norm:  # the file's own config.json says its preprocessing
        every_command(folder / "model.safetensors", "timm", None, animals, class_file, tmp_path)
    else:
        arguments = ["convert", str(folder / "model.safetensors"), "--layout", "timm", "--out", str(tmp_path / "model")]
        assert run(arguments) == 0
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (cfg["mean"], cfg["std"]))
    with torch.no_grad():
        close(our_scores(tmp_path / "model", pixels), theirs((pixels.permute(0, 3, 1, 2) / 255 - mean) / deviation))


def test_a_net_of_ours_in_timms_layout(torchvision_net: Callable, class_file: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from vggnet.formats.writing import write_layout

    theirs = torchvision_net("E")
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    model = convert(tmp_path / "w.pth", "torchvision", preprocessing="torchvision", classes=class_file).model
    state = load_file(write_layout(model, "timm", tmp_path / "timm"))
    again = convert(tmp_path / "timm" / "model.safetensors", "timm").model  # config.json says the preprocessing
    assert set(state) >= {"pre_logits.fc1.weight", "head.fc.bias"}
    assert again.description.classes == ("ant", "bee", "cat", "dog", "elk")  # and so its label_names
    assert again.description.preprocessing.deviation == pytest.approx(model.description.preprocessing.deviation)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


@pytest.mark.slow
def test_timm_opens_a_net_of_ours_by_its_own_folder_form(tmp_path: Path) -> None:
    """At full width, since timm's vgg11 has no other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        timm = pytest.importorskip("timm", reason="timm is not installed")
    from vggnet.formats.writing import write_layout
    from vggnet.network.initialization import build

    model = build("A", num_classes=5).eval()
    write_layout(model, "timm", tmp_path / "timm")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    assert theirs.pretrained_cfg["mean"] == pytest.approx([value / 255 for value in (123.68, 116.779, 103.939)])
    x = 50 * torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        close(model.scores(x), theirs(x))


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
def test_a_keras_checkpoint(
    keras_net: Callable, pixels: torch.Tensor, animals: Path, class_file: Path, tmp_path: Path, suffix: str
) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    theirs = keras_net()
    file = tmp_path / f"vgg{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_weights(file) if suffix == ".weights.h5" else theirs.save(file)
    if suffix == ".keras":
        every_command(file, "keras", "caffe", animals, class_file, tmp_path)
    else:
        arguments = ["convert", str(file), "--layout", "keras", "--preprocessing", "caffe"]
        assert run([*arguments, "--out", str(tmp_path / "model")]) == 0
    x = pixels.float().numpy()[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    with torch.no_grad():
        expected = torch.as_tensor(np.asarray(theirs(np.ascontiguousarray(x)).detach()))
    close(our_scores(tmp_path / "model", pixels), expected)


def test_keras_convolutions_only(keras_net: Callable, pixels: torch.Tensor, tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    theirs = keras_net(include_top=False, net="E")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_weights(tmp_path / "vgg.weights.h5")
    model = convert(tmp_path / "vgg.weights.h5", "keras", preprocessing="tf").model
    assert model.architecture.net == "E"
    assert model.description.preprocessing.deviation == (1, 1, 1)  # the divisor went into conv1_1
    images = pixels[:, :96, :64]
    with torch.no_grad():
        expected = torch.as_tensor(np.asarray(theirs(images.float().numpy() / 127.5 - 1).detach())).permute(0, 3, 1, 2)
        close(model.forward_features(normalize(images, model.description.preprocessing)), expected)


@pytest.mark.parametrize(("net", "batch_norm"), [("A", False), ("B", True)])
def test_an_onnx_graph(
    torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path, net: str, batch_norm: bool
) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    theirs = torchvision_net(net, batch_norm=batch_norm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.zeros(1, 3, 224, 224),)
        torch.onnx.export(theirs, example, str(tmp_path / "n.onnx"), dynamo=True, verbose=False)
    model = convert(tmp_path / "n.onnx", "onnx", preprocessing="torchvision").model
    assert model.architecture.net == net
    convention = CONVENTIONS["torchvision"]
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (convention.mean, convention.deviation))
    with torch.no_grad():
        expected = theirs((pixels.permute(0, 3, 1, 2) / 255 - mean) / deviation)
    close(model.scores(normalize(pixels, model.description.preprocessing)), expected)


def test_a_graph_that_keras_exported(keras_net: Callable, pixels: torch.Tensor, tmp_path: Path) -> None:
    """Its images and the map before the dense layers have their channels last."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    import onnxruntime

    theirs = keras_net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs(np.zeros((1, 224, 224, 3), np.float32))  # Keras exports no net that was never called
        theirs.export(str(tmp_path / "n.onnx"), format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "n.onnx"))
    x = pixels[:1].float().numpy()[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    expected = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x)})[0]
    model = convert(tmp_path / "n.onnx", "onnx", preprocessing="caffe").model
    close(model.scores(normalize(pixels[:1], model.description.preprocessing)), torch.from_numpy(expected))
