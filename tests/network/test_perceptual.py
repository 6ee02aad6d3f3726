"""Perceptual losses against their formulas and against the lpips package."""

import dataclasses
import pickle
import re
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from vggnet.api.perceptual import PerceptualLoss
from vggnet.description import Preprocessing
from vggnet.errors import UserError
from vggnet.network.initialization import build
from vggnet.network.perceptual import LPIPS_LAYERS, gram
from vggnet.network.taps import features
from vggnet.network.vgg import VGG, without_head

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def small(net: str = "D", width: float = 1 / 8) -> VGG:
    model = build(net, num_classes=5, width=width, crop=64)
    model.description = dataclasses.replace(model.description, preprocessing=IMAGENET)
    return model.eval()


def pair(size: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, size, size + 8, generator=generator), torch.rand(2, 3, size, size + 8, generator=generator)


def inputs(model: VGG, x: torch.Tensor) -> torch.Tensor:
    preprocessing = model.description.preprocessing
    return (255 * x - torch.tensor(preprocessing.mean).view(3, 1, 1)) / torch.tensor(preprocessing.deviation).view(
        3, 1, 1
    )


def test_content_and_style_are_the_formulas() -> None:
    model, (x, y) = small(), pair()
    names = ["relu3_3", "relu1_2"]
    ours, theirs = (features(model, inputs(model, each), names) for each in (x, y))
    content = (ours["relu3_3"] - theirs["relu3_3"]).square().mean((1, 2, 3))
    style = (gram(ours["relu1_2"]) - gram(theirs["relu1_2"])).square().mean((1, 2))
    loss = PerceptualLoss(model, content={"relu3_3": 2.0}, style={"relu1_2": 0.5}, reduction="none")
    torch.testing.assert_close(loss(x, y), 2 * content + style / 2)
    assert gram(ours["relu1_2"]).shape == (2, 8, 8)
    first = ours["relu1_2"][0].flatten(1)
    torch.testing.assert_close(gram(ours["relu1_2"])[0], first @ first.T / first.numel())
    torch.testing.assert_close(PerceptualLoss(model)(x, y), content.mean())


def test_a_weight_of_c_squared_makes_the_style_term_that_of_johnson_and_a_quarter_of_it_that_of_gatys() -> None:
    model, (x, y) = small(), pair()
    ours, theirs = (features(model, inputs(model, each), ["relu2_1"])["relu2_1"].flatten(2) for each in (x, y))
    channels, positions = ours.shape[1:]
    grams = [torch.einsum("nip,njp->nij", each, each) for each in (ours, theirs)]  # sums over positions
    difference = (grams[0] - grams[1]).square().sum((1, 2))
    johnson = difference / (channels * positions) ** 2  # Eq. 3 and 4: the squared Frobenius norm
    gatys = difference / (4 * channels**2 * positions**2)  # Eq. 4: 1 / (4 N^2 M^2)
    for expected, weight in ((johnson, channels**2), (gatys, channels**2 / 4)):
        loss = PerceptualLoss(model, style={"relu2_1": float(weight)}, reduction="none")
        torch.testing.assert_close(loss(x, y), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "terms",
    [{"content": ["relu2_1"]}, {"style": ["relu1_2", "relu3_1"]}, {"kind": "lpips"}],
    ids=["content", "style", "lpips"],
)
def test_half_precision_neither_overflows_nor_vanishes(terms: dict) -> None:
    """Activations of hundreds, as of nets whose input is 0 to 255: their squares and sums are beyond fp16."""
    model, (x, y) = small(), pair()
    model.description = dataclasses.replace(
        model.description, preprocessing=Preprocessing((120.0, 115.0, 100.0), (1.0, 1.0, 1.0))
    )
    with torch.no_grad():
        model.conv1_1.weight.mul_(4)
    largest = features(model, inputs(model, x), ["relu2_1"])["relu2_1"].max()
    assert 256 < largest < 65504 / 2  # its square overflows, itself it does not
    loss = PerceptualLoss(model, **terms)
    expected = loss(x, y)
    x.requires_grad_()
    with torch.autocast("cpu", torch.float16):
        found = loss(x, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)
    found.backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).any()
    half = PerceptualLoss(model, **terms).half()  # the same without autocast
    torch.testing.assert_close(half(x.detach().half(), y.half()), expected, rtol=0.02, atol=0)


def test_dead_positions_in_half_precision_have_a_distance() -> None:
    model = small().half()
    black = torch.zeros(1, 3, 32, 32, dtype=torch.float16)
    with torch.no_grad():
        for layer in model.architecture.convolutions():
            model.get_parameter(f"{layer.name}.bias").fill_(-1000.0 if layer.name == "conv3_3" else 0.0)
    distance = PerceptualLoss(model, kind="lpips")(black, torch.ones_like(black))
    assert torch.isfinite(distance)  # 0 / (0 + 1e-10), which is 0 / 0 in fp16


def test_style_may_come_from_another_image_of_another_size() -> None:
    model, (x, y) = small(), pair()
    other = pair(64)[0][:1]
    loss = PerceptualLoss(model, content=["relu2_2"], style=["relu1_1", "relu2_1"])
    alone = PerceptualLoss(model, content=["relu2_2"])
    assert loss(x, y, other) > alone(x, y)
    assert PerceptualLoss(model, style=["relu1_1"])(x, y, x) == 0


