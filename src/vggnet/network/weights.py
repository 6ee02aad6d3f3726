"""Weight files: one .safetensors holding the tensors and, in its metadata, the model's description.

A file is written whole or not at all (a temporary file in the same folder, fsync, then a rename): a kill or a full disk
leaves the previous file as it was. Pickles are never read or written. A file is loaded only if every tensor is there,
has its shape and is finite, and if description and tensors have the checksum that was written with them (files
without a checksum are accepted). A net that could not be loaded again is not written.
"""

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vggnet.console import counted
from vggnet.description import BEST_FILE, LAST_FILE, MODEL_FILE, ModelDescription
from vggnet.errors import Diverged, UserError
from vggnet.files import replacing
from vggnet.network.safetensors_writing import safetensors_parts
from vggnet.network.vgg import VGG, evaluating, on_meta, refuse_path
from vggnet.paper.configurations import TOTAL_STRIDE_PX

DESCRIPTION_KEY, CHECKSUM_KEY = "vggnet", "vggnet_crc32"  # in a file's metadata
TRIES = 5  # to read a file that is being replaced
PICKLES = {".pth", ".pt", ".pkl", ".pickle", ".bin", ".ckpt"}
RUN_FILES = (BEST_FILE, LAST_FILE, MODEL_FILE)  # of a run or model folder, by preference


def save_model(path: str | Path, model: VGG) -> None:
    """Write `model` with its description, atomically.

    Raises UserError for a net that differs from its description (a layer replaced by hand), Diverged where a weight is
    not finite, and OSError where the file cannot be written (no space, no permission). A previous file is then
    untouched.
    """
    path, model = Path(path), unwrapped(model)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    check_described(model, tensors)
    refuse_not_finite(tensors, f"{path} is not written")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(weight_parts(model.description.to_json(), tensors))


def weight_parts(description: str, tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Yield the content of the weight file of a net: its description, and its tensors on the CPU."""
    yield from safetensors_parts(tensors, {DESCRIPTION_KEY: description, CHECKSUM_KEY: checksum(description, tensors)})


def unwrapped(model: Any) -> VGG:
    """Return the net inside what `torch.compile` and `DataParallel` make of it; raise UserError for another module."""
    refuse_path(model, "saving")
    inner = model
    while not isinstance(inner, VGG):
        inner = getattr(inner, "_orig_mod", None) or getattr(inner, "module", None)
        if inner is None:
            raise UserError(f"{type(model).__name__} is not a vggnet.VGG: only nets of this package are written")
    return inner


def check_described(model: VGG, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Raise UserError where the net's layers are not those of its description."""
    found = model.state_dict() if tensors is None else tensors
    problems = _problems(found, on_meta(model.description).state_dict())
    if problems:
        raise UserError(
            f"the net is not what its description says, so it could not be loaded again: {_listed(problems)}. A layer "
            "that was replaced by hand (another number of classes?) needs another net: "
            "vggnet.build(..., num_classes=K), or `vggnet train --init-from MODEL --new-head`"
        )


def load_model(path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> VGG:
    """Return the net in a weight file or a run folder (its best weights, else its last), in evaluation mode.

    `file_sha256` of the net is the hash of the file. Raises UserError for a file that is missing, damaged, of another
    kind, or does not fit its own description, and Diverged for weights that are not finite.
    """
    file = find_weights(path)
    content = _read_unchanged(file)
    model = on_meta(ModelDescription.from_json(_description_in(file, content.metadata), str(file)))
    if problems := _problems(content.tensors, model.state_dict()):
        raise UserError(f"{file}: the weights do not fit their own description: {_listed(problems)}")
    own = {
        name: tensor.to(device, dtype if tensor.is_floating_point() else None)
        for name, tensor in content.tensors.items()
    }
    refuse_not_finite(own, f"{file} cannot be used; {Diverged.RETRAIN}")
    model.load_state_dict(own, assign=True)
    model.initialization = f"loaded from {file.name}"
    model.file_sha256 = content.sha256
    return model.eval()


@dataclass(frozen=True)
class _Content:
    """The content of a weight file: metadata, tensors (copies, which do not change with the file), and its hash."""

    metadata: Mapping[str, str]
    tensors: dict[str, Tensor]
    sha256: str


def _read_unchanged(file: Path) -> _Content:
    """Read metadata, tensors and hash of one version of a file that may be replaced at any moment."""
    for _ in range(TRIES):
        with _held(file) as held, _opened(file) as content:
            before = os.fstat(held.fileno())
            metadata = content.metadata() or {}
            tensors = {name: content.get_tensor(name).clone() for name in content.keys()}  # noqa: SIM118 (not a dict)
            sha256 = hashlib.file_digest(held, "sha256").hexdigest()
        if _version(file.stat()) == _version(before):
            break
    else:
        raise UserError(f"{file}: is being written to all the time; try again when that has ended")
    expected = metadata.get(CHECKSUM_KEY)
    if expected is not None and expected != checksum(metadata.get(DESCRIPTION_KEY, ""), tensors):
        raise UserError(
            f"{file}: damaged: its weights or its description have changed since they were written (the checksum "
            "differs): copy or train it again"
        )
    return _Content(metadata, tensors, sha256)


def read_description(path: str | Path) -> ModelDescription:
    """Return the description in a weight file or run folder. Raises UserError as `load_model` does."""
    file = find_weights(path)
    with _opened(file) as content:
        metadata = content.metadata() or {}
    return ModelDescription.from_json(_description_in(file, metadata), str(file))


def _description_in(file: Path, metadata: Mapping[str, str]) -> str:
    if DESCRIPTION_KEY not in metadata:
        raise UserError(
            f"{file}: no model description inside (the metadata key {DESCRIPTION_KEY!r}), so its net and preprocessing "
            "are unknown: `vggnet convert` reads other programs' weights"
        )
    return metadata[DESCRIPTION_KEY]


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors in a weight file or run folder as stored, on the CPU. Raises as `load_model` does."""
    return _read_unchanged(find_weights(path)).tensors


def find_weights(path: str | Path) -> Path:
    """Return the weight file that `path` names: itself, or the best (else the last) one of a run folder."""
    path = Path(path)
    if path.is_dir():
        for name in RUN_FILES:
            if (path / name).is_file():
                return path / name
        raise UserError(
            f"{path}: no {' or '.join(RUN_FILES)} in this folder: is it a run or a model folder, and has it saved yet?"
        )
    if not path.exists():
        raise UserError(f"{path}: no such file or run folder, and no model of that name (`vggnet nets --pretrained`)")
    if path.suffix.lower() in PICKLES:
        raise UserError(
            f"{path}: pickled weights are not read (they can run code): give a .safetensors file or a run; "
            "`vggnet convert` brings other libraries' files in"
        )
    return path


def _held(file: Path) -> BufferedReader:
    try:
        return file.open("rb")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a file by `safe_open`; its errors become UserErrors that name the file."""
    try:
        with safe_open(file, framework="pt", device="cpu") as content:
            yield content
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file}: not a whole safetensors file ({file.stat().st_size:,} bytes; {error}): it is truncated or of "
            "another kind, copy or train it again"
        ) from error


