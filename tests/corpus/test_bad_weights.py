"""Bad weight files and archives: refused before anything in them runs, with the file and what to do."""

import gzip
import io
import json
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

WEIGHT = "features.0.weight"
Make = Callable[[Path], object]


def vgg_a() -> dict[str, torch.Tensor]:
    """A small net A in torchvision's layout."""
    state: dict[str, torch.Tensor] = {}
    channels, place = 3, 0
    for width, pooled in zip((4, 8, 16, 16, 32, 32, 32, 32), (1, 1, 0, 1, 0, 1, 0, 1), strict=True):
        state[f"features.{place}.weight"] = torch.zeros(width, channels, 3, 3)
        state[f"features.{place}.bias"] = torch.zeros(width)
        channels, place = width, place + 2 + pooled
    for place, (outputs, inputs) in zip((0, 3, 6), ((256, 32 * 49), (256, 256), (3, 256)), strict=True):
        state[f"classifier.{place}.weight"] = torch.zeros(outputs, inputs)
        state[f"classifier.{place}.bias"] = torch.zeros(outputs)
    return state


def pth(content: object) -> Make:
    return lambda path: torch.save(content, path)


def state(**changes: object) -> Make:
    """Net A's state with changed entries; None removes one. `_` stands for a dot."""
    content: dict[str, object] = dict(vgg_a())
    for name, value in changes.items():
        key = name.replace("_", ".")
        content.pop(key) if value is None else content.update({key: value})
    return pth(content)


def content(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def part(kept: float) -> Make:
    buffer = io.BytesIO()
    torch.save(vgg_a(), buffer)
    return content(buffer.getvalue()[: int(len(buffer.getvalue()) * kept)])


def tensors(kept: float = 1.0, header: int | None = None) -> Make:
    data = save(vgg_a())
    if header is not None:
        data = struct.pack("<Q", header) + data[8:]
    return content(data[: int(len(data) * kept)])


def zipped(name: str) -> Make:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"words")

    return make


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("weights/data.pkl"))


def traced(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, about TorchScript's age
        torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)).save(str(path))  # type: ignore[no-untyped-call]


def caffemodel(data: bytes) -> Make:
    return content(data)


def npy(value: object) -> Make:
    return lambda path: np.save(path, value, allow_pickle=True)  # type: ignore[arg-type]