def test_the_value_range_is_what_the_images_have() -> None:
    model, (x, y) = small(), pair()
    torch.testing.assert_close(
        PerceptualLoss(model, value_range=(-1, 1))(2 * x - 1, 2 * y - 1),
        PerceptualLoss(model)(x, y),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_loss_is_frozen_and_its_own_while_the_model_trains_on() -> None:
    model, (x, y) = small(), pair()
    loss = PerceptualLoss(model)
    before = loss(x, y)
    loss.train()
    with torch.no_grad():
        model.conv1_1.weight.zero_()
    x.requires_grad_()
    torch.testing.assert_close(loss(x, y), before)
    loss(x, y).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not loss.backbone.training
    assert loss.backbone.architecture.convolutions_only  # the head, most of the memory, is not kept


def test_an_image_walks_down_to_its_target() -> None:
    model, (x, y) = small("A"), pair(32)
    loss = PerceptualLoss(model, content=["relu1_1", "relu2_1"])
    x = nn.Parameter(x)
    optimizer = torch.optim.Adam([x], lr=0.02)
    first = loss(x, y).item()
    for _ in range(30):
        optimizer.zero_grad()
        loss(x, y).backward()
        optimizer.step()
    assert loss(x, y).item() < first / 3


def test_deep_layers_keep_the_head() -> None:
    model, (x, y) = small(), pair(64)
    assert PerceptualLoss(model, content=["relu7"])(x, y) > 0


def test_lpips_without_dead_gradients() -> None:
    model = small()
    x = torch.zeros(1, 3, 32, 32, requires_grad=True)
    PerceptualLoss(model, kind="lpips")(x, torch.full_like(x, 0.5)).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("learnt", [False, True])
def test_lpips_is_the_lpips_packages_distance(learnt: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision's old arguments, which the package uses
        lpips = pytest.importorskip("lpips", reason="the lpips package is not installed")
        theirs = lpips.LPIPS(net="vgg", lpips=learnt, pnet_rand=True, verbose=False).eval()
    model = without_head(small(width=1.0))
    convolutions = [each for each in theirs.net.modules() if isinstance(each, nn.Conv2d)]
    with torch.no_grad():
        for layer, own in zip(model.architecture.convolutions(), convolutions, strict=True):
            model.get_submodule(layer.name).load_state_dict(own.state_dict())
    x, y = pair(40)
    with torch.no_grad():
        expected = theirs(2 * x - 1, 2 * y - 1).flatten()
        loss = PerceptualLoss(model, kind="lpips", learnt=learnt, reduction="none")
        torch.testing.assert_close(loss(x, y), expected, rtol=1e-5, atol=1e-6)
        twin = pickle.loads(pickle.dumps(loss))
        torch.testing.assert_close(twin(x, y), expected, rtol=1e-5, atol=1e-6)


def test_learnt_weights_need_net_d_at_full_width_and_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lpips", reason="the lpips package is not installed")
    with pytest.raises(UserError, match="relu1_2 has 64 channels there, and 8 in this net D"):
        PerceptualLoss(small(), kind="lpips", learnt=True)
    with pytest.raises(UserError, match='for kind="lpips" only'):
        PerceptualLoss(small(), learnt=True)
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(UserError, match=r"pip install 'vggnet\[lpips\]'"):
        PerceptualLoss(small(), kind="lpips", learnt=True)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)])
def test_pixels_of_0_to_255_are_refused_by_their_range(low: float, high: float) -> None:
    loss, (x, y) = PerceptualLoss(small("A"), value_range=(low, high)), pair(32)
    with pytest.raises(UserError, match=f"images of {low:g} to {high:g}, and these go from .* to 25.*divide pixels"):
        loss(255 * x, 255 * y)
    with pytest.raises(UserError, match="divide pixels"):
        loss(x, 255 * y)  # the images alone look well
    assert torch.isfinite(loss(5 * x - 2, y))  # an image that leaves the range while it is optimised
    assert torch.isfinite(PerceptualLoss(small("A"), value_range=(0, 255))(255 * x, 255 * y))


def test_mistakes_are_said() -> None:
    model = small()
    x, y = pair()
    with pytest.raises(UserError, match="leave content and style out"):
        PerceptualLoss(model, kind="lpips", content=["relu1_1"])
    with pytest.raises(UserError, match="net A has no layer"):
        PerceptualLoss(small("A"), kind="lpips")
    with pytest.raises(UserError, match="one shape"):
        PerceptualLoss(model)(x, y[:, :, :20])
    with pytest.raises(UserError, match="first must be below"):
        PerceptualLoss(model, value_range=(1, 0))
    loss = PerceptualLoss(model)
    with pytest.raises(
        UserError, match=r"RGB images as \(N, 3, H, W\), not as \(2, 1"
    ):  # gray passes for RGB elsewhere
        loss(x[:, :1], y[:, :1])
    with pytest.raises(UserError, match=r"not torch.uint8: divide by 255"):
        loss((255 * x).to(torch.uint8), (255 * y).to(torch.uint8))
    assert LPIPS_LAYERS[0] == "relu1_2"


def test_the_documented_example_makes_the_loss_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = "docs/weights.md"  # that README's example runs is a test of README's
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "PerceptualLoss" in block]
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, page, "exec"), {})
        before, after = map(float, capsys.readouterr().out.split(" -> "))
        assert after < before
