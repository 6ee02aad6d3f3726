"""Read Keras's VGGs from .h5, .weights.h5 and .keras files, without Keras: its models may hold code, HDF5 holds arrays.

Notable: kernels are (rows, columns, in, out), and a dense layer's inputs lie as rows, columns, channels when the map
before it did. Layers are told apart by shape, put in order by the number in their names, and checked against the
model's configuration where the file has one. A .weights.h5 has none, and shapes do not tell what it would say: a kernel
is the same with and without padding, its net's channels first or last. Links to other files, which HDF5 has, are
refused.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vggnet.errors import UserError, missing_package
from vggnet.formats.keras_config import read_facts
from vggnet.formats.layers import ForeignLayer, Found, recognise
from vggnet.formats.untrusted import LARGEST_BYTES, refuse_packed

MOST_PACKED = 20  # times that compression makes weights smaller: trained ones hardly twice, nine tenths zeros tenfold
_KERNELS = ("kernel", "kernel:0", "0")
_BIASES = ("bias", "bias:0", "1")


NO_CONFIGURATION = (
    "the file has weights and no configuration, so that its data format, paddings and activations cannot be checked: "
    "taken to be those of keras.applications' VGGs (channels last, zero-padded, ReLUs); a .keras file would be checked"
)


def read_keras(path: str | Path, *, net: str | None = None, convolutions_only: bool = False) -> Found:
    """Read a Keras file. Raises UserError for another kind of file, or of net.

    Values are read only after the shapes were recognised as a VGG's, and only if they are not packed further than
    weights can be: a compressed file unpacks to what the net needs, not more. Layers that the net does not take (a head
    that is left out) have a shape and no values.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    with _opened(path) as (file, config):
        arrays: dict[str, dict[str, Any]] = {}
        for item in _weights(path, file):
            layer, _, part = item.name.strip("/").rpartition("/")
            arrays.setdefault(layer, {})[part] = item
        if not arrays:
            raise UserError(f"{path}: no weights in it")
        names = sorted(arrays, key=lambda name: (_is_dense(arrays[name]), _place(name)))
        layers = [_layer(path, name, arrays[name], _shape_only) for name in names]
        architecture = recognise(layers, str(path), net=net, convolutions_only=convolutions_only)
        taken = len(list(architecture.layers()))
        head = not architecture.convolutions_only
        facts = read_facts(config, str(path), taken, head=head) if config else None
        _refuse_packed_arrays(path, [item for name in names[:taken] for item in arrays[name].values()])
        for place, name in enumerate(names[:taken]):
            layers[place] = _layer(path, name, arrays[name], _tensor)
    if facts is None:
        return Found(layers, architecture=architecture, notes=[NO_CONFIGURATION])
    for layer, padding in zip(layers, facts.paddings, strict=False):
        layer.padding = padding
    for layer in layers:
        layer.flattened = "CHW" if facts.channels_first else "HWC"
    return Found(layers, facts.pools, architecture=architecture)


def import_h5py() -> Any:
    """Return the package h5py. Raises UserError where it is not installed."""
    try:
        import h5py  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise missing_package("reading Keras files", "h5py", "keras") from error
    return h5py


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str]]:
    """Open the HDF5 file, alone or in a .keras archive; yield it and the model's configuration as text, or ""."""
    h5py = import_h5py()
    config = ""
    source: Any = path
    try:
        if zipfile.is_zipfile(path):
            refuse_packed(path)
            with zipfile.ZipFile(path) as archive:
                config = archive.read("config.json").decode()
                source = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(source, "r") as file:
            if "model_config" in file.attrs:
                given = file.attrs["model_config"]
                config = given.decode() if isinstance(given, bytes) else str(given)
            yield file, config
    except UserError:
        raise
    except Exception as error:  # damaged files make HDF5 raise many things
        raise UserError(f"{path}: refused: not a whole Keras file ({type(error).__name__}: {error})") from error


def _weights(path: Path, file: Any) -> list[Any]:
    """Return the file's data sets without the optimiser's; links are not followed, and no values are read."""
    import h5py

    found: list[Any] = []
    file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    weights = [item for item in found if _is_weight(path, item)]
    claimed = sum(map(_size, weights))
    if claimed > LARGEST_BYTES:
        raise UserError(f"{path}: refused: its weights claim {claimed:,} bytes, more than any VGG")
    return weights


def _is_weight(path: Path, item: Any) -> bool:
    """Return whether a data set is one of the model's weights. Raises UserError for one that cannot be read safely."""
    name = item.name.strip("/")
    if item.shape == () or name.split("/")[0].startswith("optimizer"):
        return False  # a seed generator's or the optimiser's state
    if item.external or item.is_virtual:
        raise UserError(f"{path}: refused: {name} lies in another file")
    if item.dtype.kind != "f":
        if "seed" in name:
            return False
        raise UserError(f"{path}: refused: {name} is of type {item.dtype}, weights are floating-point numbers")
    size = _size(item)
    if item.compression is None and item.id.get_storage_size() < size:  # what was never written reads as zeros
        raise UserError(f"{path}: refused: {name} claims {size:,} bytes and the file holds fewer of it")
    return True


def _refuse_packed_arrays(path: Path, items: list[Any]) -> None:
    size, held = sum(map(_size, items)), sum(item.id.get_storage_size() for item in items)
    if size > MOST_PACKED * held:
        raise UserError(f"{path}: refused: {size:,} bytes of weights packed into {held:,}, as no trained net's are")


def _size(item: Any) -> int:
    return int(item.size * item.dtype.itemsize)


def _is_dense(arrays: dict[str, Any]) -> bool:
    return max(array.ndim for array in arrays.values()) < 4


def _short(name: str) -> str:
    return next((part for part in reversed(name.split("/")) if part != "vars"), name)


def _place(name: str) -> list[tuple[int, str]]:
    """Return a key that orders layers by the numbers in their names; "dense" comes before "dense_1"."""
    short = _short(name)
    padded = short if re.search(r"\d$", short) else f"{short}_0"
    return [(int(number), "") if number else (-1, text) for number, text in re.findall(r"(\d+)|(\D+)", padded)]


def _layer(path: Path, name: str, arrays: dict[str, Any], read: Callable[[Any], Tensor]) -> ForeignLayer:
    """Return a layer of a kernel and perhaps a bias, data sets that `read` turns into tensors."""
    kernel = next((arrays[key] for key in arrays if key in _KERNELS or "_W" in key), None)
    bias = next((arrays[key] for key in arrays if key in _BIASES or "_b" in key), None)
    if kernel is None or kernel.ndim not in (2, 4) or len(arrays) > 2:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        raise UserError(f"{path}: layer {name} is neither a convolution nor a dense layer: it has {shapes}")
    if bias is not None and bias.shape != kernel.shape[-1:]:
        raise UserError(f"{path}: layer {name} has {kernel.shape[-1]} outputs and a bias of {bias.shape}: damaged")
    weight = read(kernel)
    given = tuple(weight.shape)
    weight = weight.permute(3, 2, 0, 1) if weight.dim() == 4 else weight.t()
    return ForeignLayer(
        _short(name),
        weight,
        None if bias is None else read(bias),
        flattened="HWC",
        given_shape=given,
        notes=["out channels first"],
    )


def _shape_only(item: Any) -> Tensor:
    return torch.empty(item.shape, device="meta")


def _tensor(item: Any) -> Tensor:
    array = item[()]
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))
