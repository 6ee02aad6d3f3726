"""Weight files: there and back, killed half-way, damaged in every way we could think of."""

import dataclasses
import hashlib
import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forked import Forked
from safetensors.torch import load_file, save_file

from vggnet.description import ModelDescription, Preprocessing
from vggnet.errors import UserError
from vggnet.formats.exporting import export_model
from vggnet.network import weights
from vggnet.network.initialization import initialize
from vggnet.network.pretrained import save_pretrained
from vggnet.network.vgg import VGG
from vggnet.network.weights import find_weights, load_model, read_description, save_model
from vggnet.paper.configurations import Architecture


def net(seed: int = 0, batch_norm: bool = True) -> VGG:
    architecture = Architecture("A", 3, width=1 / 16, crop_px=64, batch_norm=batch_norm)
    description = ModelDescription(
        architecture, Preprocessing((1.5, 2.0, 3.0)), ("chat", "chien", "émeu"), train_scale=(73,), recipe={"epochs": 3}
    )
    model = VGG(description)
    initialize(model, "he", seed=seed)
    return model


def equal(first: VGG, second: VGG) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in first.state_dict().items())


def test_round_trip(tmp_path: Path) -> None:
    model, path = net(), tmp_path / "a.safetensors"
    model.train()(torch.randn(4, 3, 64, 64))  # running statistics of its own
    save_model(path, model)
    loaded = load_model(path)
    assert equal(model, loaded)
    assert loaded.description == model.description == read_description(path)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(loaded.scores(images), model.scores(images))
    assert load_model(path, dtype=torch.float64).fc8.weight.dtype == torch.float64
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_same_weights_make_the_same_file(tmp_path: Path) -> None:
    for number in range(8):
        save_model(tmp_path / str(number), net())
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


