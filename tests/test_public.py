"""The names that a Python programmer finds in `vggnet`."""

import dataclasses
import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vggnet
from vggnet.errors import BadImage
from vggnet.formats.exporting import export_model


@pytest.mark.parametrize("name", sorted(set(vggnet.__all__) - {"__version__"}))
def test_public_names_are_found_listed_and_documented(name: str) -> None:
    assert name in dir(vggnet)
    assert name not in {path.stem for path in Path(vggnet.__file__).parent.iterdir()}  # a module would take its place
    assert name in (vggnet.__doc__ or "")
    assert (getattr(vggnet, name).__doc__ or "").strip()


def test_help_lists_every_public_function_with_its_description() -> None:
    text = pydoc.plain(pydoc.render_doc(vggnet))
    for name in set(vggnet.__all__) - {"__version__", "localize", "plot"}:
        assert re.search(rf"^    (class )?{name}\(", text, re.M), name
    assert "Sizes are pixels" in text


def test_the_help_of_the_command_line_imports_no_torch() -> None:
    script = (
        "import sys, vggnet, vggnet.cli\n"
        "try: vggnet.cli.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "assert vggnet.UserError and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_function_states_the_type_of_its_result() -> None:
    """The fast part of the next test."""
    public = {name: getattr(vggnet, name) for name in set(vggnet.__all__) - {"__version__"}}
    public |= {f"localize.{name}": getattr(vggnet.localize, name) for name in ("train", "evaluate", "predict")}
    functions = {name: each for name, each in public.items() if inspect.isfunction(each)}
    assert len(functions) > 20
    stated = {name: str(inspect.signature(each).return_annotation) for name, each in functions.items()}
    assert {name: text for name, text in stated.items() if "Any" in text or "_empty" in text} == {}


@pytest.mark.slow
def test_type_checkers_see_what_a_public_name_is(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(
        "import vggnet\nreveal_type(vggnet.load)\nreveal_type(vggnet.localize.train)\nreveal_type(vggnet.train)\n"
    )
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", str(tmp_path), str(script)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env={"MYPYPATH": str(Path(vggnet.__file__).parents[1]), "PATH": ""},
        check=False,
    )
    assert "-> vggnet.network.vgg.VGG" in checked.stdout, checked.stdout + checked.stderr
    assert "-> vggnet.localization.training.LocalizeResult" in checked.stdout
    assert "-> vggnet.training.classification.TrainResult" in checked.stdout
    assert '"Any"' not in checked.stdout


def test_an_image_of_pillow_or_of_a_file_is_preprocessed_as_predict_does(tmp_path: Path) -> None:
    model = vggnet.build("A", num_classes=3, width=0.04, crop=32).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    images = vggnet.preprocess(model, tmp_path / "image.png", scale=50)
    mean = torch.tensor(model.description.preprocessing.mean)[:, None, None]
    assert torch.allclose(images[0], torch.from_numpy(pixels).permute(2, 0, 1) - mean, atol=1e-4)
    with Image.open(tmp_path / "image.png") as opened:
        assert torch.equal(images, vggnet.preprocess(model, opened, scale=50))
    assert vggnet.preprocess(model, tmp_path / "image.png").shape == (1, 3, 37, 52)  # S = 256 for a crop of 32


def test_pixels_in_any_container_are_preprocessed_as_their_file(tmp_path: Path) -> None:
    model = vggnet.build("A", num_classes=3, width=0.04, crop=32).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    expected = vggnet.preprocess(model, tmp_path / "image.png", scale=40)
    several = [pixels, torch.from_numpy(pixels), Image.fromarray(pixels), str(tmp_path / "image.png")]
    for image in several:
        assert torch.equal(vggnet.preprocess(model, image, scale=40), expected)
    assert torch.equal(vggnet.preprocess(model, several, scale=40), expected.expand(4, -1, -1, -1))
    assert torch.equal(vggnet.preprocess(model, np.stack([pixels, pixels]), scale=40), expected.expand(2, -1, -1, -1))
    gray = pixels[..., :1].repeat(3, axis=2)
    for image in (gray[..., 0], gray[..., :1], torch.from_numpy(gray[..., 0])):
        assert torch.equal(vggnet.preprocess(model, image, scale=40), vggnet.preprocess(model, gray, scale=40))


def test_centre_crops_of_images_of_any_shape_make_a_batch(tmp_path: Path) -> None:
    model = vggnet.build("A", num_classes=3, width=0.04, crop=32).eval()
    images = [np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8) for size in [(40, 61), (90, 40)]]
    crops = vggnet.preprocess(model, images, scale=40, center_crop=True)
    assert crops.shape == (2, 3, 32, 32)
    # of 61 columns 14 lie left of the middle 32, of 40 rows 4 above; of 90 rows 29 above
    assert torch.equal(crops[:1], vggnet.preprocess(model, images[0], scale=40)[:, :, 4:36, 14:46])
    assert torch.equal(crops[1:], vggnet.preprocess(model, images[1], scale=40)[:, :, 29:61, 4:36])
    with pytest.raises(vggnet.UserError, match=r"2 different sizes after rescaling.*`center_crop` True"):
        vggnet.preprocess(model, images, scale=40)
    with pytest.raises(vggnet.UserError, match="give at least 32"):
        vggnet.preprocess(model, images, scale=31, center_crop=True)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((3, 40, 40), np.uint8), r"not as \(3, 40, 40\): `.transpose\(1, 2, 0\)`"),
        (torch.zeros(3, 40, 40, dtype=torch.uint8), r"`.permute\(1, 2, 0\)` brings the channels to the end"),
        (np.zeros((40, 40, 3)), "not float64: multiply pixels of 0 to 1 by 255"),
        (torch.zeros(40, 40, 3), "not float32"),
        (np.zeros((0, 40, 3), np.uint8), "with pixels"),
        ([], "at least one image"),
        (7, "takes a file, an image of Pillow, pixels"),
        (np.zeros(5, np.uint8), r"not as \(5,\)"),
    ],
)
def test_pixels_that_cannot_be_an_image_are_refused(image: object, said: str) -> None:
    model = vggnet.build("A", num_classes=3, width=0.04, crop=32)
    with pytest.raises(vggnet.UserError, match=said):
        vggnet.preprocess(model, image, scale=32)  # type: ignore[arg-type]


