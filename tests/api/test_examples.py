"""The examples of the public functions run, on small images, in an order in which each finds what it needs."""

import contextlib
import doctest
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import vggnet

ORDER = (
    *("check_data", "pack_data"),
    *("build", "preprocess", "as_classifier", "train", "load", "save", "save_pretrained", "from_pretrained"),
    *("transforms", "Dataset", "push_to_hub"),
    *("features", "PerceptualLoss", "evaluate", "OtherClassifier", "classify", "predict"),
    *("descriptors", "transfer"),
    *(
        "convert",
        "export",
        "diagnose",
        "localize.train",
        "localize.evaluate",
        "localize.predict",
        "ladder",
        "quantize",
        "report",
        "doctor",
    ),
    *("plot.curves", "plot.score_map", "plot.crops", "plot.confusion", "plot.signal"),
)


def named(name: str) -> Callable:
    """The function of a public name."""
    found = vggnet
    for part in name.split("."):
        found = getattr(found, part)
    return found


def run_examples(text: str, name: str) -> int:
    """Run the examples of a docstring, and drop what they print; how many there are."""
    known: dict[str, object] = {"vggnet": vggnet, "torch": torch}
    examples = doctest.DocTestParser().get_examples(text, name)
    for example in examples:
        if example.options.get(doctest.SKIP):
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            if example.want:
                assert repr(eval(example.source.strip(), known)) == example.want.strip(), (name, example.source)
            else:
                exec(compile(example.source, name, "exec"), known)
    return len(examples)


def test_every_public_name_has_examples_in_the_order() -> None:
    boxes = {f"localize.{name}" for name in ("train", "evaluate", "predict")}
    figures = {f"plot.{name}" for name in ("curves", "score_map", "crops", "confusion", "signal")}
    modules = {"__version__", "localize", "plot", "UserError", "BadImage"}
    assert set(vggnet.__all__) - modules | boxes | figures == set(ORDER)


def test_the_examples_run(class_folders: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = class_folders(name="photos")
    lines = [f"{file.relative_to(photos).as_posix()},{file.parent.name},5,5,30,28" for file in photos.glob("*/*/*.jpg")]
    (photos / "boxes.csv").write_text("\n".join(["image,class,xmin,ymin,xmax,ymax", *sorted(lines)]) + "\n")
    shutil.copytree(photos / "val" / "class0", tmp_path / "unlabelled")
    shutil.copy(photos / "val" / "class0" / "0.jpg", tmp_path / "photograph.jpg")
    monkeypatch.chdir(tmp_path)
    for name in ORDER:
        text = named(name).__doc__ or ""
        if name == "quantize" and not torch.cpu._is_vnni_supported():
            continue
        assert run_examples(text, name), name
    assert run_examples(vggnet.__doc__ or "", "vggnet")
    assert len(list((tmp_path / "boxes").glob("*.png"))) == 12
    assert (tmp_path / "submission.csv").read_text().count("\n") == 1 + 4
