"""Write weights in the layouts of other libraries (torchvision, timm)."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from vggnet.errors import UserError
from vggnet.files import replacing_several, write_whole
from vggnet.formats.converting import NAMES
from vggnet.formats.inputs import for_unit_pixels, preprocessing_json
from vggnet.formats.state_dicts import HEADS, NORM_PARTS
from vggnet.network.vgg import VGG
from vggnet.network.weights import check_described, refuse_not_finite


def library_name(model: VGG) -> str:
    """Return the name of the net in torchvision and timm: vgg16, vgg16_bn, ..."""
    architecture = model.architecture
    return NAMES[architecture.net] + ("_bn" if architecture.batch_norm else "")


def write_layout(model: VGG, layout: str, folder: str | Path) -> Path:
    """Write `model` for torchvision or timm into `folder`; return the file.

    torchvision: a .safetensors of its state dict and preprocessing.json beside it. timm: its own folder form
    (model.safetensors and config.json), which `timm.create_model("local-dir:FOLDER")` opens. Raises UserError for nets
    that these libraries cannot express.
    """
    folder = Path(folder)
    check_described(model)
    if model.description.boxes:
        raise UserError(f"this net draws boxes: {layout}'s nets have classes; `convolutions_only` leaves the head out")
    if layout == "timm" and model.architecture.convolutions_only:
        raise UserError("timm has no VGG of convolutions only: give `to` torchvision (the weights of model.features)")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in to_state(model, layout).items()}
    refuse_not_finite(state, f"nothing is written to {folder}")
    architecture = model.architecture
    name = library_name(model)
    mean, deviation = for_unit_pixels(model.description.preprocessing)
    labels = list(model.description.classes)
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "timm":
        size = [3, architecture.crop_px, architecture.crop_px]
        config: dict[str, Any] = {
            "architecture": name,
            "num_classes": architecture.outputs,
            "pretrained_cfg": {"mean": mean, "std": deviation, "input_size": size, "num_classes": architecture.outputs},
        }
        if labels:
            config["label_names"] = labels
        file, beside = folder / "model.safetensors", folder / "config.json"
        if beside.exists() and "pretrained_cfg" not in beside.read_text(encoding="utf-8", errors="replace"):
            raise UserError(f"{beside} exists and is not timm's (a run's?): give another folder")
    else:
        config = {"model": name, **preprocessing_json(model.description.preprocessing), "classes": labels}
        file, beside = folder / f"{name}.safetensors", folder / "preprocessing.json"
    with replacing_several(file) as part:
        write_whole(part / beside.name, json.dumps(config, indent=2) + "\n")
        write_whole(part / file.name, save(state, {"format": "pt"}))
    return file


def to_state(model: VGG, layout: str) -> dict[str, Tensor]:
    """Return the net's weights under torchvision's or timm's names and shapes; without copies where possible.

    Raises UserError for nets that these libraries cannot express.
    """
    architecture = model.architecture
    if architecture.configuration.response_normalization or architecture.net in ("C", "5x5"):
        raise UserError(f"net {architecture.net} does not exist in {layout}: its layout holds A, B, D and E")
    if not architecture.convolutions_only and architecture.fc_kernel != 7:
        raise UserError(
            f"{layout}'s head is for a crop of 224, this net's for {architecture.crop_px}: give `convolutions_only`"
        )
    own = model.state_dict()
    state: dict[str, Tensor] = {}
    place = 0
    for layer in architecture.convolutions():
        for part in ("weight", "bias"):
            state[f"features.{place}.{part}"] = own[f"{layer.name}.{part}"]
        if architecture.batch_norm:
            for part in (*NORM_PARTS, "num_batches_tracked"):
                state[f"features.{place + 1}.{part}"] = own[f"{layer.norm}.{part}"]
        place += 2 + architecture.batch_norm + layer.last_of_stage  # itself, its norm, its ReLU, the stage's pooling
    for layer, name in zip(architecture.fully_connected(), HEADS[layout], strict=False):
        weight = own[f"{layer.name}.weight"]
        dense = layout == "torchvision" or name == "head.fc"
        state[f"{name}.weight"] = weight.flatten(1) if dense else weight
        state[f"{name}.bias"] = own[f"{layer.name}.bias"]
    return state
