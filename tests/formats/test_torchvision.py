"""torchvision's layout, both ways, and what its preprocessing becomes."""

import dataclasses
import itertools
import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from closeness import assert_close_to_largest
from safetensors.torch import load_file, save_file

from vggnet.description import Preprocessing
from vggnet.errors import UserError
from vggnet.formats.class_names import read_classes
from vggnet.formats.converting import convert
from vggnet.formats.inputs import CONVENTIONS, InputConvention, open_convention
from vggnet.formats.writing import write_layout
from vggnet.images.normalization import normalize
from vggnet.network.pretrained import from_pretrained, save_pretrained
from vggnet.network.vgg import VGG, without_head
from vggnet.network.weights import load_model


def saved(net: torch.nn.Module, path: Path) -> Path:
    torch.save(net.state_dict(), path)
    return path


def their_input(pixels: torch.Tensor, convention: InputConvention) -> torch.Tensor:
    """As the other library's users write it: uint8 (N, H, W, 3) RGB -> its input."""
    x = pixels.permute(0, 3, 1, 2).double()
    x = x.flip(1) if convention.order == "BGR" else x
    mean, deviation = (torch.tensor(each).double().view(3, 1, 1) for each in (convention.mean, convention.deviation))
    return ((x * convention.scale - mean) / deviation).float()


def our_scores(model: VGG, pixels: torch.Tensor) -> torch.Tensor:
    return model.scores(normalize(pixels, model.description.preprocessing))


@pytest.mark.parametrize(("net", "batch_norm"), [("A", False), ("B", True), ("D", False), ("D", True), ("E", False)])
@pytest.mark.parametrize("convention", ["torchvision", "caffe"])
def test_scores_are_those_of_torchvisions_own_forward_pass(
    torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path, net: str, batch_norm: bool, convention: str
) -> None:
    theirs = torchvision_net(net, batch_norm=batch_norm)
    conversion = convert(saved(theirs, tmp_path / "w.pth"), "torchvision", preprocessing=convention)
    architecture = conversion.model.architecture
    assert (architecture.net, architecture.batch_norm, architecture.crop_px) == (net, batch_norm, 224)
    with torch.no_grad():
        expected = theirs(their_input(pixels, CONVENTIONS[convention]))
    assert_close_to_largest(our_scores(conversion.model, pixels), expected)


DEVIATIONS = ((1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.2, 0.3, 0.4))
orders = list(itertools.product(("RGB", "BGR"), (1.0, 1 / 255, 1 / 127.5), DEVIATIONS))


@pytest.mark.parametrize(("order", "scale", "deviation"), orders)
def test_any_convention_folds_exactly_up_to_the_zero_padded_borders(
    torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path, order: str, scale: float, deviation: tuple
) -> None:
    mean = tuple(value * scale * 255 for value in (0.4, 0.45, 0.5))
    convention = InputConvention(order, scale, mean, tuple(value * scale * 255 for value in deviation))  # type: ignore[arg-type]
    file = tmp_path / "how.json"
    content = {"order": order, "scale": scale, "mean": mean, "deviation": convention.deviation}
    file.write_text(str(content).replace("'", '"').replace("(", "[").replace(")", "]"))
    theirs = torchvision_net("A")
    model = convert(saved(theirs, tmp_path / "w.pth"), "torchvision", preprocessing=str(file)).model
    images = pixels[:, :40, :50]
    with torch.no_grad():
        expected = theirs.features(their_input(images, convention))
        found = model.forward_features(normalize(images, model.description.preprocessing))
    assert_close_to_largest(found, expected)
    one_divisor = len(set(deviation)) == 1
    assert (model.description.preprocessing.deviation == (1, 1, 1)) == one_divisor


def test_torchvisions_own_preprocessing_leaves_every_weight_as_it_is(torchvision_net: Callable, tmp_path: Path) -> None:
    theirs = torchvision_net()
    conversion = convert(saved(theirs, tmp_path / "w.pth"), "torchvision", preprocessing="torchvision")
    preprocessing = conversion.model.description.preprocessing
    assert preprocessing.mean == pytest.approx((123.675, 116.28, 103.53))
    assert preprocessing.deviation == pytest.approx((58.395, 57.12, 57.375))
    write_layout(conversion.model, "torchvision", tmp_path / "back")
    back = load_file(tmp_path / "back" / "vgg16.safetensors")
    assert set(back) == set(theirs.state_dict())
    assert all(torch.equal(back[name], tensor) for name, tensor in theirs.state_dict().items())