def _problems(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return one line for each tensor that is missing, left over, or of another type or shape."""
    problems = [f"{name} is missing" for name in expected if name not in tensors]
    problems += [f"{name} does not belong to the net" for name in tensors if name not in expected]
    for name, tensor in tensors.items():
        if name not in expected:
            continue
        if tensor.is_floating_point() != expected[name].is_floating_point():
            problems.append(f"{name} is of type {tensor.dtype}, the net needs {expected[name].dtype}")
        elif tensor.shape != expected[name].shape:
            problems.append(f"{name} is {tuple(tensor.shape)}, the net needs {tuple(expected[name].shape)}")
    return problems


def _listed(problems: Sequence[str]) -> str:
    more = f" (and {counted(len(problems) - 3, 'more problem')})" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more


def _version(found: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def check_undamaged(file: Path) -> None:
    """Raise UserError where a weight file is not as it was written."""
    _read_unchanged(file)


def hash_of(path: str | Path) -> str:
    """Return the SHA-256 of the weight file that `path` means."""
    with _held(find_weights(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(description: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the CRC-32 of the description and of every tensor's name, type, shape and values."""
    crc = zlib.crc32(description.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def refuse_not_finite(tensors: Mapping[str, Tensor], consequence: str) -> None:
    """Raise Diverged, naming a tensor and the `consequence`, where a value is not finite."""
    found = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    if found:
        more = f" and {counted(len(found) - 1, 'other tensor')}" if len(found) > 1 else ""
        raise Diverged(f"{found[0]}{more} {'have' if more else 'has'} values that are not finite: {consequence}")


def check_outputs(model: VGG) -> None:
    """Raise Diverged where finite weights give scores that are not finite, on one image of noise."""
    architecture, deviation = model.architecture, torch.tensor(model.description.preprocessing.deviation)
    side = TOTAL_STRIDE_PX if architecture.convolutions_only else architecture.crop_px
    noise = 60 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)) / deviation.view(3, 1, 1)
    noise = noise.to(model.conv1_1.weight)
    with torch.no_grad(), evaluating(model):
        outputs = model.forward_features(noise) if architecture.convolutions_only else model(noise)
    if not is_finite(outputs):
        raise Diverged(f"what the net computes from an image is not finite; {Diverged.RETRAIN}")


def is_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite, without a boolean copy of the whole tensor."""
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all()) if tensor.is_floating_point() else True
