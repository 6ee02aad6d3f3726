"""Which images a net has learnt from, and copies among the images of a data set."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from vggnet.data.learnt import Learnt, content_digest, content_digests, read_learnt, read_learnt_before, write_learnt
from vggnet.data.opening import open_data
from vggnet.description import AS_STORED
from vggnet.errors import UserError
from vggnet.training.prepare_images import Pictures, learnt_before, prepare_pictures


def prepared(data: Path, **options) -> Pictures:
    return prepare_pictures(
        open_data(str(data)),
        str(data),
        **{"holdout": 0.2, "bad_images": "stop", "workers": 0, "reading": AS_STORED} | options,
    )


@pytest.fixture
def photos(make_image, tmp_path):
    """Two classes of 20 images without a validation part."""
    for number in range(40):
        make_image(f"photos/{'ab'[number % 2]}/{number}.png", seed=number)
    return tmp_path / "photos"


@pytest.mark.parametrize("size", [1, 100, 8192, 8193, 12_000, 20_000, 100_000])
def test_a_content_digest_tells_contents_apart_wherever_they_differ(tmp_path, size):
    content = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    (tmp_path / "a").write_bytes(content.tobytes())
    (tmp_path / "b").write_bytes(content.tobytes())
    digest = content_digest(str(tmp_path / "a"))
    assert digest == content_digest(str(tmp_path / "b")) != 0
    for place in {0, size // 2, size - 1}:
        changed = content.copy()
        changed[place] ^= 1
        (tmp_path / "b").write_bytes(changed.tobytes())
        assert content_digest(str(tmp_path / "b")) != digest
    (tmp_path / "b").write_bytes(content.tobytes() + b"\0")
    assert content_digest(str(tmp_path / "b")) != digest
    assert content_digest(str(tmp_path / "none")) == content_digest(str(tmp_path)) == 0


def test_what_is_written_is_read(photos, tmp_path):
    opened = open_data(str(photos))
    own, before = (Learnt.of(part, content_digests(part)) for part in (opened.train, opened.val))
    write_learnt(tmp_path, own, before)
    (tmp_path / "best.safetensors").touch()
    found = read_learnt(tmp_path / "best.safetensors")
    for part in (opened.train, opened.val):
        assert found.holds_images(part, content_digests(part)).all()
    np.testing.assert_array_equal(read_learnt_before(tmp_path).images, before.images)
    assert read_learnt(photos) is None
    assert read_learnt("someone/vgg16") is None


def test_a_training_knows_its_images_by_their_folder_and_the_held_out_ones_not(photos):
    pictures = prepared(photos)
    for part, expected in ((pictures.train, True), (pictures.judge, False), (pictures.val, False)):
        assert (pictures.learnt.holds_images(part, content_digests(part)) == expected).all()
    assert len(pictures.train) + len(pictures.judge) + len(pictures.val) == 40


@pytest.mark.parametrize(("before", "after"), [(0.2, 0.2), (0.2, 0.1), (0.1, 0.5)])
def test_no_image_that_the_source_has_learnt_from_judges(photos, before, after):
    source = prepared(photos, holdout=before)
    later = prepared(photos, holdout=after, learnt_before=source.learnt)
    assert set(later.judge.files) <= set(source.judge.files)
    assert later.val.files == source.val.files
    assert "has not learnt from" in later.judged_on
    assert sorted(later.train.files + later.judge.files) == sorted(source.train.files + source.judge.files)


def test_a_source_that_has_learnt_from_all_training_images_stops(photos):
    source = prepared(photos, holdout=0)
    with pytest.raises(UserError, match=r"has learnt from all \d+ training images.*`holdout` 0"):
        prepared(photos, learnt_before=source.learnt)
    assert len(prepared(photos, holdout=0, learnt_before=source.learnt).train) == len(source.train)


def test_a_source_that_has_learnt_from_the_images_set_aside_stops(photos):
    everything = open_data(str(photos), whole=True).val
    learnt = Learnt.of(everything, content_digests(everything))
    with pytest.raises(UserError, match=r"has learnt from (\d+) of the \1 images set aside.*val/CLASS"):
        prepared(photos, learnt_before=learnt)


def test_a_source_of_other_images_changes_nothing(photos, make_image, tmp_path):
    make_image("others/a/0.png", seed=99)  # the same name, another content
    others = open_data(str(tmp_path / "others"), whole=True).val
    later = prepared(photos, learnt_before=Learnt.of(others, content_digests(others)))
    assert later.judge.files == prepared(photos).judge.files
    assert "has not learnt from" not in later.judged_on


def test_a_run_that_goes_on_needs_its_source_no_more(photos, tmp_path):
    source, run = tmp_path / "source", tmp_path / "run"
    source.mkdir()
    run.mkdir()
    before = prepared(photos)
    write_learnt(source, before.learnt, None)
    found = learnt_before(source, run)
    np.testing.assert_array_equal(found.images, before.learnt.images)
    write_learnt(run, prepared(photos, learnt_before=found).learnt, found)
    shutil.rmtree(source)
    np.testing.assert_array_equal(learnt_before(source, run).images, before.learnt.images)
    assert learnt_before(None, tmp_path / "another") is None


def test_copies_of_training_images_in_val_are_noted_with_their_number(make_image, tmp_path, capsys):
    for number in range(8):
        make_image(f"data/train/{'ab'[number % 2]}/{number}.png", seed=number)
        make_image(f"data/val/{'ab'[number % 2]}/{number}.png", seed=number + 50)
    prepared(tmp_path / "data")
    assert "copies" not in capsys.readouterr().out
    for number in (2, 3):
        shutil.copyfile(tmp_path / f"data/train/a/{number * 2}.png", tmp_path / f"data/val/b/copy {number}.png")
    prepared(tmp_path / "data")
    out = capsys.readouterr().out
    assert "note: 2 of 10 val images are copies of training images, such as " in out
    assert "copy 2.png of " in out
    assert "train/a/4.png" in out


def test_copies_in_the_held_out_part_are_noted_with_their_number(photos, capsys):
    """Each image twice: where one of the two is held out, the other one may be learnt from."""
    for file in sorted(photos.glob("*/*.png")):
        shutil.copyfile(file, file.with_name(f"{file.stem} again.png"))

    def twin(file: str) -> str:
        return file.replace(" again.png", ".png") if " again" in file else file.replace(".png", " again.png")

    pictures = prepared(photos, holdout=0.2)
    out = capsys.readouterr().out
    for part, others, name in (
        (pictures.judge, pictures.train.files, "held-out"),
        (pictures.val, pictures.train.files + pictures.judge.files, "val"),
    ):
        expected = sum(twin(file) in others for file in part.files)
        assert expected > 0
        assert f"note: {expected} of {len(part)} {name} images are copies of training images" in out


def test_images_that_only_resemble_a_training_image_are_no_copies(tmp_path, capsys):
    """Bitmaps of one size that differ where the digest does not look."""
    from PIL import Image

    pixels = np.zeros((120, 100, 3), np.uint8)
    for place, name in enumerate(("train/a/1.bmp", "train/a/2.bmp", "train/b/3.bmp", "train/b/4.bmp", "val/a/5.bmp")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pixels[85, place] = 255
        Image.fromarray(pixels).save(tmp_path / name)
    opened = open_data(str(tmp_path))
    assert content_digests(opened.val)[0] in content_digests(opened.train)
    prepared(tmp_path)
    assert "copies" not in capsys.readouterr().out
