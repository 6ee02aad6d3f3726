"""Which pixels a class score depends on: the image-specific saliency of Simonyan, Vedaldi and Zisserman (2014).

Source: "Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency Maps",
arXiv 1312.6034, Sect. 3: one backward pass gives the gradient of the class score by the pixels; a pixel's saliency is
its largest magnitude over the colour channels.

Shapes: N images, H x W pixels.
"""

import numpy as np
import torch
from torch import Tensor

from vggnet.network.vgg import VGG, evaluating


def saliency(model: VGG, images: Tensor, classes: Tensor) -> np.ndarray:
    """Return the saliency float32 (N, H, W) of preprocessed images (N, 3, H, W) for one class each, int64 (N,).

    The class score is the mean of the score map's positions, before the soft-max. The weights' gradients stay as they
    are.
    """
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        inputs = images.detach().clone().float().requires_grad_()
        indices = classes.to(inputs.device).clone()[:, None]  # not a tensor of inference mode
        chosen = model(inputs).mean((2, 3)).gather(1, indices)
        (gradient,) = torch.autograd.grad(chosen.sum(), inputs)
    result: np.ndarray = gradient.abs().amax(1).cpu().numpy()
    return result
