"""Types that several commands share."""

from typing import Literal

InitMethod = Literal["glorot", "gaussian", "he"]
PrecisionName = Literal["auto", "bf16", "fp32"]
StepName = Literal["auto", "fused", "compiled", "plain"]
InferencePrecisionName = Literal["auto", "bf16", "fp32", "int8"]
BadImages = Literal["stop", "skip"]
Decoder = Literal["processes", "gpu"]
DecoderName = Literal["auto", "processes", "gpu"]
