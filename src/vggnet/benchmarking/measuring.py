"""Measure the time of a call, the peak memory of this process, and the speed of a large matrix product."""

import resource
import sys
import time
from collections.abc import Callable

import torch

CALL_S = 0.2  # short calls are repeated until they take at least this long
MATRIX_SIDES = {"cpu": (1024, 2048, 4096), "cuda": (8192,)}  # the fastest counts


def timed(call: Callable[[], object], times: int, device: torch.device) -> tuple[float, float]:
    """Return the seconds of one call, averaged over `times` calls: wall time, and CPU time of all threads."""
    _wait_for(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        call()
    _wait_for(device)
    return (time.perf_counter() - wall) / times, (time.process_time() - cpu) / times


def timed_in_turn(call: Callable[[], object], times: int, device: torch.device) -> tuple[float, float]:
    """Return what `timed` does, for a benchmark whose processes take turns on one GPU.

    On a GPU an untimed call comes first, to allocate memory, and the memory is freed afterwards for the next process.
    """
    if device.type != "cuda":
        return timed(call, times, device)
    call()
    spent = timed(call, times, device)
    torch.cuda.empty_cache()
    return spent


def warm_up(call: Callable[[], object], device: torch.device) -> int:
    """Warm up, and return how many calls one timing takes. On a GPU the peak memory is reset afterwards."""
    first_s, _ = timed(call, 1, device)  # compiles, on a GPU
    if device.type == "cpu" and first_s > CALL_S:
        return 1
    times = max(1, round(CALL_S / max(timed(call, 2, device)[0], 1e-6)))
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return times


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_product(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """Return the fastest large matrix product and its floating-point operations; its rate is the limit of a net."""
    choices = [_product(side, device, dtype) for side in MATRIX_SIDES[device.type]]
    if len(choices) == 1:
        return choices[0]
    for call, _ in choices:
        timed(call, 1, device)
    return max(choices, key=lambda choice: choice[1] / timed(choice[0], 3, device)[1])


def _product(side: int, device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return (lambda: torch.mm(left, right, out=out)), 2.0 * side**3


def peak_bytes(device: torch.device) -> int:
    """Return the peak memory of this process: allocated on the GPU if `device` is one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
