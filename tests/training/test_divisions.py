"""What is learnt from, judged by and tested on is a property of the data, not of a training's seed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggnet.api.evaluation import evaluate
from vggnet.data.learnt import content_digests, read_learnt
from vggnet.data.opening import open_data
from vggnet.errors import UserError
from vggnet.options.flat import changed
from vggnet.options.training import TrainOptions
from vggnet.training.classification import train_classifier

VAL, HELD_OUT = 14, 5  # of 60 images, by their names: about a fifth is set aside, and a tenth of the others held out


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of 20 images without a validation part."""
    generator = np.random.default_rng(0)
    for number in range(60):
        folder = tmp_path / "photos" / f"class{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def train(photos: Path, tmp_path: Path) -> Callable[..., Path]:
    """train("run", seed=1, ...): a small net for one epoch, from Python."""

    def make(name: str, data: Path = photos, **options: object) -> Path:
        fixed = {"net": "A", "width": 0.04, "crop": 32, "epochs": 1, "batch": 32, "workers": 0, "threads": 1}
        out = tmp_path / name
        train_classifier(changed(TrainOptions(str(data), out=out), device="cpu", precision="fp32", **fixed | options))
        return out

    return make


def test_two_seeds_are_tested_on_the_same_unseen_images_in_either_order(
    train: Callable[..., Path], photos: Path
) -> None:
    runs = [train("seed0", seed=0), train("seed1", seed=1)]
    val = open_data(str(photos)).val
    assert val is not None
    for run in runs:
        learnt = read_learnt(run)
        assert learnt is not None
        assert len(learnt.images) == 60 - VAL - HELD_OUT
        assert not learnt.holds_contents(content_digests(val)).any()
    errors = []
    for order in (runs, runs[::-1]):
        table = evaluate(order, str(photos), views=["center"], device="cpu", precision="fp32", workers=0)
        assert table.rows[0].expected == len(val) == VAL
        errors.append({row.nets: row.errors for row in table.rows if "+" not in row.nets})
    assert len(errors[0]) == 2
    assert errors[0] == errors[1]


def test_a_stage_with_another_seed_is_not_judged_by_what_its_source_has_learnt_from(
    train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = train("source", seed=0)
    capsys.readouterr()
    stage = train("stage", seed=1, init_from=source)
    assert f"judged    on {HELD_OUT} images held out of train, which the net of `init_from` has not learnt from" in (
        capsys.readouterr().out
    )
    before, after = read_learnt(source), read_learnt(stage)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before.images, after.images)


def test_a_source_that_was_judged_on_val_stops_a_stage_that_holds_images_out(
    train: Callable[..., Path], tmp_path: Path
) -> None:
    everything = train("everything", holdout=0.0)
    with pytest.raises(UserError, match="`holdout` 0"):
        train("refused", init_from=everything)
    assert not (tmp_path / "refused").exists()
    train("stage", init_from=everything, holdout=0.0)


def test_the_same_images_in_a_folder_called_train_are_divided_alike(
    train: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    source = train("source")
    (tmp_path / "moved").mkdir()
    photos.rename(tmp_path / "moved" / "train")
    for data in (tmp_path / "moved", tmp_path / "moved" / "train"):
        table = evaluate([source], str(data), views=["center"], device="cpu", precision="fp32", workers=0)
        assert table.rows[0].expected == VAL
