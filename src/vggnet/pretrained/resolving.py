"""Turn the name of a model into its folder in the cache; download and convert it on first use.

Every MODEL of the command line and of Python goes through `resolve`: those of a command's options together, in
`with_folders`. A file or folder of that name comes first. The weight file in a folder is found by
`network.weights.find_weights`.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vggnet.console import note
from vggnet.data.opening import data_names
from vggnet.data.tables import HUB
from vggnet.errors import UserError
from vggnet.files import default_cache, made_once, one_at_a_time
from vggnet.options.models import Options, images_of, with_models
from vggnet.pretrained.catalogue import Pretrained, find

if TYPE_CHECKING:
    from vggnet.network.vgg import VGG

FORMAT = 1  # of the converted models; raise it when a conversion changes: they are then made anew
Model = TypeVar("Model")


def with_folders(options: Options) -> Options:
    """Return a command's options with the folder of each model that is given by name.

    Raises UserError as `resolve` does, and before a download where the images do not exist.
    """
    return with_models(options, partial(resolve, images=images_of(options)))


def resolve(model: Model, images: Sequence[str] = ()) -> Model | Path:
    """Return the folder of the model that a text or path names; anything else as it is.

    Raises UserError for a misspelt name, where the model cannot be fetched, and where it would be fetched for `images`
    that do not exist.
    """
    if not isinstance(model, (str, Path)) or not str(model) or os.path.lexists(Path(model).expanduser()):
        return model
    entry = find(str(model))
    if entry is None:
        return model
    if str(model) != entry.name:
        note(f"{model}: the model {entry.name}")
    if not folder_of(entry).is_dir():
        _check_existence(images, entry)
    return cached(entry)


def _check_existence(images: Sequence[str], entry: Pretrained) -> None:
    """Raise UserError where one of the images is neither there nor the name of a data set."""
    for each in images:
        path = Path(each).expanduser()
        there = os.path.lexists(path) or any(parent.is_file() for parent in path.parents)  # in an archive
        if not there and each not in data_names() and not each.startswith(HUB):
            raise UserError(f"{each}: there is no such file, folder or data set; {entry.name} is not downloaded for it")


def folder_of(entry: Pretrained) -> Path:
    """Return where the converted model lies in the cache, or will."""
    return default_cache() / "pretrained" / str(FORMAT) / entry.folder


def cached(entry: Pretrained) -> Path:
    """Return the folder of the converted model; other processes wait for the one that makes it."""
    folder = folder_of(entry)
    if folder.is_dir():
        return folder
    with one_at_a_time(folder, lambda: note(f"{entry.name}: waiting for another process that fetches it")):
        return made_once(folder, partial(_fill, entry))


def _fill(entry: Pretrained, folder: Path) -> None:
    """Fetch the model's file, convert it, and write it into `folder`."""
    from vggnet.network.pretrained import save_pretrained
    from vggnet.network.weights import check_outputs

    downloads = default_cache() / "downloads" / "models"
    model, fetched = (_from_hub if entry.source == "hub" else _from_file)(entry, downloads)
    check_outputs(model)
    save_pretrained(model, folder)
    note(f"{entry.name}: in the cache ({folder_of(entry)})")
    if fetched.is_dir():
        shutil.rmtree(fetched, ignore_errors=True)
    elif fetched.parent == downloads:  # not where another library has put it
        fetched.unlink(missing_ok=True)


def _from_file(entry: Pretrained, downloads: Path) -> tuple["VGG", Path]:
    """Return Keras's or torchvision's model, and the file that it was read from."""
    from vggnet.formats.converting import convert, require
    from vggnet.pretrained.fetching import fetch
    from vggnet.pretrained.sources import stated

    about = stated(entry)
    require(about.layout)  # before half a gigabyte is fetched
    file = fetch(about.remote, downloads, about.elsewhere)
    model = convert(
        file,
        about.layout,
        preprocessing=about.convention,
        classes=None if entry.convolutions_only else about.classes,
        convolutions_only=entry.convolutions_only,
    ).model
    facts = _facts(entry, about.published, about.test_scale) | {"file": file.name, "url": about.remote.url}
    return _described(model, entry, facts), file


def _from_hub(entry: Pretrained, downloads: Path) -> tuple["VGG", Path]:
    """Return the model of a repository in timm's form or ours, and the folder of what was downloaded."""
    from vggnet.formats.converting import convert
    from vggnet.formats.inputs import is_of_imagenet
    from vggnet.network.pretrained import from_pretrained
    from vggnet.paper.imagenet import imagenet_classes
    from vggnet.pretrained.hub import fetch_repository, is_ours
    from vggnet.pretrained.sources import TEST_SCALE_PX, stated

    downloaded = downloads / entry.folder.replace("/", "--")
    folder = fetch_repository(entry.file, entry.revision, downloaded)
    if is_ours(folder):
        return from_pretrained(folder), downloaded
    model = convert(folder / "model.safetensors", "timm").model
    imagenet = is_of_imagenet(folder / "config.json")
    description = model.description
    if imagenet and not description.classes and len(imagenet_classes()[0]) == description.architecture.outputs:
        codes, words = imagenet_classes()
        model.description = replace(description, classes=codes, class_titles=words)
    same = find(entry.same_as)
    published = stated(same).published if same is not None else None
    facts = _facts(entry, published, TEST_SCALE_PX if imagenet else None) | {"repository": entry.file}
    return _described(model, entry, facts), downloaded


def _facts(entry: Pretrained, published: tuple[float, float, str] | None, test_scale: int | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": entry.name, "licence": entry.licence, "test_scale": test_scale}
    if published is not None:
        facts |= {"top1_error": published[0], "top5_error": published[1], "protocol": published[2]}
    return {name: value for name, value in facts.items() if value is not None}


def _described(model: "VGG", entry: Pretrained, facts: dict[str, Any]) -> "VGG":
    """Return the net with S and the facts about where it comes from in its description."""
    recipe = model.description.recipe | {"published": facts}
    model.description = replace(model.description, train_scale=entry.train_scale, recipe=recipe)
    return model
