"""The ways to run net D that are compared, each as its users would: torchvision's reference script, its faster forms,
timm, ONNX Runtime, OpenVINO, and this package.

A way is a function from a `Problem` to what can be timed (`Ready`); it runs in a process of its own, so that no
library's settings (threads, memory) reach another's. What a way needs and does not find, it says (`Absent`).
"""

import importlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vggnet.benchmarking.problem import (
    CLASSES,
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    Absent,
    Problem,
    Ready,
    Task,
    give_weights,
    ready_step,
)
from vggnet.contract import Preprocessing
from vggnet.errors import UserError
from vggnet.hardware import choose_inference_precision, choose_precision
from vggnet.network.inference import fast_inference
from vggnet.network.quantized import measuring
from vggnet.network.vgg import VGG
from vggnet.paper.recipes import Recipe
from vggnet.training.distributed import World
from vggnet.training.loop import Inputs, Loop, LoopSettings
from vggnet.training.runs import RunFolder

PAPER_CROP_PX = 224
OURS, OURS_INT8 = "vggnet", "vggnet int8"


@dataclass(frozen=True)
class Way:
    """A named way to run a net."""

    name: str
    task: Task
    devices: tuple[str, ...]
    prepare: Callable[[Problem], Ready]
    compiles: bool = False


