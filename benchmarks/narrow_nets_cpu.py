"""How fast is a narrow net at 64 px on a CPU, beside torchvision's net of the same layers?

    python benchmarks/narrow_nets_cpu.py [--net D] [--width 0.25] [--crop 64] [--batch 64] [--threads 1] [--repeats 7]
        [--json FILE]

Training is a step of SGD with momentum; scoring is one forward pass of a batch of crops, as multi-crop evaluation runs
it. `layers` is our net layer by layer (`backends.eager`), `prepared` the form that evaluation takes in fp32
(`backends.cpu_fp32`). All ways are timed in turn in each round, in CPU time, after a check that they give the same
scores. Printed: images per CPU second, median and range, and the median ratio to torchvision's of the same round.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import VGG as TorchvisionVGG
from torchvision.models.vgg import cfgs, make_layers

from vggnet.backends.cpu_fp32 import FoldedVGG
from vggnet.backends.eager import EagerVGG
from vggnet.hardware import keep_freed_memory
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.provenance import environment

CLASSES = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="D", choices=("A", "B", "D", "E"))
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    torch.manual_seed(0)
    rows = []
    for batch_norm in (False, True):
        model = build(
            options.net,
            num_classes=CLASSES,
            width=options.width,
            crop=options.crop,
            batch_norm=batch_norm,
            init="he",
            dropout=0,
        )
        images = torch.randn(options.batch, 3, options.crop, options.crop)
        for task in ("training", "scoring"):
            rows += _timed(_ways(task, model, images), task, batch_norm, options)
    facts = environment()
    print(
        f"{options.threads} thread, batch {options.batch}, crop {options.crop}; {facts['cpu']}, torch {facts['torch']}"
    )
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "environment": facts}, indent=2) + "\n", encoding="utf-8")


def _ways(task: str, model: VGG, images: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return each way to compute a step or a batch's scores; each returns scores (N, K)."""
    theirs, channels_last = _of_torchvision(model), images.contiguous(memory_format=torch.channels_last)
    if task == "training":
        ours = EagerVGG(model).train()
        return {
            "torchvision": _step(theirs.train(), theirs.parameters(), images),
            "ours": _step(ours, model.parameters(), channels_last),
        }
    theirs.eval()
    model.eval()
    layers, prepared = EagerVGG(model).eval(), FoldedVGG(model).eval()
    return {
        "torchvision": lambda: theirs(images),
        "layers": lambda: layers(channels_last).flatten(1),
        "prepared": lambda: prepared(channels_last).flatten(1),
    }


def _step(net: nn.Module, parameters: object, images: Tensor) -> Callable[[], Tensor]:
    optimizer = torch.optim.SGD(parameters, 1e-6, momentum=0.9, weight_decay=5e-4)  # type: ignore[arg-type]
    labels = torch.arange(len(images)) % CLASSES

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        scores: Tensor = net(images).flatten(1)
        F.cross_entropy(scores, labels).backward()
        optimizer.step()
        return scores.detach()

    return step


def _of_torchvision(model: VGG) -> TorchvisionVGG:
    """Return torchvision's net with as many channels as `model`, and with its weights."""
    about = model.architecture
    plan = [each if each == "M" else round(about.width * int(each)) for each in cfgs[about.net]]
    net = TorchvisionVGG(make_layers(plan, batch_norm=about.batch_norm), CLASSES, init_weights=False)
    side, hidden = about.fc_kernel, model.fc7.out_channels
    net.avgpool = nn.Identity()
    net.classifier[0] = nn.Linear(int(plan[-2]) * side**2, hidden)
    net.classifier[3] = nn.Linear(hidden, hidden)
    net.classifier[6] = nn.Linear(hidden, CLASSES)
    net.classifier[2] = net.classifier[5] = nn.Identity()  # no dropout, so that scores can be compared
    ours = [layer for layer in model.children() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    own = [layer for layer in net.modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d, nn.Linear))]
    with torch.no_grad():
        for source, layer in zip(ours, own, strict=True):
            for name, value in source.state_dict().items():
                target = layer.state_dict()[name]
                target.copy_(value.reshape(target.shape))
    return net


def _timed(
    ways: dict[str, Callable[[], Tensor]], task: str, batch_norm: bool, options: argparse.Namespace
) -> list[dict]:
    with torch.inference_mode(task == "scoring"):
        scores = {name: way() for name, way in ways.items()}
        expected = scores["torchvision"]
        for found in scores.values():
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, way in ways.items():
                begin = time.process_time()
                way()
                rates[name].append(options.batch / (time.process_time() - begin))
    norm = "with" if batch_norm else "without"
    rows = []
    for name, values in rates.items():
        ratio = statistics.median(own / theirs for own, theirs in zip(values, rates["torchvision"], strict=True))
        median = statistics.median(values)
        print(
            f"net {options.net}, width {options.width:g}, {norm} batch normalisation, {task:9}{name:12}"
            f"{median:6.0f} images/s ({min(values):.0f} to {max(values):.0f}), {ratio:.2f} x torchvision",
            flush=True,
        )
        rows.append(
            {"net": options.net, "batch_norm": batch_norm, "task": task, "way": name, "rates": values, "ratio": ratio}
        )
    return rows


if __name__ == "__main__":
    main()
