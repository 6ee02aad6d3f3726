"""Where the time of net D is on a GPU: a step of training by layers and by kernels, inference by layers.

    python benchmarks/step_profile_gpu.py [--batch 256] [--steps 5] [--forms fused compiled plain] [--json FILE]

A layer (convolution, bias, ReLU, pooling) is timed by itself, forward and backward, beside what its multiplications
would take at the rate of a large matrix product, and its input and output at the rate of a large copy: the larger of
the two is the least time that it could take. Then the kernels of each whole step. Written without a GPU at hand;
`--device cpu` profiles the plain step there, which shows that this works.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from vggnet.backends.choose_inference import fast_inference
from vggnet.backends.choose_training import step_form
from vggnet.backends.form import Form
from vggnet.benchmarking.measuring import matrix_product, timed
from vggnet.benchmarking.problem import Problem
from vggnet.benchmarking.training_ways import our_step
from vggnet.errors import UserError
from vggnet.hardware import choose_device
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import Layer
from vggnet.provenance import environment

SHOWN = 25  # kernels; the rest is summed up
COPIED = {"cuda": 1 << 30, "cpu": 1 << 26}  # bytes
ROW = "{:18}" + "{:>12}" * 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--forms", nargs="+", default=["fused", "compiled", "plain"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        device = choose_device(options.device)
    except UserError as error:
        sys.exit(str(error))
    problem = Problem("training", device.type, options.batch, torch.get_num_threads(), options.width)
    found: dict[str, Any] = {"batch": options.batch, "environment": environment(), "layers": {}, "forms": {}}
    found["rates"] = rates = _rates(device, options.steps)
    print(f"matrix product {rates['flop_per_s'] / 1e12:.1f} TFLOP/s, copy {rates['bytes_per_s'] / 1e12:.3f} TB/s")
    for name, form, trains in _forms(problem, device, options.forms):
        assert isinstance(form, Form), name
        found["layers"][name] = layers = _by_layer(form, problem, trains, rates, options.steps)
        _say_layers(name, layers)
        _write(options.json, found)
    for name in options.forms:
        found["forms"][name] = _profiled(our_step(problem, name).call, device, options.steps)
        _say(name, options.batch, found["forms"][name])
        if device.type == "cuda":
            torch.cuda.empty_cache()
        _write(options.json, found)


def _write(file: Path | None, found: dict[str, Any]) -> None:
    """After every part: a long call may be cut off."""
    if file is not None:
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _rates(device: torch.device, steps: int) -> dict[str, float]:
    """What a large matrix product in bf16 and a large copy (bytes read and written) reach here."""
    call, flop = matrix_product(device, torch.bfloat16)
    source = torch.zeros(COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    spent = [_ms(each, device, steps) / 1000 for each in (call, lambda: target.copy_(source))]
    return {"flop_per_s": flop / spent[0], "bytes_per_s": 2 * source.numel() / spent[1]}


def _forms(problem: Problem, device: torch.device, names: list[str]) -> Iterator[tuple[str, VGG, bool]]:
    """What runs layer by layer: the forms of a step that are not compiled, and inference."""
    torch.backends.cudnn.benchmark = device.type == "cuda"  # as the training has it
    for name in names:
        if name != "compiled":
            model = problem.net().to(device)
            yield f"training, {name}", step_form(model, device, "bf16", name), True  # type: ignore[arg-type]
    torch.backends.cudnn.benchmark = False  # as evaluation has it
    model = problem.net().to(device).eval()
    yield "inference", fast_inference(model, device, "bf16"), False
    if device.type == "cuda":
        yield "inference, cuDNN", fast_inference(model, device, "bf16-cudnn"), False


def _by_layer(
    form: Form, problem: Problem, trains: bool, rates: dict[str, float], steps: int
) -> dict[str, dict[str, float]]:
    """Each convolutional layer's milliseconds, forward and backward, and the least that they could be."""
    side, found = problem.crop, {}
    for layer in form.architecture.convolutions():
        flop = 2.0 * problem.batch * layer.weights * side**2
        first = layer.in_channels == 3
        shape = (problem.batch, layer.in_channels, side, side)
        x = torch.randn(shape, device=problem.device, dtype=torch.float32 if first and trains else torch.bfloat16)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_(trains and not first)
        found[layer.name] = ms = _layer_ms(form, layer, x, trains, steps)
        side = side // 2 if layer.last_of_stage else side
        moved = 2.0 * problem.batch * side**2 * layer.out_channels + x.numel() * x.element_size()
        ms["forward_multiplying"] = 1000 * flop / rates["flop_per_s"]
        ms["forward_moving"] = 1000 * moved / rates["bytes_per_s"]
        ms["backward_multiplying"] = ms["forward_multiplying"] * (1 if first else 2)
    return found


