"""Descriptors against the same written plainly: one image at a time, no masks, no store."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from passes import no_forward_pass
from torch.nn import functional as F

from vggnet.cli import run
from vggnet.data.splits import Split
from vggnet.description import InputPolicy
from vggnet.errors import UserError
from vggnet.images.decoding import decode
from vggnet.images.geometry import rescale
from vggnet.images.normalization import normalize
from vggnet.network.taps import features
from vggnet.network.vgg import VGG, without_head
from vggnet.network.weights import save_model
from vggnet.transfer_learning.descriptors import DescriptorSettings, describe_images, settings_of, unit
from vggnet.transfer_learning.layer_means import activation
from vggnet.transfer_learning.writing import write_features


def plain(model: VGG, image, scale: int, tap: str) -> np.ndarray:
    """(C,) of one image: both mirrors, mean over positions."""
    pixels = torch.from_numpy(np.array(rescale(image, scale)))[None]
    x = normalize(pixels, model.description.preprocessing).contiguous()
    with torch.no_grad():
        maps = [features(model, each, [tap])[tap].mean((2, 3)) for each in (x, x.flip(3))]
    return ((maps[0] + maps[1]) / 2)[0].numpy()


def split_of(folder: Path) -> Split:
    return Split(str(folder), tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png")))[::4])


@pytest.mark.parametrize("layer", ["fc7", "fc6", "pool5", "conv3_3", "fc8"])
@pytest.mark.parametrize("pool", ["stack", "average", "max"])
def test_descriptors_are_means_over_positions_and_mirrors(
    small_net: Callable, colours: Path, layer: str, pool: str
) -> None:
    model, split = small_net(), split_of(colours).subset(range(0, 10, 3))
    found = describe_images([model], [split], DescriptorSettings(layer, (64, 96), pool))  # type: ignore[arg-type]
    tap = {"fc7": "relu7", "fc6": "relu6", "conv3_3": "relu3_3"}.get(layer, layer)
    for row, index in enumerate(found.indices):
        image = decode(split.path(int(index)))
        parts = [plain(model, image, scale, tap) for scale in (64, 96)]
        if pool == "stack":
            expected = np.concatenate([part / np.linalg.norm(part) for part in parts])
        else:
            expected = np.mean(parts, axis=0) if pool == "average" else np.maximum(*parts)
        np.testing.assert_allclose(found.values[row], expected / np.linalg.norm(expected), atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(found.values, axis=1), 1, rtol=1e-5)


def test_a_net_without_mirrored_crops_is_described_without_the_mirror(
    small_net: Callable, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From memory and through the cache, and for each layer another than with the mirror."""
    model, split = small_net(), split_of(colours)
    model.description = dataclasses.replace(model.description, policy=InputPolicy(mirror=False))
    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run" / "best.safetensors", model)
    for layer, tap in (("fc7", "relu7"), ("conv3_3", "relu3_3")):
        expected = []
        for index in range(len(split)):
            image = np.array(rescale(decode(split.path(index)), 64))
            x = normalize(torch.from_numpy(image)[None], model.description.preprocessing).contiguous()
            with torch.no_grad():
                expected.append(features(model, x, [tap])[tap].mean((2, 3))[0].numpy())
        for net in (model, tmp_path / "run"):
            both = describe_images([net], [split], DescriptorSettings(layer, (64,), mirror=True)).values
            alone = describe_images([net], [split], DescriptorSettings(layer, (64,))).values
            np.testing.assert_allclose(alone, unit(np.stack(expected)), atol=2e-5)
            assert abs(both - alone).max() > 1e-3
    command = [str(tmp_path / "run"), str(colours), "--test-scale", "64", "--device", "cpu", "--workers", "0"]
    assert run(["features", *command, "--out", str(tmp_path / "f.npz")]) == 0
    assert "run was trained without mirrored crops" in capsys.readouterr().out
    small = ["--train-per-class", "4", "--test-per-class", "2", "--splits", "1", "--against", "random"]
    assert run(["transfer", *command, *small, "--json", str(tmp_path / "t.json")]) == 0
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["mirror"] == [False]
    assert "without mirrored crops" in content["notes"][0]
    assert run(["transfer", *command, *small, "--mirror", "--json", str(tmp_path / "t.json")]) == 0
    assert json.loads((tmp_path / "t.json").read_text())["mirror"] == [True]


def test_two_nets_are_stacked(small_net: Callable, colours: Path) -> None:
    nets, split = [small_net(), small_net("A")], split_of(colours)
    settings = DescriptorSettings("pool5", (64,))
    both = describe_images(nets, [split], settings)
    alone = [describe_images([net], [split], settings).values for net in nets]
    np.testing.assert_allclose(both.values, np.concatenate(alone, 1) / np.sqrt(2), atol=1e-6)


def test_descriptors_are_kept_and_nothing_is_computed_twice(model_file: Path, colours: Path) -> None:
    split, settings = split_of(colours), DescriptorSettings("pool5", (64,))
    first = describe_images([model_file], [split], settings)
    assert list((model_file / "descriptors").glob("pool5-64-*/*.safetensors"))
    with no_forward_pass():
        again = describe_images([model_file], [split], settings)
    assert np.array_equal(first.values, again.values)
    other = describe_images([model_file], [split], DescriptorSettings("fc7", (64,)))
    assert other.values.shape[1] == 256


