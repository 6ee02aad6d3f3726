"""Posteriors are computed once, cached whole whatever happens, and never taken for those of something else."""

import dataclasses
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import Forked
from PIL import Image

from vggnet.data.listing import unlabelled_folder
from vggnet.errors import BadImage, UserError
from vggnet.evaluation import image_keys
from vggnet.evaluation import store as module
from vggnet.evaluation.computing import ON_CPU, Computing
from vggnet.evaluation.scoring import score
from vggnet.evaluation.store import Store, store_folders
from vggnet.evaluation.views import View, views_of
from vggnet.network.weights import load_model, read_description, save_model

VIEWS = views_of(["dense", "center"], [64, 73])


@pytest.fixture
def images(tmp_path, write_images):
    write_images(tmp_path / "images", [(90, 70), (70, 90), (66, 70), (64, 64), (130, 65)])
    return tmp_path / "images"


def open_store(run, images, precision="fp32", **more):
    return Store.of(run, read_description(run), unlabelled_folder(images), Computing(precision=precision, **more))


def fill(run, images, views=VIEWS, on_progress=None, **more):
    store = open_store(run, images, **more)
    return store, store.fill(views, on_progress=on_progress)


@pytest.fixture
def no_net(monkeypatch):
    """Call it, and from then on no net may be loaded."""
    return lambda: monkeypatch.setattr(module, "load_model", lambda *_: pytest.fail("the net was loaded"))


def test_a_second_time_needs_no_net(run_folder, images, no_net):
    run = run_folder()
    store, bad = fill(run, images)
    assert bad == []
    split = unlabelled_folder(images)
    expected = score(load_model(run), split, VIEWS)
    again = open_store(run, images)
    no_net()
    assert again.fill(VIEWS[::-1]) == []
    for view in VIEWS:
        kept, present = again.read(view)
        assert present.all()
        np.testing.assert_array_equal(kept, expected.values[view])
    assert store.place(VIEWS[0]).parent == run / "posteriors"


def test_only_new_views_are_scored(run_folder, images, monkeypatch):
    run = run_folder()
    fill(run, images, VIEWS[:2])
    scored = []
    original = module.score_in_shards
    monkeypatch.setattr(module, "score_in_shards", lambda *a, **k: scored.append(a[2]) or original(*a, **k))
    fill(run, images, VIEWS)
    assert scored == [list(VIEWS[2:])]


def test_provenance_stands_beside_the_numbers(run_folder, images):
    store, _ = fill(run_folder(), images, VIEWS[:1])
    text = (store.place(VIEWS[0]) / "provenance.json").read_text()
    for word in ("dense-64", "weights_sha256", "Pillow", "fp32", torch.__version__, "mean"):
        assert word in text


def overwritten_keeping_size_and_date(run, images):
    path = images / "002.png"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def other_weights(run, images):
    model = load_model(run)
    with torch.no_grad():
        model.fc8.bias[0] += 1e-6
    save_model(run / "best.safetensors", model)


def other_preprocessing(run, images):
    model = load_model(run)
    preprocessing = dataclasses.replace(model.description.preprocessing, deviation=(2.0, 2.0, 2.0))
    model.description = dataclasses.replace(model.description, preprocessing=preprocessing)
    save_model(run / "best.safetensors", model)


@pytest.mark.parametrize("change", [other_weights, other_preprocessing])
def test_another_net_is_a_miss(run_folder, images, change):
    run = run_folder()
    fill(run, images, VIEWS[:1])
    change(run, images)
    assert not open_store(run, images).read(VIEWS[0])[1].any()


@pytest.mark.parametrize("settled", [False, True])
def test_only_an_image_that_was_overwritten_is_a_miss(run_folder, images, monkeypatch, settled):
    if settled:  # as if the images had lain there for long, so that their hashes are cached
        monkeypatch.setattr(image_keys, "SETTLED_NS", -1)
    run = run_folder()
    store, _ = fill(run, images, VIEWS[:1])
    whole, _ = store.read(VIEWS[0])
    overwritten_keeping_size_and_date(run, images)
    kept, present = open_store(run, images).read(VIEWS[0])
    assert present.tolist() == [True, True, False, True, True]
    np.testing.assert_array_equal(kept[present], whole[present])


def made_executable(images):
    for file in images.iterdir():
        file.chmod(0o755)


def touched(images):
    for file in images.iterdir():
        os.utime(file, (0, 0))


def renamed(images):
    for place, file in enumerate(sorted(images.iterdir(), reverse=True)):
        file.rename(images / f"other{place}.png")


def another_added(images):
    Image.new("RGB", (70, 70)).save(images / "000a.png")


def copied_elsewhere(images):
    shutil.copytree(images, images.parent / "copy")
    shutil.rmtree(images)
    (images.parent / "copy").rename(images)


