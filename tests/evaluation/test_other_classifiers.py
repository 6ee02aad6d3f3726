"""Classifiers of other libraries under the test protocol, against its arithmetic written out."""

import dataclasses
from collections.abc import Callable, Iterator
from math import comb
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from nets import sharp_net
from PIL import Image
from torch import Tensor, nn

import vggnet
from vggnet.cli import run
from vggnet.data.listing import unlabelled_folder
from vggnet.data.opening import open_data
from vggnet.evaluation.scoring import score
from vggnet.evaluation.views import View

CLASSES = ("bee", "cat", "dog", "elk", "fox", "gnu")
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CROP = 32


def sharpened(module: nn.Module, last: nn.Linear) -> nn.Module:
    """Give an untrained classifier posteriors that are far from uniform."""
    with torch.no_grad():
        noise = torch.randn(8, 3, CROP, CROP, generator=torch.Generator().manual_seed(2))
        scores = module.eval()(noise)
        last.weight /= scores.std()
        last.bias -= scores.mean(0) / scores.std()
    return module.eval()


def resnet18(classes: int = len(CLASSES)) -> nn.Module:
    torch.manual_seed(0)
    module = torchvision.models.resnet18(num_classes=classes)
    return sharpened(module, module.fc)


def efficientnet() -> nn.Module:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    module = timm.create_model("efficientnet_lite0", num_classes=len(CLASSES))
    return sharpened(module, module.classifier)


