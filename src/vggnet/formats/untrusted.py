"""Read tensors from untrusted files: .pth (tensors only) and .safetensors.

Notable: a pickle is a program. `weights_only=True` reads tensors and plain containers and refuses the rest before any
of it runs; the rest is checked here: names, types, and that a tensor's values are really in the file (a tensor may
claim a shape of a million million values that all lie at one place). A checkpoint is a zip archive that PyTorch writes
without compression; a packed one, which may unpack to any size, is refused before it is unpacked.
"""

import math
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vggnet.errors import UserError
from vggnet.formats.kinds import is_safetensors, kind_of, refuse_programs

# under which training scripts put the weights, by preference
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "ema", "state_dict_ema")
DEEPEST = 10  # wrappers around wrappers
MOST_TENSORS = 1000
LARGEST_BYTES = 2**33  # that a file's tensors may take; net E has 0.6 GB
PASSED_OVER = {"module", "_orig_mod"}  # parts of names that DataParallel and torch.compile put in, anywhere
OWN_NAMES = {"features", "classifier", "pre_logits", "head"}  # first parts of names that no prefix is
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Return names and tensors of a `.pth` or `.safetensors` file, on the CPU. Raises UserError for other content."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    named = path.suffix.lower() == ".safetensors"
    content = _read_safetensors(path) if named or is_safetensors(path) else _read_pickle(path)
    return _checked(path, content)


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}): fetch it again") from error


def _read_pickle(path: Path) -> Any:
    if (kind := kind_of(path)) is not None:
        raise UserError(f"{path}: {kind}")
    refuse_programs(path)
    refuse_packed(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a hostile file makes torch warn about is checked below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file made to break the reader may raise anything
        raise UserError(
            f"{path}: refused: not a whole file of tensors only ({_reason(error)}). Either it is truncated or of "
            "another kind, or it holds objects that run code when they are read: where you trust it, load it with its "
            "own library and save model.state_dict()"
        ) from error


def refuse_packed(path: Path) -> None:
    """Raise UserError for an archive that unpacks to more than it is, or to more than any VGG."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return  # no archive, or a damaged one: the reader says what is wrong
    size, held = sum(entry.file_size for entry in entries), path.stat().st_size
    if size > min(held, LARGEST_BYTES):
        what = f"packed into {held:,}, as no checkpoint is" if size > held else "more than any VGG"
        raise UserError(f"{path}: refused: {size:,} bytes inside, {what}")


def _reason(error: Exception) -> str:
    """Return the first line of torch's error, without its advice to load the file unsafely."""
    lines = str(error).strip().splitlines()
    if not lines or "weights_only" in lines[0] or "Weights only load failed" in lines[0]:
        return type(error).__name__
    return f"{type(error).__name__}: {lines[0][:120]}"


def _checked(path: Path, content: Any) -> dict[str, Tensor]:
    """Return the state dict in `content`, possibly wrapped. Raises UserError unless it is named dense tensors only."""
    content = _unwrapped(content)
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path}: refused: holds {type(content).__name__}, not a dictionary of named tensors")
    if len(content) > MOST_TENSORS:
        raise UserError(f"{path}: refused: {len(content):,} tensors, a VGG has fewer than {MOST_TENSORS}")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise UserError(f"{path}: refused: {name!r:.80} is {type(tensor).__name__}, expected a named tensor")
        check_tensor(path, name, tensor)
    return _plain_names(path, {str(name): tensor.detach() for name, tensor in content.items()})


def _unwrapped(content: Any) -> Any:
    """Return the innermost mapping in wrappers: {"state_dict": {"model": {...}}}."""
    for _ in range(DEEPEST):
        if not isinstance(content, Mapping):
            return content
        inner = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            return content
        content = inner
    return content


def _plain_names(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under names without the parts that wrappers add, and without a prefix that all share.

    `features.module.0.weight` (DataParallel around the convolutions), `_orig_mod.module.features.0.weight`,
    `backbone.features.0.weight`: all of them are features.0.weight.
    """
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        parts = [part for part in name.split(".") if part not in PASSED_OVER]
        key = ".".join(parts)
        if key == "n_averaged":  # the counter of torch's AveragedModel
            continue
        if key in plain:
            raise UserError(f"{path}: refused: two tensors are called {key} once module and _orig_mod are left out")
        plain[key] = tensor
    while True:
        first = {name.partition(".")[0] for name in plain}
        if len(first) != 1 or first & OWN_NAMES or not all(name.count(".") > 1 for name in plain):
            return plain
        prefix = f"{first.pop()}."
        plain = {name.removeprefix(prefix): tensor for name, tensor in plain.items()}


def check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """Raise UserError for anything but a plain tensor of numbers, and for one that claims more values than it holds."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise UserError(f"{path}: refused: {name} is not a dense tensor ({tensor.layout}, {tensor.dtype})")
    if tensor.is_floating_point() and tensor.dtype not in FLOATS:
        raise UserError(f"{path}: refused: {name} has the type {tensor.dtype}; 16, 32 and 64 bit floats are read")
    claimed = math.prod(tensor.shape) * tensor.element_size()
    held = tensor.untyped_storage().nbytes()
    if claimed > held:
        raise UserError(f"{path}: refused: {name} claims {claimed:,} bytes and the file holds {held:,} of it")
