"""The same net trained as people usually do it: torchvision's reference recipe, to stand beside the paper's protocol.

    python benchmarks/usual_recipe.py DATA --net D --out usual.safetensors [--epochs 10 --width 0.25 --crop 64 ...]
    python benchmarks/usual_recipe.py DATA --init-from MODEL --learning-rate 0.001 --out usual.safetensors [...]

RandomResizedCrop and a mirror, inputs by mean and deviation, SGD 0.9 with weight decay 1e-4, the rate divided by 10
after each third of the epochs, He initialisation as torchvision's vgg has it (convolutions by fan out, FC layers
N(0, 0.01)). With --init-from, net, preprocessing and all weights but those of the last layer are that model's: fine-
tuning as in PyTorch's tutorial. The images, their division into training and held-out part, the batch, the epochs and
the rate are those of `vggnet train`; the weights of the last epoch are kept. Then: vggnet evaluate usual.safetensors
DATA --views center.
"""

import argparse
import dataclasses
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from vggnet.backends.layout import lay_channels_last
from vggnet.data.opening import open_data
from vggnet.data.splits import Split
from vggnet.description import InputPolicy, ModelDescription, Preprocessing
from vggnet.files import replacing
from vggnet.hardware import choose_device, choose_precision
from vggnet.images.decoding import decode
from vggnet.network.staging import stage_from
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model, save_model
from vggnet.paper.configurations import Architecture
from vggnet.paper.recipes import fixed_scale
from vggnet.training.prepare_images import Pictures, prepare_pictures


class Crops(Dataset):
    """RandomResizedCrop and mirror of each image, as uint8."""

    def __init__(self, split: Split, crop: int) -> None:
        self.split = split
        self.view = v2.Compose(
            [v2.RandomResizedCrop(crop, antialias=True), v2.RandomHorizontalFlip(), v2.PILToTensor()]
        )

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        assert self.split.labels is not None
        return self.view(decode(self.split.path(index))), int(self.split.labels[index])


def initialize_as_torchvision(model: VGG) -> None:
    """torchvision.models.vgg.VGG's own loop over its modules."""
    for name, module in model.named_children():
        if not isinstance(module, torch.nn.Conv2d):
            continue
        if name.startswith("conv"):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        else:
            torch.nn.init.normal_(module.weight, 0, 0.01)
        assert module.bias is not None
        torch.nn.init.zeros_(module.bias)


def save_state(
    path: Path,
    epochs: int,
    model: VGG,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    draws: torch.Generator,
) -> None:
    """Write what `load_state` continues from, whole or not at all."""
    content = {
        "epochs": epochs,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "draws": draws.get_state(),
        "torch": torch.get_rng_state(),  # dropout's
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def load_state(
    path: Path,
    model: VGG,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    draws: torch.Generator,
) -> int:
    """Continue from what `save_state` wrote. Return the number of epochs that are done."""
    content = torch.load(path, weights_only=True)
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    schedule.load_state_dict(content["schedule"])
    draws.set_state(content["draws"])
    torch.set_rng_state(content["torch"])
    epochs: int = content["epochs"]
    return epochs


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--net", default="D")
    parser.add_argument("--init-from", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--batch-norm", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--resume", action="store_true", help="continue from OUT.state, which every epoch writes")
    return parser.parse_args()


def build(options: argparse.Namespace, pictures: Pictures) -> VGG:
    """Return the net with torchvision's initialisation, or with the layers of `--init-from` and a new last layer."""
    classes = pictures.data.classes
    preprocessing = Preprocessing(pictures.statistics.mean, pictures.statistics.deviation)
    architecture = Architecture(options.net, len(classes), options.width, options.crop, options.batch_norm)
    source = load_model(options.init_from) if options.init_from else None
    if source is not None:
        preprocessing = source.description.preprocessing
        architecture = dataclasses.replace(source.architecture, outputs=len(classes), dropout=0.5)
    scale = fixed_scale(architecture.crop_px).train_scale
    model = VGG(ModelDescription(architecture, preprocessing, classes, pictures.data.titles, train_scale=scale))
    initialize_as_torchvision(model)
    if source is not None:
        stage_from(model, source.state_dict(), source.description, new_head=True)
    return model


def main() -> None:
    options = read_options()
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    reduced = choose_precision("auto", device) == "bf16"
    pictures = prepare_pictures(
        open_data(options.data),
        options.data,
        holdout=0.1,
        bad_images="stop",
        workers=options.workers,
        reading=InputPolicy().reading,
    )
    model = build(options, pictures)
    preprocessing, crop_px = model.description.preprocessing, model.architecture.crop_px
    model.to(device).train()
    lay_channels_last(model)
    mean, deviation = (
        torch.tensor(values, device=device)[None, :, None, None]
        for values in (preprocessing.mean, preprocessing.deviation)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=options.learning_rate, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(1, math.ceil(options.epochs / 3)), 0.1)
    draws = torch.Generator().manual_seed(options.seed)
    loader = DataLoader(
        Crops(pictures.train, crop_px),
        options.batch,
        shuffle=True,
        num_workers=options.workers,
        generator=draws,
    )
    state = options.out.with_suffix(".state")
    done = load_state(state, model, optimizer, schedule, draws) if options.resume and state.exists() else 0
    begin = time.monotonic()
    for epoch in range(done, options.epochs):
        losses = []
        for pixels, labels in loader:
            images = ((pixels.to(device) - mean) / deviation).to(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=reduced):
                scores = model(images)
            loss = F.cross_entropy(scores.flatten(1).float(), labels.to(device))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        schedule.step()
        print(
            f"epoch {epoch + 1}/{options.epochs}: loss {np.mean(losses):.3f}, {time.monotonic() - begin:.0f} s",
            flush=True,
        )
        save_state(state, epoch + 1, model, optimizer, schedule, draws)
    save_model(options.out, model)
    state.unlink(missing_ok=True)
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
