"""Keras models that have a VGG's weights and are none, or are one in other layers: the oracle is Keras itself."""

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vggnet.cli import run
from vggnet.errors import UserError
from vggnet.formats import keras as reader
from vggnet.formats.converting import convert
from vggnet.images.normalization import normalize

pytest.importorskip("h5py", reason="h5py is not installed")


def written(net, file: Path) -> Path:
    """Keras warns of its old formats and of NumPy's new ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.save_weights(file) if file.name.endswith(".weights.h5") else net.save(file)
    return file


@pytest.fixture(scope="module")
def whole(keras_net: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Net A with its head, as Keras writes it."""
    return written(keras_net(net="A"), tmp_path_factory.mktemp("keras") / "a.keras")


def changed(source: Path, target: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """A copy whose list of layers `change` has edited; its weights are the same."""
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "w") as copy:
        for entry in given.infolist():
            content = given.read(entry)
            if entry.filename == "config.json":
                config = json.loads(content)
                change(config["config"]["layers"])
                content = json.dumps(config).encode()
            copy.writestr(entry, content)
    return target


def option(name: str, **options: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(layers: list[dict[str, Any]]) -> None:
        next(layer for layer in layers if layer["config"]["name"] == name)["config"].update(options)

    return change


def inserted(after: str, kind: str, **options: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(layers: list[dict[str, Any]]) -> None:
        names = [layer["config"]["name"] for layer in layers]
        layers.insert(names.index(after) + 1, {"class_name": kind, "config": {"name": "odd", **options}})

    return change


def moved_pool(layers: list[dict[str, Any]]) -> None:
    """block1_pool behind block2_conv1, where no VGG has it."""
    names = [layer["config"]["name"] for layer in layers]
    layers.insert(names.index("block2_conv1"), layers.pop(names.index("block1_pool")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (option("block3_conv1", padding="valid"), "block3_conv1 has a padding of 0|conv2d_2 has a padding of 0"),
        (option("block3_conv1", strides=[2, 2]), r"block3_conv1 has strides \[2, 2\]"),
        (option("block3_conv1", dilation_rate=[2, 2]), r"block3_conv1 has dilation_rate \[2, 2\]"),
        (option("block3_conv1", groups=2), "block3_conv1 has groups 2"),
        (option("block3_conv1", activation="elu"), "block3_conv1 has the activation elu"),
        (option("block3_conv1", activation="linear"), "no ReLU follows block3_conv1"),
        (option("fc2", activation="softmax"), "fc2 has the activation softmax"),
        (option("predictions", activation="sigmoid"), "predictions has the activation sigmoid"),
        (option("block2_pool", pool_size=[3, 3]), r"block2_pool pools \[3, 3\]"),
        (option("block2_pool", strides=[1, 1]), r"at strides \[1, 1\]"),
        (
            inserted("images", "Rescaling", scale=1 / 255),
            r"odd \(Rescaling\) is none of a VGG's .*`preprocessing`",
        ),
        (
            inserted("block5_pool", "GlobalAveragePooling2D"),
            r"odd \(GlobalAveragePooling2D\) is none of a VGG's",
        ),
        (inserted("block1_conv1", "ReLU", negative_slope=0.1), "activation ReLU with a slope"),
        (inserted("block1_conv1", "ZeroPadding2D", padding=[[1, 1], [1, 1]]), "zeros are added before block1_pool"),
        (inserted("images", "ZeroPadding2D", padding=[[1, 1], [1, 1]]), "has a padding of 2, conv1_1 of 1"),
        (inserted("images", "ZeroPadding2D", padding=[[0, 1], [0, 1]]), "odd is padded by"),
        (moved_pool, "max-poolings after layers"),
        (lambda layers: layers.pop(), "its configuration has 10 weight layers, its weights are of 11"),
        (lambda layers: layers.append({}), "its model configuration cannot be read"),
    ],
)
def test_what_only_has_a_vggs_weights_is_refused(whole: Path, tmp_path: Path, change: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        convert(changed(whole, tmp_path / "w.keras", change), "keras", preprocessing="caffe")


def test_pools_that_round_up_are_refused_unless_the_size_is_fixed(
    keras_net: Callable, whole: Path, tmp_path: Path
) -> None:
    """`padding="same"` gives Keras a map of 33 from 65 pixels, where a VGG has 32; from 224 both have 112."""
    same = option("block1_pool", padding="same")
    assert convert(changed(whole, tmp_path / "w.keras", same), "keras", preprocessing="caffe").model
    trunk = written(keras_net(include_top=False, net="A"), tmp_path / "trunk.keras")
    with pytest.raises(UserError, match="block1_pool has padding 'same': it rounds"):
        convert(changed(trunk, tmp_path / "t.keras", same), "keras", preprocessing="caffe")


def test_a_net_of_channels_first_is_flattened_as_such(whole: Path, tmp_path: Path) -> None:
    import h5py

    def first(layers: list[dict[str, Any]]) -> None:
        for layer in layers:
            layer["config"]["data_format"] = "channels_first"

    fc6 = convert(changed(whole, tmp_path / "w.keras", first), "keras", preprocessing="caffe").model.fc6.weight
    with zipfile.ZipFile(whole) as archive, h5py.File(archive.open("model.weights.h5")) as file:
        kernel = torch.from_numpy(file["layers/dense/vars/0"][()])
    assert torch.equal(fc6.detach().flatten(1), kernel.t())
    assert not torch.equal(convert(whole, "keras", preprocessing="caffe").model.fc6.weight, fc6)


def test_a_vgg_in_other_layers_gives_kerass_own_scores(
    keras, keras_net: Callable, pixels: torch.Tensor, tmp_path: Path
) -> None:
    """Zeros, ReLUs and the soft-max as layers of their own, and the trunk as a model inside the model."""
    layers, source = keras.layers, keras_net(net="A")
    trunk, head = keras.Sequential([layers.Input((224, 224, 3))], name="trunk"), []
    for layer in source.layers:
        config = layer.get_config()
        if isinstance(layer, layers.Conv2D):
            trunk.add(layers.ZeroPadding2D(1))
            trunk.add(layers.Conv2D.from_config({**config, "padding": "valid", "activation": None}))
            trunk.add(layers.ReLU())
        elif isinstance(layer, layers.MaxPooling2D):
            trunk.add(layers.MaxPooling2D.from_config(config))
        elif isinstance(layer, layers.Dense):
            head += [layers.Dense.from_config({**config, "activation": None}), layers.Activation("relu")]
    net = keras.Sequential(
        [layers.Input((224, 224, 3)), trunk, layers.Flatten(), *head[:-1], layers.Activation("softmax")]
    )
    for ours, theirs in zip(net.weights, source.weights, strict=True):
        ours.assign(theirs.value)
    conversion = convert(written(net, tmp_path / "n.keras"), "keras", preprocessing="caffe")
    x = pixels.float().numpy()[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    model = conversion.model
    with torch.no_grad():
        expected = torch.as_tensor(np.asarray(net(np.ascontiguousarray(x)).detach()))
        found = model.scores(normalize(pixels, model.description.preprocessing)).softmax(1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert not any("no configuration" in note for note in conversion.notes)


def test_weights_without_a_configuration_say_what_is_believed(
    keras_net: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(keras_net(net="A"), tmp_path / "a.weights.h5")
    arguments = ["convert", str(file), "--layout", "keras", "--preprocessing", "caffe"]
    assert run([*arguments, "--out", str(tmp_path / "model")]) == 0
    assert "no configuration, so that its data format, paddings and activations cannot be" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("layers/conv2d/vars/0", (3, 3, 10_000_000, 4), "takes 10000000 input channels"),
        ("layers/conv2d_7/vars/0", (300, 300, 32, 32), "no net of Table 1 has these weight layers"),
        ("layers/dense/vars/0", (7_000_000, 256), "fits no pool5 map"),
        ("layers/dense_1/vars/0", (7_000_000, 256), "another head"),
        ("layers/dense_3/vars/0", (25_088, 50_000), "no net of Table 1 has these weight layers"),
        ("layers/conv2d_2/vars/1", (400_000_000,), r"16 outputs and a bias of \(400000000,\)"),
    ],
)
def test_no_array_is_read_before_the_shapes_are_a_vggs(
    keras_net: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple, message: str
) -> None:
    """Packed zeros claim gigabytes that a small file can hold."""
    import h5py

    file = written(keras_net(net="A"), tmp_path / "a.weights.h5")
    with h5py.File(file, "a") as content:
        if name in content:
            del content[name]
        content.create_dataset(name, shape, "f4", chunks=True, compression="gzip")
    monkeypatch.setattr(reader, "_tensor", lambda item: pytest.fail(f"{item.name} was read"))
    with pytest.raises(UserError, match=message):
        convert(file, "keras", preprocessing="caffe")


def test_a_vggs_arrays_may_be_packed_as_weights_can_be_and_no_further(
    keras_net: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shapes are a VGG's, and a wide one's may unpack to gigabytes of zeros."""
    import h5py

    file = written(keras_net(net="A"), tmp_path / "a.weights.h5")
    expected = convert(file, "keras", preprocessing="caffe").model.state_dict()

    def rewrite(target: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
        with h5py.File(file) as source, h5py.File(target, "w") as copy:
            arrays: dict[str, Any] = {}
            source.visititems(
                lambda name, item: arrays.update({name: item}) if isinstance(item, h5py.Dataset) else None
            )
            for name, item in arrays.items():
                more = {"compression": "gzip"} if item.shape else {}
                copy.create_dataset(name, data=change(item[()]), **more)
        return target

    packed = convert(
        rewrite(tmp_path / "packed.weights.h5", np.asarray), "keras", preprocessing="caffe"
    ).model.state_dict()
    for name, tensor in expected.items():
        assert torch.equal(tensor, packed[name]), name
    zeros = rewrite(tmp_path / "zeros.weights.h5", np.zeros_like)
    monkeypatch.setattr(reader, "_tensor", lambda item: pytest.fail(f"{item.name} was read"))
    with pytest.raises(UserError, match=r"refused: [\d,]+ bytes of weights packed into [\d,]+, as no trained net's"):
        convert(zeros, "keras", preprocessing="caffe")


def test_a_packed_archive_is_refused_before_it_is_unpacked(whole: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.keras"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    with pytest.raises(UserError, match="bytes inside, packed into"):
        convert(packed, "keras", preprocessing="caffe")


def test_a_head_that_is_left_out_is_not_judged(keras, keras_net: Callable, tmp_path: Path) -> None:
    """Someone's own classes behind Keras's trunk: what matters is that the trunk is a VGG's."""
    source = keras_net(include_top=False, net="A")
    layers = keras.layers
    net = keras.Sequential(
        [layers.Input((None, None, 3)), *source.layers, layers.GlobalAveragePooling2D(), layers.Dense(7, "tanh")]
    )
    written(net, tmp_path / "own.h5")
    with pytest.raises(UserError, match="`convolutions_only` leaves a head out"):
        convert(tmp_path / "own.h5", "keras", preprocessing="caffe")
    conversion = convert(tmp_path / "own.h5", "keras", preprocessing="caffe", convolutions_only=True)
    assert conversion.model.architecture.convolutions_only
    assert any(note.startswith("not taken from the file: dense") for note in conversion.notes)
