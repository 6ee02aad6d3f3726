"""The server's numbers are those of the commands, for every protocol."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import save_random_net
from PIL import Image
from served import CLASSES, Serve

import vggnet
from vggnet.description import InputPolicy
from vggnet.explaining.score_maps import fitting_step, score_map
from vggnet.network.weights import load_model

MakeImage = Callable[..., Path]


@pytest.fixture
def images(make_image: MakeImage) -> list[Path]:
    return [make_image(f"images/{i}.png", size=(60 + 7 * i, 44 + 3 * i), seed=i) for i in range(4)]


def test_it_names_the_classes_that_predict_names_to_the_last_digit(
    serve: Serve, model: Path, images: list[Path]
) -> None:
    client = serve(model)
    for scale in (None, 36):
        expected = vggnet.predict(model, images, test_scale=scale, top=3, device="cpu", precision="fp32")
        for image, prediction in zip(images, expected, strict=True):
            scales = {} if scale is None else {"test_scale": scale}
            answer = client.post("/api/predict", params={"top": 3, **scales}, content=image.read_bytes())
            assert answer.status_code == 200
            found = answer.json()
            assert [each["class"] for each in found["classes"]] == [each.name for each in prediction.classes]
            assert [each["posterior"] for each in found["classes"]] == pytest.approx(
                [each.posterior for each in prediction.classes], abs=1e-7
            )
            assert [each["percent"] for each in found["classes"]] == [each.percent for each in prediction.classes]
            with Image.open(image) as opened:
                assert (found["image"]["width"], found["image"]["height"]) == opened.size


@pytest.mark.parametrize(
    ("view", "views"),
    [
        ("center", ["center"]),
        ("ten", ["ten"]),
        ("crops", ["crops"]),
        ("both", ["dense", "crops"]),
        ("dense", ["dense"]),
    ],
)
@pytest.mark.parametrize("scales", [[40], [36, 40, 44]])
def test_each_protocol_gives_the_posteriors_of_classify(
    serve: Serve, model: Path, images: list[Path], view: str, views: list[str], scales: list[int]
) -> None:
    client = serve(model)
    table = vggnet.classify(
        model, images[0].parent, views=views, test_scale=scales, device="cpu", precision="fp32", workers=0
    )
    for image, prediction in zip(images, table.predictions, strict=True):
        found = client.post(
            "/api/predict", params={"view": view, "test_scale": scales}, content=image.read_bytes()
        ).json()
        assert [each["class"] for each in found["classes"]] == [each.name for each in prediction.classes]
        assert [each["posterior"] for each in found["classes"]] == pytest.approx(
            [each.posterior for each in prediction.classes], abs=1e-6
        )


def test_the_crops_lie_where_the_paper_puts_them(serve: Serve, model: Path, make_image: MakeImage) -> None:
    """An image of 80 x 40 at Q=40 is not rescaled; the crop is 32."""
    content = make_image("image.png", size=(80, 40)).read_bytes()
    client = serve(model)

    def shown(view: str) -> dict[str, object]:
        return client.post("/api/predict", params={"view": view, "test_scale": 40}, content=content).json()

    center = shown("center")
    assert center["shown"] == [{"view": "center", "test_scale": 40, "windows": [[24, 4, 56, 36]]}]
    assert center["forward_passes"] == 1
    crops = shown("crops")
    assert crops["shown"][0]["windows"][0] == [0, 0, 32, 32]
    assert crops["shown"][0]["windows"][-1] == [48, 8, 80, 40]
    assert crops["forward_passes"] == 50
    dense = shown("dense")  # floor(80 / 32) - 1 + 1 = 2 positions in a row, one row
    assert dense["shown"][0]["windows"] == [[0, 0, 32, 32], [32, 0, 64, 32]]
    assert dense["forward_passes"] == 2  # with its mirror image


def test_the_score_map_of_any_class_is_that_of_the_net(serve: Serve, model: Path, images: list[Path]) -> None:
    client = serve(model)
    net = load_model(model)
    inputs = vggnet.preprocess(net, images[1], 44)
    expected = score_map(net, inputs, fitting_step(32, *inputs.shape[2:])).posteriors
    for label, name in enumerate(CLASSES):
        parameters = {"class": name, "test_scale": 44}
        found = client.post("/api/score-map", params=parameters, content=images[1].read_bytes()).json()
        assert found["class"] == name
        assert np.allclose(found["posteriors"], expected[label], atol=1e-6)
    picture = client.post("/api/score-map/picture", params=parameters, content=images[1].read_bytes())
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size == (inputs.shape[3], inputs.shape[2])


def test_the_saliency_picture_shows_where_the_gradient_is_large(serve: Serve, model: Path, images: list[Path]) -> None:
    client = serve(model)
    net = load_model(model)
    inputs = vggnet.preprocess(net, images[0], 40).requires_grad_()
    net(inputs).mean((2, 3))[0, 2].backward()
    assert inputs.grad is not None
    expected = inputs.grad.abs().amax(1)[0]
    content = client.post(
        "/api/saliency/picture", params={"class": CLASSES[2], "test_scale": 40}, content=images[0].read_bytes()
    ).content
    found = torch.from_numpy(np.array(Image.open(io.BytesIO(content)))).float().mean(-1)
    assert found.shape == expected.shape
    ranks = [each.flatten().argsort().argsort().float() for each in (found, expected)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.9


def test_boxes_are_those_of_localize_predict(serve: Serve, model: Path, images: list[Path], tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.safetensors"
    save_random_net(boxes, CLASSES, boxes="pcr", seed=3)
    for scales in ([], [36, 44]):
        expected = vggnet.localize.predict(
            boxes, images, classifier=model, test_scale=scales, device="cpu", precision="fp32"
        )
        for client in (serve(model, boxes=boxes), serve(boxes, classifier=(model,))):
            for image, wanted in zip(images, expected.images, strict=True):
                answer = client.post("/api/boxes", params={"test_scale": scales}, content=image.read_bytes()).json()
                corners = [[box[side] for side in ("xmin", "ymin", "xmax", "ymax")] for box in answer["boxes"]]
                assert corners == [[box.xmin, box.ymin, box.xmax, box.ymax] for box in wanted.boxes]
                assert [box["class"] for box in answer["boxes"]] == [box.name for box in wanted.boxes]


def test_two_nets_answer_under_names_of_their_own(
    serve: Serve, model: Path, images: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    save_random_net(other, CLASSES, seed=5)
    client = serve(model, other)
    names = [each["name"] for each in client.get("/api/models").json()]
    assert len(set(names)) == 2
    answers = [
        client.post("/api/predict", params={"model": name}, content=images[0].read_bytes()).json() for name in names
    ]
    assert [each["model"] for each in answers] == names
    assert answers[0]["classes"] != answers[1]["classes"]


def test_the_nets_facts_and_the_notes_of_predict(serve: Serve, tmp_path: Path, make_image: MakeImage) -> None:
    save_random_net(tmp_path / "m.safetensors", CLASSES, policy=InputPolicy(mirror=False))
    client = serve(tmp_path / "m.safetensors")
    (facts,) = client.get("/api/models").json()
    assert (facts["net"], facts["crop"], facts["test_scale"], facts["boxes"]) == ("A", 32, 40, False)
    assert facts["test_scales"] == [35, 40, 45]  # S - 5, S, S + 5: 32 of 224 are 5 of 32
    assert [each["class"] for each in facts["classes"]] == list(CLASSES)
    content = make_image("a.png").read_bytes()
    assert client.post("/api/predict", content=content).json()["notes"] == [
        "Without the mirror: A was trained without mirrored crops."
    ]
    asked = client.post("/api/predict", params={"mirror": True}, content=content).json()
    assert asked["mirror"] is True
    assert asked["notes"][0].startswith("With the mirror, as asked")
