"""Exports opened by the runtimes they are for, at sizes that the export did not see."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from closeness import assert_close_to_largest

from vggnet.cli import run
from vggnet.description import InputPolicy, ModelDescription, Preprocessing
from vggnet.errors import UserError
from vggnet.formats import exporting
from vggnet.formats.converting import convert
from vggnet.formats.exporting import EXPORTERS, as_sequence, export_model
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG, without_head
from vggnet.network.weights import load_model, save_model

NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",), "torch-export": ()}


def small(net: str = "A", **options) -> VGG:
    model = build(net, num_classes=5, width=1 / 16, crop=64, **options).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
    return model


@pytest.mark.parametrize("net", ["A", "A-LRN", "C", "5x5"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_plain_net_is_the_net(net: str, batch_norm: bool) -> None:
    model = small(net, batch_norm=batch_norm)
    x = 50 * torch.randn(2, 3, 97, 64)
    with torch.no_grad():
        assert_close_to_largest(as_sequence(model)(x), model(x))


def read_back(out: Path, form: str) -> dict[str, str]:
    """The metadata of an exported file, as its own library reads them."""
    if form == "torch-export":
        extra = {"vggnet.json": ""}
        torch.export.load(out, extra_files=extra)
        content = json.loads(extra["vggnet.json"])
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}
    if form == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(out)
        return session.get_modelmeta().custom_metadata_map
    model = pytest.importorskip("openvino").Core().read_model(out)
    return {key: value.astype(str) for key, value in model.get_rt_info(["vggnet"]).astype(dict).items()}


@pytest.mark.parametrize("form", list(NEEDED))
def test_an_exported_file_says_beside_and_inside_what_it_is(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in NEEDED[form]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    model = small("A-LRN" if form == "onnx" else "A")
    classes = ("bee", "cat", "dög", 'a "quoted" class', "fox & <gnu>")
    policy = InputPolicy(mirror=False, orientation="apply", pixel_range=(64, 4095))
    own = Preprocessing((90.0, 100.0, 110.0), (30.0, 40.0, 50.0))
    model.description = dataclasses.replace(model.description, classes=classes, policy=policy, preprocessing=own)
    save_model(tmp_path / "m.safetensors", model)
    out = tmp_path / f"m{exporting.SUFFIXES[form]}"
    assert run(["export", str(tmp_path / "m.safetensors"), "--format", form, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "checked with" in said
    assert "1x64x64, 2x96x139, 1x165x64" in said
    beside, inside = json.loads(out.with_suffix(".json").read_text()), read_back(out, form)
    assert beside["output"]["shape"] == ["batch", "classes", "rows", "columns"]
    assert "soft-max" in beside["output"]["meaning"]
    assert json.loads(inside["classes"]) == list(classes)
    assert json.loads(inside["input"]) == beside["input"]
    assert beside["input"]["pixels_0_255"] == {"mean": [90, 100, 110], "deviation": [30, 40, 50]}
    assert json.loads(inside["trained_with"]) == beside["trained_with"]
    assert beside["trained_with"] == {"mirror": False, "orientation": "apply", "pixel_range": [64, 4095]}
    assert ModelDescription.from_json(inside["description"], "inside") == model.description


def test_an_exported_trunk_gives_pool5(tmp_path: Path) -> None:
    model = without_head(small())
    export_model(model, tmp_path / "trunk.pt2", "torch-export")
    module = torch.export.load(tmp_path / "trunk.pt2").module()
    x = torch.randn(3, 3, 40, 70)
    with torch.no_grad():
        torch.testing.assert_close(module(x), model.forward_features(x))


def earlier(folder: Path, form: str) -> tuple[Path, dict[str, bytes]]:
    """An export's path, with files of an earlier one, and a stranger's, at the places where it writes."""
    out = folder / f"m{exporting.SUFFIXES[form]}"
    for suffix in (exporting.SUFFIXES[form], ".bin", ".json"):
        out.with_suffix(suffix).write_bytes(b"earlier" + suffix.encode())
    return out, contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write_quickly(net: VGG, file: Path, description: object) -> None:
    """What the exporters write, in no time."""
    file.write_bytes(b"half")
    file.with_suffix(".bin").write_bytes(b"half")


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("form", list(NEEDED))
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda scores: np.zeros((len(scores), 5, 1, 1)), "the exported net gives"),
        (lambda scores: 1.01 * scores, "liar gives other scores than the net"),
        (lambda scores: np.nan * scores, "liar gives other scores than the net"),
    ],
)
def test_an_export_that_disagrees_leaves_what_stood_there(
    form: str, answer: Callable[[np.ndarray], np.ndarray], message: str, tmp_path: Path
) -> None:
    out, before = earlier(tmp_path, form)
    model = small()

    def runtimes(file: Path) -> dict[str, exporting.Runtime]:
        return {"liar": lambda images: answer(model(torch.from_numpy(images)).detach().numpy())}

    exporter = dataclasses.replace(EXPORTERS[form], packages=(), write=write_quickly, runtimes=runtimes)
    with pytest.raises(UserError, match=message):
        export_model(model, out, form, exporter=exporter)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device"), UserError("package")])
@pytest.mark.parametrize("step", ["write", "runtimes"])
def test_an_export_that_is_stopped_leaves_what_stood_there(failure: BaseException, step: str, tmp_path: Path) -> None:
    out, before = earlier(tmp_path, "torch-export")
    quick = dataclasses.replace(EXPORTERS["torch-export"], write=write_quickly)
    with pytest.raises(type(failure)):
        export_model(small(), out, "torch-export", exporter=dataclasses.replace(quick, **{step: failing(failure)}))
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("form", "package"), [("onnx", "onnxscript"), ("onnx", "onnxruntime"), ("openvino", "openvino")]
)
def test_a_missing_package_is_named_before_any_work(
    form: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before = earlier(tmp_path, form)
    monkeypatch.setitem(sys.modules, package, None)  # its import fails
    for other in {"onnx", "onnxscript", "onnxruntime"} - {package}:
        monkeypatch.setitem(sys.modules, other, ModuleType(other))
    exporter = dataclasses.replace(EXPORTERS[form], write=failing(AssertionError("the export has begun")))
    with pytest.raises(UserError, match=rf"needs the package {package}: pip install 'vggnet\[{form}\]'"):
        export_model(small(), out, form, exporter=exporter)
    assert contents(tmp_path) == before


def test_a_folder_at_the_exports_place_is_named_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "m.pt2").mkdir()
    with pytest.raises(UserError, match=r"m\.pt2 is a folder; give a file"):
        export_model(small(), tmp_path / "m.pt2", "torch-export")


def test_a_net_of_boxes_is_not_described_as_one_of_classes(tmp_path: Path) -> None:
    model = small()
    model.description = dataclasses.replace(model.description, boxes="scr")
    export_model(model, tmp_path / "m.pt2", "torch-export")
    output = json.loads((tmp_path / "m.json").read_text())["output"]
    assert output["shape"] == ["batch", "channels", "rows", "columns"]
    assert "box coordinates, four, of the crop at each position" in output["meaning"]
    assert "in units of the crop's side" in output["meaning"]


def test_a_folders_whole_name_becomes_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "A-0.25"
    folder.mkdir()
    save_model(folder / "best.safetensors", small())
    monkeypatch.chdir(tmp_path)
    assert run(["export", "A-0.25", "--format", "torch-export"]) == 0
    assert (tmp_path / "A-0.25.pt2").exists()
    assert (tmp_path / "A-0.25.json").exists()


def test_our_own_onnx_comes_back_and_its_free_sizes_have_names(tmp_path: Path) -> None:
    for package in NEEDED["onnx"]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    model = small("A", batch_norm=True)
    export_model(model, tmp_path / "m.onnx", "onnx")
    session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "m.onnx")
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    rows, columns = session.get_outputs()[0].shape[2:]
    assert "height" in rows
    assert "width" in columns
    back = convert(tmp_path / "m.onnx", "onnx", preprocessing="paper").model
    assert back.architecture.net == "A"
    x = 50 * torch.randn(1, 3, 70, 90)
    with torch.no_grad():
        assert_close_to_largest(back(x), model(x))


def test_names_of_files_and_formats(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the formats are onnx"):
        export_model(small(), tmp_path / "m.tflite", "tflite")
    with pytest.raises(UserError, match=r"ends in \.onnx"):
        export_model(small(), tmp_path / "m.pt2", "onnx")
    with pytest.raises(UserError, match="no such file"):
        load_model(tmp_path / "none.safetensors")
