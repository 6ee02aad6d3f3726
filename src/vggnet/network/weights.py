"""Weight files: one .safetensors holding the tensors and, in its metadata, the model's description.

Notable: written whole or not at all (a temporary file in the same folder, fsync, then a rename), so a kill or a full
disk leaves the previous file as it was. Pickles are never read or written. A file is believed only when every tensor
is there, has its shape and is finite.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vggnet.console import counted
from vggnet.contract import ModelDescription
from vggnet.errors import Diverged, UserError
from vggnet.files import write_whole
from vggnet.network.vgg import VGG, evaluating, on_meta
from vggnet.paper.configurations import TOTAL_STRIDE_PX

DESCRIPTION_KEY = "vggnet"
PICKLES = {".pth", ".pt", ".pkl", ".pickle", ".bin", ".ckpt"}
MODEL_FILE = "model.safetensors"  # of a folder that `vggnet convert` or `save_pretrained` wrote
RUN_FILES = ("best.safetensors", "last.safetensors", MODEL_FILE)  # by preference


def save_model(path: str | Path, model: VGG) -> None:
    """Write `model` with its description, atomically.

    Raises OSError where the disk refuses (no space, no permission), and Diverged where a weight is not finite; the file
    that was there is then untouched.
    """
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    refuse_not_finite(tensors, f"{path} is not written")
    write_whole(path, save(tensors, {DESCRIPTION_KEY: model.description.to_json()}))


def load_model(path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> VGG:
    """The net in a weight file, or in a run folder (its best weights, else its last), in evaluation mode.

    Raises UserError for a file that is missing, damaged, of another kind, or does not fit its own description, and
    Diverged for weights that are not finite.
    """
    file = find_weights(path)
    description = read_description(file)
    tensors = read_tensors(file)
    model = on_meta(description)
    _check(file, tensors, model.state_dict())
    own = {
        name: tensor.to(device, dtype if tensor.is_floating_point() else None, copy=True)
        for name, tensor in tensors.items()
    }
    refuse_not_finite(own, f"{file} cannot be used; {Diverged.RETRAIN}")
    model.load_state_dict(own, assign=True)  # copied: the tensors that were read lie in the file
    model.initialization = f"loaded from {file.name}"
    return model.eval()


def read_description(path: str | Path) -> ModelDescription:
    """The description in a weight file or run folder; raises UserError as `load_model` does."""
    file = find_weights(path)
    with _opened(file) as content:
        metadata = content.metadata() or {}
    if DESCRIPTION_KEY not in metadata:
        raise UserError(
            f"{file}: no model description inside (the metadata key {DESCRIPTION_KEY!r}), so its net and preprocessing "
            "are unknown: vggnet reads weights that vggnet wrote"
        )
    return ModelDescription.from_json(metadata[DESCRIPTION_KEY], str(file))


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors in a weight file or run folder, on the CPU, as they were stored."""
    with _opened(find_weights(path)) as content:
        return {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (not a dict)


def find_weights(path: str | Path) -> Path:
    """The weight file that `path` means: itself, or the best (else the last) one of a run folder."""
    path = Path(path)
    if path.is_dir():
        for name in RUN_FILES:
            if (path / name).is_file():
                return path / name
        raise UserError(
            f"{path}: no {' or '.join(RUN_FILES)} in this folder: is it a run or a model folder, and has it saved yet?"
        )
    if not path.exists():
        raise UserError(f"{path}: there is no such file or run folder")
    if path.suffix.lower() in PICKLES:
        raise UserError(
            f"{path}: pickled weights are not read (they can run code): give a .safetensors file or a run; "
            "`vggnet convert` brings other libraries' files in"
        )
    return path


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """`safe_open`, with the library's complaints turned into messages about the file."""
    try:
        with safe_open(file, framework="pt", device="cpu") as content:
            yield content
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file}: not a whole safetensors file ({file.stat().st_size:,} bytes; {error}): it is truncated or of "
            "another kind, copy or train it again"
        ) from error


def _check(file: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are missing, left over or of another shape."""
    problems = [f"{name} is missing" for name in expected if name not in tensors]
    problems += [f"{name} does not belong to the net" for name in tensors if name not in expected]
    for name, tensor in tensors.items():
        if name not in expected:
            continue
        if tensor.is_floating_point() != expected[name].is_floating_point():
            problems.append(f"{name} is of type {tensor.dtype}, the net needs {expected[name].dtype}")
        elif tensor.shape != expected[name].shape:
            problems.append(f"{name} is {tuple(tensor.shape)}, the net needs {tuple(expected[name].shape)}")
    if problems:
        more = f" (and {counted(len(problems) - 3, 'more problem')})" if len(problems) > 3 else ""
        raise UserError(f"{file}: the weights do not fit their own description: {'; '.join(problems[:3])}{more}")


def refuse_not_finite(tensors: Mapping[str, Tensor], consequence: str) -> None:
    """Raise Diverged, naming a tensor and the `consequence`, where a value is not finite."""
    found = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    if found:
        more = f" and {counted(len(found) - 1, 'other tensor')}" if len(found) > 1 else ""
        raise Diverged(f"{found[0]}{more} {'have' if more else 'has'} values that are not finite: {consequence}")


def check_outputs(model: VGG) -> None:
    """Raise Diverged where `model` computes what is not finite from one image of noise: finite weights may do so."""
    architecture, deviation = model.architecture, torch.tensor(model.description.preprocessing.deviation)
    side = TOTAL_STRIDE_PX if architecture.convolutions_only else architecture.crop_px
    noise = 60 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)) / deviation.view(3, 1, 1)
    noise = noise.to(model.conv1_1.weight)
    with torch.no_grad(), evaluating(model):
        outputs = model.forward_features(noise) if architecture.convolutions_only else model(noise)
    if not is_finite(outputs):
        raise Diverged(f"what the net computes from an image is not finite; {Diverged.RETRAIN}")


def is_finite(tensor: Tensor) -> bool:
    """Whether all values are finite, without a boolean copy of the whole tensor."""
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all()) if tensor.is_floating_point() else True