def _library(name: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        raise Absent(f"{name} is not installed: pip install 'vggnet[bench]'") from None


def _vgg16(problem: Problem, library: str) -> nn.Module:
    """Another library's vgg16 with our weights, on the device."""
    if problem.width != 1 or problem.crop != PAPER_CROP_PX:
        model = _small_vgg16(problem, library)
    elif library == "timm":
        model = _library("timm").create_model("vgg16", num_classes=CLASSES, pretrained=False, drop_rate=0.5)
    else:
        model = _library("torchvision").models.vgg16(weights=None, init_weights=False)
    give_weights(problem.net(), model)
    return model.to(problem.device)


def _small_vgg16(problem: Problem, library: str) -> nn.Module:
    """Torchvision's, with fewer channels and another crop; timm has no such thing."""
    if library == "timm":
        raise Absent("timm has net D at full width and a crop of 224 only")
    from torchvision.models import vgg

    own = problem.net().architecture
    channels = [size if isinstance(size, str) else round(size * problem.width) for size in vgg.cfgs["D"]]
    model = vgg.VGG(vgg.make_layers(channels), CLASSES, False)
    model.avgpool = nn.Identity()
    fc6, fc7, fc8 = (nn.Linear(layer.fan_in, layer.out_channels) for layer in own.fully_connected())
    model.classifier = nn.Sequential(fc6, nn.ReLU(True), nn.Dropout(), fc7, nn.ReLU(True), nn.Dropout(), fc8)
    return model


def _compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise Absent("torch.compile finds no C++ compiler: install g++")
    return torch.compile(model)


def _sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def _train_reference(problem: Problem) -> Ready:
    """The step of torchvision's references/classification/train.py; on a GPU with its --amp (fp16, scaled loss)."""
    model = _vgg16(problem, "torchvision")
    images, labels, optimizer = problem.images(), problem.labels(), _sgd(model)
    amp = problem.device == "cuda"
    scaler = torch.amp.GradScaler("cuda", enabled=amp)

    def forward() -> Tensor:
        with torch.autocast("cuda", torch.float16, enabled=amp):
            scores: Tensor = model(images)
        return scores.float()

    def step() -> None:
        with torch.autocast("cuda", torch.float16, enabled=amp):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return ready_step(model, forward, labels, step)


def _train_plain(problem: Problem, library: str, reduced: bool, compile_: bool) -> Ready:
    """Forward, loss, backward and SGD; `reduced` is bf16 autocast and channels_last."""
    model = _vgg16(problem, library)
    images, labels, optimizer = problem.images(), problem.labels(), _sgd(model)
    if reduced:
        _need_bf16(problem)
        model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    run = _compiled(model) if compile_ else model

    def scores_of(net: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.autocast(problem.device, torch.bfloat16, enabled=reduced):
            scores = net(images)
        return scores.float()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(scores_of(run), labels).backward()
        optimizer.step()

    return ready_step(model, lambda: scores_of(run), labels, step)


def _train_ours(problem: Problem) -> Ready:
    """The step of `vggnet train`, by the loop that it runs."""
    device = torch.device(problem.device)
    model = problem.net().to(device).to_fast_layout()
    recipe = Recipe(learning_rate=LEARNING_RATE, batch=problem.batch)
    settings = LoopSettings(seed=0, micro_batch=problem.batch, precision=choose_precision("auto", device))
    images = problem.images().contiguous(memory_format=torch.channels_last)
    inputs = Inputs(images, problem.labels())
    loop = Loop(model, recipe, _OneBatch(problem.batch), RunFolder(Path("unused")), World(device=device), settings)
    return ready_step(model, lambda: loop._forward(images), inputs.targets, lambda: loop._step(inputs, 0))


class _OneBatch:
    """What the loop asks of a classification task while it takes a step."""

    def __init__(self, images: int) -> None:
        self._images = images

    @property
    def images(self) -> int:
        return self._images

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return F.cross_entropy(outputs, targets, reduction="none"), outputs.argmax(1) != targets

    def order(self, epoch: int) -> np.ndarray:
        return np.arange(self._images)

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        return iter(())

    def judge(self, model: VGG) -> dict[str, float]:
        return {}


def _infer_torch(problem: Problem, library: str, reduced: bool, compile_: bool) -> Ready:
    """A forward pass; `reduced` is bf16 throughout (fp16 autocast never beat it) and channels_last."""
    model = _vgg16(problem, library).eval()
    images = problem.images()
    if reduced:
        _need_bf16(problem)
        model.to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.to(torch.bfloat16, memory_format=torch.channels_last)
    run = _compiled(model) if compile_ else model

    @torch.inference_mode()
    def call() -> Tensor:
        return run(images)

    return Ready(call, call().float().cpu())


def _infer_ours(problem: Problem) -> Ready:
    """What evaluation and prediction run."""
    device = torch.device(problem.device)
    precision = choose_precision("auto", device)
    model = fast_inference(problem.net().to(device).to_fast_layout().eval(), device, precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    images = problem.images().to(dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def call() -> Tensor:
        with torch.autocast(problem.device, torch.bfloat16, enabled=precision == "bf16"):
            return model(images).flatten(1)

    return Ready(call, call().float().cpu())


def _infer_ours_int8(problem: Problem) -> Ready:
    """What they run with --precision int8, on activation ranges measured on the timed images."""
    device = torch.device(problem.device)
    try:
        choose_inference_precision("int8", device)
    except UserError as error:
        raise Absent(str(error)) from None
    model, images = problem.net().to_fast_layout().eval(), problem.images()
    with torch.inference_mode(), measuring(model) as ranges:
        model(images)
    five = Preprocessing((127.5,) * 3, (25.5,) * 3)  # 0 to 255 are -5 to 5, as far as normal images go
    model.description = replace(model.description, preprocessing=five, activation_limits=ranges.limits())
    quick = fast_inference(model, device, "int8")
    images = images.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def call() -> Tensor:
        return quick(images).flatten(1)

    return Ready(call, call().float().cpu())


def _onnx_file(problem: Problem, folder: str) -> str:
    """Torchvision's vgg16 as an ONNX file."""
    _library("onnx")
    _library("onnxscript")
    file = str(Path(folder) / "vgg16.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        model = _vgg16(problem, "torchvision").eval()
        torch.onnx.export(model, (problem.images(),), file, dynamo=True, external_data=True, verbose=False)
    return file


def _int8_onnx_file(problem: Problem, folder: str) -> str:
    """The same, quantised by ONNX Runtime's own tool: weights by channel, activations by the timed images."""
    tool = _library("onnxruntime.quantization")
    source, target = _onnx_file(problem, folder), str(Path(folder) / "int8.onnx")
    images = problem.images().numpy()

    class Reader(tool.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            name = _library("onnx").load(source, load_external_data=False).graph.input[0].name
            self.batches = iter([{name: images}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    logging.getLogger().setLevel(logging.ERROR)  # it advises on the root logger; this process does nothing else
    tool.quantize_static(source, target, Reader(), per_channel=True, use_external_data_format=True)
    return target


def _infer_onnxruntime(problem: Problem, write: Callable[[Problem, str], str] = _onnx_file) -> Ready:
    runtime = _library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = problem.threads
    wanted = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[problem.device]
    if wanted not in runtime.get_available_providers():
        raise Absent(f"this onnxruntime has no {wanted}: pip install onnxruntime-gpu")
    with tempfile.TemporaryDirectory() as folder:
        session = runtime.InferenceSession(write(problem, folder), options, providers=[wanted])
    inputs = {session.get_inputs()[0].name: problem.images().cpu().numpy()}

    def call() -> np.ndarray:
        scores: np.ndarray = session.run(None, inputs)[0]
        return scores

    return Ready(call, torch.from_numpy(call()))


def _infer_openvino(problem: Problem, precision: str, write: Callable[[Problem, str], str] = _onnx_file) -> Ready:
    openvino = _library("openvino")
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
        "INFERENCE_NUM_THREADS": problem.threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Absent("OpenVINO finds no bf16 instructions in this CPU")
    with tempfile.TemporaryDirectory() as folder:
        model = core.compile_model(core.read_model(write(problem, folder)), "CPU", settings)
        request = model.create_infer_request()
        images = problem.images().numpy()
        request.infer([images])

    def call() -> np.ndarray:
        request.infer([images], share_inputs=True)
        scores: np.ndarray = request.get_output_tensor().data
        return scores

    return Ready(call, torch.from_numpy(call().copy()))


def _need_bf16(problem: Problem) -> None:
    if choose_precision("auto", torch.device(problem.device)) != "bf16":
        raise Absent(f"this {problem.device} has no bf16 arithmetic")


BOTH, CPU, GPU = ("cpu", "cuda"), ("cpu",), ("cuda",)
REFERENCE = {"training": "torchvision, reference step", "inference": "torchvision fp32"}

WAYS = (
    Way(REFERENCE["training"], "training", BOTH, _train_reference),
    Way("timm", "training", BOTH, lambda p: _train_plain(p, "timm", p.device == "cuda", False)),
    Way("torchvision, bf16 channels-last", "training", BOTH, lambda p: _train_plain(p, "torchvision", True, False)),
    Way(
        "torchvision, bf16 channels-last, compiled",
        "training",
        BOTH,
        lambda p: _train_plain(p, "torchvision", True, True),
        compiles=True,
    ),
    Way(OURS, "training", BOTH, _train_ours),
    Way(REFERENCE["inference"], "inference", BOTH, lambda p: _infer_torch(p, "torchvision", False, False)),
    Way("timm fp32", "inference", CPU, lambda p: _infer_torch(p, "timm", False, False)),
    Way("torchvision, bf16 channels-last", "inference", BOTH, lambda p: _infer_torch(p, "torchvision", True, False)),
    Way(
        "torchvision, bf16 channels-last, compiled",
        "inference",
        BOTH,
        lambda p: _infer_torch(p, "torchvision", True, True),
        compiles=True,
    ),
    Way("ONNX Runtime fp32", "inference", BOTH, _infer_onnxruntime),
    Way("OpenVINO fp32", "inference", CPU, lambda p: _infer_openvino(p, "fp32")),
    Way("OpenVINO bf16", "inference", CPU, lambda p: _infer_openvino(p, "bf16")),
    Way(OURS, "inference", BOTH, _infer_ours),
    Way("ONNX Runtime int8", "inference", CPU, lambda p: _infer_onnxruntime(p, _int8_onnx_file)),
    Way("OpenVINO int8", "inference", CPU, lambda p: _infer_openvino(p, "fp32", _int8_onnx_file)),
    Way(OURS_INT8, "inference", CPU, _infer_ours_int8),
)


def find(task: Task, name: str) -> Way:
    return next(way for way in WAYS if way.task == task and way.name == name)
