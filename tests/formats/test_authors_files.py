"""The authors' nets as their users have them (.mat, .caffemodel, .npy, .npz), written here by other hands than read."""

import contextlib
import os
import pickle
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from closeness import assert_close_to_largest
from scipy.io import savemat
from torch import nn

from vggnet.cli import run
from vggnet.errors import UserError
from vggnet.formats import protobuf
from vggnet.formats.converting import convert
from vggnet.images.normalization import normalize
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model

BGR_MEAN = (103.939, 116.779, 123.68)


def named_layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """("conv1_1", Conv2d), ("relu1_1", ReLU), ("pool1", MaxPool2d), ..., ("fc8", Linear)."""
    found: list[tuple[str, nn.Module]] = []
    stage, place, dense = 1, 0, 5
    for module in [*net.features, *net.classifier]:  # type: ignore[misc]
        if isinstance(module, nn.Conv2d):
            place += 1
            found.append((f"conv{stage}_{place}", module))
        elif isinstance(module, nn.MaxPool2d):
            found.append((f"pool{stage}", module))
            stage, place = stage + 1, 0
        elif isinstance(module, nn.Linear):
            dense += 1
            found.append((f"fc{dense}", module))
        elif isinstance(module, nn.ReLU):
            found.append((f"relu{stage}_{place}" if dense == 5 else f"relu{dense}", module))
        else:
            found.append((f"drop{dense}", module))
    return found


