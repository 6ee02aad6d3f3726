"""Prepare net D's forward pass in torchvision, timm, ONNX Runtime, OpenVINO and this package."""

import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vggnet.backends.calibration import measuring
from vggnet.backends.choose_inference import fast_inference
from vggnet.benchmarking.nets import compiled, library, need_bf16, vgg16
from vggnet.benchmarking.problem import Absent, Problem, Ready
from vggnet.description import Preprocessing
from vggnet.errors import UserError
from vggnet.hardware import choose_inference_precision
from vggnet.options.choices import InferencePrecisionName


def torch_pass(problem: Problem, source: str, reduced: bool, compile_: bool) -> Ready:
    """Prepare a PyTorch net; `reduced` takes bf16 for everything (fp16 autocast was never faster) and channels_last."""
    model = vgg16(problem, source).eval()
    images = problem.images()
    if reduced:
        need_bf16(problem)
        model.to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.to(torch.bfloat16, memory_format=torch.channels_last)
    run = compiled(model) if compile_ else model

    @torch.inference_mode()
    def call() -> Tensor:
        return run(images)

    return Ready(call, call().float().cpu())


def our_pass(problem: Problem, requested: InferencePrecisionName = "auto") -> Ready:
    """Prepare the forward pass of `vggnet evaluate` in a precision."""
    device = torch.device(problem.device)
    precision = choose_inference_precision(requested, device)
    model = fast_inference(problem.net().to(device).eval(), device, precision)
    reduced = precision != "fp32"
    dtype = torch.bfloat16 if reduced else torch.float32
    images = problem.images().to(dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def call() -> Tensor:
        with torch.autocast(problem.device, torch.bfloat16, enabled=reduced):
            return model(images).flatten(1)

    return Ready(call, call().float().cpu())


def our_int8_pass(problem: Problem) -> Ready:
    """Prepare their forward pass with --precision int8, calibrated on the timed images."""
    device = torch.device(problem.device)
    try:
        choose_inference_precision("int8", device)
    except UserError as error:
        raise Absent(str(error)) from None
    model, images = problem.net().eval(), problem.images()
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


def onnx_file(problem: Problem, folder: str) -> str:
    """Write torchvision's vgg16 as an ONNX file into `folder`, and return its path."""
    library("onnx")
    library("onnxscript")
    file = str(Path(folder) / "vgg16.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter
        model = vgg16(problem, "torchvision").eval()
        torch.onnx.export(model, (problem.images(),), file, dynamo=True, external_data=True, verbose=False)
    return file


def int8_onnx_file(problem: Problem, folder: str) -> str:
    """Write `onnx_file` quantised by ONNX Runtime: weights by channel, activations calibrated on the timed images."""
    tool = library("onnxruntime.quantization")
    source, target = onnx_file(problem, folder), str(Path(folder) / "int8.onnx")
    images = problem.images().numpy()

    class Reader(tool.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            name = library("onnx").load(source, load_external_data=False).graph.input[0].name
            self.batches = iter([{name: images}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    logging.getLogger().setLevel(logging.ERROR)  # quantize_static logs advice; this process logs nothing else
    tool.quantize_static(source, target, Reader(), per_channel=True, use_external_data_format=True)
    return target


def onnxruntime_pass(problem: Problem, write: Callable[[Problem, str], str] = onnx_file) -> Ready:
    """Prepare ONNX Runtime on the file that `write` makes."""
    runtime = library("onnxruntime")
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


def openvino_pass(problem: Problem, precision: str, write: Callable[[Problem, str], str] = onnx_file) -> Ready:
    """Prepare OpenVINO in `precision` on the file that `write` makes."""
    openvino = library("openvino")
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
