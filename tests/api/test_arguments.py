"""Functions and commands agree on names and defaults; values that an option does not take are refused by argument."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import vggnet
from vggnet.api.arguments import options_of, with_arguments
from vggnet.options.data import DataCheckOptions, DataPackOptions
from vggnet.options.doctor import DoctorOptions
from vggnet.options.evaluation import EvaluateOptions, PredictOptions
from vggnet.options.localization import LocalizeEvaluateOptions, LocalizePredictOptions, LocalizeTrainOptions
from vggnet.options.quantization import QuantizeOptions
from vggnet.options.reporting import ReportOptions
from vggnet.options.training import DiagnoseOptions, LadderOptions, TrainOptions
from vggnet.options.transfer import FeaturesOptions, TransferOptions
from vggnet.options.weights import ConvertOptions, ExportOptions

LAUNCH = ("processes", "max_restarts")  # a function runs in this process; `torchrun SCRIPT` starts several
# the options that a function does not have: `inputs` are its first arguments, objects are written by their own methods
FUNCTIONS: dict[str, tuple[type, set[str]]] = {
    "train": (TrainOptions, {"json", *LAUNCH}),
    "ladder": (LadderOptions, {"json", *LAUNCH}),
    "diagnose": (DiagnoseOptions, {"json"}),
    "check_data": (DataCheckOptions, {"json"}),
    "pack_data": (DataPackOptions, {"json"}),
    "evaluate": (EvaluateOptions, {"inputs", "report", "module"}),  # modules are objects there
    "classify": (EvaluateOptions, {"inputs", "against", "per_image", "report", "module"}),
    "predict": (PredictOptions, {"inputs", "json"}),
    "descriptors": (FeaturesOptions, {"inputs"}),
    "transfer": (TransferOptions, {"inputs", "json"}),
    "convert": (ConvertOptions, {"out", "to"}),
    "export": (ExportOptions, set()),
    "quantize": (QuantizeOptions, {"json"}),
    "report": (ReportOptions, {"paths"}),
    "doctor": (DoctorOptions, {"json"}),
    "localize.train": (LocalizeTrainOptions, {"json", *LAUNCH}),
    "localize.evaluate": (LocalizeEvaluateOptions, {"inputs", "json", "report"}),
    "localize.predict": (LocalizePredictOptions, {"inputs", "json", "classifier"}),  # which is required
}
# a path that has no default here: nothing is written unasked
WITHOUT_DEFAULT = dict.fromkeys(("train", "export", "descriptors", "localize.train", "localize.predict"), "out")


def defaults(kind: Any) -> dict[str, Any]:
    """The default of each option, also of those in groups."""
    found: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            found |= defaults(hints[field.name])
        else:
            found[field.name] = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_the_options_of_its_command_with_their_defaults(name: str) -> None:
    kind, without = FUNCTIONS[name]
    function: Any = vggnet
    for part in name.split("."):
        function = getattr(function, part)
    parameters = inspect.signature(function).parameters
    expected = {option: default for option, default in defaults(kind).items() if option not in without}
    found = {option: parameters[option].default for option in expected}
    if name in WITHOUT_DEFAULT:
        assert found.pop(WITHOUT_DEFAULT[name]) in (None, inspect.Parameter.empty)
        del expected[WITHOUT_DEFAULT[name]]
    assert found == expected
    extra = set(parameters) - set(expected) - {"out"}
    assert extra <= {"model", "models", "data", "run", "runs", "images", "classifier", "paths", "on_progress", "on_bad"}
    for option in parameters:
        assert f"\n    {option}: " in (function.__doc__ or ""), option
    assert "--" not in (function.__doc__ or "").replace("`vggnet ", "")


def test_paths_sequences_and_single_values_become_options() -> None:
    given = {"init_from": "runs/A", "train_scale": [73, 146], "data": Path("photos"), "pixel_range": [0, 4095]}
    options = options_of(TrainOptions, given, out="runs/B")
    assert options == TrainOptions(
        "photos", init_from=Path("runs/A"), train_scale=(73, 146), pixel_range=(0, 4095), out=Path("runs/B")
    )
    assert options_of(TrainOptions, given | {"train_scale": 73}, out=None).train_scale == (73,)
    assert options_of(EvaluateOptions, {"views": "dense", "test_scale": None}, inputs=("a", "b")).views == ("dense",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 0}, "`epochs` 0: give a number from 1 to 100,000"),
        ({"epochs": 2.5}, "`epochs` 2.5: give a whole number"),
        ({"epochs": True}, "`epochs` True: give a whole number"),
        ({"width": "wide"}, "`width` 'wide': give a number"),
        ({"init": "xavier"}, "`init` 'xavier': give one of 'glorot', 'gaussian', 'he'"),
        ({"mirror": 1}, "`mirror` 1: give True or False"),
        ({"pixel_range": [0]}, "`pixel_range` .*: give 2 values"),
        ({"init_from": 3}, "`init_from` 3: give a path"),
        ({"init": None}, "`init` None: give one of 'glorot', 'gaussian', 'he'"),
    ],
)
def test_values_that_cannot_be_are_refused_by_argument(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(vggnet.UserError, match=said):
        vggnet.train(tmp_path / "images", out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_messages_speak_of_arguments() -> None:
    text = "give --train-scale, or --no-mirror; `vggnet train --init-from X` or `--bad-images` skip - - --"
    assert with_arguments(text) == (
        "give `train_scale`, or `mirror` False; `vggnet train --init-from X` or `bad_images` skip - - --"
    )


def test_errors_of_the_rooms_below_name_arguments_too(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    data = class_folders(train=2, val=1)
    model = vggnet.build("A", num_classes=3, width=0.04, crop=32)
    model.description = dataclasses.replace(model.description, classes=("class0", "class1", "class2"))
    vggnet.save(tmp_path / "a.safetensors", model)
    with pytest.raises(vggnet.UserError, match=r"give `test_scale`$"):
        vggnet.evaluate(tmp_path / "a.safetensors", data)
    with pytest.raises(vggnet.UserError, match=r"^`protocol` table6 averages several nets"):
        vggnet.evaluate(tmp_path / "a.safetensors", data, protocol="table6")
    (data / "val" / "class0" / "0.jpg").write_bytes(b"")
    with pytest.raises(vggnet.BadImage, match="`bad_images` skip"):
        vggnet.predict(tmp_path / "a.safetensors", data / "val" / "class0", test_scale=32, device="cpu")


def test_labels_decide_between_evaluate_and_classify(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "flat").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "flat" / "a.png")
    with pytest.raises(vggnet.UserError, match=r"without labels; `vggnet\.classify`"):
        vggnet.evaluate("runs/none", tmp_path / "flat")
    with pytest.raises(vggnet.UserError, match=r"`vggnet\.evaluate` takes labelled images"):
        vggnet.classify("runs/none", tmp_path)
