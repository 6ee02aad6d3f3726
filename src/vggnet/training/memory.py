"""Choose the micro-batch: how many images of a batch fit into memory in one forward and backward pass."""

import torch

from vggnet.hardware import free_on_gpu_bytes
from vggnet.paper.configurations import Architecture
from vggnet.training.host_memory import free_on_host_bytes

FITTING = "micro_batch_fitting"  # in config.json: what fits into memory, as the training has found out
GPU_SHARE = 0.7  # of the free memory, for activations
CPU_SHARE = 0.4
CPU_LIMIT_BYTES = 3_000_000_000  # so that any net trains within 8 GB, weights and momentum included
HOLDING_SHARE = 0.1  # of the free memory, for decoded images: any net still trains within 8 GB, or beside GPU_SHARE
HOLDING_LIMIT_BYTES = 16_000_000_000
CUDNN_VALUES = 2**31 - 1  # of a convolution's output: beyond that cuDNN takes a path that is 60 times slower
CPU_MICRO_BATCH = 64  # larger ones only leave the caches


def map_sizes(architecture: Architecture) -> list[int]:
    """Return the number of values of each convolution's output for one training image."""
    sides = [architecture.crop_px >> stage for stage in range(5)]
    return [layer.out_channels * sides[layer.stage - 1] ** 2 for layer in architecture.convolutions()]


def activation_bytes(architecture: Architecture, bytes_per_value: int) -> int:
    """Return the bytes that one training image holds between forward and backward, with two layers' gradients."""
    copies = 3 if architecture.batch_norm else 2  # the convolution's output and what follows it
    sizes = map_sizes(architecture)
    return (copies * sum(sizes) + 2 * max(sizes)) * bytes_per_value


def free_bytes(device: torch.device) -> int:
    """Return the memory in bytes that this process can still have on the device."""
    if device.type == "cuda":
        return free_on_gpu_bytes(device)
    return free_on_host_bytes()


def holding_bytes(processes: int, *, free: int | None = None) -> int:
    """Return the bytes that decoded images may take in each of `processes` processes of this machine.

    free: the bytes that are free on it; None: as it is now.
    """
    free = free_bytes(torch.device("cpu")) if free is None else free
    return int(min(HOLDING_LIMIT_BYTES, HOLDING_SHARE * free) / processes)


def device_holding_bytes(device: torch.device) -> int:
    """Return the bytes of a GPU's memory that decoded images may take in a process that has the GPU to itself."""
    return int(HOLDING_SHARE * free_bytes(device))


def choose_micro_batch(
    architecture: Architecture,
    local_batch: int,
    precision: str,
    device: torch.device,
    processes: int = 1,
    *,
    free: int | None = None,
) -> int:
    """Return the largest equal part of the batch whose activations fit into `free` bytes; None: what is free now.

    On a CPU `processes` of this machine share that memory.
    """
    free = free_bytes(device) if free is None else free
    per_image = activation_bytes(architecture, 2 if precision == "bf16" else 4)
    # weights' gradients, momentum, and the reduced-precision copy of the weights stand beside the activations
    beside = architecture.parameters * (4 * 2 + 2)
    if device.type == "cpu":
        beside += architecture.parameters * 4 * 2  # the copy of weights and momentum that is being saved
    if device.type == "cuda":
        budget = GPU_SHARE * (free - beside)
        most = min(local_batch, CUDNN_VALUES // max(map_sizes(architecture)))
    else:
        budget = min(CPU_SHARE * free / processes - beside, CPU_LIMIT_BYTES)
        most = min(local_batch, CPU_MICRO_BATCH)
    fitting = max(1, min(most, int(budget // per_image)))
    parts = -(-local_batch // fitting)
    return -(-local_batch // parts)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be allocated, on a GPU or for a CPU's tensors."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