def arrays(module: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Weight as (O, I, k, k) (dense: k of its map) and bias."""
    weight, bias = module.weight.detach().numpy(), module.bias.detach().numpy()  # type: ignore[operator, union-attr]
    if weight.ndim == 4:
        return weight, bias
    side = 7 if weight.shape[1] % 49 == 0 and weight.shape[1] > 512 else 1
    return weight.reshape(weight.shape[0], -1, side, side), bias


def scores(net: nn.Module, pixels: torch.Tensor, order: str) -> torch.Tensor:
    x = pixels.permute(0, 3, 1, 2).float()
    mean = torch.tensor(BGR_MEAN).view(3, 1, 1)
    x = x.flip(1) - mean if order == "BGR" else x - mean.flip(0)
    with torch.no_grad():
        return net(x)


def assert_same(model: VGG, net: nn.Module, pixels: torch.Tensor, order: str) -> None:
    found = model.scores(normalize(pixels, model.description.preprocessing))
    assert_close_to_largest(found, scores(net, pixels, order))


# --- .mat ------------------------------------------------------------------------------------------------------------


def cell(items: Sequence[Any]) -> np.ndarray:
    found = np.empty((1, len(items)), object)
    for place, item in enumerate(items):
        found[0, place] = item
    return found


CODES, WORDS = [f"n0000000{i}" for i in range(5)], ["ant", "bee", "cat, puss", "dog", "elk"]


def mat_content(net: nn.Module, *, old: bool = False, mean: np.ndarray | None = None) -> dict[str, Any]:
    """MatConvNet's layout: of its recent releases, or of those before meta and weights."""
    layers = []
    for name, module in named_layers(net):
        if name.startswith(("conv", "fc")):
            weight, bias = arrays(module)
            filters, biases = weight.transpose(2, 3, 1, 0), bias.reshape(1, -1)
            values = {"filters": filters, "biases": biases} if old else {"weights": cell([filters, biases])}
            pad = [1.0] * 4 if name.startswith("conv") else [0.0] * 4
            layers.append({"type": "conv", "name": name, "pad": pad, "stride": [1.0, 1.0], **values})
        elif name.startswith("relu"):
            layers.append({"type": "relu", "name": name})
        elif name.startswith("pool"):
            how = {"method": "max", "pool": [2.0, 2.0], "stride": [2.0, 2.0], "pad": [0.0, 1.0, 0.0, 1.0]}
            layers.append({"type": "pool", "name": name, **how})
    layers.append({"type": "softmax", "name": "prob"})
    mean = np.array(BGR_MEAN[::-1], np.float32).reshape(1, 1, 3) if mean is None else mean
    about = {
        "classes": {"name": cell(CODES), "description": cell(WORDS)},
        "normalization": {"averageImage": mean, "imageSize": [224.0, 224.0, 3.0]},
    }
    return {"layers": cell(layers), **(about if old else {"meta": about})}


@pytest.mark.parametrize(("old", "packed"), [(False, True), (True, False)])
def test_a_mat_file_brings_its_mean_and_its_classes(
    torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path, old: bool, packed: bool
) -> None:
    net = torchvision_net("D")
    savemat(tmp_path / "imagenet-vgg.mat", mat_content(net, old=old), do_compression=packed)
    conversion = convert(tmp_path / "imagenet-vgg.mat", "matconvnet")
    model = conversion.model
    assert (model.architecture.net, model.architecture.outputs) == ("D", 5)
    assert model.description.classes == tuple(CODES)
    assert model.description.class_titles == tuple(WORDS)
    assert model.description.preprocessing.mean == pytest.approx(BGR_MEAN[::-1], abs=1e-4)
    assert "5 class names from meta.classes" in conversion.notes
    assert str(conversion.report[0]) == "conv1_1 <- conv1_1 3x3x3x4 -> 4x3x3x3 (out channels first)"
    assert_same(model, net, pixels, "RGB")


def test_a_mean_image_gives_its_mean_colour_and_a_note(torchvision_net: Callable, tmp_path: Path) -> None:
    mean = np.zeros((224, 224, 3)) + BGR_MEAN[::-1]
    mean[:112] += 10
    mean[112:] -= 10
    savemat(tmp_path / "w.mat", mat_content(torchvision_net("A"), mean=mean))
    conversion = convert(tmp_path / "w.mat", "matconvnet")
    assert conversion.model.description.preprocessing.mean == pytest.approx(BGR_MEAN[::-1])
    assert any("averageImage differs from pixel to pixel" in note for note in conversion.notes)


def test_a_given_preprocessing_goes_before_the_files(
    torchvision_net: Callable, tmp_path: Path, pixels: torch.Tensor
) -> None:
    net = torchvision_net("A")
    savemat(tmp_path / "w.mat", mat_content(net, mean=np.full((1, 1, 3), 7.0)))
    assert_same(convert(tmp_path / "w.mat", "matconvnet", preprocessing="caffe").model, net, pixels, "BGR")
    trunk = convert(tmp_path / "w.mat", "matconvnet", convolutions_only=True).model
    assert trunk.architecture.convolutions_only
    assert trunk.description.classes == ()
    assert trunk.description.preprocessing.mean == (7, 7, 7)
    content = mat_content(net)
    del content["meta"]
    savemat(tmp_path / "w.mat", content)
    with pytest.raises(UserError, match=r"w\.mat does not say what pixels its net was trained on"):
        convert(tmp_path / "w.mat", "matconvnet")


def without(name: str) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        content["layers"] = cell([layer for layer in content["layers"].flat if layer["name"] != name])

    return change


def with_field(name: str, **values: Any) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        next(layer for layer in content["layers"].flat if layer["name"] == name).update(values)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("conv3_1"), "no net of Table 1 has these weight layers"),
        (without("relu3_1"), "no ReLU follows conv3_1"),
        (without("pool2"), "max-poolings after layers"),
        (with_field("conv2_1", stride=[2.0, 2.0]), "conv2_1 has a stride or dilation other than 1"),
        (with_field("conv2_1", pad=[0.0] * 4), "conv2_1 has a padding of 0, conv2_1 of 1"),
        (with_field("conv2_1", pad=[1.0, 0.0, 1.0, 0.0]), r"conv2_1 is padded by \[0, 1\]"),
        (with_field("pool3", method="avg"), "pool3 pools otherwise than a VGG"),
        (with_field("relu1_1", type="sigmoid"), r"relu1_1 is a layer of another kind \(sigmoid\)"),
        (with_field("conv2_1", weights=cell([np.zeros((3, 3, 4, 8), np.int32), np.zeros(8)])), "of type int32"),
        (with_field("conv2_1", weights=cell([np.full((3, 3, 4, 8), np.nan), np.zeros(8)])), "not finite"),
        (with_field("conv2_1", weights="text"), r"conv2_1 has no \{filters, biases\}"),
        (lambda content: content.pop("layers"), r"no layers\{i\} in it"),
        (lambda content: content.update(layers=np.zeros(3)), r"no layers\{i\} in it"),
    ],
)
def test_what_is_no_vgg_in_a_mat_file_is_refused(
    torchvision_net: Callable, tmp_path: Path, change: Callable, message: str
) -> None:
    content = mat_content(torchvision_net("A"))
    change(content)
    savemat(tmp_path / "w.mat", content)
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "w.mat", "matconvnet")


