"""Judge whether a net can learn from its weights, by each layer's signal and gradient on real images.

One forward and backward pass in fp32, without dropout, is enough. The verdict uses two ratios of the loss's gradient to
the weights (rms over a layer), for any net and initialisation:

- *pull*: gradient / (weight decay * weights), the mean over the layers. The net is homogeneous, its logits are
  proportional to the product of the layers' sizes; that product grows only if the loss pulls on the layers harder than
  weight decay does. Below 1 it shrinks, and every gradient with it: the net never leaves chance (**vanishes**).
- *step*: learning rate / (1 - momentum) * gradient / weights, the largest layer's. It is how far momentum carries the
  layer for one batch. Above 1 the first steps overshoot into infinity (**explodes**): at width 0.25,
  A with 0.35 learned, with 1.8, 7, 8 and 81 (Glorot and He, several learning rates) it was infinite within 60 steps.

With batch normalisation only the FC layers are judged: the scale of a convolution before a norm has no effect, and its
weights grow until its steps are small.

Measured at width 1 on 8 photographs (learning rate 0.01, momentum 0.9, decay 5e-4), at crop 64 / crop 224:

| weights | pull | step | what training does |
| --- | --- | --- | --- |
| Glorot, A | 1300 / 1800 | 0.15 / 0.24 | learns |
| Glorot, E | 41 / 86 | 0.005 / 0.013 | learns |
| sigma 0.01, A | 3.3 / 13 | 0.001 / 0.005 | learns (58.8 % error on 40 classes, 60 epochs) |
| sigma 0.01, B | 0.15 / 0.57 | 5e-5 / 2e-4 | not trained: near the border |
| sigma 0.01, D | 0.009 / 0.04 | 3e-6 / 2e-5 | never leaves chance |
| sigma 0.01, E | 6e-4 / 3e-3 | 2e-7 / 1e-6 | never leaves chance |
| He, A to E, inputs of +-100 | 4e5 / 3e5 | 100 / 20 | infinite within 60 steps (A and D, width 0.25) |
| sigma 0.1, A | 8e9 / 3e10 | 2e6 / 1e7 | infinite at once |
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.console import counted, html_table
from vggnet.errors import UserError
from vggnet.network.vgg import VGG, evaluating
from vggnet.paper.recipes import Recipe

Verdict = Literal["learns", "vanishes", "explodes"]
LEAST_PULL = 1.0  # of the loss against weight decay
LARGEST_STEP = 1.0  # of a layer, in its own size
CLOSE = 3.0  # a ratio within this factor of its limit is reported as a close call


@dataclass(frozen=True)
class LayerSignal:
    """One weight layer; rms over all elements. Activations are the layer's outputs, before norm, pooling and ReLU.

    `variation_rms` is the activations' deviation across the images, what is left of the input's differences;
    `relative_update` is learning rate * gradient / weights, one step of plain SGD.
    """

    name: str
    signal_rms: float
    variation_rms: float
    gradient_rms: float  # of the loss by the activations
    weight_rms: float
    weight_gradient_rms: float
    relative_update: float


@dataclass(frozen=True)
class Diagnosis:
    """The result: layers in the paper's order, loss, `pull` and `step` (see the module), the verdict and its reason."""

    layers: tuple[LayerSignal, ...]
    loss: float
    pull: float
    step: float
    verdict: Verdict
    words: str

    def _repr_html_(self) -> str:
        """Return the layers and the verdict for a notebook."""
        columns = ("layer", "signal", "between images", "gradient", "first update / weight")
        figures = ("signal_rms", "variation_rms", "gradient_rms", "relative_update")
        rows = [(layer.name, *(f"{getattr(layer, figure):.2e}" for figure in figures)) for layer in self.layers]
        return html_table(f"Root mean squares; loss {self.loss:.3f}", columns, rows, (self.words,))


def diagnose(
    model: VGG,
    images: Tensor,
    labels: Tensor,
    learning_rate: float = Recipe.learning_rate,
) -> Diagnosis:
    """Judge whether SGD can train `model` on preprocessed images (N, 3, H, W) with class labels (N,).

    8 images are enough. Leaves the model's weights, gradients, modes and statistics as they are. Raises UserError for
    fewer than two images or for labels that do not fit.
    """
    _check(model, images, labels)
    if any(parameter.dtype != torch.float32 for parameter in model.parameters()):
        model = copy.deepcopy(model).float()
    with _measuring(model), torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        outputs, loss = _forward(model, images.float(), labels)
        weights = {name: model.get_parameter(f"{name}.weight") for name in outputs}
        gradients = torch.autograd.grad(loss, [*outputs.values(), *weights.values()])
    fitted = {"fc6": model.description.feature_scale**2}  # what its rate is divided by in training
    layers = []
    for index, (name, output) in enumerate(outputs.items()):
        weight_rms, weight_gradient_rms = _rms(weights[name]), _rms(gradients[len(outputs) + index])
        layers.append(
            LayerSignal(
                name,
                signal_rms=_rms(output),
                variation_rms=_rms(output.detach() - output.detach().mean(0)),
                gradient_rms=_rms(gradients[index]),
                weight_rms=weight_rms,
                weight_gradient_rms=weight_gradient_rms,
                relative_update=learning_rate * _ratio(weight_gradient_rms, weight_rms) / fitted.get(name, 1.0),
            )
        )
    judged = [layer for layer in layers if not (model.architecture.batch_norm and layer.name.startswith("conv"))]
    pulls = [
        _ratio(layer.weight_gradient_rms, layer.weight_rms) / fitted.get(layer.name, 1.0) / Recipe.weight_decay
        for layer in judged
    ]
    pull = sum(pulls) / len(pulls)
    updates = torch.tensor([layer.relative_update for layer in judged], dtype=torch.float64)
    step = float(updates.max()) / (1 - Recipe.momentum)  # not Python's max(), which ignores NaN
    norm = model.architecture.batch_norm
    verdict, words = _judge(model.architecture.net, layers, judged if norm else [], loss.item(), pull, step)
    return Diagnosis(tuple(layers), loss.item(), pull, step, verdict, words)


