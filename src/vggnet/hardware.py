"""Choose the device, the precision (what `auto` means here) and the number of workers; report and free memory."""

import ctypes
import os
from functools import cache
from typing import Any

import torch

from vggnet.errors import UserError
from vggnet.options.choices import InferencePrecisionName, Precision, PrecisionName, TrainPrecision


def cpu_has_bf16() -> bool:
    """Return whether the processor multiplies bf16 in hardware (AVX512_BF16 or AMX).

    Emulated bf16 is slower than fp32.
    """
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(requested: PrecisionName, device: torch.device) -> TrainPrecision:
    """Resolve "auto" for a device. Raises UserError for bf16 where it would be emulated."""
    if requested not in ("auto", "bf16", "fp32"):
        raise UserError(f"`precision` {requested}: use auto, bf16 or fp32")
    capable = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bf16()
    if requested == "bf16" and not capable:
        raise UserError(f"`precision` bf16: this {device.type} has no bf16 arithmetic; use fp32")
    if requested == "auto":
        return "bf16" if capable else "fp32"
    return requested


def choose_inference_precision(requested: InferencePrecisionName, device: torch.device) -> Precision:
    """Resolve the precision of inference: as `choose_precision`, and int8 or bf16-cudnn on request.

    Raises UserError for int8 on a GPU, or on a CPU without VNNI, where it would be emulated; and for bf16-cudnn on a
    CPU.
    """
    if requested == "bf16-cudnn":
        if device.type != "cuda":
            raise UserError(f"`precision` bf16-cudnn is for GPUs, not for {device.type}; leave it at auto")
        choose_precision("bf16", device)
        return "bf16-cudnn"
    if requested != "int8":
        return choose_precision(requested, device)
    if device.type != "cpu":
        raise UserError(f"`precision` int8 is for CPUs, not for {device.type}; leave it at auto")
    if not torch.cpu._is_vnni_supported():
        raise UserError("`precision` int8: this CPU has no VNNI instructions and would round sums; use auto")
    return "int8"


def choose_device(name: str, local_rank: int | None = None, cuda: Any = torch.cuda) -> torch.device:
    """Return the device `name`: auto, cpu, cuda or cuda:N.

    The result for a GPU always has a number: `local_rank` where several processes share a machine, else the current
    GPU's. That GPU becomes PyTorch's current one. Raises UserError for a GPU that does not exist; the CPU never takes
    its place, except with "auto". `cuda` counts the GPUs, as torch.cuda does.
    """
    if name == "auto":
        name = "cuda" if cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"`device` {name}: not a device; use auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda":
        if not cuda.is_available():
            raise UserError(f"`device` {name}: PyTorch finds no GPU on this machine; use cpu or auto")
        number = device.index if local_rank is None else local_rank
        device = torch.device("cuda", cuda.current_device() if number is None else number)
        if device.index >= cuda.device_count():
            raise UserError(f"`device` {device}: this machine has {cuda.device_count()} GPU(s), counted from 0")
        cuda.set_device(device)
    elif device.type != "cpu":
        raise UserError(f"`device` {name}: vggnet runs on cpu and cuda")
    return device


def free_on_gpu_bytes(device: torch.device, cuda: Any = torch.cuda) -> int:
    """Return the bytes that this process can still allocate on a GPU, PyTorch's cache of freed memory included."""
    cached = cuda.memory_reserved(device) - cuda.memory_allocated(device)
    return int(cuda.mem_get_info(device)[0]) + int(cached)


def training_workers(requested: int | None = None) -> int:
    """Return how many processes read a training's images: as requested, else by the number of cores.

    Without a GPU these processes share the cores with the arithmetic.
    """
    if requested is not None:
        return requested
    cores = os.cpu_count() or 1
    return min(16, cores) if torch.cuda.is_available() else max(1, min(8, cores // 2))


def reading_workers(requested: int | None = None) -> int:
    """Return how many processes read images where nothing else is computed: as requested, else one for each core."""
    return min(16, os.cpu_count() or 1) if requested is None else requested


def scoring_workers(requested: int | None, device: torch.device) -> int:
    """Return how many processes read images for inference: as requested, else many beside a GPU and one beside a CPU.

    It is none where the CPU has two cores only, since the net needs both.
    """
    if requested is not None:
        return requested
    cores = os.cpu_count() or 1
    return min(16, cores) if device.type == "cuda" else int(cores > 2)


@cache
def keep_freed_memory() -> bool:
    """Make the C library reuse freed memory instead of returning it to the system; return whether that was possible.

    By default glibc returns large blocks at once, and the system must zero the pages of every next activation. No
    result changes. Net D's training step became 1.4 times as fast, and its peak memory 15 % larger (virtual machine,
    Xeon with AMX). Only glibc has these settings.
    """
    mmap_max, trim_threshold = -4, -1  # M_MMAP_MAX, M_TRIM_THRESHOLD of <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1))
