"""Read and write nets from Python: `load`, `save`."""

from pathlib import Path

import torch

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
    save_model(path, model)