def _check(model: VGG, images: Tensor, labels: Tensor) -> None:
    if len(images) < 2 or len(images) != len(labels):
        given = f"{counted(len(images), 'image')}, {counted(len(labels), 'label')}"
        raise UserError(f"a diagnosis needs at least two images, each with a label: {given}")
    if not 0 <= int(labels.min()) <= int(labels.max()) < model.architecture.outputs:
        raise UserError(
            f"labels from {int(labels.min())} to {int(labels.max())} for a net of {model.architecture.outputs} classes"
        )


def _forward(model: VGG, images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return the weight layers' outputs by name, and the cross-entropy of the score map's mean."""
    outputs: dict[str, Tensor] = {}

    def keeper(name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs[name] = output

        return keep

    handles = [
        model.get_submodule(layer.name).register_forward_hook(keeper(layer.name))
        for layer in model.architecture.layers()
    ]
    try:
        loss = F.cross_entropy(model(images).mean((2, 3)), labels)
    finally:
        for handle in handles:
            handle.remove()
    return outputs, loss


@contextmanager
def _measuring(model: VGG) -> Iterator[None]:
    """Switch dropout off in the block; batch normalisation uses the batch's statistics and records none."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    tracking = [norm.track_running_stats for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        try:
            yield
        finally:
            for norm, tracked in zip(norms, tracking, strict=True):
                norm.track_running_stats = tracked


def _judge(
    net: str, layers: list[LayerSignal], some: list[LayerSignal], loss: float, pull: float, step: float
) -> tuple[Verdict, str]:
    """Return the verdict and a sentence with its reason. `some` are the layers that are judged, where not all are."""
    first, last = layers[0], layers[-1]
    a_layer, no_layer, of = "a layer", "no layer", ""
    if some:
        which = f"{some[0].name} to {some[-1].name}"
        a_layer, no_layer, of = f"one of {which}", f"none of {which}", f" in {which}"
    momentum = f"with momentum ({1 / (1 - Recipe.momentum):g} times the first update)"
    if not math.isfinite(loss) or not step <= LARGEST_STEP:
        words = (
            f"Net {net} explodes: the loss is {_number(loss)}, the scores' size {_number(last.signal_rms)}, and the "
            f"first batches, {momentum}, would move {a_layer} by {_number(step)} times its own size (at most "
            f"{LARGEST_STEP:g} is safe). Start from smaller weights (`init` glorot, or a smaller sigma), or with a "
            "smaller learning rate."
        )
        return "explodes", words + _close(step, LARGEST_STEP)
    if pull < LEAST_PULL:
        words = (
            f"Net {net} cannot learn from these weights: the gradient of the loss is {_number(pull)} times that of "
            f"weight decay{of}, so the weights shrink. The difference between images goes from "
            f"{_number(first.variation_rms)} after {first.name} to {_number(last.variation_rms)} after {last.name}. "
            "Start from larger weights (`init` glorot) or from a shallower net (`init_from`)."
        )
        return "vanishes", words + _close(pull, LEAST_PULL)
    words = (
        f"Net {net} can learn: the gradient of the loss is {_number(pull)} times that of weight decay{of}, and the "
        f"first batches, {momentum}, change {no_layer} by more than {_number(step)} times its own size."
    )
    return "learns", words + (_close(pull, LEAST_PULL) or _close(step, LARGEST_STEP))


def _number(value: float) -> str:
    """Return a number with two digits: 170, 0.027, 6.1e-07."""
    return f"{float(f'{value:.2g}'):g}"


def _close(value: float, limit: float) -> str:
    return " It is a close call." if limit / CLOSE < value < limit * CLOSE else ""


def _rms(tensor: Tensor) -> float:
    return float(tensor.detach().square().mean().sqrt())


def _ratio(numerator: float, denominator: float) -> float:
    """Return the quotient; 0 for 0 / 0, infinity for other divisions by zero."""
    if denominator == 0:
        return 0.0 if numerator == 0 else math.inf
    return numerator / denominator
