"""Read and write nets from Python: `load`, `from_pretrained`, `save`."""

from pathlib import Path
from typing import Any

import torch

from vggnet.errors import UserError
from vggnet.network.pretrained import from_pretrained as read_pretrained
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model, save_model
from vggnet.pretrained.resolving import resolve


def load(path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> VGG:
    """Return a trained net, in evaluation mode.

    Args:
        path: a run folder (its best weights, else its last), a model folder, a weight file, or a name such as
            "vgg16" or "oxford/D", which is downloaded on first use (`vggnet nets --pretrained` lists the names).
        device: where the weights go.
        dtype: the type of the weights.

    Returns:
        The net. `model(images)` takes preprocessed images float32 (N, 3, H, W) and returns the class score map
        (N, K, H', W'), `model.scores` its mean (N, K), `model.posteriors` the soft-max of these (N, K).
        `model.description` has classes, preprocessing and scales.

    Raises:
        UserError: for a file that is missing, damaged, of another kind, or does not fit its own description, and for a
            model that cannot be downloaded; Diverged for weights that are not finite.

    Example:
        >>> model = vggnet.load("runs/A")
        >>> model.posteriors(vggnet.preprocess(model, "photograph.jpg")).shape
        torch.Size([1, 3])
    """
    return load_model(resolve(path), device, dtype)


def from_pretrained(
    name: str | Path, *, revision: str | None = None, device: str | torch.device = "cpu", **hub: Any
) -> VGG:
    """Return a net, in evaluation mode: from a folder in the Hugging Face form, a name, or a repository of the hub.

    Args:
        name: a folder that `save_pretrained` or `vggnet convert` wrote, a name such as "vgg16" or "oxford/D" (as for
            `load`), or OWNER/NAME on the hub.
        revision: of the repository: a branch, a tag or a commit. (default: its main branch)
        device: where the weights go.
        hub: passed to huggingface_hub's `snapshot_download` (token, cache_dir, local_files_only, ...).

    Raises:
        UserError: for a folder, name or repository that cannot be read, and for files that describe different nets.

    Example:
        >>> vggnet.from_pretrained("model").description.classes
        ('class0', 'class1', 'class2')
    """
    found = name if revision is not None or hub else resolve(name)
    return read_pretrained(found, revision=revision, device=device, **hub)


def save(path: str | Path, model: VGG) -> None:
    """Write a net with its description to a weight file, which every command and `load` take. An old file is replaced.

    Args:
        path: the file; it ends in .safetensors.
        model: the net.

    Raises:
        UserError: for a net that is not what its description says (a layer replaced by hand); Diverged for weights that
            are not finite. OSError where the file cannot be written. The old file is then untouched.

    Example:
        >>> vggnet.save("A.safetensors", vggnet.build("A", num_classes=3, width=0.1, crop=32))
        >>> vggnet.load("A.safetensors").architecture.net
        'A'
    """
    first: Any = path
    if isinstance(first, VGG):
        raise UserError("the file comes first, then the net: vggnet.save(path, model)")
    save_model(path, model)
