"""Dense boxes by hand: nets whose every window answers the same; and the errors that ILSVRC counts."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from vggnet.backends.cpu_bf16 import FastVGG
from vggnet.evaluation.computing import Computing
from vggnet.hardware import cpu_has_bf16
from vggnet.localization.baselines import baselines
from vggnet.localization.boxes import edges_of, iou
from vggnet.localization.dense import MatchedNet, dense_candidates
from vggnet.localization.judging import center_test, count_localization_errors
from vggnet.localization.objects import objects_of, open_localizable

CPU = Computing(torch.device("cpu"), "fp32", 0)
ORDER = np.arange(6)


@pytest.fixture
def constant_net(save_net, tmp_path):
    """Makes a net that says `values` in every window."""

    def make(boxes: str, values):
        model = save_net(tmp_path / "constant.safetensors", boxes=boxes)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            model.fc8.bias.copy_(torch.as_tensor(values, dtype=torch.float32).flatten())
        return model.eval()

    return make


@pytest.fixture
def val(blocks):
    return objects_of(open_localizable(str(blocks), None, None).val, bad_boxes="stop", workers=0)


def dense(box_nets, val, scales, best=None, classifiers=(), indices=(0, 1)):
    best = np.tile(np.arange(5), (len(val), 1)) if best is None else best
    return dense_candidates(box_nets, classifiers, val.split, val.sizes, best, np.array(indices), scales, CPU)


def test_every_window_and_its_mirror(constant_net, val):
    # The left half of the window, as high: at 64 px a 40x44 image is 64x70, two windows a side.
    net = constant_net("scr", [-0.25, 0, 0.5, 1])
    assert val.sizes[0].tolist() == [40, 44]
    found = dense([MatchedNet(net, ORDER)], val, [(64,)])[0][0, 64].edges
    assert found.shape == (8, 5, 4)
    factor = np.array([40 / 64, 44 / 70] * 2)
    windows = [(0, 0), (32, 0), (0, 32), (32, 32)]
    plain = [[left, top, left + 16, top + 32] for left, top in windows]
    # mirrored: the window at x covers 64 - x - 32 to 64 - x, and its left half is the right half there
    mirrored = [[64 - left - 16, top, 64 - left, top + 32] for left, top in windows]
    np.testing.assert_allclose(found[:, 0], np.array(plain + mirrored) * factor, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 0], found[:, 4])


def test_a_net_without_mirrors_sees_none(constant_net, val):
    net = constant_net("scr", [-0.25, 0, 0.5, 1])
    assert dense([MatchedNet(net, ORDER, mirrors=False)], val, [(64,)])[0][0, 64].edges.shape == (4, 5, 4)


def test_a_classifier_that_never_saw_mirrors_does_not_rate_their_windows(constant_net, val):
    net = constant_net("scr", [-0.25, 0, 0.5, 1])
    first, second = constant_net("", [0, 1, 2, 3, 4, 5]), constant_net("", [5, 4, 3, 2, 1, 0])
    unmirrored = MatchedNet(first, ORDER, mirrors=False)
    alone = dense([MatchedNet(net, ORDER)], val, [(64,)], classifiers=[unmirrored])[0][0, 64]
    assert alone.edges.shape == (4, 5, 4)  # nobody could rate the mirrored windows
    classifiers = [unmirrored, MatchedNet(second, ORDER)]
    both = dense([MatchedNet(net, ORDER)], val, [(64,)], classifiers=classifiers)[0][0, 64]
    one, other = (
        torch.tensor(values).softmax(0).numpy()[:5] for values in ([0.0, 1, 2, 3, 4, 5], [5.0, 4, 3, 2, 1, 0])
    )
    np.testing.assert_allclose(both.scores[:4], np.tile((one + other) / 2, (4, 1)), rtol=1e-5)
    np.testing.assert_allclose(both.scores[4:], np.tile(other, (4, 1)), rtol=1e-5)


def test_boxes_are_cut_to_the_image(constant_net, val):
    net = constant_net("scr", [0, 0, 9, 9])
    found = dense([MatchedNet(net, ORDER)], val, [(64,)])[0][0, 64].edges
    np.testing.assert_allclose(found, np.broadcast_to([0, 0, 40, 44], found.shape))


def test_pcr_takes_the_boxes_of_the_best_classes_by_name(constant_net, val):
    values = [[0, 0, 0.1 * (k + 1), 1] for k in range(6)]
    net = constant_net("pcr", values)
    best = np.tile(np.array([4, 0, 2, 1, 3]), (len(val), 1))
    order = np.array([5, 4, 3, 2, 1, 0])  # the net has the classes in reverse
    found = dense([MatchedNet(net, order)], val, [(44,)], best)[1][0, 44].edges
    widths = (found[0, :, 2] - found[0, :, 0]) * 53 / 48  # 48x40 at Q=44 is 53x44
    assert val.sizes[1].tolist() == [48, 40]
    np.testing.assert_allclose(widths / 32, 0.1 * (order[best[1]] + 1), rtol=1e-5)


def test_images_of_unequal_size_in_one_batch_are_as_alone(save_net, tmp_path, val):
    net = save_net(tmp_path / "n.safetensors", boxes="pcr").eval()
    judge = MatchedNet(save_net(tmp_path / "c.safetensors", seed=1).eval(), ORDER)
    together = dense([MatchedNet(net, ORDER)], val, [(64, 70)], classifiers=[judge], indices=range(4))
    for index in range(4):
        alone = dense([MatchedNet(net, ORDER)], val, [(64, 70)], classifiers=[judge], indices=[index])[index]
        for key, candidates in alone.items():
            np.testing.assert_allclose(together[index][key].edges, candidates.edges, atol=1e-3)
            np.testing.assert_allclose(together[index][key].scores, candidates.scores, atol=1e-5)


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no bf16 instructions")
def test_the_fast_path_draws_the_same_boxes(save_net, tmp_path, val, monkeypatch):
    """bf16 through the nets made for inference: boxes within a pixel (random weights draw large ones), scores."""
    net = save_net(tmp_path / "n.safetensors", boxes="pcr", batch_norm=True).eval()
    judge = MatchedNet(save_net(tmp_path / "c.safetensors", seed=1).eval(), ORDER)
    best = np.tile(np.arange(5), (len(val), 1))
    arguments = ([MatchedNet(net, ORDER)], [judge], val.split, val.sizes, best, np.arange(4), [(64, 70)])
    exact = dense_candidates(*arguments, CPU)
    made = []
    monkeypatch.setattr("vggnet.backends.choose_inference.FastVGG", lambda model: made.append(model) or FastVGG(model))
    fast = dense_candidates(*arguments, dataclasses.replace(CPU, precision="bf16"))
    assert made == [judge.model, net]
    for index in range(4):
        for key, candidates in exact[index].items():
            np.testing.assert_allclose(fast[index][key].edges, candidates.edges, atol=1.0)
            np.testing.assert_allclose(fast[index][key].scores, candidates.scores, atol=0.03)


def test_scores_are_the_classifiers_in_the_same_window(constant_net, val):
    net = constant_net("scr", [0, 0, 1, 1])
    first = constant_net("", [0, 1, 2, 3, 4, 5])
    second = constant_net("", [5, 4, 3, 2, 1, 0])
    best = np.tile(np.array([5, 0, 1, 2, 3]), (len(val), 1))
    found = dense([MatchedNet(net, ORDER)], val, [(64,)], best, [MatchedNet(first, ORDER), MatchedNet(second, ORDER)])[
        0
    ][0, 64]
    posteriors = torch.arange(6.0).softmax(0).numpy()
    expected = (posteriors + posteriors[::-1])[best[0]] / 2
    np.testing.assert_allclose(found.scores, np.tile(expected, (8, 1)), rtol=1e-5)


def test_dense_at_crop_size_is_the_centre_crop(save_net, tmp_path, val):
    """One window: both tests give the same box (of the image that is not mirrored)."""
    net = save_net(tmp_path / "n.safetensors", boxes="scr").eval()
    square = dataclasses.replace(val, sizes=np.full_like(val.sizes, 32))
    for index in range(2):
        path = square.split.path(index)
        with Image.open(path) as image:
            image.resize((32, 32)).save(path)
    result = center_test(net, square, square.labels, 32, CPU, np.array([0, 1]))
    found = dense([MatchedNet(net, ORDER, mirrors=False)], square, [(32,)])
    for index in range(2):
        edges = found[index][0, 32].edges[0, 0]
        assert iou(edges, square.padded()[index]).max() == pytest.approx(result.overlaps[index], abs=1e-5)


def test_centre_test_by_hand(constant_net, val):
    """A net that always says "the middle half of the crop's width": overlaps worked out from the boxes."""
    net = constant_net("pcr", [[0, 0, 0.5, 1]] * 6)
    result = center_test(net, val, val.labels, 40, CPU, np.array([1]))
    # 48x40 at Q=40 is as it is; the crop is columns 8 to 39, rows 4 to 35, the box columns 16 to 31
    assert result.overlaps[0] == pytest.approx(iou(edges_of(np.array([16, 4, 31, 35])), val.padded()[1]).max())
    assert result.indices.tolist() == [1]


def test_errors_as_ilsvrc_counts_them():
    truth = np.array([[[0, 0, 10, 10], [50, 50, 60, 60]]] * 4, float)
    right, second, bad = [0, 0, 10, 9], [50, 50, 60, 60], [0, 0, 10, 5]  # overlaps 0.9, 1, 0.5: not above a half
    classes = np.array([[7, 1], [1, 7], [7, 1], [1, 2]])
    edges = np.array([[right, bad], [bad, second], [bad, right], [right, right]], float)
    errors = count_localization_errors(classes, edges, np.array([7, 7, 7, 7]), truth)
    # 0: best guess right. 1: the second is, on the second true box. 2: class right, box not. 3: wrong class.
    assert (errors.top1.wrong, errors.top5.wrong) == (3, 2)
    assert (errors.class_top1.wrong, errors.class_top5.wrong) == (2, 1)
    assert errors.mean_iou == pytest.approx((0.9 + 1 + 0.5) / 3)


def test_baselines_by_hand(blocks, val):
    train = objects_of(open_localizable(str(blocks), None, None).train, bad_boxes="stop", workers=0)
    found = baselines(train, val, 6)
    assert list(found) == ["whole image", "best constant box", "each class's mean box", "each class's best box"]
    whole = edges_of(np.concatenate([np.zeros_like(val.sizes), val.sizes - 1], 1))
    assert found["whole image"].wrong == int((iou(whole[:, None], val.padded()).max(1) <= 0.5).sum())
    assert found["best constant box"].rate <= found["whole image"].rate


def test_baselines_of_ilsvrc_tiny(ilsvrc_tiny):
    opened = open_localizable(str(ilsvrc_tiny), None, None)
    val = objects_of(opened.val, bad_boxes="stop", workers=0)
    found = baselines(val, val, len(opened.classes))
    assert 100 * found["whole image"].rate == pytest.approx(47.5)
