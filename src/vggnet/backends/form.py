"""A form: a net's function computed in another way, as a module with the net's own children and description."""

from abc import abstractmethod

from torch import Tensor
from torch.nn import functional as F

from vggnet.backends.dropout import dropout
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
