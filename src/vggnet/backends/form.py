"""A form: a net's function computed in another way, as a module with the net's own children and description."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from vggnet.backends.dropout import dropout
from vggnet.errors import reason_of
from vggnet.network.vgg import VGG, check_images
from vggnet.paper.configurations import TOTAL_STRIDE_PX, Layer


class Form(VGG):
    """The function of a VGG. Subclasses say how one convolution is computed with what follows it."""

    compiles = False  # whether `torch.compile` may be applied to it

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return the class score map, as `VGG.forward`. `keys` as in `forward_head`."""
        check_images(images, self._least_px)
        return self.forward_head(self.forward_features(images), keys)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the pool5 map, as `VGG.forward_features`."""
        check_images(images, TOTAL_STRIDE_PX)
        x = images
        for layer in self.architecture.convolutions():
            x = self.convolve(layer, x)
        return x

    def forward_head(self, pool5: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return the class score map, as `VGG.forward_head`.

        In training dropout draws by `keys` (N,), one for each image (`dropout.image_keys`); without them it draws from
        PyTorch's generator.
        """
        if keys is None or not self.training:
            return super().forward_head(pool5)
        x = pool5
        for layer in self.architecture.fully_connected():
            x = self.get_submodule(layer.name)(x)
            if layer.drop:
                x = dropout(F.relu(x), self.architecture.dropout, keys, int(layer.place))
        return x

    @abstractmethod
    def convolve(self, layer: Layer, x: Tensor) -> Tensor:
        """Return what the layers from `layer` to its ReLU, LRN or pooling make of its input x (N, C, H, W)."""


def refusal(form: Form, *, training: bool) -> str | None:
    """Return why `form` cannot compute one small image where its weights lie; None where it can.

    No table says beforehand which layers cuDNN takes (their channels may have to be a multiple of eight, say). With
    `training` a backward pass under autocast to bf16 is tried, too; gradients are cleared afterwards. Raises
    OutOfMemoryError.
    """
    side, device = 2 * TOTAL_STRIDE_PX, form.conv1_1.weight.device
    try:
        with torch.set_grad_enabled(training), torch.autocast(device.type, torch.bfloat16, enabled=training):
            pool5 = form.forward_features(torch.zeros(1, 3, side, side, device=device))
        if pool5.requires_grad:  # not where the head alone trains
            pool5.float().sum().backward()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return reason_of(error)
    finally:
        form.zero_grad(set_to_none=True)
    return None