def _layer_ms(form: Form, layer: Layer, x: torch.Tensor, trains: bool, steps: int) -> dict[str, float]:
    def forward() -> torch.Tensor:
        with torch.autocast(x.device.type, torch.bfloat16), torch.inference_mode(not trains):
            return form.convolve(layer, x)

    ms = {"forward": _ms(forward, x.device, steps)}
    if trains:
        inputs = [each for each in (x, *form.get_submodule(layer.name).parameters()) if each.requires_grad]
        gradient = torch.randn_like(forward())
        both = _ms(lambda: torch.autograd.grad(forward(), inputs, gradient), x.device, steps)
        ms["backward"] = both - ms["forward"]
    return ms


def _ms(call: Callable[[], object], device: torch.device, steps: int) -> float:
    timed(call, 2, device)
    return 1000 * timed(call, steps, device)[0]


def _say_layers(name: str, layers: dict[str, dict[str, float]]) -> None:
    print(ROW.format(f"{name}, ms", "forward", "least*", "backward", "least*"))
    for layer, ms in layers.items():
        least = max(ms["forward_multiplying"], ms["forward_moving"])
        kind = "x" if least == ms["forward_multiplying"] else "m"
        cells = [f"{ms['forward']:.2f}", f"{least:.2f} {kind}"]
        if "backward" in ms:
            cells += [f"{ms['backward']:.2f}", f"{ms['backward_multiplying']:.2f} x"]
        print(ROW.format(layer, *cells, *[""] * (4 - len(cells))))
    total = {kind: sum(ms.get(kind, 0.0) for ms in layers.values()) for kind in ("forward", "backward")}
    print(ROW.format("all", f"{total['forward']:.2f}", "", f"{total['backward']:.2f}", ""))
    print("* that it could take: multiplying (x) at the matrix rate, or moving (m) at the copy's\n")


def _profiled(step: Callable[[], object], device: torch.device, steps: int) -> dict[str, Any]:
    """One step's time (clock, without the profiler), its kernels' times and its peak memory."""
    timed(step, steps, device)  # warms up, compiles
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    clock, _ = timed(step, steps, device)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as record:
        timed(step, steps, device)
    kernels: dict[str, float] = {}
    for event in record.key_averages():
        spent = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        if spent:
            kernels[event.key] = spent / 1000 / steps
    ordered = dict(sorted(kernels.items(), key=lambda each: -each[1]))
    return {"step_ms": 1000 * clock, "kernels_ms": ordered, "peak_bytes": peak}


def _say(form: str, batch: int, found: dict[str, Any]) -> None:
    kernels, step = found["kernels_ms"], found["step_ms"]
    memory = "" if found["peak_bytes"] is None else f", peak memory {found['peak_bytes'] / 1e9:.1f} GB"
    print(f"{form}: {step:.1f} ms a step, {1000 * batch / step:.0f} images/s{memory}")
    print(f"  all kernels {sum(kernels.values()):.2f} ms; what the step takes beyond that, the GPU waited")
    for name, ms in list(kernels.items())[:SHOWN]:
        print(f"  {ms:8.2f} ms  {name[:100]}")
    print(f"  {sum(list(kernels.values())[SHOWN:]):8.2f} ms  {max(0, len(kernels) - SHOWN)} others")


if __name__ == "__main__":
    main()
