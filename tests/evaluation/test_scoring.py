"""What a view's posteriors are, and that batches change nothing: each image counts as if it were alone."""

import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nets import sharp_net
from torch.utils._python_dispatch import TorchDispatchMode

from vggnet.data.listing import images_at, unlabelled_folder
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.batching import Batcher, Item, buckets
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.forward import Scorer, _true_fp32, corners, ready_to_score
from vggnet.evaluation.masking import padding_kept_zero
from vggnet.evaluation.scoring import score, score_in_shards
from vggnet.evaluation.views import View, views_of
from vggnet.images.decoding import decode
from vggnet.images.geometry import rescale
from vggnet.images.normalization import normalize
from vggnet.images.rescaled import LARGEST_IMAGE_PX, size_limit

NETS = [("A-LRN", False), ("C", False), ("D", False), ("D", True), ("5x5", False)]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def item(position, pixels):
    return Item(position, torch.from_numpy(np.ascontiguousarray(pixels)))


def inputs(model, pixels):
    return normalize(torch.from_numpy(np.ascontiguousarray(pixels))[None], model.description.preprocessing)


def alone(model, pixels):
    """Dense posteriors of one image and its mirror (K,), from first principles."""
    both = [model.posteriors(inputs(model, each))[0] for each in (pixels, pixels[:, ::-1])]
    return ((both[0] + both[1]) / 2).numpy()


@pytest.fixture(scope="module", params=NETS, ids=lambda net: net[0] + ("-bn" if net[1] else ""))
def net(request, small_net):
    return small_net(request.param[0], batch_norm=request.param[1])


sizes = st.lists(st.tuples(st.integers(64, 130), st.integers(64, 130)), min_size=1, max_size=4)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes)
@example([(64, 64), (64, 97), (64, 95)])
@example([(127, 64), (65, 129), (96, 96), (96, 96)])
def test_a_masked_bucket_equals_one_image_at_a_time(net, sizes):
    items = [item(place, noise(*size, seed=place)) for place, size in enumerate(sizes)]
    with ready_to_score(net, "cpu", "fp32") as scorer:
        together = scorer.posteriors(View("dense", 64), items).numpy()
    expected = np.stack([alone(net, each.pixels.numpy()) for each in items])
    np.testing.assert_allclose(together, expected, rtol=1e-5)


def test_without_the_mask_a_bucket_is_wrong(small_net):
    """The test above would notice."""
    model = small_net("A")
    wide, narrow = inputs(model, noise(64, 128)), inputs(model, noise(64, 96, 1))
    padded = torch.cat([wide, torch.nn.functional.pad(narrow, (0, 32))])
    with torch.inference_mode():
        expected = model.forward_features(narrow)[0]
        careless = model.forward_features(padded)[1, :, :, :3]
        with padding_kept_zero(model, [(64, 128), (64, 96)], torch.device("cpu")):
            masked = model.forward_features(padded.clone())[1, :, :, :3]
    assert (careless - expected).abs().max() > 1e-2
    torch.testing.assert_close(masked, expected, rtol=1e-5, atol=1e-4)
    assert not model.conv1_1._forward_pre_hooks


def test_dense_at_crop_size_is_the_fc_net(small_net):
    model = small_net("D")
    pixels = noise(64, 64)
    pool5 = model.forward_features(inputs(model, pixels)).flatten(1)
    hidden = pool5
    for layer in (model.fc6, model.fc7):
        hidden = torch.relu(torch.nn.functional.linear(hidden, layer.weight.flatten(1), layer.bias))
    logits = torch.nn.functional.linear(hidden, model.fc8.weight.flatten(1), model.fc8.bias)
    torch.testing.assert_close(model.scores(inputs(model, pixels)), logits.detach(), rtol=1e-5, atol=1e-5)


def test_a_mirrored_image_has_the_same_dense_posteriors(small_net):
    model = small_net("E")
    items = [item(0, noise(70, 101)), item(1, noise(70, 101)[:, ::-1])]
    with ready_to_score(model, "cpu", "fp32") as scorer:
        first, second = scorer.posteriors(View("dense", 70), items)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=0)


