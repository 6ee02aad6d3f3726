"""Models as folders in the Hugging Face form: config.json, model.safetensors and a model card (README.md).

A folder is opened without a network. A name that is not a folder is a repository of the Hugging Face hub and needs the
huggingface_hub package. The description is in config.json, for people and other programs, and in the weights; a folder
whose two copies differ raises UserError.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vggnet.console import counted
from vggnet.description import BOX_UNITS, MODEL_FILE, ModelDescription
from vggnet.errors import UserError, reason_of
from vggnet.files import replacing_several, write_whole
from vggnet.network.vgg import VGG
from vggnet.network.weights import (
    check_described,
    load_model,
    read_description,
    refuse_not_finite,
    save_model,
    unwrapped,
)

CONFIG_FILE, CARD_FILE = "config.json", "README.md"
MODEL_TYPE = "vggnet"


def save_pretrained(model: VGG, folder: str | Path) -> Path:
    """Write a net in the Hugging Face form, and return the folder: config.json, model.safetensors and README.md.

    Every command and `load` take the folder, too.

    Args:
        model: the net.
        folder: made where it does not exist; an older net of this form in it is replaced.

    Raises:
        UserError: where one of these files is another's (a run's config.json, a project's README.md), and for a net
            that is not what its description says; Diverged for weights that are not finite.

    Example:
        >>> vggnet.save_pretrained(vggnet.load("runs/A"), "model").name
        'model'
    """
    folder, model = Path(folder), unwrapped(model)
    check_free(folder)
    check_described(model)
    refuse_not_finite(model.state_dict(), f"{folder} is not written")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); give another folder") from error
    config = {"model_type": MODEL_TYPE, "architectures": ["VGG"], **model.description.to_dict()}
    with replacing_several(folder / MODEL_FILE) as part:
        save_model(part / MODEL_FILE, model)
        write_whole(part / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
        write_whole(part / CARD_FILE, model_card(model.description))
    return folder


def check_free(folder: Path) -> None:
    """Raise UserError where a model in `folder` would overwrite a file of something else."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a folder for the model")
    kind = f'"model_type": "{MODEL_TYPE}"'
    for name, own in ((CONFIG_FILE, kind), (CARD_FILE, f"library_name: {MODEL_TYPE}")):
        file = folder / name
        if file.exists() and own not in file.read_text(encoding="utf-8", errors="replace"):
            raise UserError(f"{file} exists and is not a model's ({name} of a run?): give another folder for the model")


def from_pretrained(
    name: str | Path, *, revision: str | None = None, device: str | torch.device = "cpu", **hub: Any
) -> VGG:
    """Return a net from a folder in the Hugging Face form or from a repository OWNER/NAME of the hub.

    `vggnet.from_pretrained` takes names of models, too, and describes the arguments.
    """
    folder = Path(name) if Path(name).is_dir() else _fetched(str(name), revision, hub)
    described = read_description(folder)
    config = folder / CONFIG_FILE
    if config.is_file() and _description(config) != described:
        raise UserError(
            f"{folder}: {CONFIG_FILE} and {MODEL_FILE} describe different models: copy both from one place; the "
            f"description inside {MODEL_FILE} is of net {described.architecture.net}"
        )
    return load_model(folder, device=device)


def push_to_hub(
    model: VGG, name: str, *, private: bool | None = None, message: str = "Upload a VGG", **hub: Any
) -> str:
    """Upload a net to a repository of the Hugging Face hub, in the form of `save_pretrained`, and return its address.

    Args:
        model: the net.
        name: OWNER/NAME; the repository is made where it does not exist.
        private: whether a new repository is private. (default: as the hub's settings of the owner)
        message: of the commit.
        hub: passed to huggingface_hub's `HfApi` (token, endpoint).

    Raises:
        UserError: for a net that is not what its description says, and where the hub does not take it (no network, no
            token, no right to write); Diverged for weights that are not finite.

    Example:
        >>> vggnet.push_to_hub(vggnet.load("runs/A"), "me/vgg-a")  # doctest: +SKIP
        'https://huggingface.co/me/vgg-a'
    """
    if name.count("/") != 1:
        raise UserError(f"{name}: not the name of a repository (OWNER/NAME)")
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UserError(f"{name}: the hub needs the package huggingface_hub: pip install 'vggnet[hub]'") from error
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        api = HfApi(**hub)
        try:
            address = str(api.create_repo(name, private=private, exist_ok=True))
            api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
        except Exception as error:  # the hub raises many kinds
            raise UserError(f"{name}: the hub does not take it ({reason_of(error)})") from error
    return address


