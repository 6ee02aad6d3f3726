"""Where the time of inference is: net D layer by layer on the CPU, in bf16 and in int8.

    python benchmarks/layers_cpu.py [--batch 8] [--repeats 5] [--threads 1] [--json FILE]

Each layer of the nets that evaluation runs is timed while the whole net runs; what is left over is pooling, and what
stands between layers. CPU time of the fastest pass; rates count a multiplication and its addition as two operations.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vggnet.backends.calibration import measuring
from vggnet.backends.cpu_bf16 import FastVGG
from vggnet.backends.cpu_int8 import QuantizedVGG
from vggnet.description import Preprocessing
from vggnet.hardware import keep_freed_memory
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.provenance import environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    model = build("D", init="he").eval()
    images = torch.randn(options.batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), measuring(model) as ranges:
        model(images[:2])
    five = Preprocessing((127.5,) * 3, (25.5,) * 3)  # 0 to 255 are -5 to 5, as far as normal images go
    model.description = replace(model.description, preprocessing=five, activation_limits=ranges.limits())
    nets = {"bf16": (FastVGG(model), images.bfloat16()), "int8": (QuantizedVGG(model), images)}
    spent = {name: _profile(net, inputs, options.repeats) for name, (net, inputs) in nets.items()}
    operations = _operations(model, options.batch)
    print(f"net D, batch {options.batch}, {options.threads} threads, CPU time in ms (rate in TFLOP/s or TOP/s)")
    for layer in spent["bf16"]:
        cells = []
        for name in nets:
            ms = 1000 * spent[name][layer]
            rate = f" ({operations[layer] / spent[name][layer] / 1e12:.2f})" if layer in operations else ""
            cells.append(f"{name} {ms:7.1f}{rate}")
        print(f"  {layer:10}" + "   ".join(f"{cell:24}" for cell in cells))
    facts = environment()
    print(f"  {facts['cpu']}, torch {facts['torch']}")
    if options.json:
        content = {"batch": options.batch, "cpu_s": spent, "operations": operations, "environment": facts}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@torch.inference_mode()
def _profile(net: VGG, images: Tensor, repeats: int) -> dict[str, float]:
    """Seconds by layer, of the fastest whole pass; `others` is what lies between the layers, `all` the pass."""
    layers = [layer.name for layer in net.architecture.layers()]
    spent: dict[str, float] = {}
    began: dict[str, float] = {}

    def begin(name: str) -> None:
        began[name] = time.process_time()

    def end(name: str) -> None:
        spent[name] = spent.get(name, 0.0) + time.process_time() - began[name]

    for name in layers:
        module: nn.Module = net.get_submodule(name)
        forward = module.forward

        def timed(x: Tensor, name: str = name, forward=forward) -> Tensor:  # type: ignore[no-untyped-def]
            begin(name)
            y: Tensor = forward(x)
            end(name)
            return y

        module.forward = timed  # a hook would end the passes through early stages in pieces
    passes = []
    for _ in range(repeats + 1):  # the first warms up
        spent.clear()
        started = time.process_time()
        net(images)
        whole = time.process_time() - started
        passes.append({**spent, "others": whole - sum(spent.values()), "all": whole})
    return min(passes[1:], key=lambda each: each["all"])


def _operations(model: VGG, batch: int) -> dict[str, float]:
    """Floating-point operations by layer."""
    architecture, side = model.architecture, model.architecture.crop_px
    found: dict[str, float] = {}
    for layer in architecture.convolutions():
        found[layer.name] = 2.0 * batch * layer.weights * side * side
        side = side // 2 if layer.last_of_stage else side
    for layer in architecture.fully_connected():
        found[layer.name] = 2.0 * batch * layer.weights
    return found | {"all": sum(found.values())}


if __name__ == "__main__":
    main()