@pytest.mark.parametrize("change", [made_executable, touched, renamed, another_added, copied_elsewhere])
def test_images_with_the_same_content_keep_their_posteriors(run_folder, images, change):
    run = run_folder()
    store, _ = fill(run, images, VIEWS[:1])
    before = {Path(store.keys.split.path(i)).read_bytes(): row for i, row in enumerate(store.read(VIEWS[0])[0])}
    change(images)
    split = unlabelled_folder(images)
    kept, present = open_store(run, images).read(VIEWS[0])
    for index in range(len(split)):
        expected = before.get(Path(split.path(index)).read_bytes())
        assert present[index] == (expected is not None)
        if expected is not None:
            np.testing.assert_array_equal(kept[index], expected)
    assert present.sum() == 5


def test_a_file_is_hashed_once_where_its_hash_is_cached(run_folder, images, monkeypatch):
    monkeypatch.setattr(image_keys, "SETTLED_NS", -1)
    run = run_folder()
    fill(run, images, VIEWS[:1])
    monkeypatch.setattr(image_keys.ImageKeys, "_hash", lambda *_: pytest.fail("a file was read again"))
    assert open_store(run, images).read(VIEWS[0])[1].all()


def test_an_image_that_was_just_written_is_hashed_again(run_folder, images):
    keys = image_keys.ImageKeys(unlabelled_folder(images))
    keys.compute(range(5))
    keys.save()
    assert image_keys.ImageKeys(unlabelled_folder(images)).known() == {}  # it may change within one tick of the clock