def _description(config: Path) -> ModelDescription:
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        kind = content.pop("model_type", None)
        content.pop("architectures", None)
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{config}: not a model's configuration ({error})") from error
    if kind != MODEL_TYPE:
        raise UserError(
            f"{config}: a model of type {kind!r}, not {MODEL_TYPE!r}: `vggnet convert` brings other libraries' files in"
        )
    return ModelDescription.from_dict(content, str(config))


def _fetched(name: str, revision: str | None, hub: dict[str, Any]) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"{name}: neither a folder nor the name of a repository (OWNER/NAME)")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            f"{name}: there is no such folder; a repository of the hub needs pip install 'vggnet[hub]'"
        ) from error
    wanted = [MODEL_FILE, CONFIG_FILE, CARD_FILE]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, **hub))
    except Exception as error:  # the hub raises many kinds
        raise UserError(f"{name}: no such folder, and the hub does not give it ({error})") from error


def model_card(description: ModelDescription, data: str = "", errors: Sequence[str] = ()) -> str:
    """Return a model card in the Hugging Face form: what the net is, its input, its errors, its limits, how to open it.

    Args:
        description: of the net.
        data: the name of the data that it was trained on. (default: not known)
        errors: a line for each error that was measured, with its protocol and data. (default: none is known)
    """
    architecture, preprocessing = description.architecture, description.preprocessing
    norm = ", with batch normalisation" if architecture.batch_norm else ""
    scale = " to ".join(map(str, description.train_scale)) or "unknown"
    return f"""---
library_name: vggnet
tags: [{_task(description)}, vgg]
---
# VGG, net {architecture.net}

Net {architecture.net} of Simonyan and Zisserman (arXiv 1409.1556), Table 1{norm}, width {architecture.width:g}, crop \
{architecture.crop_px}. {_outputs(description)}

- Input: RGB pixels of 0 to 255, minus {_numbers(preprocessing.mean)}, divided by {_numbers(preprocessing.deviation)}
- Training scale S: {scale}
- Training crops: {"half of them mirrored" if description.policy.mirror else "none mirrored: test without mirrors"}
- Parameters: {architecture.parameters:,}
- Training data: {data or "not recorded"}

## Errors

{_listed(errors) or "Not recorded: `vggnet evaluate MODEL DATA` measures them by the paper's protocol."}

## Limits

{_limits(description)}

## Use

```python
import vggnet

model = vggnet.from_pretrained("FOLDER")
```
"""


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _limits(description: ModelDescription) -> str:
    """Return what the net cannot do."""
    crop = description.architecture.crop_px
    lines = [f"Images must be at least {crop} pixels on each side after rescaling."]
    if description.classes and not description.boxes:
        lines.append("It names one of its classes for every image, also for images that show none of them.")
        lines.append("Posteriors have not been corrected: check on your images whether 0.9 is right 9 times of 10.")
    if description.architecture.width != 1:
        lines.append(f"It is narrower than the paper's net (width {description.architecture.width:g}).")
    lines.append("Errors hold for images like those it was measured on.")
    return _listed(lines)


def _task(description: ModelDescription) -> str:
    """Return the hub's name for the net's task."""
    if description.boxes:
        return "object-detection"
    return "image-feature-extraction" if description.architecture.convolutions_only else "image-classification"


def _outputs(description: ModelDescription) -> str:
    """Describe the net's outputs."""
    if description.architecture.convolutions_only:
        return "Convolutions only: features up to pool5, no classes."
    named = "named in config.json" if description.classes else "unnamed"
    if not description.boxes:
        return f"{counted(description.architecture.outputs, 'output')}, {named}."
    whose = "One box for all classes" if description.boxes == "scr" else f"A box for each class, the classes {named}"
    return f"{whose} (Appendix A), of four numbers each: {BOX_UNITS}."


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
