"""`vggnet quantize` and --precision int8, from the command line."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from vggnet.cli import run
from vggnet.description import InputPolicy
from vggnet.network.weights import load_model, read_description, read_tensors, save_model

needs_int8 = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this CPU has no VNNI instructions")


@pytest.fixture
def trained(class_folders, tmp_path) -> tuple[Path, str]:
    data = str(class_folders(side=40, train=6, val=5))
    arguments = ["--net", "A", "--width", "0.1", "--crop", "32", "--epochs", "1", "--batch", "8", "--workers", "0"]
    assert run(["train", data, *arguments, "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    return tmp_path / "run", data


@needs_int8
def test_quantize_then_evaluate_and_predict(trained, tmp_path, capsys) -> None:
    model, data = trained
    out = tmp_path / "int8"
    assert run(["quantize", str(model), data, "--out", str(out), "--images", "5", "--workers", "0", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["int8"]["images"] == 15  # alone on standard output
    said = output.err
    assert "measured on 5 images" in said
    assert "int8" in said
    assert "paired test" in said
    before, after = read_tensors(model), read_tensors(out)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert load_model(out).description.activation_limits["fc8"] > 0
    tables = {}
    for precision in ("int8", "fp32"):
        file = tmp_path / f"{precision}.json"
        asked = ["--precision", precision, "--json", str(file), "--workers", "0"]
        assert run(["evaluate", str(out), data, *asked]) == 0
        tables[precision] = json.loads(file.read_text())
    assert tables["int8"]["precision"] == "int8"
    images = sorted(Path(data).glob("val/*/*"))[:2]
    assert run(["predict", str(out), *map(str, images), "--precision", "int8"]) == 0


@needs_int8
def test_a_net_without_mirrored_crops_is_judged_without_the_mirror(trained, tmp_path, capsys) -> None:
    folder, data = trained
    model = load_model(folder)
    model.description = dataclasses.replace(model.description, policy=InputPolicy(mirror=False))
    save_model(folder / "best.safetensors", model)
    quantized = tmp_path / "int8"
    assert run(["quantize", str(folder), data, "--out", str(quantized), "--images", "5", "--workers", "0"]) == 0
    assert "Without the mirror: A was trained without mirrored crops." in capsys.readouterr().out
    assert read_description(quantized).policy.mirror is False
    for each in (folder, quantized):
        assert [path.name.rsplit("-", 1)[0] for path in (each / "posteriors").iterdir()] == ["dense-37-no-mirror"]


@needs_int8
def test_images_without_labels_serve_for_the_ranges(trained, tmp_path, capsys) -> None:
    model, data = trained
    flat = next(Path(data).glob("val/*"))
    assert run(["quantize", str(model), str(flat), "--out", str(tmp_path / "int8"), "--workers", "0"]) == 0
    assert "no labelled val images to say what int8 costs" in capsys.readouterr().out


@needs_int8
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "MODEL", "DATA", "--precision", "int8"], "vggnet quantize MODEL DATA --out DIR"),
        (["quantize", "MODEL", "DATA", "--out", "FILE"], "is a file; give a folder"),
        (["quantize", "MODEL", "DATA", "--out", "OUT", "--images", "0"], "--images 0: give a number from 1 to"),
        (["quantize", "MODEL", "nowhere", "--out", "OUT"], "neither a folder nor the name"),
        (
            ["quantize", "nowhere", "DATA", "--out", "OUT"],
            "nowhere: no such file or run folder, and no model of that name",
        ),
        (["quantize", "MODEL", "DATA", "--out", "OUT", "--test-scale", "20"], "20"),
    ],
)
def test_mistakes(trained, tmp_path, capsys, arguments, message) -> None:
    model, data = trained
    (tmp_path / "file").write_text("no folder")
    names = {"MODEL": str(model), "DATA": data, "OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "file")}
    assert run([names.get(each, each) for each in arguments]) == 2
    assert message in capsys.readouterr().err


def test_features_are_not_integers(trained, capsys) -> None:
    model, data = trained
    with pytest.raises(SystemExit):
        run(["features", str(model), data, "--precision", "int8"])
    assert "int8" in capsys.readouterr().err