@pytest.mark.parametrize("convention", ["caffe", "tf", "paper"])
def test_written_for_torchvision_a_folded_net_is_used_as_its_json_says(
    torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path, convention: str
) -> None:
    theirs = torchvision_net("D", batch_norm=True)
    model = convert(saved(theirs, tmp_path / "w.pth"), "torchvision", preprocessing=convention).model
    file = write_layout(model, "torchvision", tmp_path / "out")
    said = json.loads((tmp_path / "out" / "preprocessing.json").read_text())
    again = torchvision_net("D", batch_norm=True)
    again.load_state_dict(load_file(file))
    mean, deviation = (torch.tensor(said[name]).view(3, 1, 1) for name in ("mean", "std"))
    x = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / deviation
    with torch.no_grad():
        assert_close_to_largest(again(x), our_scores(model, pixels))


def test_the_report_says_where_each_layer_came_from(torchvision_net: Callable, tmp_path: Path) -> None:
    conversion = convert(saved(torchvision_net(), tmp_path / "w.pth"), "torchvision", preprocessing="caffe")
    lines = [str(line) for line in conversion.report]
    assert lines[0] == "conv1_1 <- features.0 4x3x3x3 (BGR turned to RGB)"
    assert lines[13] == "fc6 <- classifier.0 256x1568 -> 256x32x7x7"
    assert len(lines) == 16


