"""Any net trains within 8 GB on a CPU: the arithmetic, and one real step's peak."""

import subprocess
import sys

import pytest
import torch

from vggnet.paper.configurations import CONFIGURATIONS, Architecture
from vggnet.training.memory import activation_bytes, choose_micro_batch, holding_bytes

CPU = torch.device("cpu")
LIBRARIES = 500_000_000  # Python and PyTorch themselves
LIMIT = 8_000_000_000


def test_activations_of_e_by_hand() -> None:
    """Two values for each output of a convolution (it, and what follows), two more of the largest map as gradients."""
    outputs = (2 * 64 * 224**2, 2 * 128 * 112**2, 4 * 256 * 56**2, 4 * 512 * 28**2, 4 * 512 * 14**2)
    assert sum(outputs) == 14_852_096
    assert activation_bytes(Architecture("E"), 2) == 2 * (2 * sum(outputs) + 2 * 64 * 224**2)


@pytest.mark.parametrize("free", [8_000_000_000, 16_000_000_000, 500_000_000_000])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("net", CONFIGURATIONS)
def test_any_net_stays_below_8_gb(net: str, precision: str, free: int) -> None:
    """Weights, gradients, momentum and the bf16 copy (14 bytes a parameter), activations, libraries."""
    architecture = Architecture(net)
    micro_batch = choose_micro_batch(architecture, 256, precision, CPU, free=free)
    activations = micro_batch * activation_bytes(architecture, 2 if precision == "bf16" else 4)
    assert 1 <= micro_batch <= 64
    used = 14 * architecture.parameters + activations + LIBRARIES
    assert used < LIMIT
    assert used + 2 * holding_bytes(2, free=free) < max(free, LIMIT)  # decoded images of both processes of a machine


def test_no_convolution_on_a_gpu_gives_2_to_the_31_values() -> None:
    """64 x 224 x 224 values an image: 668 images fit, 700 go in two halves, however much memory there is."""
    gpu = torch.device("cuda")
    chosen = [choose_micro_batch(Architecture("D"), batch, "bf16", gpu, free=10**13) for batch in (256, 668, 700)]
    assert chosen == [256, 668, 350]


def test_processes_of_a_machine_share_its_memory() -> None:
    net = Architecture("D", width=0.5)
    alone, shared = (choose_micro_batch(net, 64, "fp32", CPU, many, free=16_000_000_000) for many in (1, 4))
    assert shared == choose_micro_batch(net, 64, "fp32", CPU, free=4_000_000_000)
    assert shared < alone


STEP_OF_E = """
import resource, sys
from pathlib import Path
import torch
from torch.nn import functional as F
from vggnet.hardware import choose_precision
from vggnet.network.initialization import build
from vggnet.paper.recipes import Recipe
from vggnet.training.distributed import World
from vggnet.training.loop import Loop
from vggnet.training.tasks import Inputs, LoopSettings
from vggnet.training.memory import choose_micro_batch
from vggnet.training.runs import RunFolder

class Task:
    images = 256
    def losses(self, outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="none"), outputs.argmax(1) != targets

device = torch.device("cpu")
model = build("E").train()
precision = choose_precision("auto", device)
micro_batch = choose_micro_batch(model.architecture, 256, precision, device)
loop = Loop(model, Recipe(), Task(), RunFolder(Path("unused")), World(), LoopSettings(0, micro_batch, precision))
images = torch.randn(256, 3, 224, 224)[: 2 * micro_batch].contiguous(memory_format=torch.channels_last)
for step in range(2):
    loop._step(Inputs(images, torch.zeros(len(images), dtype=torch.long), torch.arange(len(images))), step)
print(micro_batch, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in other units elsewhere")
def test_two_steps_of_e_at_224() -> None:
    """Two steps of two micro-batches each, with the gradients and the momentum that stay."""
    done = subprocess.run([sys.executable, "-c", STEP_OF_E], capture_output=True, text=True, check=True, timeout=1800)
    micro_batch, peak = map(int, done.stdout.split())
    print(f"net E, 224, micro-batch {micro_batch}: peak {peak / 1e9:.2f} GB")
    assert peak < LIMIT
