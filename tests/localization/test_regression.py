"""Targets by hand: crops that cut objects, several objects, mirrors; the loss and where its gradient goes."""

import numpy as np
import pytest
import torch

from vggnet.errors import UserError
from vggnet.images.augmentation import Augmentation
from vggnet.localization.boxes import Windows, edges_of, encode, iou
from vggnet.localization.objects import Objects, objects_of, open_localizable
from vggnet.localization.regression import box_losses, draw_boxes, overlap, regression_losses, select, targets_of


def target(corners, *, mirrored=False, left=0, top=0, scale=64, size=(64, 64), side=32):
    windows = Windows.of_views(np.array([size]), np.array([[scale, left, top, mirrored]]), side)
    return targets_of(edges_of(np.array([corners])), np.array([3]), windows)[0]


def test_targets_by_hand():
    # columns 8 to 23, rows 0 to 31 of a crop of 32: centre in the middle, half as wide, as high
    np.testing.assert_allclose(target((8, 0, 23, 31)), [0, 0, 0.5, 1, 3, 1])
    np.testing.assert_allclose(target((0, 0, 15, 31)), [-0.25, 0, 0.5, 1, 3, 1])
    np.testing.assert_allclose(target((0, 0, 15, 31), mirrored=True), [0.25, 0, 0.5, 1, 3, 1])
    # the image enlarged twice: 4 to 11 of 32 are 8 to 23 of 64
    np.testing.assert_allclose(target((4, 0, 11, 15), size=(32, 32)), [0, 0, 0.5, 1, 3, 1])


def test_a_crop_that_cuts_the_object_learns_its_true_box():
    # columns 16 to 47 of a crop at 0: half of it is seen, its centre lies on the border
    np.testing.assert_allclose(target((16, 0, 47, 31)), [0.5, 0, 1, 1, 3, 1])


@pytest.mark.parametrize(
    ("corners", "weight"),
    [
        ((17, 0, 48, 31), 0),  # 15 of 32 columns
        ((40, 40, 60, 60), 0),  # beside the crop
        ((0, 0, 63, 63), 1),  # larger than the crop, which is full of it: it sees all that it can
        ((16, 0, 63, 63), 1),  # larger, and half of the crop is object
        ((17, 0, 63, 63), 0),
    ],
)
def test_a_crop_that_sees_too_little_learns_nothing(corners, weight):
    assert target(corners)[5] == weight


def test_euclidean_loss_by_hand():
    outputs = torch.tensor([[0.1, 0, 0.5, 1.0], [0, 0, 1, 1]], requires_grad=True)
    targets = torch.tensor([[0, 0, 0.5, 0.8, 2, 1], [0.9, 0, 1, 1, 0, 0]])
    losses, wrong = regression_losses(outputs, targets, "scr")
    torch.testing.assert_close(losses, torch.tensor([0.5 * (0.01 + 0.04), 0.0]))
    losses.sum().backward()
    torch.testing.assert_close(outputs.grad, torch.tensor([[0.1, 0, 0, 0.2], [0, 0, 0, 0]]))
    assert wrong.tolist() == [False, False]  # what weighs nothing is not wrong either


def test_smooth_l1_by_hand():
    given, wanted = torch.tensor([[0.05, 0.5, 0.5, 1.0]]), torch.tensor([[0.0, 0, 0.5, 1.0]])
    # below a tenth: 0.05^2 / 0.2; above: 0.5 - 0.05
    torch.testing.assert_close(box_losses(given, wanted, "smooth-l1"), torch.tensor([0.0125 + 0.45]))


@pytest.mark.parametrize(
    ("given", "generalised"),
    [
        ([0, 0, 1, 1], 1.0),
        ([0, 0, 1, 0.5], 0.5),  # half of the box, and the smallest box around both is the larger
        ([0.5, 0, 1, 1], 0.5 / 1.5),  # moved by half a side: nothing of the box around both is empty
        ([1.5, 0, 1, 1], -0.5 / 2.5),  # apart: a fifth of the box around both is empty
        ([0.5, 0.5, 1, 1], 0.25 / 1.75 - 0.5 / 2.25),  # moved along both axes
    ],
)
def test_generalised_overlap_by_hand(given, generalised):
    given, wanted = torch.tensor([given], dtype=torch.float64), torch.tensor([[0.0, 0, 1, 1]], dtype=torch.float64)
    expected = box_losses(given, wanted, "euclidean") + 1 - generalised
    torch.testing.assert_close(box_losses(given, wanted, "giou"), expected, atol=1e-6, rtol=0)


def test_generalised_overlap_moves_boxes_without_width():
    given = torch.tensor([[0.2, 0.1, -0.3, 0.4]], requires_grad=True)
    box_losses(given, torch.tensor([[0.0, 0, 0.5, 0.4]]), "giou").sum().backward()
    assert torch.isfinite(given.grad).all()
    assert given.grad[0, 2] < 0  # descent widens it