class ScoreMap(nn.Module):
    """A fully convolutional classifier: a class score map of the image's size / 4."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, len(CLASSES), 3))
        self.layers[2].weight.data *= 30  # posteriors far from uniform

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def rescaled(file: Path, scale: int) -> np.ndarray:
    """The input (H, W, 3) with the smallest side at `scale`, as torchvision's transforms normalise it."""
    image = Image.open(file).convert("RGB")
    least = min(image.size)
    size = tuple((2 * side * scale + least) // (2 * least) for side in image.size)
    return (np.asarray(image.resize(size, Image.Resampling.BILINEAR)) / 255 - MEAN) / DEVIATION


def output(module: nn.Module, *inputs: np.ndarray) -> np.ndarray:
    """The scores (N, K) of N inputs (H, W, 3); of a score map their mean."""
    with torch.no_grad():
        scores = module(torch.from_numpy(np.stack(inputs).transpose(0, 3, 1, 2).copy()).float()).double().numpy()
    return scores.reshape(*scores.shape[:2], -1).mean(2)


def corners(kind: str, rows: int, columns: int) -> list[tuple[int, int]]:
    """(top, left) of the crops of a view, without mirror images."""
    below, beside = rows - CROP, columns - CROP
    if kind == "center":
        return [(below // 2, beside // 2)]
    if kind == "ten":
        return [(0, 0), (0, beside), (below, 0), (below, beside), (below // 2, beside // 2)]
    return [(int(i * below / 4 + 0.5), int(j * beside / 4 + 0.5)) for i in range(5) for j in range(5)]


def posteriors(module: nn.Module, file: Path, view: View) -> np.ndarray:
    """The posteriors (K) of a view, written out."""
    pixels = rescaled(file, view.scale)
    if view.kind == "dense":
        shown = [pixels, pixels[:, ::-1]]
    else:
        crops = [pixels[y : y + CROP, x : x + CROP] for y, x in corners(view.kind, *pixels.shape[:2])]
        shown = crops if view.kind == "center" else [*crops, *(crop[:, ::-1] for crop in crops)]
    return softmax(output(module, *shown)).mean(0)


VIEWS = (View("center", 40), View("ten", 40), View("crops", 36), View("dense", 40), View("dense", 33))
NETS = {"resnet18": resnet18, "efficientnet_lite0": efficientnet, "a score map": ScoreMap}


@pytest.fixture
def three(tmp_path: Path, write_images: Callable) -> Path:
    write_images(tmp_path / "three", [(90, 70), (70, 95), (64, 64)])
    return tmp_path / "three"


@pytest.mark.parametrize("net", NETS)
def test_every_view_is_the_arithmetic_of_the_protocol(net: str, three: Path) -> None:
    module = NETS[net]().eval()
    other = vggnet.OtherClassifier(module, classes=CLASSES, preprocessing="torchvision", crop=CROP)
    split = unlabelled_folder(str(three))
    found = score(other, split, VIEWS)
    for view in VIEWS:
        expected = [posteriors(module, Path(split.path(index)), view) for index in range(3)]
        np.testing.assert_allclose(found.values[view], expected, rtol=2e-4, atol=1e-6, err_msg=str(view))
    assert np.ptp(found.values[VIEWS[0]], axis=1).min() > 0.1  # they tell classes apart


def wrong_images(module: nn.Module, data: Path, view: View) -> np.ndarray:
    files = sorted((data / "val").glob("*/*.png"))
    best = [posteriors(module, file, view).argmax() for file in files]
    return np.array([CLASSES[place] != file.parent.name for place, file in zip(best, files, strict=True)])


def test_a_table_compares_a_vgg_with_a_resnet_in_pairs(animals: Path, run_folder: Callable) -> None:
    own, module = run_folder(crop=CROP), resnet18()
    given = {"preprocessing": "torchvision", "classes": CLASSES, "crop": CROP}
    options = {"test_scale": 40, "device": "cpu", "precision": "fp32"}
    table = vggnet.evaluate([own, module], animals, **given, **options)
    names = [row.label for row in table.rows]
    assert names == [
        *("D center Q=40", "D dense Q=40", "ResNet center Q=40", "ResNet dense Q=40"),
        *("D + ResNet center Q=40", "D + ResNet dense Q=40"),
    ]
    theirs = wrong_images(module, animals, View("dense", 40))
    row = table.rows[3]
    assert (row.errors.top1.wrong, row.errors.top1.images) == (theirs.sum(), 18)
    assert row.train_scale == "-"
    assert row.paper is None

    # the exact McNemar test against our own dense row, from predictions of the two alone
    predicted = vggnet.predict(own, sorted(animals.glob("val/*/*.png")), top=1, test_scale=40, device="cpu")
    ours = np.array([Path(each.path).parent.name != each.classes[0].name for each in predicted])
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    apart = only_ours + only_theirs
    p = min(1.0, 2 * sum(comb(apart, k) for k in range(min(only_ours, only_theirs) + 1)) / 2**apart)
    paired = vggnet.evaluate([own, module], animals, views="dense", against="D dense", **given, **options)
    test = paired.rows[1].reference
    assert test is not None
    assert test.p_value == pytest.approx(p)


def test_posteriors_are_stored_under_the_weights_and_the_code(animals: Path) -> None:
    calls: list[int] = []

    class Counting(ScoreMap):
        def forward(self, images: Tensor) -> Tensor:
            calls.append(len(images))
            return super().forward(images)

    module = Counting()
    given = {"preprocessing": "torchvision", "classes": CLASSES, "crop": CROP, "test_scale": 40, "device": "cpu"}
    first = vggnet.evaluate(module, animals, **given)
    scored = len(calls)
    calls.clear()
    again = vggnet.evaluate(module, animals, **given)
    assert calls == [2, 2]  # the check of its outputs, at two sizes; no image was scored again
    assert scored > 4
    assert [row.errors for row in again.rows] == [row.errors for row in first.rows]
    assert any("Not known: which images Counting learnt from" in note for note in first.notes)
    with torch.no_grad():
        module.layers[0].bias += 1
    calls.clear()
    vggnet.evaluate(module, animals, **given)
    assert len(calls) > 2


def scaled(factor: float) -> Callable[[Tensor], Tensor]:
    return (lambda x: x * 2.0) if factor == 2 else (lambda x: x * 3.0)


def test_the_identity_covers_weights_settings_code_and_preprocessing() -> None:
    def identity(change: Callable[[nn.Module], object] = lambda _: None, **options: object) -> str:
        module = ScoreMap()
        change(module)
        given = {"classes": CLASSES, "preprocessing": "unit", "crop": CROP} | options
        return vggnet.OtherClassifier(module, **given).identity()  # type: ignore[arg-type]

    assert identity() == identity()
    assert identity() == identity(lambda module: module.train())
    changed = [
        identity(lambda module: module.layers[0].weight.data.mul_(2)),
        identity(lambda module: setattr(module.layers[0], "stride", (2, 2))),
        identity(lambda module: setattr(module.layers, "1", nn.LeakyReLU())),
        identity(lambda module: setattr(module, "threshold", 0.5)),
        identity(lambda module: setattr(module, "function", scaled(2))),
        identity(lambda module: setattr(module, "function", scaled(3))),
        identity(lambda module: module.register_buffer("shift", torch.zeros(1), persistent=False)),
        identity(preprocessing="torchvision"),
        identity(preprocessing="caffe"),
        identity(preprocessing="paper"),
        identity(crop=40),
    ]
    assert len({identity(), *changed}) == 1 + len(changed)


def test_channels_are_reversed_for_a_module_that_takes_bgr(three: Path) -> None:
    module = ScoreMap()
    bgr = vggnet.OtherClassifier(module, classes=CLASSES, preprocessing="caffe", crop=CROP)
    split = unlabelled_folder(str(three))
    view = View("center", 64)
    found = score(bgr, split, [view]).values[view]
    for index in range(3):
        pixels = rescaled(Path(split.path(index)), 64) * DEVIATION + MEAN
        blue_first = 255 * pixels[..., ::-1] - np.array([103.939, 116.779, 123.68])
        (top, left) = corners("center", *pixels.shape[:2])[0]
        scores = output(module, blue_first[top : top + CROP, left : left + CROP])
        np.testing.assert_allclose(found[index], softmax(scores)[0], rtol=1e-3, atol=1e-6)


class Returns(nn.Module):
    """A module that makes something of the scores of a linear classifier."""

    def __init__(self, make: Callable[[Tensor], object], outputs: int = len(CLASSES)) -> None:
        super().__init__()
        self.linear = nn.Linear(3, outputs)
        self.make = make

    def forward(self, images: Tensor) -> object:
        return self.make(self.linear(images.mean((2, 3))))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: (x, x), r"returns a tuple of 2, not a tensor of class scores: wrap it in a module that returns the"),
        (lambda x: {"out": x, "aux": x}, "a dict of 2, .* returns one of 'out', 'aux'"),
        (lambda x: SimpleNamespace(logits=x), "that returns `.logits`"),
        (lambda x: x.softmax(1), "returns probabilities .*before the soft-max"),
        (lambda x: x[:, 0], r"returns torch.float32 \(2,\) for images \(2, 3, 32, 32\)"),
        (lambda x: x.argmax(1, keepdim=True), "returns torch.int64"),
        (lambda x: x[:, :1], "1 output: the protocol needs a score for each class"),
        (lambda x: x[:, :5], "`classes`: 6 names for 5 outputs"),
        (lambda x: x[0] @ x, "its forward pass fails on images"),
    ],
    ids=["tuple", "dict", "logits", "probabilities", "no-classes", "labels", "one", "five", "fails"],
)
def test_a_module_that_returns_no_class_scores_is_refused(make: Callable, said: str, animals: Path) -> None:
    with pytest.raises(vggnet.UserError, match=said):
        vggnet.evaluate(Returns(make), animals, preprocessing="unit", classes=CLASSES, crop=CROP, test_scale=40)


def test_logarithms_of_probabilities_are_scores(three: Path) -> None:
    split, view = unlabelled_folder(str(three)), View("dense", 40)
    torch.manual_seed(0)
    plain = Returns(lambda x: x)
    logarithms = Returns(lambda x: x.log_softmax(1))
    logarithms.load_state_dict(plain.state_dict())
    given = {"classes": CLASSES, "preprocessing": "unit", "crop": CROP}
    found = [score(vggnet.OtherClassifier(each, **given), split, [view]).values[view] for each in (plain, logarithms)]
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_what_is_not_stated_is_asked_for(animals: Path) -> None:
    module = ScoreMap()
    with pytest.raises(vggnet.UserError, match="what pixels does it take"):
        vggnet.evaluate(module, animals, classes=CLASSES, crop=CROP, test_scale=40)
    with pytest.raises(vggnet.UserError, match="which class is which of its 6 outputs"):
        vggnet.evaluate(module, animals, preprocessing="unit", crop=CROP, test_scale=40)
    with pytest.raises(vggnet.UserError, match=r"ScoreMap: .*give `test_scale`"):
        vggnet.evaluate(module, animals, preprocessing="unit", classes=CLASSES, crop=CROP)
    names = [*CLASSES[:4], "wolf", "gnu"]
    with pytest.raises(vggnet.UserError, match=r"classes of data that the model does not know: 'fox'"):
        vggnet.evaluate(module, animals, preprocessing="unit", classes=names, crop=CROP, test_scale=40)
    with pytest.raises(vggnet.UserError, match="'bee' occurs twice"):
        vggnet.OtherClassifier(module, preprocessing="unit", classes=["bee", *CLASSES[:5]], crop=CROP)
    with pytest.raises(vggnet.UserError, match="`preprocessing` 7: give torchvision"):
        vggnet.OtherClassifier(module, preprocessing=7, classes=CLASSES, crop=CROP)
    with pytest.raises(vggnet.UserError, match=r"is a torch\.nn\.Module, not 7"):
        vggnet.OtherClassifier(7)  # type: ignore[arg-type]


def test_what_is_about_modules_needs_one(animals: Path, run_folder: Callable) -> None:
    for given in ({"preprocessing": "unit"}, {"crop": 64}, {"classes": CLASSES}):
        with pytest.raises(vggnet.UserError, match=f"`{next(iter(given))}` is for modules"):
            vggnet.evaluate(run_folder(f"run-{next(iter(given))}"), animals, **given)


class OneSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * CROP * CROP, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.view(len(images), -1))  # takes contiguous memory only


def test_a_module_of_one_size_is_shown_crops_only(animals: Path) -> None:
    given = {"preprocessing": "unit", "classes": CLASSES, "crop": CROP, "test_scale": 40, "device": "cpu"}
    table = vggnet.evaluate(OneSize(), animals, **given)
    assert [row.method for row in table.rows] == ["center"]
    assert any(
        note.startswith("No dense row: OneSize: its forward pass fails on images (2, 3, 69, 98)")
        for note in table.notes
    )
    for wanted in ({"views": ["dense"]}, {"protocol": "table4"}):
        with pytest.raises(vggnet.UserError, match=r"no dense evaluation: OneSize.*use the views center, ten or crops"):
            vggnet.evaluate(OneSize(), animals, **given, **wanted)
    found = vggnet.classify(OneSize(), animals / "val" / "bee", **given)
    assert found.protocol == "OneSize: center, Q=40"


def test_tables_4_and_6_take_other_classifiers_without_the_papers_rows(animals: Path, run_folder: Callable) -> None:
    other = vggnet.OtherClassifier(
        ScoreMap(), classes=CLASSES, preprocessing="unit", crop=64, test_scale=73, name="map"
    )
    table = vggnet.evaluate([run_folder(), other], animals, protocol="table4", device="cpu")
    assert [(row.nets, row.test_scale) for row in table.rows] == [("D", "64,73,82"), ("map", "64,73,82")]
    assert [row.paper is None for row in table.rows] == [False, True]
    fused = vggnet.evaluate([run_folder("b"), other], animals, protocol="table6", device="cpu", test_scale=[64])
    assert [row.label for row in fused.rows] == [f"D + map {way} Q=64" for way in ("dense", "multi-crop", "both")]
    assert all(row.paper is None for row in fused.rows)


def test_a_net_in_memory_counts_as_its_file(animals: Path, run_folder: Callable) -> None:
    model = sharp_net(classes=CLASSES)
    options = {"views": ["center", "dense"], "test_scale": [64, 73], "device": "cpu"}
    expected = vggnet.evaluate(run_folder(), animals, **options)  # a run keeps its posteriors to itself
    for given in (model, vggnet.as_classifier(model)):
        found = vggnet.evaluate(given, animals, **options)
        assert [(row.label, row.errors) for row in found.rows] == [(row.label, row.errors) for row in expected.rows]
    nameless = sharp_net(outputs=len(CLASSES))
    with pytest.raises(vggnet.UserError, match=r"^D: the model does not name its classes"):
        vggnet.evaluate(nameless, animals, **options)
    assert vggnet.evaluate(nameless, animals, classes=CLASSES, **options).rows
    assert nameless.description.classes == ()
    both = vggnet.evaluate([model, model], animals, views="center", test_scale=64, device="cpu")
    assert [row.nets for row in both.rows][:2] == ["D (model 1)", "D (model 2)"]


def test_preprocessing_is_read_as_libraries_state_it() -> None:
    module = ScoreMap()

    def stated(given: object, **options: object) -> vggnet.OtherClassifier:
        return vggnet.OtherClassifier(module, preprocessing=given, **{"classes": CLASSES} | options)  # type: ignore[arg-type]

    transforms = torchvision.transforms._presets.ImageClassification(crop_size=48, resize_size=56)
    weights = SimpleNamespace(transforms=lambda: transforms, meta={"categories": ["bee", "bee", *CLASSES[2:]]})
    timm = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "input_size": (3, 48, 48), "crop_pct": 0.857}
    for given in (transforms, timm, weights):
        about = stated(given, classes=None if given is weights else CLASSES).description
        assert about.architecture.crop_px == 48
        assert about.test_scale == 56
        assert about.preprocessing.mean == pytest.approx(255 * MEAN)
        assert about.preprocessing.deviation == pytest.approx(255 * DEVIATION)
    assert about.classes == ("bee [0]", "bee [1]", *CLASSES[2:])  # names that repeat cannot be matched
    assert stated((MEAN, DEVIATION)).description.preprocessing.mean == pytest.approx(255 * MEAN)
    assert stated("tf").description.preprocessing.deviation == (127.5, 127.5, 127.5)
    module.pretrained_cfg = timm  # as timm leaves it in its models
    assert stated(None).description.architecture.crop_px == 48


