"""Types that several commands share."""

from typing import Literal

InitMethod = Literal["glorot", "gaussian", "he"]
PrecisionName = Literal["auto", "bf16", "fp32"]
BadImages = Literal["stop", "skip"]
