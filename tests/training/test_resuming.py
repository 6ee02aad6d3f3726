"""A run that goes on: the images, options and files of its start, or a message that says what is different."""

import csv
import errno
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from saved import progress_of, without_saves

from vggnet.cli import run
from vggnet.data.dividing import hold_out
from vggnet.data.opening import open_data
from vggnet.errors import UserError
from vggnet.network.weights import load_model, save_model
from vggnet.options.flat import changed
from vggnet.options.training import TrainOptions
from vggnet.training import choose_decoder
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.classification import train_classifier
from vggnet.training.epoch_results import AfterEpoch, AfterStep

Folders = Callable[..., Path]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three classes, and a run that was stopped after two steps of its second epoch; made once."""
    root = tmp_path_factory.mktemp("once")
    generator = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 4)):
        for label in range(3):
            folder = root / "images" / part / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 255, (40, 40 + number % 5, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(small(root, save_every=0.0), after_step=stop_at(epoch=1, step=2))
    progress = progress_of(root / "run")
    assert (progress.epoch, progress.step) == (1, 2)
    return root


def small(root: Path, **changes: object) -> TrainOptions:
    """Options of a small run in `root`, on the images there."""
    values: dict[str, object] = {"net": "A", "crop": 32, "width": 0.03, "batch": 8, "epochs": 2, "patience": 9}
    values |= {"workers": 0, "threads": 1, "device": "cpu", "precision": "fp32"}
    values |= {"out": root / "run"}
    return changed(TrainOptions(str(root / "images")), **values | changes)


@pytest.fixture
def options(once: Path, tmp_path: Path) -> Callable[..., TrainOptions]:
    """Options of a small run in this test's folder, on a copy of the images."""
    shutil.copytree(once / "images", tmp_path / "images")
    return partial(small, tmp_path)