@pytest.mark.parametrize("prefix", ["features.", ""])
def test_convolutions_only_end_at_pool5(
    torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path, prefix: str
) -> None:
    theirs = torchvision_net()
    state = {prefix + name: tensor for name, tensor in theirs.features.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    conversion = convert(tmp_path / "w.pth", "torchvision", preprocessing="torchvision")
    assert [str(line) for line in conversion.report[-3:]] == [
        f"{name} missing (convolutions only)" for name in ("fc6", "fc7", "fc8")
    ]
    model = from_pretrained(save_pretrained(conversion.model, tmp_path / "out"))
    assert model.architecture.convolutions_only
    assert model.architecture.parameters == sum(each.numel() for each in model.parameters())
    images = normalize(pixels[:, :70, :96], model.description.preprocessing)
    with torch.no_grad():
        expected = theirs.features(their_input(pixels[:, :70, :96], CONVENTIONS["torchvision"]))
        assert_close_to_largest(model.forward_features(images), expected)
    with pytest.raises(UserError, match="convolutions only, no FC layers"):
        model.scores(normalize(pixels, model.description.preprocessing))


def test_a_head_can_be_left_out(torchvision_net: Callable, tmp_path: Path) -> None:
    state = torchvision_net().state_dict()
    del state["classifier.3.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"lacks classifier\.3.*`convolutions_only`"):
        convert(tmp_path / "w.pth", "torchvision", preprocessing="torchvision")
    conversion = convert(tmp_path / "w.pth", "torchvision", preprocessing="torchvision", convolutions_only=True)
    assert conversion.model.architecture.convolutions_only
    assert str(conversion.report[-1]) == "fc8 left out (`convolutions_only`)"
    assert conversion.notes[-1] == (
        "not taken from the file: classifier.0.weight, classifier.0.bias, classifier.3.bias and 2 more"
    )


def test_layouts_that_cannot_hold_a_net_refuse_it(torchvision_net: Callable, tmp_path: Path) -> None:
    file = saved(torchvision_net("A"), tmp_path / "w.pth")
    trunk = convert(file, "torchvision", preprocessing="torchvision", convolutions_only=True).model
    with pytest.raises(UserError, match="timm has no VGG of convolutions only"):
        write_layout(trunk, "timm", tmp_path / "out")
    boxes = convert(file, "torchvision", preprocessing="torchvision").model
    boxes.description = dataclasses.replace(boxes.description, boxes="scr")
    with pytest.raises(UserError, match="this net draws boxes"):
        write_layout(boxes, "torchvision", tmp_path / "out")
    assert without_head(boxes).description.boxes == ""


def test_options_that_would_do_nothing_are_refused(torchvision_net: Callable, tmp_path: Path) -> None:
    file = saved(torchvision_net("A"), tmp_path / "w.pth")
    folder = save_pretrained(convert(file, "torchvision", preprocessing="caffe").model, tmp_path / "out")
    with pytest.raises(UserError, match="leave `net` out"):
        convert(folder, "vggnet", net="A-LRN")
    with pytest.raises(UserError, match="leave `preprocessing` out"):
        convert(folder, "vggnet", preprocessing="caffe")
    with pytest.raises(UserError, match="is a folder: give the weight file in it"):
        convert(folder, "torchvision", preprocessing="caffe")
    with pytest.raises(UserError, match="net E does not have these weight layers"):
        convert(file, "torchvision", preprocessing="caffe", net="E")


def test_unknown_preprocessing_is_asked_for_and_never_guessed(torchvision_net: Callable, tmp_path: Path) -> None:
    file = saved(torchvision_net("A"), tmp_path / "w.pth")
    with pytest.raises(UserError, match="give `preprocessing` torchvision, caffe"):
        convert(file, "torchvision")
    with pytest.raises(UserError, match="neither one of torchvision"):
        convert(file, "torchvision", preprocessing="imagenet")


WHOLE = {"order": "BGR", "scale": 1.0, "mean": [103.939, 116.779, 123.68], "deviation": [1, 1, 1]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**WHOLE, "order": "GBR"}, "not a preprocessing: order"),
        ({}, "lacks order, scale, mean, deviation"),
        ({"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}, "lacks order, scale, deviation and has std"),
        ({**WHOLE, "std": [0.2, 0.2, 0.2]}, "has std, which are unknown"),
        ({**WHOLE, "mean": [1, 2]}, "mean.2: Field required"),
        ({**WHOLE, "scale": float("nan")}, "every number must be finite"),
        ({**WHOLE, "scale": 0}, "must be above 0"),
        ([1], "expected an object with order"),
    ],
)
def test_a_preprocessing_file_says_all_or_is_refused(tmp_path: Path, content: object, message: str) -> None:
    file = tmp_path / "how.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        open_convention(str(file))


def test_what_was_written_for_torchvision_says_its_own_preprocessing_and_classes(
    torchvision_net: Callable, tmp_path: Path, class_file: Path
) -> None:
    file = saved(torchvision_net("D"), tmp_path / "w.pth")
    model = convert(file, "torchvision", preprocessing="caffe", classes=class_file).model
    written = write_layout(model, "torchvision", tmp_path / "out")
    told = str(tmp_path / "out" / "preprocessing.json")
    for preprocessing in (None, told):
        again = convert(written, "torchvision", preprocessing=preprocessing).model
        assert again.description.classes == model.description.classes
        ours, theirs = again.description.preprocessing, model.description.preprocessing
        assert ours.mean == pytest.approx(theirs.mean)
        assert ours.deviation == pytest.approx(theirs.deviation)
        torch.testing.assert_close(again.conv1_1.weight, model.conv1_1.weight)
    overruled = convert(written, "torchvision", preprocessing="tf")
    assert "preprocessing.json beside it says RGB of 0..1" in "\n".join(overruled.notes)


def test_caffes_names_and_old_blobs(torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path) -> None:
    theirs = torchvision_net()
    model = convert(saved(theirs, tmp_path / "w.pth"), "torchvision", preprocessing="torchvision").model
    blobs = {}
    for layer in model.architecture.layers():
        weight = model.get_parameter(f"{layer.name}.weight").detach()
        blobs[f"{layer.name}.0"] = weight.flatten(1)[None, None] if layer.name.startswith("fc") else weight
        blobs[f"{layer.name}.1"] = model.get_parameter(f"{layer.name}.bias").detach().view(1, 1, 1, -1)
    blobs["conv1_1.0"] = blobs["conv1_1.0"].flip(1)
    save_file({name: tensor.contiguous() for name, tensor in blobs.items()}, tmp_path / "caffe.safetensors")
    found = convert(tmp_path / "caffe.safetensors", "caffe", preprocessing="caffe").model
    assert found.description.preprocessing == Preprocessing()
    with torch.no_grad():
        expected = theirs(their_input(pixels, CONVENTIONS["paper"]))
    assert_close_to_largest(our_scores(found, pixels), expected)


def test_class_names_travel(torchvision_net: Callable, tmp_path: Path, class_file: Path) -> None:
    file = saved(torchvision_net("A"), tmp_path / "w.pth")
    model = convert(file, "torchvision", preprocessing="torchvision", classes=class_file).model
    opened = load_model(save_pretrained(model, tmp_path / "out"))
    assert opened.description.classes == ("ant", "bee", "cat", "dog", "elk")
    codes = tmp_path / "codes.txt"
    codes.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    assert read_classes(codes, 2) == (("n01440764", "n01443537"), ("tench, Tinca tinca", "goldfish"))
    codes.write_text('["a", "a"]')
    with pytest.raises(UserError, match="twice"):
        read_classes(codes, 2)
    with pytest.raises(UserError, match="2 names for 3 outputs"):
        read_classes(codes, 3)
    with pytest.raises(UserError, match="convolutions only has no classes to name"):
        read_classes(codes, 0)
    codes.write_text(json.dumps({str(place): [f"n0000000{place}", f"thing {place}"] for place in (1, 0)}))
    assert read_classes(codes, 2) == (("n00000000", "n00000001"), ("thing 0", "thing 1"))  # as Keras writes them
    codes.write_text('{"tench": 0}')
    with pytest.raises(UserError, match="nor a class index from 0 on"):
        read_classes(codes, 1)


def test_half_precision_weights_become_fp32(torchvision_net: Callable, tmp_path: Path) -> None:
    net = torchvision_net("A").half()
    model = convert(saved(net, tmp_path / "w.pth"), "torchvision", preprocessing="torchvision").model
    assert np.all([each.dtype == torch.float32 for each in model.parameters()])
    assert torch.equal(model.conv1_1.weight, net.features[0].weight.float())


def test_the_head_of_torchvision_before_2017(torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path) -> None:
    theirs = torchvision_net("D")
    places = {"classifier.0": "classifier.1", "classifier.3": "classifier.4"}
    state = {}
    for name, tensor in theirs.state_dict().items():
        layer, _, part = name.rpartition(".")
        state[f"{places.get(layer, layer)}.{part}"] = tensor
    torch.save(state, tmp_path / "vgg16-00b39a1b.pth")
    conversion = convert(tmp_path / "vgg16-00b39a1b.pth", "torchvision", preprocessing="caffe")
    with torch.no_grad():
        expected = theirs(their_input(pixels, CONVENTIONS["caffe"]))
    assert_close_to_largest(our_scores(conversion.model, pixels), expected)
    assert [line.source for line in conversion.report[-3:]] == ["classifier.1", "classifier.4", "classifier.6"]
    del state["classifier.4.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"has classifier\.1, classifier\.6 but lacks classifier\.4"):
        convert(tmp_path / "w.pth", "torchvision", preprocessing="caffe")


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_a_net_on_gray_images_gives_what_it_gave_on_them(
    torchvision_net: Callable, liven: Callable, pixels: torch.Tensor, tmp_path: Path, order: str
) -> None:
    theirs = torchvision_net("A")
    theirs.features[0] = torch.nn.Conv2d(1, 4, 3, padding=1)
    liven(theirs)
    how = {"order": order, "scale": 1 / 255, "mean": [0.4] * 3, "deviation": [0.3] * 3}
    (tmp_path / "how.json").write_text(json.dumps(how))
    conversion = convert(saved(theirs, tmp_path / "w.pth"), "torchvision", preprocessing=str(tmp_path / "how.json"))
    assert str(conversion.report[0]).startswith(
        "conv1_1 <- features.0 4x1x3x3 -> 4x3x3x3 (one gray channel spread over R, G and B"
    )
    gray = pixels[..., :1].expand(-1, -1, -1, 3)
    luma = torch.tensor([0.299, 0.587, 0.114])
    for images in (gray, pixels):
        value = (images.float() * luma).sum(-1)[:, None]
        with torch.no_grad():
            expected = theirs((value / 255 - 0.4) / 0.3)
        assert_close_to_largest(our_scores(conversion.model, images), expected)
    with pytest.raises(UserError, match=r"features\.0 has 1 input channel \(gray images\)"):
        convert(tmp_path / "w.pth", "torchvision", preprocessing="torchvision")


def test_other_numbers_of_input_channels_are_named(torchvision_net: Callable, tmp_path: Path) -> None:
    state = torchvision_net("A").state_dict()
    torch.save({**state, "features.0.weight": torch.zeros(4, 4, 3, 3)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"features\.0 takes 4 input channels"):
        convert(tmp_path / "w.pth", "torchvision", preprocessing="unit")


@pytest.mark.parametrize("write", [lambda m, f: write_layout(m, "torchvision", f), save_pretrained])
def test_a_folder_that_cannot_be_written_whole_stays_as_it_was(
    torchvision_net: Callable, tmp_path: Path, write: Callable
) -> None:
    """A configuration must not come to lie beside the weights of another net."""
    first, second = (
        convert(saved(torchvision_net(net), tmp_path / "w.pth"), "torchvision", preprocessing=how).model
        for net, how in (("D", "torchvision"), ("D", "caffe"))
    )
    write(first, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # enough for the small files, not for weights
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/out/.*safetensors'"):
            write(second, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    write(second, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} != before
