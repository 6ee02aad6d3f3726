"""Small nets in the classes of other libraries, whose scores are far from equal."""

import torch
from torch import nn

SMALL = (4, 8, 16, 32, 32)  # channels by stage: width 1/16
STAGES = {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}


def stage_list(net: str = "D") -> list[int | str]:
    """A net's layers as torchvision and timm write them: 4, 4, "M", 8, ..."""
    layers: list[int | str] = []
    for channels, count in zip(SMALL, STAGES[net], strict=True):
        layers += [channels] * count + ["M"]
    return layers


def liven(net: nn.Module, seed: int = 0) -> nn.Module:
    """Biases, norms and scores that a mistake would change visibly."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                module.bias.normal_(0, 0.1)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return net.eval()


def torchvision_net(net: str = "D", classes: int = 5, batch_norm: bool = False) -> nn.Module:
    """torchvision's own class at width 1/16."""
    from torchvision.models.vgg import VGG, make_layers

    features = make_layers(stage_list(net), batch_norm=batch_norm)  # type: ignore[arg-type]
    with torch.device("meta"):  # its own head is of width 1
        small = VGG(features, num_classes=classes, init_weights=False)
    hidden = 4096 // 16
    small.classifier[0], small.classifier[3] = nn.Linear(32 * 49, hidden), nn.Linear(hidden, hidden)
    small.classifier[6] = nn.Linear(hidden, classes)
    return liven(small)