def test_crop_corners_by_hand():
    # 85 x 64 pixels and a crop of 64: columns 0, 5.25, 10.5, 15.75, 21, halves up; one row
    assert corners(View("crops", 64), 64, 85, 64)[:5] == [(0, 0), (5, 0), (11, 0), (16, 0), (21, 0)]
    assert len(corners(View("crops", 64), 64, 85, 64)) == 25
    assert corners(View("center", 64), 64, 85, 64) == [(10, 0)]
    ten = corners(View("ten", 73), 73, 85, 64)
    assert set(ten) == {(0, 0), (21, 0), (0, 9), (21, 9), (10, 4)}


@pytest.mark.parametrize(("kind", "mirrored"), [("crops", True), ("ten", True), ("center", False)])
def test_crops_average_posteriors(small_net, kind, mirrored):
    model = small_net("A")
    pixels = noise(73, 90)
    crops = [pixels[y : y + 64, x : x + 64] for x, y in corners(View(kind, 73), 73, 90, 64)]
    crops += [crop[:, ::-1] for crop in crops] if mirrored else []
    expected = np.mean([model.posteriors(inputs(model, crop))[0].numpy() for crop in crops], axis=0)
    with ready_to_score(model, "cpu", "fp32") as scorer:
        got = scorer.posteriors(View(kind, 73), [item(0, pixels), item(1, pixels)]).numpy()
    np.testing.assert_allclose(got, [expected, expected], rtol=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_in_all_views(small_net, write_images, tmp_path, workers):
    write_images(tmp_path, [(90, 70), (70, 90), (90, 70), (64, 64), (130, 65)])
    split, model = unlabelled_folder(tmp_path), small_net("A")
    seen = []
    views = views_of(["dense", "crops", "center", "ten"], [64, 82])
    scores = score(
        model, split, views, Computing(workers=workers), on_progress=lambda done, total: seen.append((done, total))
    )
    assert list(scores.values) == list(views)
    assert scores.indices.tolist() == [0, 1, 2, 3, 4]
    assert seen == [(done, 5) for done in range(1, 6)]
    for index in range(5):
        pixels = np.array(rescale(decode(split.path(index)), 82))
        np.testing.assert_allclose(scores.values[View("dense", 82)][index], alone(model, pixels), rtol=1e-5)
    for array in scores.values.values():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array.sum(1), 1, rtol=1e-5)


def test_shards_and_chosen_images_give_the_same(small_net, write_images, tmp_path):
    write_images(tmp_path, [(90, 70), (70, 90), (66, 70), (64, 64), (130, 65)])
    split, model, view = unlabelled_folder(tmp_path), small_net("A"), View("dense", 64)
    whole = score(model, split, [view]).values[view]
    shards = list(score_in_shards(model, split, [view], shard=2))
    assert [shard.indices.tolist() for shard in shards] == [[0, 1], [2, 3], [4]]
    np.testing.assert_allclose(np.concatenate([shard.values[view] for shard in shards]), whole, rtol=1e-5)
    some = score(model, split, [view], indices=[3, 1])
    np.testing.assert_allclose(some.values[view], whole[[3, 1]], rtol=1e-5)
    assert score(model, split, [view], indices=[]).values[view].shape == (0, 7)


def test_scoring_leaves_the_net_and_the_caller_as_they_were(small_net, write_images, tmp_path):
    write_images(tmp_path, [(70, 70)] * 3)
    model = small_net("A").train()
    for _ in score_in_shards(model, unlabelled_folder(tmp_path), [View("center", 64)], shard=1):
        assert model.training
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_settings_of_the_gpu_are_given_back():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    with _true_fp32():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_gives_the_same(small_net, write_images, tmp_path, precision):
    write_images(tmp_path, [(90, 70), (70, 90), (90, 70), (64, 64), (130, 65)])
    split, model, views = unlabelled_folder(tmp_path), small_net("A"), views_of(["dense", "crops", "ten"], [64])
    expected = score(model, split, views)
    got = score(model, split, views, Computing(torch.device("cuda"), precision, 2))
    for view in views:
        tolerance = 1e-4 if precision == "fp32" else 0.05
        np.testing.assert_allclose(got.values[view], expected.values[view], atol=tolerance)


