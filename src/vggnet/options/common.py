"""Types that several commands share."""

from typing import Literal

InitMethod = Literal["glorot", "gaussian", "he"]
PrecisionName = Literal["auto", "bf16", "fp32"]
InferencePrecisionName = Literal["auto", "bf16", "fp32", "int8"]
BadImages = Literal["stop", "skip"]
