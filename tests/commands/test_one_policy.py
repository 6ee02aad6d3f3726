"""A net whose training differed in everything is used as it was trained, by every command and every call.

It was trained without mirrored crops, on pixels as they are stored, of 12 bits, with its own mean and deviation and a
crop of 64. The expected numbers are computed from the file's pixels by NumPy, Pillow's filter and a plain forward pass.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import random_net
from PIL import Image
from served import options_for
from starlette.testclient import TestClient

import vggnet
from vggnet.cli import run
from vggnet.description import InputPolicy, ModelDescription, Preprocessing
from vggnet.evaluation.computing import ON_CPU
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View
from vggnet.network.vgg import VGG
from vggnet.network.weights import read_description, save_model
from vggnet.serving.running import application

CLASSES, CROP, Q = ("bee", "cat", "dog"), 64, 80  # S of the net, and so its Q
POLICY = InputPolicy(mirror=False, orientation="ignore", pixel_range=(0, 4095))
OWN = Preprocessing((90.0, 100.0, 110.0), (30.0, 40.0, 50.0))
COMPUTING = {"device": "cpu", "precision": "fp32", "workers": 0}


def net_of(path: Path, policy: InputPolicy = POLICY, boxes: str = "", seed: int = 0) -> VGG:
    """Write a net to a model folder and return it."""
    model = random_net(CLASSES, crop=CROP, boxes=boxes, policy=policy, preprocessing=OWN, seed=seed).eval()  # type: ignore[arg-type]
    model.description = dataclasses.replace(model.description, train_scale=(Q,))
    path.mkdir()
    save_model(path / "best.safetensors", model)
    return model


@pytest.fixture
def model(tmp_path: Path) -> VGG:
    return net_of(tmp_path / "net")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photograph of 12 bits that lies on its side, with the EXIF orientation that would turn it."""
    rows, columns = np.mgrid[0:160, 0:240]
    pixels = (4095 * np.clip(rows / 200 + np.sin(columns / 9) / 5, 0, 1)).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "data" / "val" / "bee" / "0.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def as_trained(photo: Path, high: int = 4095, orientation: int = 1) -> Image.Image:
    """Return the photograph in RGB of 8 bits: as POLICY reads it, or otherwise."""
    stored = np.asarray(Image.open(photo)).astype(float)
    gray = np.floor(np.clip(stored * 255 / high, 0, 255) + 0.5).astype(np.uint8)
    image = Image.fromarray(np.repeat(gray[..., None], 3, 2))
    return image.transpose(Image.Transpose.ROTATE_270) if orientation == 6 else image


def posteriors(
    model: VGG, image: Image.Image, *, mirror: bool = False, mean: bool = True, deviation: bool = True
) -> np.ndarray:
    """Return the posteriors (K,) of an image of 240x160 or 160x240 at Q = 80, dense."""
    rescaled = np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR), np.float32)
    x = (rescaled - (OWN.mean if mean else 0)) / (OWN.deviation if deviation else 1)
    pixels = torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        shown = [pixels, pixels.flip(3)] if mirror else [pixels]
        return torch.stack([model(each).mean((2, 3)).softmax(1)[0] for each in shown]).mean(0).numpy()


def by_predict(folder: Path, photo: Path) -> np.ndarray:
    (found,) = vggnet.predict(folder, [photo], top=3, **COMPUTING)  # type: ignore[arg-type]
    return in_order({each.name: each.posterior for each in found.classes})


def by_classify(folder: Path, photo: Path) -> np.ndarray:
    found = vggnet.classify([folder], photo.parent, views="dense", **COMPUTING)  # type: ignore[arg-type]
    return in_order({each.name: each.posterior for each in found.predictions[0].classes})


def by_evaluate(folder: Path, photo: Path) -> np.ndarray:
    """Return what `vggnet evaluate` has stored of the photograph."""
    for name in CLASSES[1:]:
        (photo.parents[1] / name).mkdir()
        Image.new("RGB", (64, 64)).save(photo.parents[1] / name / "0.png")
    command = ["evaluate", str(folder), str(photo.parents[2]), "--views", "dense", "--device", "cpu"]
    assert run([*command, "--precision", "fp32", "--workers", "0"]) == 0
    (store,) = (folder / "posteriors").iterdir()
    assert "no-mirror" in store.name
    split = vggnet_split(photo)
    return Store.of(folder, read_description(folder), split, ON_CPU).read(View("dense", Q, False))[0][0]


def vggnet_split(photo: Path):
    from vggnet.data.listing import images_at

    return images_at([photo])


def by_preprocess(folder: Path, photo: Path) -> np.ndarray:
    net = vggnet.load(folder)
    with torch.no_grad():
        return net.scores(vggnet.preprocess(net, photo)).softmax(1)[0].numpy()


def by_serve(folder: Path, photo: Path) -> np.ndarray:
    with application(options_for(folder)) as app, TestClient(app, base_url="http://localhost") as client:
        answer = client.post("/api/predict", params={"top": 3}, content=photo.read_bytes()).json()
    assert answer["mirror"] is False
    assert answer["notes"] == ["Without the mirror: A was trained without mirrored crops."]
    return in_order({each["class"]: each["posterior"] for each in answer["classes"]})