@pytest.fixture
def stopped(once: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run."""
    shutil.copytree(once / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """No decoded image stays in memory: an image whose file is gone is lost."""
    monkeypatch.setattr(choose_decoder, "holding_bytes", lambda _: 0)


def stop_at(epoch: int, step: int) -> AfterStep:
    """Return what stops a training after so many steps of an epoch, as a second Ctrl-C would."""

    def stop(progress: TrainingProgress) -> None:
        if (progress.epoch, progress.step) == (epoch, step):
            raise KeyboardInterrupt

    return stop


def refused(options: TrainOptions) -> str:
    """The message with which a continued run refuses; nothing in its folder changes."""
    before = {path: path.read_bytes() for path in options.out.rglob("*") if path.is_file()}  # type: ignore[union-attr]
    with pytest.raises(UserError) as error:
        train_classifier(options)
    assert {path: path.read_bytes() for path in options.out.rglob("*") if path.is_file()} == before  # type: ignore[union-attr]
    return str(error.value)


def skipped_by(run: Path) -> list[list[str]]:
    """The rows of the list of skipped images."""
    header, *rows = csv.reader((run / "skipped.csv").read_text().splitlines())
    assert header == ["part", "image", "reason"]
    return rows


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def paint(path: Path, side: int = 40) -> None:
    pixels = np.random.default_rng(side).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


class TestImages:
    def test_a_renamed_class_is_refused_and_stays_refused(
        self, options: Callable[..., TrainOptions], stopped: Path, tmp_path: Path
    ) -> None:
        """Renamed so that the order of the classes changes: the net's outputs would mean other classes."""
        for part in ("train", "val"):
            (tmp_path / "images" / part / "class0").rename(tmp_path / "images" / part / "zebra")
        for accepted in (False, True):
            said = refused(options(resume=True, data_changed=accepted))
            assert "1 class gone: 'class0'" in said
            assert "1 class new: 'zebra'" in said

    @pytest.mark.parametrize("part", ["train", "val"])
    def test_a_replaced_image_is_named(
        self, options: Callable[..., TrainOptions], stopped: Path, tmp_path: Path, part: str
    ) -> None:
        paint(tmp_path / "images" / part / "class1" / "2.jpg", 90)
        said = refused(options(resume=True))
        assert f"1 image with another content: '{part}/class1/2.jpg'" in said
        assert "`data_changed`" in said
        assert train_classifier(options(resume=True, data_changed=True)).epochs == 2
        paint(tmp_path / "images" / part / "class1" / "2.jpg", 40)  # what was accepted counts from then on
        assert "another content" in refused(options(resume=True))

    @pytest.mark.parametrize("part", ["train", "val"])
    def test_an_image_replaced_by_one_of_as_many_bytes_is_named(
        self, options: Callable[..., TrainOptions], stopped: Path, tmp_path: Path, part: str
    ) -> None:
        path = tmp_path / "images" / part / "class1" / "2.jpg"
        size = path.stat().st_size
        Image.new("RGB", (40, 42), "red").save(path)
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))  # decoders stop at the end mark
        assert path.stat().st_size == size
        said = refused(options(resume=True))
        assert f"1 image with another content: '{part}/class1/2.jpg'" in said

    def test_an_image_that_was_added_or_moved_to_another_class_is_named(
        self, options: Callable[..., TrainOptions], stopped: Path, tmp_path: Path
    ) -> None:
        train = tmp_path / "images" / "train"
        paint(train / "class0" / "new.jpg")
        assert "1 image new: 'train/class0/new.jpg'" in refused(options(resume=True))
        (train / "class0" / "new.jpg").unlink()
        (train / "class0" / "3.jpg").rename(train / "class2" / "33.jpg")  # the number of images is the same
        said = refused(options(resume=True))
        assert "1 image gone or unreadable" in said
        assert "1 image new: 'train/class2/33.jpg'" in said

    def test_other_boxes_are_named(self, options: Callable[..., TrainOptions], tmp_path: Path) -> None:
        boxes = tmp_path / "images" / "boxes.csv"
        boxes.write_text("image,class,xmin,ymin,xmax,ymax\ntrain/class0/1.jpg,class0,1,2,30,31\n")
        train_classifier(options(epochs=1))
        boxes.write_text("image,class,xmin,ymin,xmax,ymax\ntrain/class0/1.jpg,class0,1,2,30,32\n")
        assert "1 image with other boxes: 'train/class0/1.jpg'" in refused(options(epochs=1, resume=True))

    def test_the_files_decide_and_not_how_the_folder_is_called(
        self, options: Callable[..., TrainOptions], stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a slash, relative, from another working directory, copied elsewhere: one and the same training."""
        whole = train_classifier(options(out=tmp_path / "whole")).run
        copy = tmp_path / "scratch" / "job-7"
        shutil.copytree(tmp_path / "images", copy)
        for number, (where, data) in enumerate(
            [(tmp_path, "images/"), (tmp_path, "./images"), (tmp_path / "images", "../images"), (tmp_path, str(copy))]
        ):
            run = tmp_path / f"run-{number}"
            shutil.copytree(stopped, run)
            monkeypatch.chdir(where)
            train_classifier(options(data=data, out=run, resume=True))
            assert same_weights(run, whole)

    def test_the_list_of_images_is_believed_only_when_it_is_whole(
        self, options: Callable[..., TrainOptions], stopped: Path
    ) -> None:
        listed = stopped / "images.csv.gz"
        with gzip.open(listed, "rt") as file:
            rows = list(csv.reader(file))
        assert rows[0][:7] == ["part", "image", "bytes", "digest", "class", "boxes", "skipped"]
        assert len(rows) == 1 + 36 + 12
        good = listed.read_bytes()
        for damaged in (b"", good[:50], gzip.compress(b"part,image\n")):
            listed.write_bytes(damaged)
            assert "images.csv.gz: the list of the run's images cannot be read" in refused(options(resume=True))
        listed.unlink()
        assert "images.csv.gz" in refused(options(resume=True))
        train_classifier(options(resume=True, data_changed=True))
        assert listed.read_bytes() == good


class TestLostImages:
    @pytest.mark.parametrize("part", ["train", "val"])
    def test_a_run_goes_on_without_an_image_that_became_unreadable(
        self, options: Callable[..., TrainOptions], stopped: Path, tmp_path: Path, part: str
    ) -> None:
        """Its place in the order stays, so that all other steps are as they were."""
        image = tmp_path / "images" / part / "class1" / "3.jpg"
        image.write_bytes(image.read_bytes()[:300])
        assert f"1 image gone or unreadable: '{image}'" in refused(options(resume=True))
        shutil.copytree(stopped, tmp_path / "other")
        train_classifier(options(resume=True, bad_images="skip"))
        image.unlink()
        train_classifier(options(resume=True, bad_images="skip", out=tmp_path / "other"))
        assert same_weights(stopped, tmp_path / "other")
        for folder in (stopped, tmp_path / "other"):
            assert [row[:2] for row in skipped_by(folder)] == [[part, str(image)]]

    def test_the_state_is_saved_before_a_lost_image_stops_the_training(
        self, options: Callable[..., TrainOptions], tmp_path: Path
    ) -> None:
        """The images vanish after the second step; with them back, the weights are those of an undisturbed run."""
        whole = train_classifier(options(out=tmp_path / "whole")).run
        images, away = tmp_path / "images" / "train", tmp_path / "away"

        def lose(progress: TrainingProgress) -> None:
            if progress.step == 2:
                images.rename(away)

        with pytest.raises(UserError, match=r"train images became unreadable during training(.|\n)*`bad_images` skip"):
            train_classifier(options(), after_step=lose)
        progress = progress_of(tmp_path / "run")
        assert (progress.epoch, progress.step) == (0, 2)
        away.rename(images)
        train_classifier(options(resume=True))
        assert same_weights(tmp_path / "run", whole)

    @pytest.mark.usefixtures("nothing_held")
    def test_images_lost_during_a_training_are_counted_and_listed(
        self, options: Callable[..., TrainOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lost = [tmp_path / "images" / "train" / "class0" / f"{number}.jpg" for number in (4, 7)]
        lose = after_first_epoch(lambda: [path.unlink() for path in lost])
        train_classifier(options(bad_images="skip", epochs=3), lose)
        assert {row[1] for row in skipped_by(tmp_path / "run")} == {str(path) for path in lost}
        said = capsys.readouterr().out
        assert all(said.count(f"  {path}: ") == 1 for path in lost)
        assert "images that cannot be read any more" in said

    @pytest.mark.parametrize("part", ["train", "held-out"])
    @pytest.mark.usefixtures("nothing_held")
    def test_above_a_share_lost_images_stop_the_training_with_its_state_saved(
        self, options: Callable[..., TrainOptions], tmp_path: Path, part: str
    ) -> None:
        """An error on no image at all is not a number, and no training goes on with it."""
        images = open_data(str(tmp_path / "images")).train
        assert images is not None
        train, held_out = hold_out(images, 0.1)
        lost = held_out if part == "held-out" else train.subset(range(20))
        lose = after_first_epoch(lambda: [Path(lost.path(index)).unlink() for index in range(len(lost))])
        with pytest.raises(UserError, match=rf"of \d+ {part} images cannot be read any more(.|\n)*`data_changed`"):
            train_classifier(options(bad_images="skip", epochs=3), lose)
        progress = progress_of(tmp_path / "run")
        assert progress.epoch == 1
        assert all(np.isfinite(list(row.values())).all() for row in progress.rows)
        assert train_classifier(options(resume=True, data_changed=True, epochs=3)).epochs == 3

    def test_nothing_to_hold_out_is_said_before_the_first_epoch(
        self, options: Callable[..., TrainOptions], class_folders: Folders
    ) -> None:
        data = class_folders(train=1, name="single")
        with pytest.raises(UserError, match="no image can be held out"):
            train_classifier(options(data=str(data)))


def after_first_epoch(act: Callable[[], object]) -> AfterEpoch:
    """Return what does something once, after the first epoch is saved."""

    def end(run: Path, progress: TrainingProgress, epochs: int) -> None:
        if progress.epoch == 1:
            act()

    return end


class TestFiles:
    @pytest.mark.parametrize("there", ["best.safetensors", "last.safetensors", "metrics.csv"])
    def test_a_run_without_its_state_does_not_start_anew_over_its_results(
        self, options: Callable[..., TrainOptions], stopped: Path, there: str
    ) -> None:
        shutil.rmtree(stopped / "saves")
        for name in {"best.safetensors", "last.safetensors", "metrics.csv"} - {there}:
            (stopped / name).unlink()
        said = refused(options(resume=True))
        assert f"{stopped / 'saves'} is missing" in said
        assert f"there are config.json, {there}." in said
        assert "starts anew" in said
        assert ("`init_from`" in said) == there.endswith("safetensors")

    def test_a_run_without_its_options_is_refused(
        self, options: Callable[..., TrainOptions], stopped: Path, tmp_path: Path
    ) -> None:
        (stopped / "config.json").unlink()
        said = refused(options(resume=True, learning_rate=0.5))
        assert "config.json is missing (the options that the run was started with)" in said
        shutil.rmtree(stopped / "saves")
        assert "config.json is missing" in refused(options(resume=True))

    def test_weights_that_are_gone_come_back_from_the_save(
        self, options: Callable[..., TrainOptions], stopped: Path, tmp_path: Path
    ) -> None:
        whole = train_classifier(options(out=tmp_path / "whole")).run
        for name in ("best.safetensors", "last.safetensors", "metrics.csv"):
            (stopped / name).unlink()
        train_classifier(options(resume=True))
        for name in ("best.safetensors", "last.safetensors"):
            assert (stopped / name).read_bytes() == (whole / name).read_bytes()
        assert len((stopped / "metrics.csv").read_text().splitlines()) == 3

    def test_a_run_of_a_version_without_saves_goes_on(
        self, options: Callable[..., TrainOptions], stopped: Path, tmp_path: Path
    ) -> None:
        whole = train_classifier(options(out=tmp_path / "whole")).run
        without_saves(stopped)
        assert (stopped / "state.safetensors").exists()
        train_classifier(options(resume=True))
        assert same_weights(stopped, whole)
        assert not (stopped / "state.safetensors").exists()

    def test_a_run_without_saves_and_its_best_weights_is_refused(
        self, options: Callable[..., TrainOptions], stopped: Path
    ) -> None:
        without_saves(stopped)
        (stopped / "best.safetensors").unlink()
        assert "best.safetensors is missing" in refused(options(resume=True))

    @pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "state.safetensors"])
    def test_one_flipped_bit_in_a_run_without_saves_is_noticed(
        self, options: Callable[..., TrainOptions], stopped: Path, name: str
    ) -> None:
        without_saves(stopped)
        content = bytearray((stopped / name).read_bytes())
        content[-1001] ^= 1  # in the middle of a weight's mantissa: still a finite number
        (stopped / name).write_bytes(content)
        said = refused(options(resume=True))
        assert f"{stopped / name}: " in said
        assert "changed since" in said

    def test_the_results_of_a_run_are_there_only_with_its_state(
        self, options: Callable[..., TrainOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fault between the first epoch's save and its copies in the run folder leaves a run that goes on."""

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr("vggnet.training.runs.publish", fail)
            with pytest.raises(OSError, match="Input/output error"):
                train_classifier(options())
        assert (tmp_path / "run" / "saves" / "000001").is_dir()
        assert not (tmp_path / "run" / "last.safetensors").exists()
        assert train_classifier(options(resume=True)).epochs == 2

    def test_temporary_files_of_killed_writes_are_removed(
        self, options: Callable[..., TrainOptions], stopped: Path
    ) -> None:
        leftovers = [stopped / f".{name}.part" for name in ("best.safetensors", "config.json")]
        for path in leftovers:
            path.write_bytes(b"half")
        leftovers.append(stopped / "saves" / ".000009.part")
        leftovers[-1].mkdir()
        (leftovers[-1] / "state.safetensors").write_bytes(b"half")
        train_classifier(options(resume=True))
        assert not any(path.exists() for path in leftovers)


WRONG_CONFIG = [
    ("threads", "abc"),
    ("threads", -1),
    ("threads", 1.5),
    ("threads", None),
    ("micro_batch", 0),
    ("micro_batch", "x"),
    ("preprocessing", "x"),
    ("preprocessing", {"mean": [1, 2]}),
    ("preprocessing", {"mean": [1, 2, 3], "deviation": [1, 0, 1]}),
    ("train_images", "x"),
    ("init_from", 5),
    ("epochs", "many"),
    ("seed", None),
    ("train_scale", [40, "x"]),
    ("resolved_precision", "fp8"),
    ("decoder", "nobody"),
    ("statistics", []),
    ("images_sha256", "abc"),
    ("learning_rate", "NaN"),
]


class TestValues:
    @pytest.mark.parametrize(("field", "value"), WRONG_CONFIG)
    def test_a_value_that_no_run_has_is_named_with_file_and_field(
        self, options: Callable[..., TrainOptions], stopped: Path, field: str, value: object
    ) -> None:
        config = json.loads((stopped / "config.json").read_text()) | {field: value}
        (stopped / "config.json").write_text(json.dumps(config))
        said = refused(options(resume=True, threads=None, precision="auto"))
        assert said.startswith(f"{stopped / 'config.json'}: {field}")
        assert "\n" not in said
        assert "start anew in another `out`" in said

    @pytest.mark.parametrize("text", ["", "{", "[]", "5", '"x"', "\x00"])
    def test_a_config_that_is_none_is_named(
        self, options: Callable[..., TrainOptions], stopped: Path, text: str
    ) -> None:
        (stopped / "config.json").write_text(text)
        assert refused(options(resume=True)).startswith(f"{stopped / 'config.json'}: ")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("epoch", "x"),
            ("epoch", -1),
            ("epoch", 7),
            ("step", 1.5),
            ("epoch_loss", None),
            ("epoch_loss", float("nan")),
            ("schedule", []),
            ("schedule", {"drops_done": "x"}),
            ("best", {"error": "x"}),
            ("rows", {}),
            ("rows", [5]),
            ("finished", "no"),
        ],
    )
    def test_a_state_with_impossible_values_is_named_with_file_and_field(
        self, options: Callable[..., TrainOptions], stopped: Path, field: str, value: object
    ) -> None:
        """Without checksums, as a state of an older version."""
        without_saves(stopped)
        state = stopped / "state.safetensors"
        with safe_open(state, framework="pt") as file:
            progress = json.loads(file.metadata()["vggnet-training"]) | {field: value}
        save_file(load_file(state), state, {"vggnet-training": json.dumps(progress)})
        said = refused(options(resume=True))
        assert said.startswith(f"{state}: {field}")
        assert "\n" not in said

    def test_a_state_of_another_net_is_refused_in_words(
        self, options: Callable[..., TrainOptions], stopped: Path
    ) -> None:
        without_saves(stopped)
        state = stopped / "state.safetensors"
        with safe_open(state, framework="pt") as file:
            metadata = {"vggnet-training": file.metadata()["vggnet-training"]}
        tensors = load_file(state)
        tensors["model.fc8.bias"] = torch.zeros(5)
        save_file(tensors, state, metadata)
        assert "fc8.bias does not fit the net" in refused(options(resume=True))


