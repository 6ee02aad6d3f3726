"""Download torchvision's sets by name into the cache, as class folders of image files.

Image files are copied unchanged where torchvision gives their paths; sets of arrays become PNGs. A set's folder is
complete or absent.
"""

import importlib
import inspect
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from vggnet.errors import UserError
from vggnet.files import is_offline, made_once


@dataclass(frozen=True)
class DownloadableSet:
    """A class of torchvision.datasets and its arguments for training and validation (none: no such split)."""

    dataset: str
    train: tuple[dict[str, Any], ...]
    val: tuple[dict[str, Any], ...]


def _by_flag(dataset: str) -> DownloadableSet:
    return DownloadableSet(dataset, ({"train": True},), ({"train": False},))


def _by_name(dataset: str, train: tuple[str, ...], val: str) -> DownloadableSet:
    return DownloadableSet(dataset, tuple({"split": each} for each in train), ({"split": val},))


SETS = {
    "caltech101": DownloadableSet("Caltech101", ({},), ()),
    "caltech256": DownloadableSet("Caltech256", ({},), ()),
    "cifar10": _by_flag("CIFAR10"),
    "cifar100": _by_flag("CIFAR100"),
    "country211": _by_name("Country211", ("train", "valid"), "test"),
    "dtd": _by_name("DTD", ("train", "val"), "test"),
    "eurosat": DownloadableSet("EuroSAT", ({},), ()),
    "fashionmnist": _by_flag("FashionMNIST"),
    "fgvcaircraft": _by_name("FGVCAircraft", ("trainval",), "test"),
    "flowers102": _by_name("Flowers102", ("train", "val"), "test"),
    "food101": _by_name("Food101", ("train",), "test"),
    "gtsrb": _by_name("GTSRB", ("train",), "test"),
    "imagenette": _by_name("Imagenette", ("train",), "val"),
    "kmnist": _by_flag("KMNIST"),
    "mnist": _by_flag("MNIST"),
    "oxfordiiitpet": _by_name("OxfordIIITPet", ("trainval",), "test"),
    "stl10": _by_name("STL10", ("train",), "test"),
    "sun397": DownloadableSet("SUN397", ({},), ()),
    "svhn": _by_name("SVHN", ("train",), "test"),
    "usps": _by_flag("USPS"),
}


class _Kept:
    """A stand-in for an image whose file is to be copied unchanged."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)


def fetched(name: str, cache: Path) -> Path:
    """Return the folder of the set `name` in `cache`; download it on first use. Raises UserError where that fails."""
    target = cache / name
    if is_offline() and not target.is_dir():
        raise UserError(
            f"{name} is not in the cache, and without a network it cannot be fetched: put its images into "
            f"{target / 'train'}/CLASS/ and {target / 'val'}/CLASS/, or give their folder"
        )
    raw = cache / "downloads" / name
    made_once(target, lambda folder: _fill(name, raw, folder, target))
    shutil.rmtree(raw, ignore_errors=True)  # everything needed has been written
    return target


def _fill(name: str, raw: Path, folder: Path, target: Path) -> None:
    spec = SETS[name]
    raw.mkdir(parents=True, exist_ok=True)
    for part, arguments in (("train", spec.train), ("val", spec.val)):
        for number, each in enumerate(arguments):
            try:
                dataset = _open_dataset(spec.dataset, raw, each)
            except Exception as error:  # torchvision passes on exceptions of any kind, of network, archive and parser
                reason = str(error) or type(error).__name__
                raise UserError(
                    f"{name} could not be downloaded ({reason}). Try again, or put the images in "
                    f"{target / 'train'}/CLASS/ and {target / 'val'}/CLASS/ and give that folder"
                ) from error
            where = folder / part if spec.val else folder
            for count, (image, class_name) in enumerate(_images(dataset)):
                _write(image, where / class_name, f"{number}-{count:06d}")


def _open_dataset(dataset: str, raw: Path, arguments: dict[str, Any]) -> Any:
    dataset_class = getattr(importlib.import_module("torchvision.datasets"), dataset)
    if "loader" in inspect.signature(dataset_class).parameters:
        arguments = {**arguments, "loader": _Kept}
    return dataset_class(str(raw), download=True, **arguments)


def _images(dataset: Any) -> Iterator[tuple[Any, str]]:
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    for place in range(len(dataset)):
        image, label = dataset[place]
        if names is None:
            yield image, f"{int(label):03d}"
        else:
            title = names[int(label)]  # Imagenette's are tuples of synonyms
            yield image, (title if isinstance(title, str) else title[0]).replace("/", "-").lstrip(".")


def _write(image: Any, folder: Path, stem: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source = image.path if isinstance(image, _Kept) else Path(getattr(image, "filename", "") or "")
    if source.is_file():
        shutil.copyfile(source, folder / f"{stem}{source.suffix.lower()}")
    elif isinstance(image, Image.Image) and max(image.size) > 128:  # a photograph that torchvision has decoded
        image.convert("RGB").save(folder / f"{stem}.jpg", quality=95, subsampling=0)
    else:
        image.save(folder / f"{stem}.png")
