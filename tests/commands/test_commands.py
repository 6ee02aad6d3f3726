"""The commands as users give them: what they print, write and leave."""

import ast
import csv
import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import vggnet
from vggnet import options
from vggnet.cli import COMMANDS, run
from vggnet.evaluation.metrics import Count
from vggnet.images.augmentation import epoch_order
from vggnet.options.machine import MachineOptions
from vggnet.options.training import LadderOptions, QuickstartOptions, TrainOptions
from vggnet.training import diagnosing, quickstart
from vggnet.training.classification import _is_chance
from vggnet.training.ladder import Stage, run_ladder, show, stages_of

Folders = Callable[..., Path]
SMALL = ["--crop", "32", "--width", "0.05", "--epochs", "2", "--batch", "8", "--workers", "0", "--device", "cpu"]
# Table 2 of the paper, in millions, to its own precision
TABLE_2 = {"A": 133, "A-LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}


def test_the_table_of_nets_does_not_wait_for_torch() -> None:
    script = (
        "import sys; from vggnet.cli import run; assert run(sys.argv[1:]) == 0; "
        "assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, "nets"], check=True, timeout=60, capture_output=True)


def test_commands_do_not_wait_for_libraries_that_they_may_not_need() -> None:
    """Each takes half a second or more to import; what tests and SVMs need of them is imported when it is needed."""
    modules = sorted({f"vggnet.commands.{module}" for _, module in COMMANDS.values()})
    script = (
        f"import sys, {', '.join(modules)}; "
        "late = {'scipy.stats', 'sklearn', 'tensorboard', 'torchvision', 'onnx', 'h5py', 'pandas'} & set(sys.modules); "
        "assert not late, late"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert f"vggnet {vggnet.__version__}, PyTorch {torch.__version__.split('+')[0]}" in capsys.readouterr().out


def test_a_batch_in_parts_and_the_heads_own_rate_are_said(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, shallow = class_folders(train=6), tmp_path / "a"
    command = ["train", str(data), "--net", "A", *SMALL]
    assert run([*command, "--out", str(shallow)]) == 0
    assert "batch     8 images; " in capsys.readouterr().out
    fine_tuned = ["--init-from", str(shallow), "--new-head", "--head-learning-rate", "0.02", "--micro-batch", "3"]
    assert run([*command, *fine_tuned, "--learning-rate", "0.002", "--out", str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "batch     8 images in 3 passes of up to 3; " in said
    assert "learning rate 0.002 (last layer 0.02)" in said


@pytest.mark.usefixtures("nothing_noted")
def test_a_net_at_chance_is_told_and_one_that_learns_is_not(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = class_folders(train=20)
    assert run(["train", str(data), "--net", "E", "--init", "gaussian", "--out", str(tmp_path / "e"), *SMALL]) == 0
    said = capsys.readouterr().err
    assert said.count("no better than chance so far (held-out loss ln 3 or above)") == 1  # of two epochs
    command = f"vggnet diagnose {data} --net E --crop 32 --width 0.05 --init gaussian"
    assert f"`{command}`" in said
    assert run(command.split()[1:]) == 0
    assert "Start from larger weights (--init glorot)" in capsys.readouterr().out
    assert run(["train", str(data), "--net", "A", "--batch-norm", "--out", str(tmp_path / "a"), *SMALL]) == 0
    assert "than chance" not in capsys.readouterr().err


def test_the_loss_of_an_overfit_net_is_no_chance() -> None:
    """Of three classes a guess has a loss of 1.0986 and an error of two thirds."""
    assert _is_chance(Count(66, 100), 1.1, 3)
    assert not _is_chance(Count(40, 100), 2.5, 3)
    assert not _is_chance(Count(66, 100), 1.05, 3)


def test_nets_prints_table_1_and_the_papers_parameter_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nets", "--json"]) == 0
    rows = {row["net"]: row for row in json.loads(capsys.readouterr().out)}
    assert {net: round(rows[net]["parameters"] / 1e6) for net in TABLE_2} == TABLE_2
    assert [rows[net]["depth"] for net in ("A", "A-LRN", "B", "C", "D", "E", "5x5")] == [11, 11, 13, 16, 16, 19, 8]
    assert rows["D"]["parameters"] == 138_357_544
    assert run(["nets"]) == 0
    assert "138,357,544" in capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_helps_name_what_is_given_and_no_types_of_python(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run([command, "--help"])
    said = capsys.readouterr().out
    assert "{None}" not in said
    assert "[[STR" not in said
    _says_what_happens_by_default(said)
    inputs = {"evaluate": "MODEL... DATA", "predict": "MODEL IMAGE...", "train": "DATA", "convert": "FILE"}
    assert inputs.get(command, "") in said.splitlines()[0]


def _says_what_happens_by_default(said: str) -> None:
    whole = " ".join(said.replace("│", " ").split())
    assert "(default: None)" not in whole
    assert "(default: )" not in whole
    assert "As for train." not in whole  # each help tells its own


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_helps_of_localize_say_what_happens_by_default(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["localize", command, "--help"])
    _says_what_happens_by_default(capsys.readouterr().out)


def test_texts_of_help_are_not_broken_in_the_middle(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        run(["train", "--help"])
    said = capsys.readouterr().out
    assert "or a name: scenes, cifar10, imagenette, hf:OWNER/NAME, ..." in said
    assert "compiled: torch.compile. plain: PyTorch's operators." in said


def test_no_text_below_an_option_has_two_lines() -> None:
    """The command line would break it there; `option` takes texts of any length."""
    for module in Path(options.__file__).parent.glob("*.py"):
        for group in ast.parse(module.read_text(encoding="utf-8")).body:
            fields = group.body if isinstance(group, ast.ClassDef) else []
            for field, text in itertools.pairwise(fields):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    assert text.lineno == text.end_lineno, f"{module.name}:{text.lineno}"


def test_no_help_has_a_number_with_commas() -> None:
    """The command line may break a line after the comma; words ("ten thousand") stay whole."""
    for module in Path(options.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert ",000" not in node.value, f"{module.name}:{node.lineno}"


def test_a_run_folder_holds_what_it_promises(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = class_folders(), tmp_path / "run"
    assert run(["train", str(data), "--net", "A", "--out", str(out), *SMALL, "--precision", "fp32"]) == 0
    said = capsys.readouterr().out
    for expected in ("3 classes, 33 train, 12 val", "batch     8 images", ", 1 process, fp32\n", "time  "):
        assert expected in said
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"learning_rate", "train_loss", "train_error", "error", "images_per_s"} <= rows[0].keys()
    assert list((out / "events").glob("events.out.tfevents.*"))
    config, environment = (json.loads((out / name).read_text()) for name in ("config.json", "environment.json"))
    assert config["net"] == "A"
    assert config["micro_batch"] >= 1
    assert environment["torch"] == torch.__version__
    model = vggnet.load(out)
    assert model.description.classes == ("class0", "class1", "class2")
    assert model.description.train_scale == (37,)  # 256 x 32 / 224
    assert len(set(model.description.preprocessing.mean)) == 3
    assert model.scores(torch.zeros(2, 3, 40, 50)).shape == (2, 3)


def test_staged_initialisation_says_which_layer_came_from_where(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = class_folders()
    for shallow, taken in (("A", "conv3_2"), ("B", "conv2_2")):
        assert run(["train", str(data), "--net", shallow, "--out", str(tmp_path / shallow), *SMALL]) == 0
        capsys.readouterr()
        deep = tmp_path / f"D-{shallow}"
        start = ["--init-from", str(tmp_path / shallow)]
        assert run(["train", str(data), "--net", "D", "--out", str(deep), *start, *SMALL]) == 0
        said = capsys.readouterr().out
        assert f"{taken} <- {shallow} {taken}" in said
        assert f"fc8 <- {shallow} fc8" in said
        assert "conv5_3 random" in said
        assert json.loads((deep / "config.json").read_text())["learning_rate"] == 0.01
    again = ["--init-from", str(tmp_path / "D-A"), "--train-scale", "40", "60", "--out", str(tmp_path / "jittered")]
    assert run(["train", str(data), "--net", "D", *again, *SMALL]) == 0
    said = capsys.readouterr().out
    assert "random" not in said.split("net D")[0].split("weights:")[1]  # of the same net: every layer
    assert json.loads((tmp_path / "jittered" / "config.json").read_text())["learning_rate"] == 0.001


def test_predict_and_evaluate_say_protocol_and_count(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = class_folders(), tmp_path / "run"
    assert run(["train", str(data), "--net", "A", "--out", str(out), *SMALL]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(out), str(data), "--device", "cpu", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert len(table["rows"]) == 2
    assert run(["evaluate", str(out), str(data), "--device", "cpu", "--csv", str(tmp_path / "t.csv")]) == 0
    said = capsys.readouterr().out
    assert "12" in said
    assert f"written to {tmp_path / 't.csv'}" in said
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 3
    image = data / "val" / "class1" / "0.jpg"
    assert run(["predict", str(out), str(image), "--top", "2", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert str(image) in said
    assert said.count("%") == 2
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    assert run(["predict", str(out), str(broken), "--device", "cpu"]) == 2
    assert "0 bytes" in capsys.readouterr().err


def test_the_ladder_continues_where_it_was_stopped(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its third stage meets an unreadable image; mended, the same command goes on from there."""
    data, out = class_folders(), tmp_path / "ladder"
    command = ["ladder", str(data), "--out", str(out), "--nets", "D", *SMALL]
    names = [stage.name for stage in stages_of(LadderOptions(str(data), out, nets=("D",), crop=32))]
    assert names == ["A-S37", "D-S37", "D-S37-73"]
    (out / "D-S37-73").mkdir(parents=True)
    (out / "D-S37-73" / "config.json").write_text("{ not json")
    assert run(command) == 2
    first = capsys.readouterr()
    assert "damaged" in first.err
    assert "finished before" not in first.out
    weights = (out / "D-S37" / "best.safetensors").read_bytes()
    (out / "D-S37-73" / "config.json").unlink()
    assert run([*command, "--json", str(tmp_path / "table.json")]) == 0
    assert capsys.readouterr().out.count("finished before") == 2
    assert (out / "D-S37" / "best.safetensors").read_bytes() == weights
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [(row["stage"], row["from"]) for row in rows] == [
        ("A-S37", None),
        ("D-S37", "A-S37"),
        ("D-S37-73", "D-S37"),
    ]
    assert all(row["val"]["dense"]["images"] == 12 for row in rows)
    capsys.readouterr()
    assert run([*command, "--epochs", "3"]) == 2  # finished stages are not shown as if they had been trained so
    assert "was started with --epochs 2, now it says 3" in capsys.readouterr().err


def test_a_training_without_mirrored_crops_is_tested_without_mirrored_views(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its own report, in `evaluate`'s table, and in a ladder, whose reports of earlier versions are made anew."""
    data, out = class_folders(), tmp_path / "run"
    assert run(["train", str(data), "--net", "A", "--no-mirror", *SMALL, "--out", str(out)]) == 0
    assert "dense without mirror, Q=37" in capsys.readouterr().out
    assert vggnet.load(out).description.policy.mirror is False
    report = json.loads((out / "val.json").read_text())
    assert report["dense"]["mirror"] is False
    (row,) = vggnet.evaluate([out], data, views=["dense"], device="cpu", precision="fp32").rows
    assert row.mirrors == (False,)
    assert row.errors.top1.wrong == report["dense"]["top1"]["wrong"]
    options = TrainOptions(
        str(data),
        net="A",
        crop=32,
        width=0.05,
        epochs=2,
        batch=8,
        mirror=False,
        out=out,
        machine=MachineOptions("cpu", workers=0),
    )
    stage = Stage(dataclasses.replace(options, resume=True))
    before = {kind: dict(fields) for kind, fields in report.items()}
    del before["dense"]["mirror"]
    before["dense"]["top1"] = {"wrong": 7, "images": 12}
    (out / "val.json").write_text(json.dumps(before))
    (result,) = run_ladder([stage])
    assert result.errors["dense"].top1 == row.errors.top1
    assert "finished before" not in capsys.readouterr().out
    assert json.loads((out / "val.json").read_text()) == report
    show([result])
    assert "dense without mirrored images: all stages" in capsys.readouterr().out
    (result,) = run_ladder([stage])
    assert "finished before" in capsys.readouterr().out


def test_a_training_mirrors_as_the_net_that_it_starts_from_did(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless told otherwise; and a continued one as it was started."""
    data = str(class_folders(train=4))
    command = ["train", data, "--net", "A", *SMALL, "--epochs", "1", "--learning-rate", "0.001"]
    assert run([*command, "--no-mirror", "--out", str(tmp_path / "a")]) == 0
    for flag, mirror in (([], False), (["--mirror"], True)):
        out = tmp_path / f"from-{mirror}"
        assert run([*command, "--init-from", str(tmp_path / "a"), *flag, "--out", str(out)]) == 0
        said = capsys.readouterr().out
        assert ("half of the crops" in said) is mirror
        assert vggnet.load(out).description.policy.mirror is mirror
        assert vggnet.load(out).description.recipe["mirror"] is mirror
        assert run([*command, "--init-from", str(tmp_path / "a"), "--out", str(out), "--resume"]) == 0
    assert run([*command, "--init-from", str(tmp_path / "a"), "--mirror", "--out", str(out), "--resume"]) == 0
    assert run([*command, "--init-from", str(tmp_path / "a"), "--no-mirror", "--out", str(out), "--resume"]) == 2


def test_ladder_and_quickstart_train_as_their_options_have_it(tmp_path: Path) -> None:
    ladder = stages_of(LadderOptions("scenes", tmp_path, crop=32, mirror=False))
    assert {stage.options.mirror for stage in ladder} == {False}
    assert {stage.options.mirror for stage in quickstart.stages_of(QuickstartOptions(tmp_path))} == {False}


def test_presets_are_the_papers_stages_and_their_scaled_ones(tmp_path: Path) -> None:
    paper = stages_of(LadderOptions("scenes", tmp_path, preset="paper", machine=MachineOptions("cpu")))
    assert [stage.name for stage in paper] == [
        "A-S256",
        *("D-S256", "D-S384", "D-S256-512"),
        *("E-S256", "E-S384", "E-S256-512"),
    ]
    assert [stage.source for stage in paper][:4] == [None, "A-S256", "D-S256", "D-S384"]
    assert [stage.options.learning_rate for stage in paper][:4] == [1e-2, 1e-2, 1e-3, 1e-3]
    assert {(stage.options.batch, stage.options.epochs, stage.options.init) for stage in paper} == {
        (256, 74, "gaussian")
    }
    desk = stages_of(LadderOptions("scenes", tmp_path, crop=64, machine=MachineOptions("cpu")))
    assert [stage.options.train_scale for stage in desk][:3] == [(73,), (73,), (73, 146)]


def test_all_stages_of_a_ladder_check_and_leave_out_the_same_images(tmp_path: Path) -> None:
    listed = tmp_path / "leave-out.csv"
    ladder = stages_of(LadderOptions("scenes", tmp_path, crop=32, check="headers", leave_out=listed))
    assert {(stage.options.check, stage.options.leave_out) for stage in ladder} == {("headers", listed)}


def test_ladder_and_quickstart_take_decoder_and_step_as_training_does(tmp_path: Path) -> None:
    machine = MachineOptions(decoder="scaled", step="plain")
    ladder = stages_of(LadderOptions("scenes", tmp_path, crop=32, machine=machine))
    quick = quickstart.stages_of(QuickstartOptions(tmp_path, machine))
    for stage in (*ladder, *quick):
        assert (stage.options.machine.decoder, stage.options.machine.step) == ("scaled", "plain")


def test_diagnose_prints_layers_and_a_verdict(
    class_folders: Folders, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = class_folders()
    more = ["--crop", "32", "--width", "0.25", "--images", "6"]
    report = tmp_path / "report.json"
    assert run(["diagnose", str(data), "--net", "E", "--init", "gaussian", "--json", str(report), *more]) == 0
    assert "conv5_4" in capsys.readouterr().out
    assert json.loads(report.read_text())["verdict"] == "vanishes"
    assert run(["diagnose", str(data), "--net", "A", *more, "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["verdict"]  # alone on standard output
    assert "conv1_1" in output.err
    assert run(["diagnose", str(data), "--net", "D", "--init", "gaussian", "--sigma", "0.3", *more]) == 0
    assert "explode" in capsys.readouterr().out


def test_diagnose_reads_only_the_images_that_it_shows(
    class_folders: Folders, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = class_folders(classes=2, train=12, val=2)
    order = [sorted(data.glob("train/*/*"))[index] for index in epoch_order(0, 0, 24)]
    order[1].write_bytes(b"no image")
    read = []
    real = diagnosing.decode

    def counting(path: str, *more: object) -> Image.Image:
        read.append(Path(path))
        return real(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(diagnosing, "decode", counting)
    options = ["--net", "A", "--crop", "32", "--width", "0.05", "--images", "4", "--device", "cpu"]
    assert run(["diagnose", str(data), *options]) == 0
    output = capsys.readouterr()
    assert "4 images of" in output.out
    assert f"left out {order[1]}" in output.err
    assert sorted(read) == sorted(order[:5])
    for file in data.glob("train/*/*"):
        file.write_bytes(b"no image")
    assert run(["diagnose", str(data), *options]) == 2
    assert "0 training images can be read; at least 2 are needed" in capsys.readouterr().err


def test_a_training_writes_its_result_as_json(
    class_folders: Folders, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data, out = class_folders(), tmp_path / "run"
    assert run(["train", str(data), "--net", "A", "--out", str(out), *SMALL, "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)  # alone on standard output
    assert "epoch" in output.err
    report = json.loads((out / "val.json").read_text())
    assert found["run"] == str(out)
    assert found["val"]["dense"]["top1"]["wrong"] == report["dense"]["top1"]["wrong"]
    assert found["val"]["center"]["top1"]["images"] == 12
    assert found["val"]["center"]["top5"] is None
    assert "json" not in json.loads((out / "config.json").read_text())
    assert run(["train", str(data), "--net", "A", "--out", str(out), *SMALL, "--resume"]) == 0


def test_two_pictures_of_unequal_size_go_through_the_python_interface(tmp_path: Path) -> None:
    model = vggnet.build("B", num_classes=4, width=0.05, crop=32)
    assert model(torch.zeros(1, 3, 64, 100)).shape == (1, 4, 2, 3)
    with pytest.raises(ValueError, match="at least 32"):
        model(torch.zeros(1, 3, 31, 64))
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    with pytest.raises(AttributeError):
        _ = vggnet.nothing