def test_posteriors_of_a_preprocessed_image_are_those_of_predict(tmp_path: Path) -> None:
    model = vggnet.build("A", num_classes=3, width=0.04, crop=32).eval()
    model.description = dataclasses.replace(model.description, classes=("bee", "cat", "dog"), train_scale=(40,))
    vggnet.save(tmp_path / "a.safetensors", model)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    images = vggnet.preprocess(model, tmp_path / "image.png")
    assert images.shape == (1, 3, 40, 60)
    expected = (model.posteriors(images) + model.posteriors(images.flip(3)))[0] / 2
    (prediction,) = vggnet.predict(tmp_path / "a.safetensors", [tmp_path / "image.png"], device="cpu", precision="fp32")
    found = {each.name: each.posterior for each in prediction.classes}
    assert [found[name] for name in model.description.classes] == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("scale", [0, -5])
def test_a_scale_that_is_no_size_is_refused(tmp_path: Path, scale: int) -> None:
    model = vggnet.build("A", num_classes=3, width=0.04, crop=32)
    with pytest.raises(vggnet.UserError, match="at least 1"):
        vggnet.preprocess(model, Image.new("RGB", (40, 40)), scale=scale)


def test_gray_and_transparent_images_of_pillow_become_rgb_and_damaged_ones_are_bad(tmp_path: Path) -> None:
    model = vggnet.build("A", num_classes=3, width=0.04, crop=32)
    for mode in ("L", "RGBA", "1", "P"):
        assert vggnet.preprocess(model, Image.new(mode, (40, 40)), scale=32).shape == (1, 3, 32, 32)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    with Image.open(tmp_path / "cut.jpg") as cut, pytest.raises(BadImage, match="truncated"):
        vggnet.preprocess(model, cut)


def test_pixels_that_were_not_preprocessed_are_refused() -> None:
    model = vggnet.build("A", num_classes=3, width=0.04, crop=32)
    with pytest.raises(vggnet.UserError, match=r"not torch.uint8: vggnet.preprocess"):
        model.scores(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_the_documented_use_of_an_exported_net_names_the_class_that_predict_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    page = (Path(__file__).parents[1] / "docs" / "weights.md").read_text(encoding="utf-8")
    [example] = [block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "onnxruntime" in block]
    model = vggnet.build("A", num_classes=3, width=0.04, crop=32).eval()
    model.description = dataclasses.replace(model.description, classes=("bee", "cat", "dog"), train_scale=(40,))
    monkeypatch.chdir(tmp_path)
    export_model(model, Path("D.onnx"), "onnx")
    vggnet.save("D.safetensors", model)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save("photograph.jpg")
    capsys.readouterr()
    found: dict[str, object] = {}
    exec(compile(example, "docs/weights.md", "exec"), found)
    expected = model.scores(vggnet.preprocess(model, "photograph.jpg"))[0].tolist()
    assert np.asarray(found["scores"]).tolist() == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert capsys.readouterr().out.strip() == model.description.classes[int(np.argmax(expected))]