def test_a_loaded_net_does_not_hang_on_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(path, net())
    loaded = load_model(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert equal(net(), loaded)


def test_a_run_folder_means_its_best_weights_else_its_last(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has it saved yet"):
        find_weights(tmp_path)
    save_model(tmp_path / "last.safetensors", net(1))
    assert equal(load_model(tmp_path), net(1))
    save_model(tmp_path / "best.safetensors", net(2))
    assert equal(load_model(tmp_path), net(2))


def save_with_little_room(path: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        save_model(path, net(2))
    except OSError:
        os._exit(7)
    os._exit(0)


def save_and_die(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # kills the process in the middle of the write
    save_model(path, net(2))


@pytest.mark.parametrize(("how", "exit_code"), [(save_with_little_room, 7), (save_and_die, -signal.SIGXFSZ)])
def test_a_save_that_fails_half_way_leaves_the_old_file(
    tmp_path: Path, how: Callable[[Path], None], exit_code: int
) -> None:
    path = tmp_path / "best.safetensors"
    save_model(path, net(1))
    assert Forked(how, path).wait() == exit_code
    assert equal(load_model(tmp_path), net(1))
    save_model(path, net(3))  # and what the dead one left is cleared away
    assert equal(load_model(path), net(3))
    assert [file.name for file in tmp_path.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize("share", [0.0, 1e-5, 0.001, 0.5, 0.999999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.safetensors"
    save_model(path, net())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_model(path)


def rewrite(path: Path, model: VGG, **changes: torch.Tensor | None) -> None:
    """Save `model` with some tensors replaced, or left out (None)."""
    tensors = {**{key: value.contiguous() for key, value in model.state_dict().items()}, **changes}
    kept = {key: value for key, value in tensors.items() if value is not None}
    save_file(kept, path, {"vggnet": model.description.to_json()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fc7.bias": None}, "fc7.bias is missing"),
        ({"fc9.bias": torch.zeros(3)}, "fc9.bias does not belong"),
        ({"fc8.bias": torch.zeros(4)}, r"fc8.bias is \(4,\), the net needs \(3,\)"),
        ({"fc8.bias": torch.zeros(3, dtype=torch.int64)}, "fc8.bias is of type torch.int64"),
        ({"fc8.bias": torch.tensor([0, float("nan"), 1])}, "fc8.bias has values that are not finite"),
        ({"fc8.bias": torch.tensor([0, float("-inf"), 1])}, "fc8.bias has values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    path = tmp_path / "a.safetensors"
    rewrite(path, net(), **changes)
    with pytest.raises(UserError, match=message):
        load_model(path)


def test_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or run folder"):
        load_model(tmp_path / "nowhere.safetensors")
    pickle = tmp_path / "vgg16.pth"
    torch.save({"a": torch.zeros(1)}, pickle)
    with pytest.raises(UserError, match="pickled weights are not read"):
        load_model(pickle)
    disguised = tmp_path / "vgg16.safetensors"
    disguised.write_bytes(pickle.read_bytes())
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_model(disguised)
    for metadata in (None, {"format": "pt"}):
        save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors", metadata)
        with pytest.raises(UserError, match="no model description inside"):
            load_model(tmp_path / "foreign.safetensors")
    for description in ("{", "[]", json.dumps({"architecture": {"net": "F"}})):
        save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors", {"vggnet": description})
        with pytest.raises(UserError):
            load_model(tmp_path / "foreign.safetensors")


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", net())
    assert load_file(tmp_path / "a.safetensors").keys() == net().state_dict().keys()


def flipped(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_one_flipped_bit_of_a_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(path, net())
    flipped(path, -2)  # a finite value of the right shape
    with pytest.raises(UserError, match=r"a\.safetensors: damaged: its weights or its description have changed"):
        load_model(path)


def test_a_changed_digit_of_the_description_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(path, net())
    content = path.read_bytes()
    assert content.count(b"[73]") == 1  # S
    path.write_bytes(content.replace(b"[73]", b"[74]"))
    with pytest.raises(UserError, match="damaged"):
        load_model(path)


def test_files_without_a_checksum_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    rewrite(path, net())
    assert equal(load_model(path), net())


def test_a_net_knows_the_hash_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(path, net())
    assert load_model(tmp_path / "a.safetensors").file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert net().file_sha256 is None


def test_a_file_that_is_replaced_while_it_is_read_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_model(path, net(0))
    opened, calls = weights.safe_open, []

    def replacing_once(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            save_model(path, net(1))
        return opened(*args, **kwargs)

    monkeypatch.setattr(weights, "safe_open", replacing_once)
    loaded = load_model(path)
    assert len(calls) == 2
    assert equal(loaded, net(1))
    assert loaded.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(weights, "safe_open", lambda *a, **k: save_model(path, net(len(calls))) or opened(*a, **k))
    with pytest.raises(UserError, match="is being written to all the time"):
        load_model(path)


def narrower(model: VGG) -> None:
    model.fc8 = torch.nn.Conv2d(model.fc8.in_channels, 2, 1)


def linear(model: VGG) -> None:
    model.fc8 = torch.nn.Linear(model.fc8.in_channels, 3)


def sequential(model: VGG) -> None:
    model.fc8 = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Conv2d(model.fc8.in_channels, 3, 1))


def diverged(model: VGG) -> None:
    with torch.no_grad():
        model.fc8.bias[0] = float("nan")


CHANGES = [
    (narrower, r"fc8\.weight is \(2, 256, 1, 1\), the net needs \(3, 256, 1, 1\)"),
    (linear, r"fc8\.weight is \(3, 256\), the net needs \(3, 256, 1, 1\)"),
    (sequential, r"fc8\.weight is missing.*fc8\.1\.weight does not belong"),
    (diverged, "not finite"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_a_net_that_is_not_as_described_is_refused_at_save(tmp_path: Path, change, message: str) -> None:
    path, model = tmp_path / "a.safetensors", net()
    save_model(path, net(1))
    change(model)
    with pytest.raises(UserError, match=message):
        save_model(path, model)
    assert equal(load_model(path), net(1))  # what stood there
    with pytest.raises(UserError, match=message):
        save_pretrained(model, tmp_path / "folder")
    with pytest.raises(UserError, match=message):
        export_model(model, tmp_path / "a.pt2", "torch-export")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.safetensors"]


def test_a_net_inside_a_wrapper_is_saved_as_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(path, torch.compile(net()))  # type: ignore[arg-type]
    assert equal(load_model(path), net())
    save_model(path, torch.nn.DataParallel(net(1)))  # type: ignore[arg-type]
    assert equal(load_model(path), net(1))
    with pytest.raises(UserError, match=r"Linear is not a vggnet\.VGG"):
        save_model(path, torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_class_names_that_are_not_utf8_are_refused_at_save(tmp_path: Path) -> None:
    model = net()
    model.description = dataclasses.replace(model.description, classes=("a", "b", os.fsdecode(b"caf\xe9")))
    with pytest.raises(UserError, match="holds names that are not UTF-8"):
        save_model(tmp_path / "a.safetensors", model)