@pytest.mark.parametrize("part", [0, 0.00001, 0.01, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("packed", [True, False])
def test_truncated_mat_files(torchvision_net: Callable, tmp_path: Path, part: float, packed: bool) -> None:
    savemat(tmp_path / "w.mat", mat_content(torchvision_net("A")), do_compression=packed)
    content = (tmp_path / "w.mat").read_bytes()
    (tmp_path / "w.mat").write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match="refused"):
        convert(tmp_path / "w.mat", "matconvnet")


def test_mat_files_that_unpack_to_any_size_are_never_unpacked(tmp_path: Path) -> None:
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    inside = zlib.compress(struct.pack("<II", 14, 2**32 - 1) + bytes(1000))
    (tmp_path / "w.mat").write_bytes(header + struct.pack("<II", 15, len(inside)) + inside)
    with pytest.raises(UserError, match="4,294,967,303 bytes packed into"):
        convert(tmp_path / "w.mat", "matconvnet")
    (tmp_path / "w.mat").write_bytes(header + struct.pack("<II", 14, 2**31))
    with pytest.raises(UserError, match="an element claims 2,147,483,648 bytes and 0 are left"):
        convert(tmp_path / "w.mat", "matconvnet")
    (tmp_path / "w.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(200))
    with pytest.raises(UserError, match="save it in MATLAB with -v7"):
        convert(tmp_path / "w.mat", "matconvnet")


@pytest.fixture(scope="module")
def mat_bytes(torchvision_net: Callable, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("mat") / "w.mat"
    savemat(path, mat_content(torchvision_net("A")))
    return path.read_bytes()


@pytest.mark.parametrize("seed", range(40))
def test_changed_bytes_in_a_mat_file_are_refused_or_read(mat_bytes: bytes, tmp_path: Path, seed: int) -> None:
    """SciPy's reader ends the process with some of these, and fills memory with others."""
    rng = np.random.default_rng(seed)
    names = [found.start() for found in re.finditer(b"conv|relu|weights|stride|pool|classes|layers", mat_bytes)]
    changed = bytearray(mat_bytes)
    for place in rng.choice(names, 3):
        changed[int(place) + int(rng.integers(-60, 60))] = int(rng.integers(256))
    (tmp_path / "w.mat").write_bytes(changed)
    with contextlib.suppress(UserError):  # and nothing else: no other error, no crash
        convert(tmp_path / "w.mat", "matconvnet", preprocessing="paper")


# --- .caffemodel: protobuf's wire format, by hand ---------------------------------------------------------------------


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def data(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def old_blob(array: np.ndarray) -> bytes:
    """num, channels, height, width; floats packed."""
    shape = (1,) * (4 - array.ndim) + array.shape
    sides = b"".join(number(place, side) for place, side in enumerate(shape, start=1))
    return sides + data(5, array.astype("<f4").tobytes())


def new_blob(array: np.ndarray) -> bytes:
    return data(7, data(1, b"".join(map(varint, array.shape)))) + data(5, array.astype("<f4").tobytes())


def unpacked_blob(array: np.ndarray) -> bytes:
    """As a writer may that does not pack: each value with a tag; and doubles."""
    sides = b"".join(number(1, side) for side in array.shape)
    return data(7, sides) + b"".join(varint(8 << 3 | 1) + struct.pack("<d", value) for value in array.flat)


V1 = {"Convolution": 4, "InnerProduct": 14, "Pooling": 17, "ReLU": 18, "Dropout": 6, "Softmax": 20, "Data": 5}


def v1_layer(name: str, kind: str, blobs: Sequence[bytes] = (), parameters: bytes = b"") -> bytes:
    """A V1LayerParameter in its NetParameter."""
    own = {"Convolution": 10, "InnerProduct": 17, "Pooling": 19}.get(kind)
    content = data(4, name.encode()) + number(5, V1[kind]) + b"".join(data(6, blob) for blob in blobs)
    return data(2, content + (data(own, parameters) if own else b""))


def new_layer(name: str, kind: str, blobs: Sequence[bytes] = (), parameters: bytes = b"") -> bytes:
    """A LayerParameter in its NetParameter."""
    own = {"Convolution": 106, "InnerProduct": 117, "Pooling": 121}.get(kind)
    content = data(1, name.encode()) + data(2, kind.encode()) + b"".join(data(7, blob) for blob in blobs)
    return data(100, content + (data(own, parameters) if own else b""))


def caffemodel(net: nn.Module, layer: Callable = v1_layer, blob: Callable = old_blob) -> list[bytes]:
    parts = [data(1, b"VGG_ILSVRC_16_layers"), layer("data", "Data")]
    for name, module in named_layers(net):
        if isinstance(module, nn.Conv2d):
            sizes = number(1, module.out_channels) + number(3, 1) + number(4, 3)
            parts.append(layer(name, "Convolution", list(map(blob, arrays(module))), sizes))
        elif isinstance(module, nn.Linear):
            matrix, bias = module.weight.detach().numpy(), module.bias.detach().numpy()
            parts.append(layer(name, "InnerProduct", [blob(matrix), blob(bias)], number(1, module.out_features)))
        elif isinstance(module, nn.MaxPool2d):
            parts.append(layer(name, "Pooling", (), number(1, 0) + number(2, 2) + number(3, 2)))
        else:
            parts.append(layer(name, "ReLU" if isinstance(module, nn.ReLU) else "Dropout"))
    return [*parts, layer("prob", "Softmax")]


@pytest.mark.parametrize(("layer", "blob"), [(v1_layer, old_blob), (new_layer, new_blob)])
@pytest.mark.parametrize("net", ["A", "D", "E"])
def test_a_caffemodel_in_either_form(
    torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path, layer: Callable, blob: Callable, net: str
) -> None:
    theirs = torchvision_net(net)
    (tmp_path / "w.caffemodel").write_bytes(b"".join(caffemodel(theirs, layer, blob)))
    conversion = convert(tmp_path / "w.caffemodel", "caffe", preprocessing="caffe")
    assert conversion.model.architecture.net == net
    assert conversion.model.description.preprocessing.mean == BGR_MEAN[::-1]
    assert_same(conversion.model, theirs, pixels, "BGR")


def test_the_command_line_and_the_advice(
    torchvision_net: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "VGG_ILSVRC_11_layers.caffemodel"
    file.write_bytes(b"".join(caffemodel(torchvision_net("A"))))
    command = ["convert", str(file), "--layout", "caffe", "--out", str(tmp_path / "out")]
    assert run(command) == 2
    assert "give --preprocessing torchvision, caffe" in capsys.readouterr().err
    assert run([*command, "--preprocessing", "caffe"]) == 0
    assert "fc6 <- fc6 1x1x256x1568 -> 256x32x7x7" in capsys.readouterr().out
    assert load_model(tmp_path / "out").architecture.net == "A"


def test_values_that_are_not_packed_are_read(torchvision_net: Callable, tmp_path: Path, pixels: torch.Tensor) -> None:
    net = torchvision_net("A")
    parts = caffemodel(net)
    first = dict(named_layers(net))["conv1_1"]
    parts[2] = v1_layer("conv1_1", "Convolution", [unpacked_blob(array) for array in arrays(first)], number(3, 1))
    (tmp_path / "w.caffemodel").write_bytes(b"".join(parts))
    model = convert(tmp_path / "w.caffemodel", "caffe", preprocessing="caffe").model
    assert_same(model, net, pixels, "BGR")


SMALL, BIAS = np.zeros((4, 3, 3, 3), np.float32), np.zeros(4, np.float32)


@pytest.mark.parametrize(
    ("place", "part", "message"),
    [
        (2, v1_layer("conv1_1", "Convolution", [old_blob(SMALL)], number(3, 1) + number(6, 2)), "a stride of 2"),
        (2, v1_layer("conv1_1", "Convolution", [old_blob(SMALL)], number(3, 1) + number(5, 2)), "a group of 2"),
        (
            2,
            v1_layer("conv1_1", "Convolution", [old_blob(SMALL), old_blob(BIAS)], number(3, 0)),
            "conv1_1 has a padding of 0",
        ),
        (2, v1_layer("conv1_1", "Convolution", [old_blob(SMALL)] * 3, number(3, 1)), "conv1_1 has 3 blobs"),
        (3, v1_layer("relu1_1", "Dropout"), "no ReLU follows conv1_1"),
        (4, v1_layer("pool1", "Pooling", (), number(1, 1) + number(2, 2) + number(3, 2)), "than the maximum"),
        (4, v1_layer("pool1", "Pooling", (), number(2, 3) + number(3, 2)), "pools 3 pixels with a stride of 2"),
        (4, v1_layer("pool1", "ReLU"), "max-poolings after layers"),
        (0, new_layer("bn", "BatchNorm", [new_blob(SMALL)]), r"bn is a layer of another kind \(BatchNorm\)"),
        (0, data(2, data(1, b"V0")), "upgrade_net_proto_binary"),
        (
            0,
            v1_layer("x", "Convolution", [number(1, 4) * 4 + data(5, b"\0" * 8)]),
            r"a blob of the shape \[4, 0, 0, 0\]",
        ),
        (0, v1_layer("x", "Convolution", [data(7, data(1, varint(2**40) * 2)) + data(5, b"\0" * 8)]), "with 2 values"),
        (0, v1_layer("x", "Convolution", [number(1, 1) + data(5, b"\0" * 7)]), "no whole number of values"),
        (0, varint(9 << 3 | 2) + varint(2**50), r"field 9 claims 1,125,899,906,842,624 bytes and [\d,]+ are left"),
        (0, b"\xff" * 11, "a number of more than ten bytes"),
        (0, varint(1 << 3 | 3), "field 1 has wire type 3"),
        (0, b"\x00\x00", "a field of number 0"),
        (0, v1_layer("x", "ReLU") * 1001, "more than 1000 layers"),
    ],
)
def test_hostile_and_foreign_caffemodels_are_refused(
    torchvision_net: Callable, tmp_path: Path, place: int, part: bytes, message: str
) -> None:
    parts = caffemodel(torchvision_net("A"))
    parts[place] = part
    (tmp_path / "w.caffemodel").write_bytes(b"".join(parts))
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "w.caffemodel", "caffe", preprocessing="caffe")


def test_messages_of_very_many_fields_are_refused() -> None:
    message = memoryview(number(5, 18) * 21)
    assert len(protobuf.grouped(message, most=21)[5]) == 21
    with pytest.raises(protobuf.Damaged, match="a message of more than 20 fields"):
        protobuf.grouped(message, most=20)


@pytest.mark.parametrize("content", [b"", b'name: "VGG"\nlayers { }', bytes(100), np.random.default_rng(0).bytes(1000)])
def test_files_that_are_no_caffemodel(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.caffemodel").write_bytes(content)
    with pytest.raises(UserError, match=r"refused|no layers with weights"):
        convert(tmp_path / "w.caffemodel", "caffe", preprocessing="caffe")


@pytest.mark.parametrize("part", [0.001, 0.3, 0.7, 0.9999])
def test_truncated_caffemodels(torchvision_net: Callable, tmp_path: Path, part: float) -> None:
    content = b"".join(caffemodel(torchvision_net("A")))
    (tmp_path / "w.caffemodel").write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match="refused"):
        convert(tmp_path / "w.caffemodel", "caffe", preprocessing="caffe")


# --- .npy, .npz ------------------------------------------------------------------------------------------------------


def for_tensorflow(net: nn.Module) -> dict[str, list[np.ndarray]]:
    """{name: [kernel (rows, columns, in, out) or (in, out), bias]}."""
    found = {}
    for name, module in named_layers(net):
        if name.startswith(("conv", "fc")):
            weight, bias = arrays(module)
            kernel = weight.transpose(2, 3, 1, 0)
            found[name] = [np.ascontiguousarray(kernel if name[0] == "c" else kernel.reshape(-1, len(bias))), bias]
    return found


def test_the_npy_of_tensorflow_vgg(torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path) -> None:
    net = torchvision_net("D")
    np.save(tmp_path / "vgg16.npy", for_tensorflow(net))  # type: ignore[arg-type]
    model = convert(tmp_path / "vgg16.npy", "caffe", preprocessing="caffe").model
    assert_same(model, net, pixels, "BGR")


def test_a_npy_of_python_2_and_of_fortrans_order(torchvision_net: Callable, tmp_path: Path) -> None:
    net = torchvision_net("A")
    layers = {name: {"weights": np.asfortranarray(w), "biases": b} for name, (w, b) in for_tensorflow(net).items()}
    content = np.empty((), object)
    content[()] = layers
    with (tmp_path / "w.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(content, file, protocol=2)
    expected = convert(tmp_path / "w.npy", "caffe", preprocessing="caffe").model.state_dict()
    np.save(tmp_path / "new.npy", for_tensorflow(net))  # type: ignore[arg-type]
    found = convert(tmp_path / "new.npy", "caffe", preprocessing="caffe").model.state_dict()
    assert all(torch.equal(expected[name], tensor) for name, tensor in found.items())


def test_the_npz_of_tensorflow_users_is_rgb(torchvision_net: Callable, pixels: torch.Tensor, tmp_path: Path) -> None:
    net = torchvision_net("D")
    pairs = {
        f"{name}_{part}": array
        for name, both in for_tensorflow(net).items()
        for part, array in zip("Wb", both, strict=True)
    }
    np.savez(tmp_path / "vgg16_weights.npz", **pairs)
    model = convert(tmp_path / "vgg16_weights.npz", "caffe", preprocessing="paper").model
    assert_same(model, net, pixels, "RGB")
    del pairs["conv2_1_b"]
    np.savez(tmp_path / "w.npz", **pairs)
    with pytest.raises(UserError, match="conv2_1 has no pair conv2_1_W and conv2_1_b"):
        convert(tmp_path / "w.npz", "caffe", preprocessing="paper")


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_code_in_a_numpy_file_does_not_run(tmp_path: Path, suffix: str) -> None:
    trap, file = tmp_path / "trap", tmp_path / f"w{suffix}"
    content = np.array({"conv1_1": Touch(trap)}, object)
    if suffix == ".npy":
        np.save(file, content, allow_pickle=True)
    else:
        np.savez(file, conv1_1_W=content, conv1_1_b=np.zeros(4))
    with pytest.raises(UserError, match=r"refused: not a whole \.np"):
        convert(file, "caffe", preprocessing="caffe")
    assert not trap.exists()
    loaded = np.load(file, allow_pickle=True)
    _ = loaded["conv1_1_W"] if suffix == ".npz" else loaded
    assert trap.exists()  # the trap works: a careless reader would have made it


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv1_1": [np.zeros((3, 3, 3, 4), ">f4"), np.zeros(4)]}, "refused"),
        ({"conv1_1": [np.zeros((3, 3, 3, 4), np.int32), np.zeros(4)]}, "refused"),
        ({"conv1_1": [np.zeros((3, 3, 3, 4))]}, "no kernel and bias"),
        ({"conv1_1": "text"}, "no kernel and bias"),
        ({"conv1_1": [np.zeros((3, 3, 3)), np.zeros(4)]}, "expected a kernel of 4 or 2"),
        ({"conv1_1": [np.zeros((3, 3, 3, 4)), np.full(4, np.inf)]}, "no net of Table 1 has"),
        ({"res2a": [np.zeros((3, 3, 3, 4)), np.zeros(4)]}, "not the Caffe nets' layers"),
        ({}, "not a dictionary of layers"),
        ([1, 2], "not a dictionary of layers"),
    ],
)
def test_npy_files_of_something_else_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    held = np.empty((), object)
    held[()] = content
    np.save(tmp_path / "w.npy", held, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "w.npy", "caffe", preprocessing="caffe")


def test_npy_files_that_are_cut_off_or_plain_arrays(torchvision_net: Callable, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", for_tensorflow(torchvision_net("A")))  # type: ignore[arg-type]
    content = (tmp_path / "w.npy").read_bytes()
    for part in (0, 5, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "w.npy").write_bytes(content[:part])
        with pytest.raises(UserError, match="refused"):
            convert(tmp_path / "w.npy", "caffe", preprocessing="caffe")
    np.save(tmp_path / "w.npy", np.zeros(10))
    with pytest.raises(UserError, match="one array of float64: not a dictionary of layers"):
        convert(tmp_path / "w.npy", "caffe", preprocessing="caffe")


@pytest.mark.parametrize(
    ("name", "beginning", "advice"),
    [
        ("w.bin", b"MATLAB 5.0 MAT-file".ljust(200), "`layout` matconvnet"),
        ("w.bin", b"\x93NUMPY\x01\x00".ljust(200), "`layout` caffe"),
        ("w.bin", b"\x89HDF\r\n\x1a\n".ljust(200), "`layout` keras"),
        ("w.caffemodel", b"\x0a\x03VGG", "a file of Caffe: give `layout` caffe"),
        ("w.npz", b"PK\x05\x06".ljust(22, b"\0"), "a NumPy file: give `layout` caffe"),
    ],
)
def test_a_file_under_another_layout_is_named(tmp_path: Path, name: str, beginning: bytes, advice: str) -> None:
    (tmp_path / name).write_bytes(beginning)
    with pytest.raises(UserError, match=advice):
        convert(tmp_path / name, "torchvision", preprocessing="caffe")