class TestOptions:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"threads": 2}, "`threads` 1, now it says 2"),
            ({"decoder": "gpu"}, "`decoder` processes, now it says gpu"),
            ({"precision": "bf16"}, "`precision` fp32, now it says bf16"),
            ({"seed": 1}, "`seed` 0, now it says 1"),
            ({"train_scale": (50,)}, r"`train_scale` \[37\], now it says \(50,\)"),
            ({"init_from": Path("other.safetensors")}, "no `init_from`, now it says other.safetensors"),
        ],
    )
    def test_an_option_that_is_given_and_different_is_an_error(
        self, options: Callable[..., TrainOptions], stopped: Path, changes: dict[str, object], words: str
    ) -> None:
        with pytest.raises(UserError, match=words):
            train_classifier(options(resume=True, **changes))

    def test_options_that_are_not_given_and_those_of_the_machine_are_free(
        self, options: Callable[..., TrainOptions], stopped: Path
    ) -> None:
        open_ones = {"threads": None, "crop": None, "precision": "auto", "decoder": "auto", "micro_batch": None}
        free = {"workers": 1, "save_every": 9.0, "device": "auto", "bad_images": "skip"}
        if torch.cuda.is_available():
            free["device"] = "cpu"
        assert train_classifier(options(resume=True, **open_ones, **free)).epochs == 2

    def test_a_run_goes_on_with_a_smaller_micro_batch_where_memory_got_short(
        self, options: Callable[..., TrainOptions], stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copytree(stopped, tmp_path / "as_before")
        train_classifier(options(resume=True, out=tmp_path / "as_before"))
        capsys.readouterr()
        before = json.loads((stopped / "config.json").read_text())["micro_batch"]
        with pytest.raises(KeyboardInterrupt):
            train_classifier(options(resume=True, micro_batch=3, save_every=0.0), after_step=stop_at(epoch=1, step=3))
        printed = "".join(capsys.readouterr())
        assert f"`micro_batch` 3 from here on, {before} before: rounding is another" in printed
        assert "batch normalisation" not in printed
        shutil.copytree(stopped, tmp_path / "again")
        train_classifier(options(resume=True))  # it is remembered: as if it were given again
        train_classifier(options(resume=True, micro_batch=3, out=tmp_path / "again"))
        assert same_weights(stopped, tmp_path / "again")
        assert not same_weights(stopped, tmp_path / "as_before")
        assert json.loads((stopped / "config.json").read_text())["micro_batch"] == 3
        ours, expected = weights(stopped), weights(tmp_path / "as_before")
        for name, weight in expected.items():
            torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=1e-6)

    def test_the_net_to_start_from_is_known_by_its_weights(
        self, options: Callable[..., TrainOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = train_classifier(options(epochs=1, out=tmp_path / "source")).run
        begun = train_classifier(options(epochs=1, init_from=source)).run
        monkeypatch.chdir(tmp_path)
        shutil.copytree(source, tmp_path / "copy")
        for same in ("source", "./source/", "copy", str(source / "best.safetensors"), "images/../source"):
            train_classifier(options(epochs=1, init_from=Path(same), resume=True))
        other = load_model(source)
        with torch.no_grad():
            other.fc8.bias += 1
        save_model(tmp_path / "other.safetensors", other)
        with pytest.raises(UserError, match="was started with `init_from`"):
            train_classifier(options(epochs=1, init_from=tmp_path / "other.safetensors", resume=True))
        shutil.rmtree(source)
        assert train_classifier(options(epochs=1, init_from=Path("source"), resume=True)).run == begun


class TestOutput:
    @pytest.mark.parametrize("redirect", ["", pytest.param("2>&1", marks=pytest.mark.slow)])
    def test_a_closed_pipe_stops_the_training_with_its_state_saved_and_is_no_success(
        self, options: Callable[..., TrainOptions], tmp_path: Path, redirect: str
    ) -> None:
        command = f"{sys.executable} -m vggnet train images --out run --net A --crop 32 --width 0.03 --batch 8"
        command += " --epochs 60 --patience 99 --workers 0 --threads 1 --device cpu"
        script = f"{command} {redirect} | head -n 14; exit ${{PIPESTATUS[0]}}"
        options()  # makes the images
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 141, done.stderr
        assert "Traceback" not in done.stderr
        if not redirect:
            assert "standard output was closed by its reader" in done.stderr
            assert "--resume continues" in done.stderr
        progress = progress_of(tmp_path / "run")
        assert 1 <= progress.epoch < 60

    def test_a_full_disk_behind_standard_output_is_said(
        self,
        options: Callable[..., TrainOptions],
        stopped: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        class Full(io.StringIO):
            def write(self, text: str) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        small_net = ["--net", "A", "--crop", "32", "--width", "0.03", "--batch", "8", "--epochs", "2"]
        small_net += ["--patience", "9", "--workers", "0", "--device", "cpu"]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Full())
            assert run(["train", options().data, "--out", str(stopped), "--resume", *small_net]) == 1
        said = capsys.readouterr().err
        assert "standard output cannot be written to (No space left on device)" in said
        assert "--resume continues" in said
        assert train_classifier(options(resume=True)).epochs == 2
