"""Staged initialisation: which layer comes from where, to the bit, and what is refused."""

import dataclasses

import pytest
import torch

from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.network.initialization import initialize
from vggnet.network.staging import explain, stage_from
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Architecture

FROM = {
    "A": {"conv1_1", "conv2_1", "conv3_1", "conv3_2"},  # by stage
    "B": {"conv1_1", "conv1_2", "conv2_1", "conv2_2"},  # by position
}
FULLY_CONNECTED = {"fc6", "fc7", "fc8"}


def net(name: str, seed: int = 0, classes: tuple[str, ...] = ("cat", "dog", "emu"), **options: object) -> VGG:
    architecture = Architecture(name, **{"outputs": len(classes), "width": 1 / 32, "crop_px": 64, **options})  # type: ignore[arg-type]
    model = VGG(ModelDescription(architecture, classes=classes))
    initialize(model, "gaussian", seed=seed)
    return model


def equal_layers(first: VGG, second: VGG) -> set[str]:
    theirs = second.state_dict()
    keys: dict[str, list[bool]] = {}
    for key, value in first.state_dict().items():
        same = key in theirs and value.shape == theirs[key].shape and torch.equal(value, theirs[key])
        keys.setdefault(key.split(".")[0], []).append(same)
    return {name for name, flags in keys.items() if all(flags)}


def filled(model: VGG) -> VGG:
    """Every tensor made unlike any other net's."""
    for value in model.state_dict().values():
        value.copy_(torch.rand(value.shape) + 1) if value.is_floating_point() else value.fill_(3)
    return model


@pytest.mark.parametrize("source_name", ["A", "B"])
@pytest.mark.parametrize("target_name", ["C", "D", "E"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_first_four_and_last_three(source_name: str, target_name: str, batch_norm: bool) -> None:
    source, target = filled(net(source_name, batch_norm=batch_norm)), net(target_name, 1, batch_norm=batch_norm)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    transfers = stage_from(target, source.state_dict(), source.description)
    taken = FROM[source_name] | FULLY_CONNECTED
    norms = {name.replace("conv", "norm") for name in FROM[source_name]} if batch_norm else set()
    assert equal_layers(target, source) == taken | norms
    untouched = [key for key in before if key.split(".")[0] not in taken | norms]
    assert all(torch.equal(target.state_dict()[key], before[key]) for key in untouched)
    assert [transfer.layer for transfer in transfers] == [layer.name for layer in target.architecture.layers()]
    assert {transfer.layer for transfer in transfers if transfer.source} == taken


def test_b_from_a_and_the_printed_lines() -> None:
    source, target = filled(net("A")), net("B", 1)
    lines = explain(stage_from(target, source.state_dict(), source.description))
    assert lines[:3] == ["conv1_1 <- A conv1_1", "conv1_2 random (gaussian 0.01)", "conv2_1 <- A conv2_1"]
    assert lines[-1] == "fc8 <- A fc8"
    assert len(lines) == 13


@pytest.mark.parametrize(("target_name", "source_name"), [("E", "E"), ("A-LRN", "A"), ("5x5", "5x5")])
def test_the_same_configuration_gives_every_layer(target_name: str, source_name: str) -> None:
    source, target = filled(net(source_name, batch_norm=True)), net(target_name, 1, batch_norm=True)
    transfers = stage_from(target, source.state_dict(), source.description)
    assert all(torch.equal(target.state_dict()[key], value) for key, value in source.state_dict().items())
    assert all(transfer.source for transfer in transfers)


def test_classes_are_matched_by_name() -> None:
    source, target = filled(net("A")), net("D", 1, classes=("emu", "cat", "dog"))
    transfers = stage_from(target, source.state_dict(), source.description)
    assert torch.equal(target.fc8.weight, source.fc8.weight[[2, 0, 1]])
    assert torch.equal(target.fc8.bias, source.fc8.bias[[2, 0, 1]])
    assert explain(transfers)[-1] == "fc8 <- A fc8 (classes reordered by name)"


@pytest.mark.parametrize("classes", [("cat", "dog", "yak"), ("cat", "dog"), ("cat", "dog", "emu", "yak")])
def test_other_classes_need_a_new_head(classes: tuple[str, ...]) -> None:
    source, target = filled(net("A")), net("D", 1, classes=classes)
    before, head = target.state_dict()["conv1_1.weight"].clone(), target.fc8.weight.detach().clone()
    with pytest.raises(UserError, match="`new_head`"):
        stage_from(target, source.state_dict(), source.description)
    assert torch.equal(target.conv1_1.weight, before)  # nothing is copied before everything fits
    transfers = stage_from(target, source.state_dict(), source.description, new_head=True)
    assert torch.equal(target.fc8.weight, head)
    assert torch.equal(target.fc7.weight, source.fc7.weight)
    assert explain(transfers)[-1] == "fc8 random (gaussian 0.01), new head"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 1 / 16}, r"conv1_1 is \(2, 3, 3, 3\).*\(4, 3, 3, 3\).*`width` 0.0625"),
        ({"batch_norm": True}, "with batch normalisation.*without"),
    ],
)
def test_another_shape_is_refused(options: dict[str, object], message: str) -> None:
    source = net("A", **options)
    with pytest.raises(UserError, match=message):
        stage_from(net("D"), source.state_dict(), source.description)


@pytest.mark.parametrize(("crop", "kernel"), [(128, 4), (96, 3), (32, 1)])
def test_another_crop_takes_fc6_resized(crop: int, kernel: int) -> None:
    """On a map that is the same everywhere the resized filter gives what the old one gave."""
    source, target = net("A"), net("A", crop_px=crop)
    transfers = stage_from(target, source.state_dict(), source.description)
    assert f"fc6 <- A fc6 (resized from 2x2 to {kernel}x{kernel})" in explain(transfers)
    assert target.fc6.weight.shape[2:] == (kernel, kernel)
    flat = torch.randn(3, 16, 1, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        old, new = source.fc6(flat.expand(-1, -1, 2, 2)), target.fc6(flat.expand(-1, -1, kernel, kernel))
    torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-5)
    left, right = source.fc6.weight.sum(2).unbind(2)  # what looked left still looks left
    expected = {4: [left / 2, left / 2, right / 2, right / 2], 1: [left + right]}
    expected[3] = [left * 2 / 3, (left + right) / 3, right * 2 / 3]
    torch.testing.assert_close(target.fc6.weight.sum(2), torch.stack(expected[kernel], 2), rtol=1e-4, atol=1e-6)


def test_kernels_that_differ_are_refused() -> None:
    source = net("5x5")
    with pytest.raises(UserError, match="the kernels differ: net 5x5 has 5x5"):
        stage_from(net("A"), source.state_dict(), source.description)


def test_a_shallower_target_is_refused() -> None:
    source = net("B")
    with pytest.raises(UserError, match="net A has no conv1_2"):
        stage_from(net("A"), source.state_dict(), source.description)


def test_a_source_without_its_tensors_is_refused() -> None:
    source = net("A")
    state = {key: value for key, value in source.state_dict().items() if key != "fc7.bias"}
    with pytest.raises(UserError, match=r"lack fc7\.bias"):
        stage_from(net("D"), state, source.description)


def test_without_class_names_rows_go_by_position() -> None:
    source, target = filled(net("A")), net("D", 1, classes=("emu", "cat", "dog"))
    stage_from(target, source.state_dict(), dataclasses.replace(source.description, classes=()))
    assert torch.equal(target.fc8.weight, source.fc8.weight)
