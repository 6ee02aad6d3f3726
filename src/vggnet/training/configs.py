"""Check a run's config.json: the options of its command, and values that the program chose or measured."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from vggnet.description import first_problem
from vggnet.errors import UserError
from vggnet.images.color import ColorStatistics
from vggnet.options.choices import Decoder, TrainPrecision
from vggnet.options.flat import flat_fields
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.options.training import TrainOptions
from vggnet.training.memory import FITTING

_Whole = Annotated[int, Field(ge=1)]
_Part = Annotated[float, Field(ge=0, lt=1)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass
class _Preprocessing:
    mean: tuple[_Finite, _Finite, _Finite]
    deviation: tuple[_Positive, _Positive, _Positive]


_BOUNDS: dict[str, Any] = {  # narrower than the options' own types
    "crop": Annotated[int, Field(ge=32)],
    "width": _Positive,
    "epochs": _Whole,
    "batch": _Whole,
    "patience": _Whole,
    "micro_batch": _Whole,
    "threads": Annotated[int, Field(ge=1, le=65536)],
    "learning_rate": _Positive,
    "head_learning_rate": _Positive | None,
    "weight_decay": _NotNegative,
    "sigma": _NotNegative,
    "dropout": _Part,
    "holdout": _Part,
    "train_scale": tuple[_Whole] | tuple[_Whole, _Whole],
}
_CHOSEN: dict[str, Any] = {  # beside the options
    "decoder": Decoder,
    "resolved_precision": TrainPrecision,
    "train_images": _Whole,
    "epochs_before": Annotated[int, Field(ge=0)],
    "images_sha256": _Hash,
    "init_from": str | None,
    "launch": list[str],
    FITTING: _Whole,
    "init_from_sha256": _Hash | None,
    "preprocessing": _Preprocessing,
    "statistics": ColorStatistics,
    "source": dict[str, Any],
}


def check_config(file: Path, values: Any) -> dict[str, Any]:
    """Return `values`. UserError that names file, field and value where they are no run's options."""
    anew = "put the file back from a backup, or start anew in another `out`"
    if not isinstance(values, dict):
        raise UserError(f"{file}: not the options of a run; {anew}")
    schema = _schema("boxes" in values)
    for name, value in values.items():
        if name not in schema:  # written by another version
            continue
        try:
            schema[name].validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            raise UserError(f"{file}: {first_problem(error, name)}; {anew}") from error
    return values


@cache
def _schema(of_boxes: bool) -> dict[str, TypeAdapter[Any]]:
    fields = flat_fields(LocalizeTrainOptions if of_boxes else TrainOptions)
    hints = {name: hint for name, (hint, _) in fields.items()}
    return {name: TypeAdapter(hint) for name, hint in (hints | _BOUNDS | _CHOSEN).items()}
