"""Read NumPy files of the authors' nets, as TensorFlow programs use them: vgg16.npy, vgg16_weights.npz.

.npz: arrays called conv1_1_W, conv1_1_b, ...; .npy: a pickled {"conv1_1": [kernel, bias], ...}. Kernels are (rows,
columns, in, out), dense weights (in, out) of inputs that lie as rows, columns, channels.

Notable: a pickle is a program. This one is read by an unpickler that knows arrays of numbers and containers, and calls
nothing of the file's choosing.
"""

import math
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from vggnet.errors import UserError
from vggnet.formats.layers import ForeignLayer, Found
from vggnet.formats.untrusted import LARGEST_BYTES, MOST_TENSORS, refuse_packed

_LAYER = re.compile(r"(conv[1-5]_[1-4]|fc[678])")
_KINDS = {"f2": "<f2", "f4": "<f4", "f8": "<f8"}


def read_numpy(path: Path) -> Found:
    """Read a .npy or .npz file. Raises UserError for hostile files and other layouts."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    if path.stat().st_size > LARGEST_BYTES:
        raise UserError(f"{path}: refused: {path.stat().st_size:,} bytes, more than any VGG")
    arrays = _read_npz(path) if path.suffix.lower() == ".npz" else _read_npy(path)
    strangers = [name for name in arrays if not _LAYER.fullmatch(name)]
    if strangers or "conv1_1" not in arrays:
        found = ", ".join(map(repr, list(arrays)[:3])) or "nothing"
        raise UserError(f"{path}: not the Caffe nets' layers conv1_1 ... fc8 (it holds {found})")
    return Found([_layer(path, name, *arrays[name]) for name in sorted(arrays)])


def _layer(path: Path, name: str, kernel: np.ndarray, bias: np.ndarray) -> ForeignLayer:
    if kernel.ndim not in (2, 4) or bias.ndim != 1:
        raise UserError(
            f"{path}: {name} is {kernel.shape} with a bias of {bias.shape}; expected a kernel of 4 or 2 "
            "dimensions and a bias of 1"
        )
    weight = torch.from_numpy(kernel)
    weight = weight.permute(3, 2, 0, 1) if kernel.ndim == 4 else weight.t()
    return ForeignLayer(
        name,
        weight,
        torch.from_numpy(bias),
        flattened="HWC",
        given_shape=tuple(kernel.shape),
        notes=["out channels first"],
    )


def _read_npz(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > min(LARGEST_BYTES, 20 * path.stat().st_size):
            refuse_packed(path)
        with np.load(path, allow_pickle=False) as content:
            if len(content.files) > MOST_TENSORS:
                raise UserError(f"{path}: refused: {len(content.files):,} arrays, more than any VGG")
            found = {name: _own(path, name, content[name]) for name in content.files}
    except UserError:
        raise
    except Exception as error:  # a damaged file makes the reader raise anything
        raise UserError(f"{path}: refused: not a whole .npz file ({type(error).__name__}: {error})") from error
    names = dict.fromkeys(re.sub(r"_(W|b|weights|biases)$", "", name) for name in found)
    arrays = {}
    for name in names:
        kernel = next((found[key] for key in (f"{name}_W", f"{name}_weights") if key in found), None)
        bias = next((found[key] for key in (f"{name}_b", f"{name}_biases") if key in found), None)
        if kernel is None or bias is None:
            raise UserError(f"{path}: {name} has no pair {name}_W and {name}_b: not the Caffe nets' layers")
        arrays[name] = kernel, bias
    return arrays


def _read_npy(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            _, _, kind = read(file)
            if kind.kind != "O":
                raise UserError(f"{path}: one array of {kind}: not a dictionary of layers")
            content = _Unpickler(file, encoding="latin1").load()
        content = content.value() if isinstance(content, _Array) else content
        if isinstance(content, list) and len(content) == 1:
            content = content[0]
        if not isinstance(content, dict) or not 0 < len(content) <= MOST_TENSORS:
            raise ValueError(f"it holds {type(content).__name__}, not a dictionary of layers")
        return {str(name): _pair(path, str(name), parts) for name, parts in content.items()}
    except UserError:
        raise
    except Exception as error:  # a file made to break the reader may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: refused: not a whole .npy file of arrays only ({reason:.200})") from error


def _pair(path: Path, name: str, parts: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return a layer's kernel and bias, from [kernel, bias] or {"weights": kernel, "biases": bias}."""
    if isinstance(parts, dict):
        parts = [parts.get("weights"), parts.get("biases")]
    found = [part.value() for part in parts if isinstance(part, _Array)]
    arrays = [array for array in found if isinstance(array, np.ndarray)]
    if len(arrays) != 2 or len(parts) != 2:
        raise UserError(f"{path}: {name} has no kernel and bias: not the Caffe nets' layers")
    return _own(path, name, arrays[0]), _own(path, name, arrays[1])


def _own(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise UserError(f"{path}: {name} is of type {array.dtype}, weights are floating-point numbers")
    return np.array(array, array.dtype.newbyteorder("="))


class _Type:
    """A pickled NumPy type: its name, and the byte order that its state gives."""

    def __init__(self, name: str, *_: object) -> None:
        self.name, self.order = str(name), "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = str(state[1])


class _Array:
    """A pickled NumPy array: shape, type and bytes, which `value` checks and turns into an array."""

    def __init__(self, *_: object) -> None:
        self.state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def value(self) -> Any:
        """Return the array; for an array of objects, the list of them."""
        _, shape, kind, by_columns, held = self.state
        if isinstance(held, list):
            return held
        content = held.encode("latin1") if isinstance(held, str) else bytes(held)
        if kind.name not in _KINDS or kind.order == ">":
            raise ValueError(f"an array of type {kind.order}{kind.name}")
        shape = tuple(int(side) for side in shape)
        array = np.frombuffer(content, _KINDS[kind.name])
        if min(shape, default=0) < 1 or math.prod(shape) != len(array):
            raise ValueError(f"an array of the shape {shape} with {len(array):,} values")
        return array.reshape(shape, order="F" if by_columns else "C")


def _encoded(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, by which old protocols pickle bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes in {encoding}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Reads containers and arrays; any other name in the file ends it."""

    _NAMES: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Type,
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("_codecs", "encode"): _encoded,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._NAMES:
            raise pickle.UnpicklingError(f"it calls {module}.{name}")
        return self._NAMES[module, name]
