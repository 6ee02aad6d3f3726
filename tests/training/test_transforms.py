"""The crops for training loops of one's own are those of our training, bit by bit."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import random_net
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import vggnet
from vggnet.data.opening import open_data
from vggnet.description import InputPolicy
from vggnet.images.augmentation import Augmentation
from vggnet.images.color import ColorStatistics
from vggnet.images.loading import TrainingLoader
from vggnet.images.normalization import normalize
from vggnet.network.vgg import VGG
from vggnet.randomness import Stream, generator

COLORS = ColorStatistics((0, 0, 0), (1, 1, 1), (900.0, 90.0, 9.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
CLASSES = ("class0", "class1", "class2")


def net(**options: object) -> VGG:
    model = random_net(CLASSES, **options)  # type: ignore[arg-type]
    model.description = dataclasses.replace(model.description, train_scale=(36, 44))
    return model


def test_a_data_set_gives_the_crops_of_the_training_loader(class_folders: Callable[..., Path]) -> None:
    data, model = class_folders(train=5), net()
    ours = vggnet.Dataset(str(data), model, seed=3, colors=COLORS)
    split = open_data(str(data)).train
    assert split is not None
    assert len(ours) == len(split) == 15
    augmentation = Augmentation(3, (36, 44), 32, COLORS)
    epochs = []
    with TrainingLoader(split, augmentation, workers=0) as loader:
        for epoch in (0, 7):
            (batch,) = loader.batches(epoch, [np.arange(len(split))])
            expected = normalize(batch.pixels, model.description.preprocessing, batch.shift)
            ours.set_epoch(epoch)
            items = [ours[place] for place in range(len(ours))]
            assert torch.equal(torch.stack([image for image, _ in items]), expected)
            assert [label for _, label in items] == batch.labels.tolist() == ours.targets
            epochs.append(expected)
    assert not torch.equal(*epochs)


def test_a_transform_gives_the_loaders_crop_for_the_same_random_state(class_folders: Callable[..., Path]) -> None:
    data, model = class_folders(train=2), net()
    transform = vggnet.transforms(model, train=True, colors=COLORS)
    ours = vggnet.Dataset(str(data), model, seed=5, colors=COLORS)
    for place in range(len(ours)):
        with Image.open(ours.split.path(place)) as image:
            found = transform(image, generator(5, 0, place, Stream.VIEWS))
        assert torch.equal(found, ours[place][0])


def test_workers_see_the_epoch_and_change_nothing(class_folders: Callable[..., Path]) -> None:
    ours = vggnet.Dataset(str(class_folders(train=2)), net(), colors=COLORS)
    loader = DataLoader(ours, batch_size=3, num_workers=1, persistent_workers=True)
    for epoch in (1, 2):
        ours.set_epoch(epoch)
        expected = torch.stack([image for image, _ in (ours[place] for place in range(len(ours)))])
        assert torch.equal(torch.cat([images for images, _ in loader]), expected)


def test_a_transform_in_torchvisions_image_folder_follows_pytorchs_seed(class_folders: Callable[..., Path]) -> None:
    folder = ImageFolder(str(class_folders(train=2) / "train"), vggnet.transforms(net(), train=True, colors=COLORS))

    def crops(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.stack([image for image, _ in folder])

    assert torch.equal(crops(0), crops(0))
    assert not torch.equal(crops(0), crops(1))
    torch.manual_seed(0)
    assert not torch.equal(folder[0][0], folder[0][0])  # each draw is another crop


def test_the_colours_of_a_training_come_with_its_net(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    data = class_folders(train=6)
    options = {"width": 0.04, "crop": 32, "epochs": 1, "batch": 6, "workers": 0, "device": "cpu"}
    result = vggnet.train(str(data), net="A", out=tmp_path / "run", **options)  # type: ignore[arg-type]
    transform = vggnet.transforms(vggnet.load(result.run), train=True)
    colors = transform.augmentation.statistics  # type: ignore[union-attr]
    assert colors is not None
    assert colors.mean == pytest.approx(vggnet.load(result.run).description.preprocessing.mean)
    assert colors.eigenvalues[0] > 0
    without = vggnet.transforms(net(), train=True)
    assert without.augmentation.statistics is None  # type: ignore[union-attr]


def test_the_test_transform_is_the_centre_crop_of_preprocess(class_folders: Callable[..., Path]) -> None:
    data, model = class_folders(val=2), net()
    val = vggnet.Dataset(str(data), model, part="val")
    transform = vggnet.transforms(model, train=False, scale=40)
    for place in range(len(val)):
        file = val.split.path(place)
        expected = vggnet.preprocess(model, file, scale=40, center_crop=True)[0]
        assert torch.equal(val[place][0], expected)  # Q of S in [36; 44] is 40
        assert torch.equal(transform(file), expected)
    assert torch.equal(val[-1][0], val[len(val) - 1][0])


def test_classes_are_matched_by_name_with_a_net_that_names_its_own(class_folders: Callable[..., Path]) -> None:
    data = str(class_folders(train=2))
    other = random_net(("class2", "class0", "apple", "class1"))
    ours = vggnet.Dataset(data, other)
    assert ours.classes == ("class2", "class0", "apple", "class1")
    assert ours.targets == [1, 1, 3, 3, 0, 0]
    with pytest.raises(vggnet.UserError, match="the model: classes of images that the model does not know: 'class1'"):
        vggnet.Dataset(data, random_net(("class2", "class0")))
    nameless = vggnet.build("A", num_classes=3, width=0.04, crop=32)
    assert vggnet.Dataset(data, nameless).class_to_idx == {"class0": 0, "class1": 1, "class2": 2}


def test_mirrors_and_scales_are_the_nets_or_what_is_given() -> None:
    fixed = net(policy=InputPolicy(mirror=False))
    assert not vggnet.transforms(fixed, train=True).augmentation.mirror  # type: ignore[union-attr]
    assert vggnet.transforms(fixed, train=True, mirror=True).augmentation.mirror  # type: ignore[union-attr]
    assert vggnet.transforms(fixed, train=True).augmentation.train_scale == (36, 44)  # type: ignore[union-attr]
    assert vggnet.transforms(fixed, train=True, scale=50).augmentation.train_scale == (50,)  # type: ignore[union-attr]
    unknown = vggnet.build("A", num_classes=3, width=0.04, crop=32)
    assert vggnet.transforms(unknown, train=True).augmentation.train_scale == (37,)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": True, "scale": 31}, "crop of 32 does not fit"),
        ({"train": False, "scale": 31}, "crop of 32 does not fit"),
        ({"train": False, "scale": (32, 40)}, "the test has one Q"),
        ({"train": True, "scale": (40, 36)}, "the lower and the upper end"),
        ({"train": True, "scale": (32, 36, 40)}, "the lower and the upper end"),
    ],
)
def test_scales_that_cannot_be_are_refused(options: dict, said: str) -> None:
    with pytest.raises(vggnet.UserError, match=said):
        vggnet.transforms(net(), **options)


def test_a_part_that_is_not_there_is_refused(class_folders: Callable[..., Path]) -> None:
    data = str(class_folders(train=2))
    with pytest.raises(vggnet.UserError, match="`part` 'test': train or val"):
        vggnet.Dataset(data, net(), part="test")  # type: ignore[arg-type]