def in_order(found: dict[str, float]) -> np.ndarray:
    return np.array([found[name] for name in CLASSES])


@pytest.mark.parametrize("way", [by_predict, by_classify, by_evaluate, by_preprocess, by_serve])
def test_posteriors_are_those_of_the_training_s_policy(
    way: Callable[[Path, Path], np.ndarray], model: VGG, photo: Path, tmp_path: Path
) -> None:
    found = way(tmp_path / "net", photo)
    image = as_trained(photo)
    np.testing.assert_allclose(found, posteriors(model, image), atol=2e-6)
    others = [posteriors(model, as_trained(photo, **change)) for change in ({"high": 65535}, {"orientation": 6})]
    others += [
        posteriors(model, image, **change) for change in ({"mirror": True}, {"mean": False}, {"deviation": False})
    ]
    assert all(abs(found - other).max() > 2e-4 for other in others)  # each part of the policy can be seen


def test_descriptors_are_those_of_the_training_s_policy(model: VGG, photo: Path, tmp_path: Path) -> None:
    found = vggnet.descriptors(tmp_path / "net", photo.parent, **COMPUTING)  # type: ignore[arg-type]
    assert found.notes == (f"Without the mirror: {tmp_path / 'net'} was trained without mirrored crops.",)
    rescaled = np.asarray(as_trained(photo).resize((120, 80), Image.Resampling.BILINEAR), np.float32)
    x = torch.from_numpy(((rescaled - OWN.mean) / OWN.deviation).astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        means = vggnet.features(model, x, ["relu7"])["relu7"].mean((2, 3))[0].numpy()
    np.testing.assert_allclose(found.values[0], means / np.linalg.norm(means), atol=2e-5)


def test_boxes_are_those_of_the_training_s_policy(model: VGG, photo: Path, tmp_path: Path) -> None:
    """As those of nets with the same weights and the usual policy, shown the image that POLICY reads, not mirrored."""
    net_of(tmp_path / "boxes", boxes="pcr", seed=3)
    usual = InputPolicy(mirror=True, orientation="apply")
    net_of(tmp_path / "usual", usual)
    net_of(tmp_path / "usual boxes", usual, boxes="pcr", seed=3)
    as_trained(photo).save(tmp_path / "plain.png")
    scales = (Q, 2 * Q)

    def found(boxes: str, classifier: str, image: Path, mirror: bool | None = None) -> list[tuple[object, ...]]:
        result = vggnet.localize.predict(
            tmp_path / boxes, [image], classifier=tmp_path / classifier, test_scale=scales, mirror=mirror, **COMPUTING
        )
        return [dataclasses.astuple(each) for each in result.images[0].boxes]

    ours = found("boxes", "net", photo)
    assert ours == found("usual boxes", "usual", tmp_path / "plain.png", mirror=False)
    assert ours != found("usual boxes", "usual", tmp_path / "plain.png")
    assert ours != found("usual boxes", "usual", photo, mirror=False)


def test_a_server_s_classes_are_read_as_the_classifier_was_trained(photo: Path, tmp_path: Path) -> None:
    """The box net reads other pixels: its boxes lie on those."""
    net_of(tmp_path / "full", InputPolicy(mirror=False))
    net_of(tmp_path / "boxes", boxes="pcr", seed=3)
    expected = vggnet.localize.predict(
        tmp_path / "boxes", [photo], classifier=tmp_path / "full", device="cpu", precision="fp32"
    )
    options = options_for(tmp_path / "full", boxes=tmp_path / "boxes")
    with application(options) as app, TestClient(app, base_url="http://localhost") as client:
        answer = client.post("/api/boxes", content=photo.read_bytes()).json()
    assert [each["posterior"] for each in answer["boxes"]] == pytest.approx(
        [each.posterior for each in expected.images[0].boxes], abs=1e-7
    )


@pytest.mark.slow
def test_an_exported_file_says_all_that_is_needed_to_use_it_so(model: VGG, photo: Path, tmp_path: Path) -> None:
    """From the file alone, by ONNX Runtime and Pillow."""
    onnxruntime = pytest.importorskip("onnxruntime")
    assert run(["export", str(tmp_path / "net"), "--out", str(tmp_path / "net.onnx")]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    facts = session.get_modelmeta().custom_metadata_map
    trained, description = json.loads(facts["trained_with"]), ModelDescription.from_json(facts["description"], "file")
    assert trained == {"mirror": False, "orientation": "ignore", "pixel_range": [0, 4095]}
    assert json.loads(facts["input"])["least_px"] == CROP
    pixels = json.loads(facts["input"])["pixels_0_255"]
    image = as_trained(photo, high=trained["pixel_range"][1])
    (scale,) = description.train_scale
    rescaled = image.resize((image.width * scale // image.height, scale), Image.Resampling.BILINEAR)
    x = (np.asarray(rescaled, np.float32) - pixels["mean"]) / pixels["deviation"]
    scores = session.run(None, {"images": x.astype(np.float32).transpose(2, 0, 1)[None]})[0].mean((2, 3))[0]
    found = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    np.testing.assert_allclose(found, posteriors(model, image), atol=2e-5)