def test_bf16_is_close(small_net, write_images, tmp_path):
    write_images(tmp_path, [(90, 70), (70, 90)])
    split, model, views = unlabelled_folder(tmp_path), small_net("A"), views_of(["dense", "center"], [64])
    exact, rounded = score(model, split, views), score(model, split, views, Computing(precision="bf16"))
    for view in views:
        assert rounded.values[view].dtype == np.float32
        np.testing.assert_allclose(rounded.values[view], exact.values[view], atol=0.05)


def test_bad_images_stop_or_are_listed(small_net, write_images, tmp_path):
    names = write_images(tmp_path, [(70, 70)] * 4)
    (tmp_path / names[1]).write_bytes(b"")
    split, model, view = unlabelled_folder(tmp_path), small_net("A"), View("center", 64)
    with pytest.raises(BadImage, match=rf"{names[1]}: 0 bytes.*`bad_images` skip") as raised:
        score(model, split, [view])
    assert raised.value.path == split.path(1)
    scores = score(model, split, [view], Computing(bad_images="skip"))
    assert scores.indices.tolist() == [0, 2, 3]
    assert [bad.path for bad in scores.bad] == [split.path(1)]
    assert scores.values[view].shape == (3, 7)
    with pytest.raises(UserError, match="use stop or skip"):
        Computing(bad_images="ignore")  # type: ignore[arg-type]


def test_a_panorama_is_scored_or_refused_by_a_limit(small_net, write_images, tmp_path):
    write_images(tmp_path, [(10_000, 300), (70, 70)])
    split, model = unlabelled_folder(tmp_path), small_net("A")
    scores = score(model, split, [View("dense", 64)])  # 2133 x 64
    pixels = np.array(rescale(decode(split.path(0)), 64))
    np.testing.assert_allclose(scores.values[View("dense", 64)][0], alone(model, pixels), rtol=1e-5)
    with pytest.raises(BadImage, match=r"10000x300 becomes 17067x512 .* more than the 4,194,304 pixels"):
        score(model, split, views_of(["dense"], [64, 512]))
    assert size_limit(8192, 512, 512) is None
    assert size_limit(8193, 512, 512) is not None


def test_a_large_image_goes_in_two_passes(small_net, monkeypatch):
    model = small_net("A")
    monkeypatch.setattr("vggnet.evaluation.forward.batch_limit_px", lambda *_: 64 * 64)
    pixels = noise(64, 120)
    with ready_to_score(model, "cpu", "fp32") as scorer:
        shapes = []
        handle = model.conv1_1.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
        dense = scorer.posteriors(View("dense", 64), [item(0, pixels)])
        scorer.posteriors(View("crops", 64), [item(0, pixels)])
        handle.remove()
    np.testing.assert_allclose(dense[0].numpy(), alone(model, pixels), rtol=1e-5)
    assert shapes[:2] == [(1, 3, 64, 120)] * 2
    assert max(shape[0] for shape in shapes[2:]) == 2  # a crop and its mirror