class Runs:
    """Unpickled by a reader that runs code, it raises."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1 // 0",)


# the file's name, the layout, the maker, and what the message says
CASES: dict[str, tuple[str, str, Make, str]] = {
    "empty": ("w.pth", "torchvision", content(b""), "w.pth"),
    "text": ("w.pth", "torchvision", content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "w.pth"),
    "a web page": ("w.pth", "torchvision", content(b"<!DOCTYPE html><html></html>"), "w.pth"),
    "zeros": ("w.pth", "torchvision", content(bytes(1000)), "w.pth"),
    "code in a pickle": ("w.pth", "torchvision", lambda path: path.write_bytes(pickle.dumps(Runs())), "refused"),
    "code in a checkpoint": ("w.pth", "torchvision", pth({WEIGHT: Runs()}), "refused"),
    "a whole model": ("w.pth", "torchvision", pth(nn.Conv2d(3, 4, 3)), "state_dict()"),
    "TorchScript": ("w.pt", "torchvision", traced, "TorchScript"),
    "cut to 1 %": ("w.pth", "torchvision", part(0.01), "w.pth"),
    "cut to a half": ("w.pth", "torchvision", part(0.5), "w.pth"),
    "cut by a byte": ("w.pth", "torchvision", part(0.9999), "w.pth"),
    "a zip of something else": ("w.pth", "torchvision", zipped("readme.txt"), "w.pth"),
    "a zip with a path upwards": ("w.pth", "torchvision", zipped("../../data.pkl"), "w.pth"),
    "a tar": ("w.pth", "torchvision", tarred, "w.pth"),
    "gzip": ("w.pth", "torchvision", content(gzip.compress(b"words" * 100)), "w.pth"),
    "a list": ("w.pth", "torchvision", pth([1, 2]), "w.pth"),
    "a number": ("w.pth", "torchvision", pth(5), "w.pth"),
    "one tensor": ("w.pth", "torchvision", pth(torch.zeros(3)), "w.pth"),
    "an empty state": ("w.pth", "torchvision", pth({}), "w.pth"),
    "an optimizer alone": ("w.pth", "torchvision", pth({"optimizer": {"state": {}, "param_groups": []}}), "w.pth"),
    "no VGG": ("w.pth", "torchvision", pth({"conv1.weight": torch.zeros(64, 3, 7, 7)}), "w.pth"),
    "a layer is missing": ("w.pth", "torchvision", state(features_3_weight=None), "features.3"),
    "a bias is missing": ("w.pth", "torchvision", state(features_3_bias=None), "features.3 has no bias"),
    "a shape does not fit": ("w.pth", "torchvision", state(features_3_weight=torch.zeros(8, 5, 3, 3)), "8x5x3x3"),
    "kernels of 7": ("w.pth", "torchvision", state(features_0_weight=torch.zeros(4, 3, 7, 7)), "w.pth"),
    "four input channels": (
        "w.pth",
        "torchvision",
        state(features_0_weight=torch.zeros(4, 4, 3, 3)),
        "4 input channels",
    ),
    "not a number": (
        "w.pth",
        "torchvision",
        state(features_0_weight=torch.full((4, 3, 3, 3), torch.nan)),
        "not finite",
    ),
    "integers": ("w.pth", "torchvision", state(features_0_weight=torch.zeros(4, 3, 3, 3, dtype=torch.int64)), "int"),
    "complex numbers": (
        "w.pth",
        "torchvision",
        state(features_0_weight=torch.zeros(4, 3, 3, 3, dtype=torch.complex64)),
        "complex",
    ),
    "words": ("w.pth", "torchvision", state(features_0_weight="words"), "features.0"),
    "safetensors: empty": ("w.safetensors", "torchvision", content(b""), "w.safetensors"),
    "safetensors: a long header": ("w.safetensors", "torchvision", tensors(header=2**40), "w.safetensors"),
    "safetensors: a short header": ("w.safetensors", "torchvision", tensors(header=3), "w.safetensors"),
    "safetensors: cut": ("w.safetensors", "torchvision", tensors(0.7), "w.safetensors"),
    "mat: empty": ("w.mat", "matconvnet", content(b""), "w.mat"),
    "mat: text": ("w.mat", "matconvnet", content(b"words" * 50), "w.mat"),
    "mat: of version 7.3": ("w.mat", "matconvnet", content(b"MATLAB 7.3 MAT-file" + bytes(600)), "w.mat"),
    "caffemodel: empty": ("w.caffemodel", "caffe", caffemodel(b""), "w.caffemodel"),
    "caffemodel: text": ("w.caffemodel", "caffe", caffemodel(b"name: 'VGG'\nlayer {\n}\n"), "w.caffemodel"),
    "caffemodel: endless": ("w.caffemodel", "caffe", caffemodel(b"\x0a" + b"\xff" * 50), "w.caffemodel"),
    "npy: objects of other kinds": ("w.npy", "caffe", npy({"conv1_1": Runs()}), "w.npy"),
    "npy: an array": ("w.npy", "caffe", npy(np.zeros(3)), "w.npy"),
    "h5: text": ("w.h5", "keras", content(b"words" * 50), "w.h5"),
    "onnx: text": ("w.onnx", "onnx", content(b"words" * 50), "w.onnx"),
    "no such file": ("w.pth", "torchvision", lambda path: None, "w.pth"),
    "a folder without weights": ("w", "torchvision", lambda path: path.mkdir(), "w"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_weights_are_refused_with_their_file(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    file, layout, make, said = CASES[name]
    make(tmp_path / file)
    out = tmp_path / "net"
    preprocessing = ("--preprocessing", "torchvision")
    message = refused("convert", tmp_path / file, "--layout", layout, *preprocessing, "--out", out)
    assert said in message
    assert not out.exists()


BESIDE: dict[str, tuple[str, str, str]] = {
    "classes: no JSON": ("--classes", "[", "c.json"),
    "classes: an object of numbers": ("--classes", '{"a": 5}', "c.json"),
    "classes: too few": ("--classes", '["bee", "cat"]', "2 "),
    "classes: one twice": ("--classes", '["bee", "cat", "bee"]', "bee"),
    "classes: a gap in the numbers": ("--classes", '{"0": "bee", "2": "cat", "3": "dog"}', "c.json"),
    "preprocessing: no JSON": ("--preprocessing", "{", "c.json"),
    "preprocessing: a list": ("--preprocessing", "[]", "c.json"),
    "preprocessing: an unknown order": (
        "--preprocessing",
        json.dumps({"order": "GRB", "scale": 1, "mean": [0, 0, 0], "deviation": [1, 1, 1]}),
        "order",
    ),
    "preprocessing: a deviation of 0": (
        "--preprocessing",
        json.dumps({"order": "RGB", "scale": 1, "mean": [0, 0, 0], "deviation": [0, 1, 1]}),
        "deviation",
    ),
    "preprocessing: two means": (
        "--preprocessing",
        json.dumps({"order": "RGB", "scale": 1, "mean": [0, 0], "deviation": [1, 1, 1]}),
        "mean",
    ),
    "preprocessing: a word": ("--preprocessing", '"words"', "c.json"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_bad_files_beside_weights_are_refused_with_their_field(
    name: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    option, text, said = BESIDE[name]
    torch.save(vgg_a(), tmp_path / "w.pth")
    (tmp_path / "c.json").write_text(text)
    other = ("--preprocessing", "torchvision") if option == "--classes" else ()
    arguments = ("--layout", "torchvision", option, tmp_path / "c.json", *other, "--out", tmp_path / "net")
    message = refused("convert", tmp_path / "w.pth", *arguments)
    assert said in message
    assert not (tmp_path / "net").exists()