def test_a_damaged_cache_of_hashes_is_made_again(run_folder, images, monkeypatch, tmp_path):
    monkeypatch.setenv("VGGNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image_keys, "SETTLED_NS", -1)
    run = run_folder()
    fill(run, images, VIEWS[:1])
    (file,) = (tmp_path / "cache" / "image-hashes").iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert open_store(run, images).read(VIEWS[0])[1].all()


def test_parts_of_one_image_have_keys_of_their_own(images):
    split = unlabelled_folder(images).subset([0, 0, 0])
    regions = np.array([[0, 0, 9, 9], [0, 0, 8, 9], [0, 0, 9, 9]], np.int64)
    keys = image_keys.ImageKeys(dataclasses.replace(split, regions=regions))
    keys.compute(range(3))
    assert sorted(keys.known().values()) == [[0, 2], [1]]


def test_an_image_that_is_replaced_while_it_is_scored_is_not_cached(run_folder, images):
    run = run_folder()

    def replace(done, total):
        if done == 2:
            Image.new("RGB", (70, 70)).save(images / "000.png")

    with pytest.raises(UserError, match=r"000\.png: was replaced while the images were being read"):
        fill(run, images, VIEWS[:1], on_progress=replace)
    assert not open_store(run, images).read(VIEWS[0])[1].any()


def test_weights_that_are_replaced_before_they_are_loaded_are_an_error(run_folder, images):
    run = run_folder()
    store = open_store(run, images)
    other_weights(run, images)
    with pytest.raises(UserError, match="run: its weights were replaced while they were being read"):
        store.fill(VIEWS[:1])
    assert not (run / "posteriors").exists()


def test_weights_that_were_loaded_before_they_were_replaced_are_an_error(run_folder, images):
    run = run_folder()
    model = load_model(run)
    other_weights(run, images)
    with pytest.raises(UserError, match="replaced"):
        open_store(run, images).fill(VIEWS[:1], model=model)


def test_weights_of_another_description_than_was_read_are_an_error(run_folder, images):
    run = run_folder()
    description = read_description(run)
    other_preprocessing(run, images)
    with pytest.raises(UserError, match="replaced"):
        Store.of(run, description, unlabelled_folder(images), ON_CPU)


def test_a_shard_of_another_views_folder_is_ignored(run_folder, images):
    run = run_folder()
    store, _ = fill(run, images, VIEWS)
    before = [store.read(view)[0] for view in VIEWS]
    assert not np.array_equal(before[0], before[1])
    for file in store.place(VIEWS[0]).glob("0*"):
        shutil.copy(file, store.place(VIEWS[1]) / f"9{file.name[1:]}")
    for view, expected in zip(VIEWS, before, strict=True):
        np.testing.assert_array_equal(store.read(view)[0], expected)


def test_options_and_versions_are_told_apart(run_folder, images, monkeypatch):
    run = run_folder()
    store, _ = fill(run, images, VIEWS[:1])
    place = store.place(VIEWS[0])
    assert open_store(run, images, "bf16").place(VIEWS[0]) != place
    assert store.place(VIEWS[1]) != place
    monkeypatch.setattr(module, "decoder", lambda: "another 1.0")
    assert open_store(run, images).place(VIEWS[0]) != place


def test_damaged_shards_are_scored_again(run_folder, images, monkeypatch):
    monkeypatch.setitem(module.SHARD_IMAGES, "cpu", 2)
    run = run_folder()
    store, _ = fill(run, images, VIEWS[:1])
    whole, _ = store.read(VIEWS[0])
    shards = sorted(store.place(VIEWS[0]).glob("0*.safetensors"))
    assert len(shards) == 3
    content = bytearray(shards[0].read_bytes())
    content[-1] ^= 64  # one bit of one posterior
    shards[0].write_bytes(content)
    shards[1].write_bytes(shards[1].read_bytes()[:50])
    assert store.read(VIEWS[0])[1].tolist() == [False] * 4 + [True]
    fill(run, images, VIEWS[:1])
    np.testing.assert_allclose(store.read(VIEWS[0])[0], whole, rtol=1e-5)


def test_bad_images_are_tried_again(run_folder, images):
    run = run_folder()
    (images / "001.png").write_bytes(b"")
    with pytest.raises(BadImage, match="0 bytes"):
        fill(run, images, VIEWS[:1])
    for _ in range(2):
        store, bad = fill(run, images, VIEWS[:1], bad_images="skip")
        assert [Path(error.path).name for error in bad] == ["001.png"]
        assert store.read(VIEWS[0])[1].tolist() == [True, False, True, True, True]


def test_where_the_models_folder_cannot_be_written_to_posteriors_go_to_the_cache(
    run_folder, images, no_net, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("VGGNET_CACHE", str(tmp_path / "cache"))
    run = run_folder()
    (run / "posteriors").write_text("in the way")
    store, bad = fill(run, images, VIEWS)
    assert bad == []
    assert store.read(VIEWS[0])[1].all()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"{run / 'posteriors'}: cannot be written to (")
    assert said[0].endswith(f"; posteriors are cached in {tmp_path / 'cache' / 'posteriors'}")
    again = open_store(run, images)
    no_net()
    assert again.fill(VIEWS) == []


def test_where_nothing_can_be_written_to_posteriors_stay_in_memory(run_folder, images, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("VGGNET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").write_text("in the way")
    run = run_folder()
    (run / "posteriors").write_text("in the way")
    store, split = open_store(run, images), unlabelled_folder(images)
    assert store.fill(VIEWS) == []
    expected = score(load_model(run), split, VIEWS).values
    for view in VIEWS:
        kept, present = store.read(view)
        assert present.all()
        np.testing.assert_allclose(kept, expected[view], rtol=1e-5)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"{run / 'posteriors'}: cannot be written to (")
    assert said[0].endswith("; posteriors are not cached: the next command computes them again")


def test_a_weight_file_alone_uses_the_cache(run_folder, images, monkeypatch, tmp_path):
    monkeypatch.setenv("VGGNET_CACHE", str(tmp_path / "cache"))
    run = run_folder()
    assert store_folders(run / "best.safetensors") == (tmp_path / "cache" / "posteriors",)
    fill(run / "best.safetensors", images, VIEWS[:1])
    assert not (run / "posteriors").exists()
    assert any((tmp_path / "cache" / "posteriors").iterdir())


def fill_until_killed(run, images, kill_at):
    """Fill a store in shards of four images; end by SIGKILL after `kill_at` of them."""
    module.SHARD_IMAGES["cpu"] = 4

    def progress(done, total):
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    fill(run, images, views_of(["dense"], [64]), on_progress=progress)


def start(run, images, kill_at):
    return Forked(fill_until_killed, run, images, kill_at)


def test_a_kill_loses_one_shard_at_most(run_folder, tmp_path, write_images):
    write_images(tmp_path / "images", [(90, 70), (70, 90)] * 10)
    run, images, view = run_folder(), tmp_path / "images", View("dense", 64)
    assert start(run, images, kill_at=14).wait(60) == -signal.SIGKILL
    assert open_store(run, images).read(view)[1].tolist() == [True] * 12 + [False] * 8
    seen = []
    store, _ = fill(run, images, [view], on_progress=lambda done, total: seen.append(total))
    assert seen == [8] * 8
    expected = score(load_model(run), unlabelled_folder(images), [view]).values[view]
    kept, present = store.read(view)
    assert present.all()
    np.testing.assert_allclose(kept, expected, rtol=1e-5)


def test_two_processes_share_a_store(run_folder, tmp_path, write_images):
    write_images(tmp_path / "images", [(90, 70), (70, 90)] * 10)
    run, images, view = run_folder(), tmp_path / "images", View("dense", 64)
    for process in [start(run, images, kill_at=-1), start(run, images, kill_at=-1)]:
        assert process.wait(60) == 0
    expected = score(load_model(run), unlabelled_folder(images), [view]).values[view]
    kept, present = open_store(run, images).read(view)
    assert present.all()
    np.testing.assert_allclose(kept, expected, rtol=1e-5)
    assert not list((run / "posteriors").rglob("*.part"))
