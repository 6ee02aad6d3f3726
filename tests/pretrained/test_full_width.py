"""Stand-ins of full width: posteriors are those of Keras's and torchvision's own forward pass, on photographs."""

import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sources import Source, entry_of, play_keras, play_torchvision, write_keras_file

import vggnet
from vggnet.cli import run
from vggnet.paper.imagenet import imagenet_classes

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Two photographs that scikit-learn ships."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    files = []
    for number, pixels in enumerate(datasets.load_sample_images().images):
        files.append(tmp_path / f"photo{number}.png")
        Image.fromarray(pixels).save(files[-1])
    return files


@pytest.fixture(autouse=True)
def emptied(tmp_path: Path) -> Iterator[None]:
    """Remove the gigabytes at the end; pytest would leave them."""
    yield
    for path in tmp_path.iterdir():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def crops(photos: list[Path]) -> np.ndarray:
    """Centre crops of 224 pixels, uint8 (n, 224, 224, 3)."""
    found = []
    for photo in photos:
        image = Image.open(photo).convert("RGB")
        side = min(image.size)
        image = image.resize((224, 224), Image.Resampling.BILINEAR, box=(0, 0, side, side))
        found.append(np.asarray(image))
    return np.stack(found)


def our_posteriors(name: str, pixels: np.ndarray) -> torch.Tensor:
    model = vggnet.load(name)
    assert model.architecture.width == 1
    assert (model.description.classes, model.description.class_titles) == imagenet_classes()
    norm = model.description.preprocessing
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (norm.mean, norm.deviation))
    return model.posteriors((images - mean) / deviation)


@pytest.mark.parametrize(("name", "theirs"), [("oxford/D", "VGG16"), ("oxford/E", "VGG19")])
def test_the_authors_nets_are_kerass(
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    photos: list[Path],
    name: str,
    theirs: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = pytest.importorskip("keras", reason="keras is not installed")
        file = tmp_path / "theirs.h5"
        write_keras_file(file, name[-1], small=False)
        net = getattr(keras.applications, theirs)(weights=str(file))
        pixels = crops(photos)
        preprocessed = keras.applications.vgg16.preprocess_input(pixels.astype("float32"))
        with torch.no_grad():
            expected = torch.as_tensor(np.asarray(net.predict(preprocessed, verbose=0)))
        del net
    play_keras(monkeypatch, source, entry_of(name), file)
    found = our_posteriors(name, pixels)
    assert expected.max() > 0.003  # uniform is 0.001
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-9)
    assert run(["predict", name, str(photos[0]), "--test-scale", "224", "--top", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert any(f" %  {words} ({code})" in printed for code, words in zip(*imagenet_classes(), strict=True))


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_torchvisions_nets_are_torchvisions(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], name: str
) -> None:
    import torchvision

    torch.manual_seed(0)
    net = getattr(torchvision.models, name)(weights=None).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.weight.mul_(1.2)
                module.bias.normal_(0, 0.1)
    file = tmp_path / "theirs.pth"
    torch.save(net.state_dict(), file, _use_new_zipfile_serialization=False)  # as torchvision's files of 2017
    pixels = crops(photos)
    preset = torchvision.models.get_model_weights(name).IMAGENET1K_V1.transforms()
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))
    with torch.no_grad():
        expected = net((images - mean) / std).softmax(1)
    del net
    play_torchvision(monkeypatch, source, entry_of(name), file)
    found = our_posteriors(name, pixels)
    assert expected.max() > 0.003
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-9)
