"""The perceptual loss of a net that is given by a path or a name."""

from pathlib import Path
from typing import Literal

from vggnet.api.nets import load
from vggnet.network.perceptual import LayerDistance, Weights
from vggnet.network.taps import Pooling
from vggnet.network.vgg import VGG


class PerceptualLoss(LayerDistance):
    """A loss module: the distance of images to their targets in a net's layers, both RGB (N, 3, H, W).

    Args:
        model: a net, or a run folder, a model folder, a weight file or a name such as vgg16. Its layers are copied and
            frozen.
        kind: features (content and style), or lpips (Zhang et al. 2018).
        learnt: of lpips: weight the channels by the `lpips` package's fitted weights (`pip install 'vggnet[lpips]'`).
            They were fitted for net D of width 1 with torchvision's weights.
        content: names of layers, or their weights by name. (default: relu3_3, the third stage's last ReLU)
        style: names of layers whose Gram matrices are compared, or their weights by name. (default: none)
        pooling: max, or average, which averages where the net takes the maximum.
        value_range: the values of black and white in the images.
        reduction: mean returns one number, none one for each image (N,).

    Raises:
        UserError: for a layer or a choice that does not exist, and when called with pixels far beyond `value_range`.

    Example:
        >>> loss = vggnet.PerceptualLoss("runs/A", content=["relu3_2"], style={"relu1_1": 10.0})
        >>> image = torch.rand(1, 3, 64, 64, requires_grad=True)
        >>> loss(image, torch.rand(1, 3, 64, 64)).backward()
        >>> image.grad.shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(
        self,
        model: VGG | str | Path,
        *,
        kind: Literal["features", "lpips"] = "features",
        learnt: bool = False,
        content: Weights | None = None,
        style: Weights = (),
        pooling: Pooling = "max",
        value_range: tuple[float, float] = (0.0, 1.0),
        reduction: Literal["mean", "none"] = "mean",
    ) -> None:
        super().__init__(
            model if isinstance(model, VGG) else load(model),
            kind=kind,
            learnt=learnt,
            content=content,
            style=style,
            pooling=pooling,
            value_range=value_range,
            reduction=reduction,
        )
