"""Which number format the arithmetic runs in: bf16 where the hardware has it, fp32 otherwise or on request."""

from typing import Literal

import torch

from vggnet.errors import UserError

Precision = Literal["auto", "bf16", "fp32"]


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware (AVX512_BF16 or AMX); emulated it is slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(requested: Precision, device: torch.device) -> Literal["bf16", "fp32"]:
    """Resolve `auto`; refuse bf16 where it would be emulated."""
    if requested not in ("auto", "bf16", "fp32"):
        raise UserError(f"--precision {requested}: use auto, bf16 or fp32")
    capable = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bf16()
    if requested == "bf16" and not capable:
        raise UserError(f"--precision bf16: this {device.type} has no bf16 arithmetic; use --precision fp32")
    if requested == "auto":
        return "bf16" if capable else "fp32"
    return requested