@pytest.mark.parametrize("layer", ["pool5", "relu3_3", "fc7"])
def test_bf16_agrees(small_net: Callable, colours: Path, layer: str) -> None:
    settings = settings_of(layer, (64, 96), device="cpu")
    if settings.computing.precision != "bf16":
        pytest.skip("this CPU has no bf16 instructions")
    model, split = small_net(batch_norm=True), split_of(colours)
    exact = describe_images([model], [split], DescriptorSettings(layer, (64, 96))).values
    found = describe_images([model], [split], settings).values
    assert (found * exact).sum(1).min() > 0.999


def test_convolutions_only_describe_up_to_pool5(small_net: Callable, colours: Path, tmp_path: Path) -> None:
    whole = small_net()
    save_model(tmp_path / "trunk.safetensors", without_head(whole))
    split = split_of(colours)
    settings = DescriptorSettings("pool5", (64,))
    monkey = describe_images([tmp_path / "trunk.safetensors"], [split], settings)
    np.testing.assert_allclose(monkey.values, describe_images([whole], [split], settings).values, atol=1e-6)
    with pytest.raises(UserError, match="no fc7: give `layer` pool5"):
        describe_images([tmp_path / "trunk.safetensors"], [split], DescriptorSettings())


def test_a_region_is_the_image_cut_to_it(small_net: Callable, write_noise: Callable, tmp_path: Path) -> None:
    write_noise(tmp_path / "a.png", 0, (120, 90), (90, 120, 60))
    decode(str(tmp_path / "a.png")).crop((10, 20, 90, 85)).save(tmp_path / "cut.png")
    regions = np.array([[10, 20, 89, 84], [-5, -5, 500, 500]])
    settings = DescriptorSettings("relu4_3", (64,))
    found = describe_images([small_net()], [Split(str(tmp_path), ("a.png", "a.png"), regions=regions)], settings)
    expected = describe_images([small_net()], [Split(str(tmp_path), ("cut.png", "a.png"))], settings)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
    outside = Split(str(tmp_path), ("a.png",), regions=np.array([[200, 200, 300, 300]]))
    with pytest.raises(UserError, match="lies outside the 120x90 image"):
        describe_images([small_net()], [outside], settings)


def test_features_are_written_without_pickles(model_file: Path, colours: Path, tmp_path: Path) -> None:
    found, out = write_features([model_file], str(colours), tmp_path / "f.npz", DescriptorSettings("pool5", (64,)))
    with np.load(out, allow_pickle=False) as content:
        assert np.array_equal(content["descriptors"], found.values)
        assert content["descriptors"].shape == (40, 32)
        assert [Path(file).parent.name for file in content["files"]] == list(content["classes"][content["labels"]])
    _, table = write_features([model_file], str(colours), tmp_path / "f.csv", DescriptorSettings("pool5", (64,)))
    rows = table.read_text().splitlines()
    assert len(rows) == 41
    assert rows[0].startswith("image,class,0,1")
    with pytest.raises(UserError, match=r"\.npz or \.csv"):
        write_features([model_file], str(colours), tmp_path / "f.pkl", DescriptorSettings())


def test_features_of_files_whose_names_are_not_utf8(model_file: Path, colours: Path, tmp_path: Path) -> None:
    file = next(colours.rglob("*.png"), None) or next(colours.rglob("*.jpg"))
    name = os.fsdecode(b"caf\xe9") + file.suffix
    file.rename(file.with_name(name))
    settings = DescriptorSettings("pool5", (64,))
    _, table = write_features([model_file], str(colours), tmp_path / "f.csv", settings)
    assert f"caf\\xe9{file.suffix}," in table.read_text(encoding="utf-8")
    _, out = write_features([model_file], str(colours), tmp_path / "f.npz", settings)
    with np.load(out, allow_pickle=False) as content:
        assert str(file.with_name(name)) in content["files"].tolist()


def test_what_cannot_be_described_is_said_before_any_image_is_read(model_file: Path, tmp_path: Path) -> None:
    nothing = Split(str(tmp_path), ("none.png",))
    for settings, message in (
        (DescriptorSettings("conv9_1"), "no layer 'relu9_1'"),
        (DescriptorSettings("fc7", (32,)), "Q must be at least 64"),
        (DescriptorSettings("pool5", (64, 64)), "each Q once"),
    ):
        with pytest.raises(UserError, match=message):
            describe_images([model_file], [nothing], settings)


def test_activations_are_after_the_relu() -> None:
    assert [activation(name) for name in ("fc7", "conv5_3", "norm5_3", "pool5", "relu4_1", "fc8")] == [
        "relu7", "relu5_3", "relu5_3", "pool5", "relu4_1", "fc8",
    ]  # fmt: skip
    assert np.array_equal(unit(np.zeros((1, 3))), np.zeros((1, 3)))
    assert F.relu(torch.tensor(-1.0)) == 0
