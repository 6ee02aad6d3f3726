"""Write a net whose last layer is the linear SVM of its own descriptors (`vggnet transfer --out MODEL`).

A descriptor is the mean of fc7's activations over all positions, at unit length. fc8 is linear, so the mean of its
score map is fc8 of the mean. Notable:
- This SVM has no intercept: its score w . m / |m| has the sign and the order of w . m, so that the length of the
  descriptor, which a convolution cannot divide by, changes no prediction.
- The scores are multiplied by one number, so that their soft-max has the smallest loss on the images that C was chosen
  on: `predict` prints posteriors, and an SVM has none.

So without mirrored views the net names the class that the SVM names, for every image at the Q of the descriptors.
With the mirror the SVM takes the mean activation of an image and its mirror image, and the net the mean of the two
posteriors: the answers can differ where two classes are nearly equal.

Shapes: n images, D numbers of a descriptor, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vggnet.console import counted
from vggnet.data.learnt import Learnt, content_digests, read_learnt, write_learnt
from vggnet.data.opening import open_data
from vggnet.data.splits import ImageData, Split
from vggnet.errors import UserError
from vggnet.network.pretrained import check_free, save_pretrained
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import load_model, read_description
from vggnet.randomness import numbered_generator
from vggnet.transfer_learning.descriptors import (
    DescriptorSettings,
    Model,
    Progress,
    describe_images,
    mean_activations,
    unit,
)
from vggnet.transfer_learning.svm import choose_cost, class_recalls, fit, hold_out_places

SHARPEST, STEPS = 6.0, 241  # scores are multiplied by up to 10^SHARPEST / the mean length of a descriptor


@dataclass(frozen=True)
class Head:
    """The model that was written: its C, the images it was fitted on, and its errors on val (None: no val images)."""

    folder: Path
    cost: float
    train_images: int
    wrong: int | None
    val_images: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "model": str(self.folder),
            "cost": self.cost,
            "train_images": self.train_images,
            "val_wrong": self.wrong,
            "val_images": self.val_images,
        }

    def line(self) -> str:
        """Return it in words."""
        tested = ""
        if self.wrong is not None and self.val_images:
            share = 100 * self.wrong / self.val_images
            tested = f"; its SVM is wrong on {self.wrong} of {counted(self.val_images, 'val image')} ({share:.1f} %)"
        fitted = f"an SVM without intercept (C={self.cost:g}) on {counted(self.train_images, 'training image')}"
        return f"{self.folder}: the net with a new last layer, {fitted}{tested}; use it wherever a MODEL is asked for"


def check_head(models: Sequence[Model], settings: DescriptorSettings, protocol: str, out: Path) -> None:
    """Raise UserError where no such net can be made, before anything is computed."""
    if protocol != "caltech":
        raise UserError(f"`out` {out}: only for `protocol` caltech, whose images have one class each")
    if len(models) != 1 or settings.layer != "fc7" or len(settings.test_scale) > 1:
        raise UserError(
            f"`out` {out}: a net's last layer sees one net's fc7 at one Q: give one model, `layer` fc7 and at most one "
            "`test_scale`"
        )
    if read_description(models[0]).architecture.convolutions_only:
        raise UserError(f"`out` {out}: {models[0]} has no fc7 whose activations a last layer could see")
    check_free(out)


def write_head(
    model: Model,
    data: str,
    settings: DescriptorSettings,
    out: Path,
    *,
    costs: Sequence[float],
    validation: float,
    seed: int,
    on_progress: Progress | None = None,
) -> Head:
    """Fit the SVM on the training images of `data`, and write the net with it as its last layer to the folder `out`.

    C is chosen on a part of the training images; the SVM is then fitted on all of them. Images that are set aside from
    an undivided folder stay unseen, as in a training. Raises UserError as `transfer` does.
    """
    opened = open_data(data)
    train = opened.train
    if train is None or train.labels is None:
        raise UserError(f"{data}: no training images for `out`: expected train/CLASS/*.jpg, or CLASS/*.jpg")
    means, there, _ = mean_activations(model, train, settings, on_progress)
    values, labels = unit(means[there]), train.labels[there]
    rest, held = hold_out_places(labels, validation, numbered_generator(seed, 0, len(opened.classes)))

    def score(cost: float) -> float:
        svm = fit(values[rest], labels[rest], cost, seed, intercept=False)
        return float(np.nanmean(class_recalls(svm.predict(values[held]), labels[held], len(opened.classes))))

    cost = choose_cost(score, costs)
    partial = _weights(fit(values[rest], labels[rest], cost, seed, intercept=False), len(opened.classes))
    factor = _sharpness(means[there][held] @ partial.T, labels[held], means[there])
    weights = _weights(fit(values, labels, cost, seed, intercept=False), len(opened.classes))
    net = _with_head(load_model(model), factor * weights, opened, settings)
    save_pretrained(net, out)
    write_learnt(out, Learnt.of(train, content_digests(train)), read_learnt(model))
    wrong, images = _errors(model, opened.val, weights, settings, on_progress)
    return Head(out, cost, len(labels), wrong, images)


def _weights(svm: Any, classes: int) -> np.ndarray:
    """Return one row of weights for each class, (K, D): of two classes scikit-learn has one row for both."""
    rows = np.concatenate([-svm.coef_, svm.coef_]) / 2 if len(svm.coef_) == 1 else svm.coef_
    if len(rows) != classes:
        raise UserError(f"{counted(classes - len(rows), 'class')} without a training image that can be described")
    return np.asarray(rows, np.float64)


def _sharpness(scores: np.ndarray, labels: np.ndarray, means: np.ndarray) -> float:
    """Return the factor of scores (n, K) with which their soft-max has the smallest loss for `labels`."""
    length = float(np.linalg.norm(means, axis=1).mean()) or 1.0
    factors = np.logspace(-2, SHARPEST, STEPS) / length

    def loss(factor: float) -> float:
        shifted = factor * (scores - scores.max(1, keepdims=True))
        return float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]).mean())

    return min(factors.tolist(), key=loss)


def _with_head(source: VGG, weights: np.ndarray, opened: ImageData, settings: DescriptorSettings) -> VGG:
    """Return the net with `weights` (K, D) as fc8, for the classes of `opened`."""
    before = source.description
    (view,) = settings.views(before)
    description = replace(
        before,
        architecture=replace(before.architecture, outputs=len(weights)),
        classes=opened.classes,
        class_titles=opened.titles,
        train_scale=(view.scale,),
        recipe={"svm_of_descriptors": {"scale": view.scale, "mirror": view.mirror}},
        activation_limits={},
        boxes="",
        policy=before.policy.chosen(view.mirror),
    )
    state = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    state["fc8.weight"] = torch.from_numpy(weights).to(torch.float32)[:, :, None, None]
    state["fc8.bias"] = torch.zeros(len(weights))
    net = on_meta(description)
    net.load_state_dict(state, assign=True)
    net.initialization = "an SVM of its descriptors as fc8"
    return net.eval()


def _errors(
    model: Model, val: Split | None, weights: np.ndarray, settings: DescriptorSettings, on_progress: Progress | None
) -> tuple[int | None, int]:
    """Return how many val images the SVM gets wrong, and of how many."""
    if val is None or val.labels is None or not len(val):
        return None, 0
    found = describe_images([model], [val], settings, on_progress)
    return int(((found.values @ weights.T).argmax(1) != val.labels[found.indices]).sum()), len(found.indices)
