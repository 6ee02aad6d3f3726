"""Types that several commands share, and the least values of numbers that several have."""

import dataclasses
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from vggnet.errors import UserError

InitMethod = Literal["glorot", "gaussian", "he"]
PrecisionName = Literal["auto", "bf16", "fp32"]
StepName = Literal["auto", "fused", "compiled", "plain"]
InferencePrecisionName = Literal["auto", "bf16", "fp32", "int8"]
BadImages = Literal["stop", "skip"]
Decoder = Literal["processes", "gpu"]
DecoderName = Literal["auto", "processes", "gpu"]


def _inputs(metavar: str) -> object:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="(required)")


ModelsAndData = Positional[Annotated[tuple[str, ...], _inputs("MODEL... DATA")]]
ModelAndImages = Positional[Annotated[tuple[str, ...], _inputs("MODEL IMAGE...")]]
Mirrored = Annotated[bool, tyro.conf.arg(help_behavior_hint="(default: mirrored)")]

LEAST = {"workers": 0, "threads": 1, "micro_batch": 1, "save_every": 0}


def check_numbers(options: Any) -> None:
    """Refuse a number that means nothing, in the options (a dataclass) of any command. Raises UserError."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            check_numbers(value)
        least = LEAST.get(field.name)
        if least is not None and value is not None and not value >= least:
            flag = "--" + field.name.replace("_", "-")
            raise UserError(f"{flag} {value}: at least {least}, or leave it out")