class Copies(TorchDispatchMode):
    """Notes each copy between devices: from, to, and whether it waits for what the device has to do."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            into = function is torch.ops.aten.copy_.default
            source, target = (args[1], args[0]) if into else (args[0], result)
            if source.device != target.device:
                waits = not ((kwargs or {}).get("non_blocking") or (into and len(args) > 2 and args[2]))
                self.seen.append((source.device.type, target.device.type, waits))
        return result


@pytest.mark.parametrize("kind", ["dense", "crops", "center"])
def test_nothing_waits_for_the_device(small_net, kind):
    """The meta device stands for a GPU: it has no values that could be waited for."""
    meta = torch.device("meta")
    scorer = Scorer(small_net("D").to(meta), meta, "fp32", 2**20)
    items = [Item(place, torch.empty((70, 64 + 9 * place, 3), dtype=torch.uint8, device=meta)) for place in range(3)]
    with torch.no_grad(), Copies() as copies:
        posteriors = scorer.posteriors(View(kind, 70), items)
    assert posteriors.shape == (3, 7)
    assert copies.seen, "the mean has to come to the device"
    assert set(copies.seen) == {("cpu", "meta", False)}


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=30), st.integers(1, 20_000))
def test_batches_hold_every_image_once_within_the_limit(sizes, limit):
    batcher = Batcher(limit, waiting_px=20_000)
    items = [Item(place, torch.empty((*size, 3), dtype=torch.uint8)) for place, size in enumerate(sizes)]
    batches = [batch for item in items for batch in batcher.add(item)] + list(batcher.flush())
    assert sorted(item.position for batch in batches for item in batch) == list(range(len(items)))
    for batch in batches:
        rows, columns = (max(side) for side in zip(*(item.size for item in batch), strict=True))
        assert len(batch) == 1 or 2 * len(batch) * rows * columns <= limit
        used = sum(item.area for item in batch)
        assert len(batch) * rows * columns - used <= 0.1 * len(batch) * rows * columns


def test_buckets_join_similar_sizes():
    items = [
        Item(place, torch.empty((64, width, 3), dtype=torch.uint8))
        for place, width in enumerate([80, 120, 82, 81, 122])
    ]
    assert [[item.position for item in bucket] for bucket in buckets(items, 10**6)] == [[0, 3, 2], [1, 4]]


def test_images_are_decoded_once_for_all_scales(small_net, write_images, tmp_path, monkeypatch):
    write_images(tmp_path, [(90, 70)] * 2)
    from vggnet.images import whole_images

    decoded = []
    monkeypatch.setattr(whole_images, "decode", lambda *given: decoded.append(given) or decode(*given))
    score(small_net("A"), unlabelled_folder(tmp_path), views_of(["dense", "crops", "center"], [64, 73, 82]))
    assert len(decoded) == 2


def test_photographs(small_net, photographs):
    split = images_at(photographs[:24])
    model, view = small_net("D"), View("dense", 100)
    started = time.perf_counter()
    scores = score(model, split, [view])
    assert time.perf_counter() - started < 60
    for index, row in enumerate(scores.values[view]):
        pixels = np.array(rescale(decode(split.path(index)), 100))
        np.testing.assert_allclose(row, alone(model, pixels), rtol=1e-5)
    assert LARGEST_IMAGE_PX > 500 * 500


@pytest.mark.parametrize(
    ("kind", "size", "distinct"),
    [
        ("crops", (64, 64), 1),
        ("crops", (64, 66), 3),
        ("crops", (65, 65), 4),
        ("crops", (68, 72), 25),
        ("ten", (64, 64), 1),
        ("ten", (64, 70), 3),
        ("center", (64, 70), 1),
    ],
)
def test_equal_crops_of_an_image_go_through_the_net_once(kind: str, size: tuple[int, int], distinct: int) -> None:
    model = sharp_net("A").eval()
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    pixels = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    scorer = Scorer(model, torch.device("cpu"), "fp32", 2**20)
    with torch.no_grad():
        got = scorer.posteriors(View(kind, 64, mirror=False), [Item(place, each) for place, each in enumerate(pixels)])
        assert sum(seen) == 2 * distinct
        places = corners(View(kind, 64, mirror=False), *size, 64)
        for each, posteriors in zip(pixels, got, strict=True):
            crops = torch.stack([each[y : y + 64, x : x + 64] for x, y in places])
            torch.testing.assert_close(posteriors, model(scorer.inputs(crops)).flatten(1).softmax(1).mean(0))
