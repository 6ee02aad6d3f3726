"""How files are decoded travels with the weights: EXIF orientation and the range of 16-bit pixels, in every command."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import save_random_net
from PIL import Image

from vggnet import preprocess
from vggnet.api.evaluation import predict
from vggnet.cli import run
from vggnet.data.listing import images_at
from vggnet.description import ImageReading, InputPolicy, ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.computing import ON_CPU
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View
from vggnet.formats.writing import to_state
from vggnet.network.vgg import without_head
from vggnet.network.weights import load_model, read_description
from vggnet.options.flat import changed
from vggnet.options.training import LadderOptions, TrainOptions
from vggnet.training.classification import train_classifier
from vggnet.training.ladder import stages_of
from vggnet.transfer_learning.descriptors import describe_images, settings_of

CLASSES = ("bee", "cat", "dog")
UPRIGHT, TWELVE_BITS = InputPolicy(orientation="apply"), InputPolicy(pixel_range=(0, 4095))


def save_net(path: Path, policy: InputPolicy, width: float = 0.04) -> Path:
    save_random_net(path, CLASSES, policy=policy, width=width)
    return path


def photograph(path: Path, seed: int = 0, orientation: int = 6) -> Image.Image:
    """Write a photograph that lies on its side, with the orientation that turns it; give it upright."""
    upright = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 40, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    return upright


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photographs of three classes; those of class bee lie on their sides."""
    for part, count in (("train", 4), ("val", 2)):
        for name in CLASSES:
            for number in range(count):
                path = tmp_path / "photos" / part / name / f"{number}.png"
                photograph(path, seed=number, orientation=6 if name == "bee" else 1)
    return tmp_path / "photos"


@pytest.fixture
def options(photos, tmp_path):
    def make(**changes: object) -> TrainOptions:
        values = {"net": "A", "width": 0.03, "crop": 32, "epochs": 1, "batch": 4, "workers": 0, "threads": 1}
        values |= {"precision": "fp32", "device": "cpu", "out": tmp_path / "run"}
        return changed(TrainOptions(str(photos)), **values | changes)

    return make


def test_a_new_training_turns_photographs_upright_and_says_how_many(options, capsys):
    folder = train_classifier(options()).run
    said = capsys.readouterr().out
    assert "train: 4 of 12 images have an EXIF orientation: turned upright (`orientation` ignore" in said
    assert "val: 2 of 6 images have an EXIF orientation" in said
    assert read_description(folder).policy == UPRIGHT
    assert json.loads((folder / "config.json").read_text())["orientation"] == "apply"


def test_orientation_ignore_is_stored_with_the_weights(options, capsys):
    folder = train_classifier(options(orientation="ignore", mirror=False)).run
    assert "taken as the pixels are stored (`orientation` apply turns them upright)" in capsys.readouterr().out
    assert read_description(folder).policy == InputPolicy(mirror=False, orientation="ignore")


