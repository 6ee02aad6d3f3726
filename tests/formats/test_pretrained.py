"""Folders in the Hugging Face form, and torch.hub on this repository."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import vggnet
from vggnet.description import BoxKind
from vggnet.errors import UserError
from vggnet.network.initialization import build
from vggnet.network.pretrained import from_pretrained, save_pretrained
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def model() -> VGG:
    return build("A", num_classes=3, width=1 / 16, crop=64).eval()


def test_a_folder_holds_everything_and_needs_no_network(model: VGG, tmp_path: Path) -> None:
    folder = vggnet.save_pretrained(model, tmp_path / "model")
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["architecture"]["net"]) == ("vggnet", "A")
    for opened in (vggnet.from_pretrained(folder), load_model(folder), load_model(folder / "model.safetensors")):
        assert opened.description == model.description
        assert not opened.training
        assert all(torch.equal(own, model.state_dict()[name]) for name, own in opened.state_dict().items())
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: vggnet\n")
    assert "minus (123.68, 116.779, 103.939)" in card


@pytest.mark.parametrize(
    ("boxes", "outputs", "said"),
    [
        ("scr", 4, "One box for all classes (Appendix A), of four numbers each: centre x, centre y, width and height"),
        (
            "pcr",
            12,
            "A box for each class, the classes named in config.json (Appendix A), of four numbers each",
        ),
        ("", 3, "3 outputs, named in config.json."),
    ],
)
def test_the_card_says_what_the_outputs_are(tmp_path: Path, boxes: BoxKind, outputs: int, said: str) -> None:
    model = build("A", num_classes=outputs, width=1 / 16, crop=64)
    model.description = dataclasses.replace(model.description, boxes=boxes, classes=("ant", "bee", "cat"))
    card = (save_pretrained(model, tmp_path / "model") / "README.md").read_text()
    assert said in card
    assert ("in units of the crop's side" in card) == bool(boxes)
    assert ("tags: [object-detection, vgg]" if boxes else "tags: [image-classification, vgg]") in card


def test_folders_that_disagree_or_are_anothers_are_refused(model: VGG, tmp_path: Path) -> None:
    folder = save_pretrained(model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["preprocessing"]["mean"] = [1, 2, 3]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="describe different models"):
        from_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(UserError, match="a model of type 'vit'"):
        from_pretrained(folder)
    (folder / "config.json").write_text("[")
    with pytest.raises(UserError, match="not a model's configuration"):
        from_pretrained(folder)


def test_names_that_are_no_folder(monkeypatch: pytest.MonkeyPatch, model: VGG, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a folder nor the name of a repository"):
        from_pretrained("./nowhere")
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    folder = save_pretrained(model, tmp_path / "model")
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **options: asked.append((name, options)) or str(folder))
    assert from_pretrained("somebody/vgg", revision="v1").description == model.description
    assert asked[0][0] == "somebody/vgg"
    assert asked[0][1]["revision"] == "v1"
    assert "model.safetensors" in asked[0][1]["allow_patterns"]

    def fail(*_: object, **__: object) -> None:
        raise OSError("offline")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(UserError, match=r"the hub does not give it \(offline\)"):
        from_pretrained("somebody/vgg")


def test_torch_hub_on_this_repository(model: VGG, tmp_path: Path) -> None:
    options = {"num_classes": 3, "width": 1 / 16, "crop": 64}
    assert torch.hub.load(str(REPOSITORY), "vgg_d", source="local", **options).architecture.net == "D"
    folder = save_pretrained(model, tmp_path / "model")
    assert torch.hub.load(str(REPOSITORY), "load", source="local", path=str(folder)).architecture.net == "A"