def test_imagenets_words_come_with_their_codes() -> None:
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    module = Returns(lambda x: x, outputs=1000)
    for given in ({"preprocessing": weights}, {"preprocessing": "torchvision", "classes": "imagenet"}):
        about = vggnet.OtherClassifier(module, **given).description  # type: ignore[arg-type]
        assert (about.classes[0], about.title(0)) == ("n01440764", "tench")
        assert (about.classes[517], about.title(517)) == ("n03126707", "crane")
    assert vggnet.OtherClassifier(module, preprocessing=weights).description.test_scale == 256


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A file with functions that make classifiers, in the current folder."""
    code = (
        "import torch, vggnet\n"
        "def linear(bias=0.0, outputs=6):\n"
        "    torch.manual_seed(0)\n"
        "    layers = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, outputs)\n"
        "    net = torch.nn.Sequential(*layers)\n"
        "    net[2].bias.data += bias\n"
        "    return net\n"
        "def described():\n"
        f"    about = dict(classes={list(CLASSES)}, preprocessing='unit', crop=32, name='own')\n"
        "    return vggnet.OtherClassifier(linear(), **about)\n"
        "def number():\n    return 7\n"
        "def broken():\n    return 1 / 0\n"
    )
    (tmp_path / "makesnets.py").write_text(code)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    monkeypatch.chdir(tmp_path)
    yield "makesnets"
    monkeypatch.syspath_prepend(tmp_path)  # undoes what the command added


def test_the_command_line_takes_a_function_that_makes_a_classifier(
    package: str, animals: Path, run_folder: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    about = [
        "--preprocessing",
        "unit",
        "--classes",
        "classes.txt",
        "--crop",
        "32",
        "--test-scale",
        "64",
        "--views",
        "dense",
    ]
    modules = ["--module", f"{package}:linear", f"{package}:linear(bias=0.5)", f"{package}:described"]
    assert run(["evaluate", str(run_folder()), str(animals), *modules, *about]) == 0
    printed = capsys.readouterr().out
    assert [name in printed for name in ("D ", "linear (model 2)", "linear (model 3)", "own")] == [True] * 4
    assert run(["evaluate", str(animals), "--module", f"{package}:described", "--test-scale", "64"]) == 0
    assert "own" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--module", "makesnets:linar"], "--module makesnets:linar: makesnets has no linar: did you mean linear?"),
        (["--module", "nosuchpackage:net"], "cannot import nosuchpackage"),
        (["--module", "makesnets"], "give PACKAGE:FUNCTION"),
        (["--module", "makesnets:linear(outputs=open('x'))"], "options are keywords with constants"),
        (["--module", "makesnets:linear(2)"], "options are keywords with constants"),
        (["--module", "makesnets:number"], "it gives a int, not a torch.nn.Module"),
        (["--module", "makesnets:broken"], "the call fails: division by zero"),
        (["--module", "makesnets:linear(color=1)"], "the call fails: .*unexpected keyword argument 'color'"),
        (["--module", "makesnets:linear"], "linear: what pixels does it take? Give --preprocessing"),
        (
            ["--module", "makesnets:linear(outputs=5)", "--preprocessing", "unit", "--classes", "classes.txt"],
            "6 names for 5",
        ),
        (["--preprocessing", "unit"], "--preprocessing is about the classifiers of --module"),
    ],
)
def test_mistakes_about_modules_are_said_with_their_flags(
    arguments: list[str],
    said: str,
    package: str,
    animals: Path,
    run_folder: Callable,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = [str(run_folder())] if "--module" not in arguments else []
    assert run(["evaluate", *model, str(animals), *arguments]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert (said in error) or all(part in error for part in said.split(".*")), error


def test_the_module_is_where_and_as_it_was(animals: Path) -> None:
    module = ScoreMap().train()
    module.layers[1].eval()
    vggnet.evaluate(module, animals, preprocessing="unit", classes=CLASSES, crop=CROP, test_scale=40, device="cpu")
    assert [each.training for each in module.modules()] == [True, True, True, False, True]
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert dataclasses.is_dataclass(vggnet.OtherClassifier(module, classes=CLASSES, preprocessing="unit").description)
    assert open_data(str(animals)).classes == CLASSES
