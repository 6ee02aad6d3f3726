"""Name the kind of a file that a reader cannot read, with the --layout it needs; refuse TorchScript and the like."""

import zipfile
from pathlib import Path

from vggnet.errors import UserError

_BEGINNINGS = (
    (b"\x89HDF", "an HDF5 file (Keras's have `layout` keras)"),
    (b"MATLAB 7.3", "a MATLAB 7.3 file: save it in MATLAB with -v7, then give `layout` matconvnet"),
    (b"MATLAB 5", "a MATLAB file: give `layout` matconvnet"),
    (b"\x93NUMPY", "a NumPy file: give `layout` caffe"),
)
_SUFFIXES = {
    ".caffemodel": "a file of Caffe: give `layout` caffe",
    ".npz": "a NumPy file: give `layout` caffe",
    ".keras": "a file of Keras: give `layout` keras",
}


def kind_of(path: Path) -> str | None:
    """Return the kind of the file and what to do with it; None where it is unknown."""
    try:
        with path.open("rb") as file:
            beginning = file.read(16)
    except OSError:
        return None
    found = next((kind for bytes_, kind in _BEGINNINGS if beginning.startswith(bytes_)), None)
    return found or _SUFFIXES.get(path.suffix.lower())


def refuse_programs(path: Path) -> None:
    """Raise UserError for a program with weights inside: TorchScript, torch.export."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        raise UserError(
            f"{path}: a TorchScript program (of torch.jit.save), not a file of weights; it is not run here. Where you "
            f'trust it, write its weights with PyTorch: torch.save(torch.jit.load("{path.name}").state_dict(), '
            '"weights.pth"), and convert these'
        )
    if {"archive_format", "serialized_exported_program.json"} & inside:
        raise UserError(
            f"{path}: a program of torch.export, not a file of weights; it is not run here. Where you trust it, write "
            f'its weights with PyTorch: torch.save(torch.export.load("{path.name}").state_dict, "weights.pth"), and '
            "convert these"
        )


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins like a .safetensors file, whatever its name."""
    with path.open("rb") as file:
        beginning = file.read(9)
    return len(beginning) == 9 and beginning[8:] == b"{" and int.from_bytes(beginning[:8], "little") < 10**8