def test_a_small_box_weighs_more_by_generalised_overlap_only():
    def ratio(loss):
        """How much more the same shift costs a box of a tenth than one of the whole crop."""
        costs = []
        for side in (0.1, 1.0):
            wanted = torch.tensor([[0.0, 0, side, side]])
            costs.append(box_losses(wanted + torch.tensor([[0.05, 0, 0, 0]]), wanted, loss))
        return float(costs[0] / costs[1])

    assert ratio("euclidean") == 1
    assert ratio("smooth-l1") == 1
    assert ratio("giou") > 5


def test_pcr_learns_the_true_class_only():
    outputs = torch.arange(24.0).reshape(2, 12).requires_grad_()
    torch.testing.assert_close(
        select(outputs, torch.tensor([2, 0]), "pcr").detach(), torch.tensor([[8.0, 9, 10, 11], [12, 13, 14, 15]])
    )
    losses, wrong = regression_losses(outputs, torch.tensor([[0.0, 0, 1, 1, 2, 1], [0, 0, 1, 1, 0, 1]]), "pcr")
    losses.sum().backward()
    touched = outputs.grad != 0
    assert touched.nonzero().tolist() == [[0, i] for i in (8, 9, 10, 11)] + [[1, i] for i in (0, 1, 2, 3)]
    assert wrong.all()


def test_overlap_is_that_of_boxes():
    generator = np.random.default_rng(0)
    first, second = (edges_of(np.sort(generator.integers(0, 40, (50, 2, 2)), 1).reshape(50, 4)) for _ in range(2))
    ours = overlap(*(torch.from_numpy(encode(each, 32)) for each in (first, second)))
    np.testing.assert_allclose(ours.numpy(), iou(first, second), atol=1e-12)


def test_the_box_drawn_depends_on_seed_epoch_and_image_only(blocks):
    opened = open_localizable(str(blocks), None, None)
    objects = objects_of(opened.train, bad_boxes="stop", workers=0)
    several = np.flatnonzero(objects.counts > 1)
    assert len(several) == 6
    everything = np.arange(len(objects))
    drawn = [draw_boxes(objects, 7, epoch, everything) for epoch in range(12)]
    np.testing.assert_array_equal(drawn[3], draw_boxes(objects, 7, 3, everything))
    np.testing.assert_array_equal(drawn[3][several[::-1]], draw_boxes(objects, 7, 3, several[::-1]))
    for image in several.tolist():
        own = objects.edges[objects.starts[image] : objects.starts[image + 1]]
        assert {tuple(each[image]) for each in drawn} == {tuple(box) for box in own}  # each comes up sometimes


def test_targets_follow_the_crops_of_training():
    """The very views that the loader draws: the box taken back through each is the box."""
    sizes, box = np.array([[90, 60]]), edges_of(np.array([[20, 10, 70, 50]]))
    for index in range(50):
        view = Augmentation(0, (40, 80), 32, None).view(1, index, 90, 60)
        windows = Windows.of_views(sizes, np.array([[view.scale, view.left, view.top, view.mirrored]]), 32)
        np.testing.assert_allclose(windows.leave(windows.enter(box)), box)


def test_padding_overlaps_with_nothing(blocks):
    objects = objects_of(open_localizable(str(blocks), None, None).val, bad_boxes="stop", workers=0)
    padded = objects.padded()
    assert padded.shape == (12, 2, 4)
    assert (iou(padded[:, 1], np.array([0, 0, 500, 500.0])) > 0).tolist() == (objects.counts > 1).tolist()
    part = objects.subset(np.array([3, 0]))
    assert isinstance(part, Objects)
    np.testing.assert_array_equal(part.padded()[0], padded[3])


def test_images_without_boxes_are_counted_and_left_out(blocks):
    path = blocks / "boxes.csv"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("train/bee/1", "val/gnu/"))]
    path.write_text("\n".join(lines))
    opened = open_localizable(str(blocks), None, None)
    assert len(opened.train) == 23
    assert len(opened.val) == 10
    assert [note for note in opened.notes if "without a box" in note] == [
        "left out: 1 of 24 train images, without a box",
        "left out: 2 of 12 val images, without a box",
    ]
    path.unlink()
    with pytest.raises(UserError, match="there are no boxes"):
        open_localizable(str(blocks), None, None)


def test_a_box_outside_its_image(blocks, capsys):
    path = blocks / "boxes.csv"
    path.write_text(path.read_text() + "train/cat/1.png,cat,30,0,90,10\ntrain/cat/2.png,cat,-1,0,9,10\n")
    split = open_localizable(str(blocks), None, None).train
    with pytest.raises(UserError, match=r"train/cat/1.png: box 30 0 90 10: more than a pixel outside .* of 48x40"):
        objects_of(split, bad_boxes="stop", workers=0)
    objects = objects_of(split, bad_boxes="skip", workers=0, name="train")
    assert objects.counts.sum() == sum(len(boxes) for boxes in split.boxes) - 1
    said = capsys.readouterr().out
    assert "left out 1 box that cannot be used: train/cat/1.png: box 30 0 90 10: more than a pixel outside" in said
    assert "clipped 1 box that reached a pixel beyond the image" in said