def test_a_run_from_before_the_choice_goes_on_as_it_was_started(options, capsys):
    folder = train_classifier(options(orientation="ignore")).run
    config = json.loads((folder / "config.json").read_text())
    del config["orientation"], config["pixel_range"]
    (folder / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    train_classifier(options(resume=True))
    assert "taken as the pixels are stored" in capsys.readouterr().out
    assert read_description(folder).policy.orientation == "ignore"
    with pytest.raises(UserError, match="was started with `orientation` ignore, now it says apply"):
        train_classifier(options(resume=True, orientation="apply"))


def test_the_range_of_pixels_goes_on_from_the_source_and_the_orientation_is_applied(options, tmp_path):
    source = train_classifier(options(orientation="ignore", pixel_range=(0, 4095))).run
    further = train_classifier(options(init_from=source, out=tmp_path / "further")).run
    assert read_description(further).policy == InputPolicy(orientation="apply", pixel_range=(0, 4095))


def test_a_run_goes_on_when_its_source_is_gone(options, tmp_path):
    source = train_classifier(options(pixel_range=(0, 4095))).run
    further = options(init_from=source, out=tmp_path / "further")
    train_classifier(further)
    shutil.rmtree(source)
    train_classifier(options(out=tmp_path / "further", resume=True))
    assert read_description(tmp_path / "further").policy.pixel_range == (0, 4095)


def test_convert_stores_how_images_are_read(tmp_path):
    old = save_net(tmp_path / "old.safetensors", InputPolicy(mirror=False), 1 / 16)
    command = ["convert", str(old), "--layout", "vggnet", "--out"]
    assert run([*command, str(tmp_path / "same")]) == 0
    assert read_description(tmp_path / "same").policy == InputPolicy(mirror=False)
    changes = ["--orientation", "apply", "--pixel-range", "0", "4095"]
    assert run([*command, str(tmp_path / "new"), *changes]) == 0
    expected = InputPolicy(mirror=False, orientation="apply", pixel_range=(0, 4095))
    assert read_description(tmp_path / "new").policy == expected
    foreign = tmp_path / "foreign.pth"
    torch.save(to_state(without_head(load_model(old)), "torchvision"), foreign)
    command = ["convert", str(foreign), "--layout", "torchvision", "--preprocessing", "torchvision"]
    command += ["--out"]
    assert run([*command, str(tmp_path / "converted")]) == 0
    assert read_description(tmp_path / "converted").policy.reading == ImageReading("apply")
    assert run([*command, str(tmp_path / "deep"), "--pixel-range", "0", "4095", "--orientation", "ignore"]) == 0
    assert read_description(tmp_path / "deep").policy.reading == ImageReading("ignore", (0, 4095))


def test_a_ladder_hands_both_to_its_stages(photos, tmp_path):
    ladder = LadderOptions(str(photos), tmp_path / "l", crop=32, orientation="ignore", pixel_range=(0, 4095))
    assert {(stage.options.orientation, stage.options.pixel_range) for stage in stages_of(ladder)} == {
        ("ignore", (0, 4095))
    }


def answers(model: Path, image: Path) -> list[float]:
    (found,) = predict(model, [image], top=3, device="cpu", precision="fp32")
    return [each.posterior for each in sorted(found.classes, key=lambda each: each.name)]


def test_every_way_to_use_a_net_reads_photographs_as_its_training_did(tmp_path):
    turned = tmp_path / "turned.png"
    upright = photograph(turned)
    upright.save(tmp_path / "upright.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "sideways.png")
    settings = settings_of(device="cpu", precision="fp32", workers=0)
    for policy, same in ((UPRIGHT, "upright.png"), (InputPolicy(), "sideways.png")):
        path = save_net(tmp_path / f"{policy.orientation}.safetensors", policy)
        other = {"upright.png": "sideways.png", "sideways.png": "upright.png"}[same]
        assert answers(path, turned) == answers(path, tmp_path / same)
        assert answers(path, turned) != answers(path, tmp_path / other)
        model = load_model(path)
        for given in (turned, Image.open(turned)):
            assert torch.equal(preprocess(model, given), preprocess(model, tmp_path / same))
        described = [
            describe_images([path], [images_at([file])], settings).values for file in (turned, tmp_path / same)
        ]
        assert np.array_equal(*described)


def test_stored_posteriors_are_those_of_one_way_to_read(tmp_path):
    photograph(tmp_path / "turned.png")
    split = images_at([tmp_path / "turned.png"])
    path = save_net(tmp_path / "net.safetensors", UPRIGHT)
    store = Store.of(path, read_description(path), split, ON_CPU)
    assert store.source.reading == UPRIGHT.reading
    provenances = []
    for policy in (UPRIGHT, InputPolicy(), TWELVE_BITS):
        provenances.append(replace(store.source, reading=policy.reading).provenance(View("dense", 40)))
    assert all(provenances[a] != provenances[b] for a, b in ((0, 1), (0, 2), (1, 2)))


def test_evaluate_reads_each_net_its_own_way(photos, tmp_path, capsys):
    same = {}
    for orientation in ("apply", "ignore"):
        path = save_net(tmp_path / f"{orientation}.safetensors", InputPolicy(orientation=orientation))  # type: ignore[arg-type]
        store = tmp_path / f"{orientation}.json"
        assert (
            run(["evaluate", str(path), str(photos), "--views", "dense", "--device", "cpu", "--json", str(store)]) == 0
        )
        same[orientation] = Store.of(path, read_description(path), images_at([photos / "val"]), ON_CPU)
    assert same["apply"].source.reading == ImageReading("apply")
    assert same["ignore"].source.reading == ImageReading("ignore")


def test_files_from_before_the_choice_are_read_as_stored(tmp_path):
    description = read_description(save_net(tmp_path / "net.safetensors", UPRIGHT))
    content = json.loads(description.to_json())
    del content["policy"]
    assert ModelDescription.from_json(json.dumps(content), "old").policy.reading == ImageReading()


def test_twelve_bits_are_noticed_and_can_be_given(options, photos, capsys):
    generator = np.random.default_rng(0)
    for path in photos.rglob("*.png"):
        pixels = generator.integers(0, 4081, (48, 40)).astype(np.uint16)
        pixels[0, 0] = 4080
        Image.fromarray(pixels).save(path)
    train_classifier(options())
    said = capsys.readouterr().out
    line = "train: the brightest pixel of 12 16-bit images is 4080 of 65535: less than half of 0 to 65535 is used"
    assert f"{line}; `pixel_range` 0 4095 makes 4095 white" in said
    folder = train_classifier(options(pixel_range=(0, 4095), out=options().out.with_name("wide"))).run
    assert "the brightest pixel of 12 16-bit images is 4080 of 65535\n" in capsys.readouterr().out
    description = read_description(folder)
    assert description.policy.pixel_range == (0, 4095)
    assert 120 < description.preprocessing.mean[0] < 134  # the middle of 0..254, not 8
    model = load_model(folder)
    image = next(photos.rglob("*.png"))
    gray = np.floor(np.asarray(Image.open(image)).astype(float) * 255 / 4095 + 0.5).astype(np.uint8)
    assert torch.equal(preprocess(model, image), preprocess(model, Image.fromarray(gray)))
    assert run(["predict", str(folder), str(image), "--device", "cpu"]) == 0


def test_evaluate_and_predict_say_that_a_net_sees_twelve_bits_nearly_black(photos, tmp_path, capsys):
    save_net(tmp_path / "full.safetensors", InputPolicy())
    save_net(tmp_path / "twelve.safetensors", TWELVE_BITS)
    for path in (photos / "val").rglob("*.png"):
        pixels = np.zeros((48, 40), np.uint16)
        pixels[0, 0] = 4080
        Image.fromarray(pixels).save(path)
    words = "he brightest pixel of {} is 4080 of 65535: less than half of 0 to 65535 is used; if A was"
    for data, count in ((photos, "6 16-bit images"), (photos / "val" / "bee", "2 16-bit images")):
        for name, expected in (("full", 1), ("twelve", 0)):
            assert run(["evaluate", str(tmp_path / f"{name}.safetensors"), str(data), "--device", "cpu"]) == 0
            assert capsys.readouterr().out.count(words.format(count)) == expected
    for name, expected in (("full", 1), ("twelve", 0)):
        images = [str(photos / "val" / "bee"), str(photos / "train" / "cat" / "0.png")]
        assert run(["predict", str(tmp_path / f"{name}.safetensors"), *images, "--device", "cpu"]) == 0
        assert capsys.readouterr().out.count("he brightest pixel of 2 16-bit images is 4080 of 65535") == expected


def test_brighter_pixels_than_the_range_are_said(options, photos, capsys):
    for path in photos.rglob("*.png"):
        Image.fromarray(np.full((48, 40), 5000, np.uint16)).save(path)
    train_classifier(options(pixel_range=(0, 4095)))
    assert "is 5000 of 65535, beyond `pixel_range` 0 4095: what is brighter than 4095 becomes white" in (
        capsys.readouterr().out
    )


def test_a_range_that_is_none_is_refused_before_anything_is_read(photos, capsys):
    assert run(["train", str(photos), "--pixel-range", "4095", "0"]) != 0
    assert "--pixel-range 4095 0: the lowest and the highest value" in capsys.readouterr().err
