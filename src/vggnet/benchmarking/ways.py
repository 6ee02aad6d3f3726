"""List the ways to run net D that are compared, each as the users of its library run it.

A way is a function from a `Problem` to a call that can be timed (`Ready`). It runs in a process of its own, so that
the settings of one library (threads, memory) do not affect another. It raises `Absent` where it cannot run here.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vggnet.benchmarking.inference_ways import (
    int8_onnx_file,
    onnxruntime_pass,
    openvino_pass,
    our_int8_pass,
    our_pass,
    torch_pass,
)
from vggnet.benchmarking.problem import BenchTask, Problem, Ready
from vggnet.benchmarking.training_ways import our_step, plain_step, reference_step

OURS, OURS_INT8 = "vggnet", "vggnet int8"


@dataclass(frozen=True)
class Way:
    """A way to run net D; `compiles` if it goes through torch.compile, which takes minutes."""

    name: str
    task: BenchTask
    devices: tuple[str, ...]
    prepare: Callable[[Problem], Ready]
    compiles: bool = False


BOTH, CPU, GPU = ("cpu", "cuda"), ("cpu",), ("cuda",)
REFERENCE = {"training": "torchvision, reference step", "inference": "torchvision fp32"}

WAYS = (
    Way(REFERENCE["training"], "training", BOTH, reference_step),
    Way("timm", "training", BOTH, lambda p: plain_step(p, "timm", p.device == "cuda", False)),
    Way("torchvision, bf16 channels-last", "training", BOTH, lambda p: plain_step(p, "torchvision", True, False)),
    Way(
        "torchvision, bf16 channels-last, compiled",
        "training",
        BOTH,
        lambda p: plain_step(p, "torchvision", True, True),
        compiles=True,
    ),
    Way(OURS, "training", BOTH, our_step),
    Way("vggnet, fused step", "training", GPU, lambda p: our_step(p, "fused")),
    Way("vggnet, plain step", "training", GPU, lambda p: our_step(p, "plain")),
    Way(REFERENCE["inference"], "inference", BOTH, lambda p: torch_pass(p, "torchvision", False, False)),
    Way("timm fp32", "inference", CPU, lambda p: torch_pass(p, "timm", False, False)),
    Way("torchvision, bf16 channels-last", "inference", BOTH, lambda p: torch_pass(p, "torchvision", True, False)),
    Way(
        "torchvision, bf16 channels-last, compiled",
        "inference",
        BOTH,
        lambda p: torch_pass(p, "torchvision", True, True),
        compiles=True,
    ),
    Way("ONNX Runtime fp32", "inference", BOTH, onnxruntime_pass),
    Way("OpenVINO fp32", "inference", CPU, lambda p: openvino_pass(p, "fp32")),
    Way("OpenVINO bf16", "inference", CPU, lambda p: openvino_pass(p, "bf16")),
    Way(OURS, "inference", BOTH, our_pass),
    Way("vggnet, cuDNN", "inference", GPU, lambda p: our_pass(p, "bf16-cudnn")),
    Way("ONNX Runtime int8", "inference", CPU, lambda p: onnxruntime_pass(p, int8_onnx_file)),
    Way("OpenVINO int8", "inference", CPU, lambda p: openvino_pass(p, "fp32", int8_onnx_file)),
    Way(OURS_INT8, "inference", CPU, our_int8_pass),
)


def find(task: BenchTask, name: str) -> Way:
    """Return the way of this name."""
    return next(way for way in WAYS if way.task == task and way.name == name)
