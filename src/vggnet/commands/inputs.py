"""Split the positional arguments into models and images, and check that they are not swapped.

Without this check a swapped argument ends in a message about a file that is missing in a folder.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from vggnet.data.archive_listing import is_archive
from vggnet.data.listing import is_image_entry
from vggnet.data.opening import data_names
from vggnet.data.tables import HUB, is_table
from vggnet.errors import UserError
from vggnet.network.weights import RUN_FILES
from vggnet.pretrained.catalogue import is_model_name


def models_and_data(inputs: Sequence[str], command: str, *, least: int = 1) -> tuple[list[str], str]:
    """Return the models and the data of `vggnet COMMAND MODEL... DATA`. Raises UserError where they are swapped.

    `least`: the number of models that must be there.
    """
    usage = f"vggnet {command} MODEL... DATA"
    if len(inputs) < 1 + least:
        raise UserError(f"give the models first and the images last: {usage}")
    *models, data = inputs
    check_models(models, usage)
    check_images([data], usage)
    return models, data


def model_and_images(inputs: Sequence[str], command: str) -> tuple[str, list[str]]:
    """Return the model and the images of `vggnet COMMAND MODEL IMAGE...`. Raises UserError where they are swapped."""
    usage = f"vggnet {command} MODEL IMAGE..."
    if len(inputs) < 2:
        raise UserError(f"give the model first, then images or folders of images: {usage}")
    model, *images = inputs
    check_models([model], usage)
    check_images(images, usage)
    return model, images


def check_models(paths: Sequence[str | Path], usage: str) -> None:
    """Raise UserError for images where `usage` has models."""
    for path in paths:
        if not _holds_weights(Path(path)) and _holds_images(str(path)):
            raise UserError(f"{path}: these are images, and a run, a model folder or a weight file goes there: {usage}")


def check_images(paths: Sequence[str], usage: str) -> None:
    """Raise UserError for a model where `usage` has images."""
    for path in paths:
        if _holds_weights(Path(path)) and not _holds_images(path):
            raise UserError(f"{path}: this is a model, and images go there: {usage}")
        if not os.path.lexists(path) and path not in data_names() and is_model_name(path):
            raise UserError(f"{path}: this is the name of a model, and images go there: {usage}")


def _holds_weights(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors" or any((path / name).is_file() for name in RUN_FILES)


def _holds_images(text: str) -> bool:
    """Return whether `text` is an image, a folder with one anywhere in it, or the name of a data set."""
    path = Path(text)
    if text in data_names() or text.startswith(HUB) or is_table(path):  # before a folder of that name
        return True
    if not path.is_dir():
        return is_image_entry(path.parent, path.name) or is_archive(path)
    found = os.walk(path)
    return any(
        is_image_entry(Path(where), name) or is_archive(Path(where, name))
        for where, _, names in found
        for name in names
    )
