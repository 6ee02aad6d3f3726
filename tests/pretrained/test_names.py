"""Every name resolves: downloaded from the source by its own library, converted, and named classes."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from sources import (
    Source,
    entry_of,
    play_hub,
    play_keras,
    play_torchvision,
    sha256,
    write_keras_file,
    write_timm_repository,
    write_torchvision_file,
)

import vggnet
from vggnet.cli import run
from vggnet.errors import UserError
from vggnet.network.weights import load_model
from vggnet.options.evaluation import EvaluateOptions, PredictOptions
from vggnet.options.localization import LocalizeEvaluateOptions, LocalizePredictOptions, LocalizeTrainOptions
from vggnet.options.models import images_of, with_models
from vggnet.options.quantization import QuantizeOptions
from vggnet.options.serving import ServeOptions
from vggnet.options.training import DiagnoseOptions, TrainOptions
from vggnet.options.transfer import FeaturesOptions, TransferOptions
from vggnet.options.weights import ConvertOptions, ExportOptions
from vggnet.paper.imagenet import imagenet_classes
from vggnet.pretrained.catalogue import PRETRAINED, find
from vggnet.pretrained.resolving import cached, folder_of, resolve, with_folders
from vggnet.pretrained.sources import KERAS_FILES, KERAS_URL, torchvision_weights

TORCHVISION = [entry for entry in PRETRAINED if entry.source == "torchvision" and not entry.convolutions_only]
TIMM = [entry for entry in PRETRAINED if entry.source == "hub"]


def predicted(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict]:
    """What `vggnet predict --json` prints."""
    capsys.readouterr()
    assert run(["predict", *arguments, "--json", "--device", "cpu"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("entry", TORCHVISION, ids=lambda entry: entry.name)
def test_torchvisions_names_predict_as_torchvision_does(
    entry, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: Path
) -> None:
    file = tmp_path / "theirs.pth"
    net, _, norm = entry.net.partition(" ")
    theirs = write_torchvision_file(file, net, batch_norm=bool(norm))
    path = play_torchvision(monkeypatch, source, entry, file)
    model = vggnet.load(entry.name)
    assert source.downloads_of(path) == 1
    assert (model.description.classes, model.description.class_titles) == imagenet_classes()
    pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    preset = torchvision_weights(entry).transforms()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))
    norm_ = model.description.preprocessing
    ours = (pixels * 255 - torch.tensor(norm_.mean).view(3, 1, 1)) / torch.tensor(norm_.deviation).view(3, 1, 1)
    with torch.no_grad():
        expected = theirs((pixels - mean) / std).softmax(1)
    assert torch.allclose(model.posteriors(ours), expected, rtol=1e-4, atol=1e-7)
    published = model.description.recipe["published"]
    assert published["top1_error"] == pytest.approx(
        100 - torchvision_weights(entry).meta["_metrics"]["ImageNet-1K"]["acc@1"]
    )
    assert published["test_scale"] == 256


def test_a_plain_name_is_torchvisions_is_said_once_and_downloaded_once(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = entry_of("torchvision/vgg16")
    write_torchvision_file(tmp_path / "theirs.pth", "D")
    path = play_torchvision(monkeypatch, source, entry, tmp_path / "theirs.pth")
    assert run(["predict", "vgg16", str(photo), "--top", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("vgg16: the model torchvision/vgg16\n") == 1
    assert f"downloading {source.address}{path} (" in printed.err
    (guess, *_) = predicted(capsys, "torchvision/vgg16", str(photo))[0]["classes"]
    codes, words = imagenet_classes()
    assert guess["title"] == words[codes.index(guess["class"])]
    assert f"{guess['title']} ({guess['class']})" in printed.out
    assert source.downloads_of(path) == 1
    assert not list((tmp_path / "cache" / "downloads" / "models").iterdir())  # converted, so not kept twice
    assert folder_of(entry).is_dir()


def test_torchvisions_features_end_at_pool5_with_their_own_preprocessing(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = entry_of("torchvision/vgg16.IMAGENET1K_FEATURES")
    theirs = write_torchvision_file(tmp_path / "theirs.pth", "D")
    state = {
        name: tensor if name.startswith("features") else torch.full_like(tensor, float("nan"))
        for name, tensor in theirs.state_dict().items()
    }
    torch.save(state, tmp_path / "theirs.pth")
    play_torchvision(monkeypatch, source, entry, tmp_path / "theirs.pth")
    model = vggnet.load("vgg16.imagenet1k_features")
    assert model.architecture.convolutions_only
    assert model.description.preprocessing.deviation == pytest.approx((1, 1, 1))
    assert model.description.preprocessing.mean == pytest.approx([255 * each for each in (0.48235, 0.45882, 0.40784)])
    images = torch.randn(1, 3, 64, 64) * 50
    with torch.no_grad():
        expected = theirs.features(images)
    assert torch.allclose(model.forward_features(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "also"), [("oxford/D", "keras/vgg16"), ("oxford/E", "keras/vgg19")])
def test_the_authors_nets_come_from_kerass_files_with_their_scales(
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    photo: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    also: str,
) -> None:
    write_keras_file(tmp_path / "theirs.h5", name[-1])
    path = play_keras(monkeypatch, source, entry_of(name), tmp_path / "theirs.h5")
    (found,) = predicted(capsys, name, str(photo), "--test-scale", "224")
    assert found["classes"][0]["class"] in imagenet_classes()[0]
    assert predicted(capsys, also, str(photo), "--test-scale", "224")[0]["classes"] == found["classes"]
    assert source.downloads_of(path) == 1
    description = vggnet.load(name).description
    assert description.architecture.net == name[-1]
    assert description.train_scale == (256, 512)
    assert description.preprocessing.mean == (123.68, 116.779, 103.939)
    assert description.policy.mirror


@pytest.mark.parametrize("entry", TIMM, ids=lambda entry: entry.name)
def test_timms_names_come_from_the_hub(entry, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    net = entry.net.partition(" ")[0]
    write_timm_repository(tmp_path / "repository", net)
    play_hub(monkeypatch, source, entry.file, tmp_path / "repository")
    model = vggnet.load(entry.name)
    assert model.architecture.net == net
    assert model.description.classes == imagenet_classes()[0]
    assert model.description.preprocessing.mean == pytest.approx([255 * each for each in (0.485, 0.456, 0.406)])
    assert model.description.recipe["published"]["test_scale"] == 256
    before = len(source.requests)
    assert cached(entry) == folder_of(entry)  # once fetched, the hub is not asked again
    assert len(source.requests) == before
    assert not any((tmp_path / "cache" / "downloads" / "models").glob("timm*"))


def test_a_repository_of_the_hub_in_our_form(source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    ours = vggnet.build("A", num_classes=3, width=1 / 16, crop=64)
    vggnet.save_pretrained(ours, tmp_path / "repository")
    play_hub(monkeypatch, source, "somebody/vgg", tmp_path / "repository", revision="v1")
    model = vggnet.load("hf-hub:somebody/vgg@v1")
    assert model.description == ours.description
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert resolve("hf-hub:somebody/vgg@v1").name == "vgg@v1"


def test_a_repository_in_timms_form_brings_its_own_class_names(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    names = ["cat", "dog", "ant"]
    write_timm_repository(tmp_path / "repository", "A", tag="", classes=3, label_names=names)
    play_hub(monkeypatch, source, "somebody/pets", tmp_path / "repository")
    assert vggnet.load("hf-hub:somebody/pets").description.classes == tuple(names)


def test_a_thousand_outputs_that_are_not_imagenets_get_no_names(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    write_timm_repository(tmp_path / "repository", "A", tag="my_products")
    play_hub(monkeypatch, source, "somebody/products", tmp_path / "repository")
    assert vggnet.load("hf-hub:somebody/products").description.classes == ()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (EvaluateOptions(("a", "b", "photos")), {"inputs": ("A", "B", "photos")}),
        (PredictOptions(("a", "b.jpg")), {"inputs": ("A", "b.jpg")}),
        (FeaturesOptions(("a", "photos")), {"inputs": ("A", "photos")}),
        (
            TransferOptions(("a", "photos"), against=("pixels", "b")),
            {"inputs": ("A", "photos"), "against": ("pixels", "B")},
        ),
        (ExportOptions(Path("a")), {"model": Path("A")}),
        (ConvertOptions(Path("a"), Path("o"), "vggnet"), {"file": Path("A"), "out": Path("o")}),
        (QuantizeOptions(Path("a"), "photos", Path("o")), {"model": Path("A"), "data": "photos"}),
        (TrainOptions("photos", init_from=Path("a")), {"data": "photos", "init_from": Path("A")}),
        (ServeOptions(("a", "b"), boxes=Path("c")), {"models": ("A", "B"), "boxes": Path("C")}),
        (DiagnoseOptions(init_from=Path("a")), {"init_from": Path("A")}),
        (LocalizeTrainOptions("photos", Path("a")), {"init_from": Path("A")}),
        (
            LocalizeEvaluateOptions(("a", "b", "photos"), classifier=(Path("c"),)),
            {"inputs": ("A", "B", "photos"), "classifier": (Path("C"),)},
        ),
        (
            LocalizePredictOptions(("a", "b.jpg"), classifier=(Path("c"),)),
            {"inputs": ("A", "b.jpg"), "classifier": (Path("C"),)},
        ),
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_option_that_holds_a_model_is_resolved(options, expected: dict) -> None:
    found = with_models(options, lambda model: str(model).upper())
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.slow
def test_every_command_takes_a_name(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, class_folders, capsys: pytest.CaptureFixture[str]
) -> None:
    write_torchvision_file(tmp_path / "theirs.pth", "A")
    play_torchvision(monkeypatch, source, entry_of("vgg11"), tmp_path / "theirs.pth")
    data = class_folders(classes=3, train=4, val=2)
    monkeypatch.chdir(tmp_path)
    small, net = "--device cpu --workers 0", "--net A --crop 224 --width 0.0625"
    for command in (
        f"features vgg11 {data} --out f.npz --test-scale 224 {small}",
        f"transfer vgg11 {data} --train-per-class 2 --splits 1 --against vgg11 --test-scale 224 {small}",
        "export vgg11 --format torch-export --out vgg11.pt2",
        "convert vgg11 --layout vggnet --to torchvision --out out",
        f"train {data} --init-from vgg11 {net} --new-head --epochs 1 --batch 4 --train-scale 224 --out run {small}",
    ):
        assert run(command.split()) == 0, capsys.readouterr().err
    start = load_model(resolve("vgg11")).conv1_1.weight
    assert (load_model("run").conv1_1.weight - start).abs().max() < start.abs().max()


CALLS: dict[str, Callable[[Path], Any]] = {
    "load": lambda photo: vggnet.load("vgg11").architecture.net,
    "from_pretrained": lambda photo: vggnet.from_pretrained("vgg11").architecture.net,
    "PerceptualLoss": lambda photo: vggnet.PerceptualLoss("vgg11", content=["relu1_1"]).content,
    "plot.score_map": lambda photo: vggnet.plot.score_map("vgg11", photo).axes,
    "predict": lambda photo: vggnet.predict("vgg11", photo, test_scale=224),
    "classify": lambda photo: vggnet.classify("vgg11", photo.parent, test_scale=224, views=["center"]).predictions,
    "descriptors": lambda photo: vggnet.descriptors(["vgg11"], photo.parent, test_scale=224).files,
    "convert": lambda photo: vggnet.convert("vgg11", "vggnet").architecture.net,
    "torch.hub load": lambda photo: hub("load", path="vgg11").architecture.net,
    "torch.hub from_pretrained": lambda photo: hub("from_pretrained", name="vgg11").architecture.net,
}


def hub(entry: str, **options: Any) -> Any:
    return torch.hub.load(str(Path(__file__).parents[2]), entry, source="local", **options)


@pytest.mark.parametrize("call", CALLS)
def test_every_python_call_that_takes_a_path_takes_a_name(
    call: str, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_image: Callable[..., Path]
) -> None:
    write_torchvision_file(tmp_path / "theirs.pth", "A")
    path = play_torchvision(monkeypatch, source, entry_of("vgg11"), tmp_path / "theirs.pth")
    assert CALLS[call](make_image("photos/photo.jpg", size=(60, 45)))
    assert source.downloads_of(path) == 1


def test_serve_takes_a_name(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    from starlette.testclient import TestClient

    from vggnet.serving.running import application

    write_torchvision_file(tmp_path / "theirs.pth", "A")
    play_torchvision(monkeypatch, source, entry_of("vgg11"), tmp_path / "theirs.pth")
    options = with_folders(ServeOptions(("vgg11",), device="cpu", precision="fp32"))
    with application(options) as app, TestClient(app, base_url="http://localhost") as client:
        answer = client.post("/api/predict", params={"top": 1, "test_scale": 224}, content=photo.read_bytes()).json()
        (model,) = client.get("/api/models").json()
    (expected, *_) = predicted(capsys, "vgg11", str(photo), "--test-scale", "224", "--precision", "fp32")[0]["classes"]
    (found,) = answer["classes"]
    assert (found["class"], found["title"]) == (expected["class"], expected["title"])
    assert (model["net"], len(model["classes"])) == ("A", 1000)


@pytest.mark.parametrize(
    "call",
    [
        lambda: vggnet.preprocess("vgg16", "photo.jpg"),
        lambda: vggnet.features("vgg16", torch.zeros(1, 3, 32, 32), ["relu1_1"]),
        lambda: vggnet.as_classifier("vgg16"),
        lambda: vggnet.transforms("vgg16", train=True),
        lambda: vggnet.save("model.safetensors", "vgg16"),
        lambda: vggnet.save_pretrained("vgg16", "folder"),
    ],
)
def test_a_function_of_nets_in_memory_names_load(call: Callable[[], Any]) -> None:
    with pytest.raises(UserError, match=r"takes a net, and 'vgg16' is a path or a name: vggnet.load\('vgg16'\)"):
        call()


def test_a_function_that_saves_says_what_comes_first(tmp_path: Path) -> None:
    net = vggnet.build("A", num_classes=2, width=1 / 16, crop=32)
    with pytest.raises(UserError, match=r"the file comes first, then the net: vggnet.save\(path, model\)"):
        vggnet.save(net, tmp_path / "model.safetensors")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["predict", "vgg11", "nowhere.jpg"], "nowhere.jpg"),
        (["evaluate", "vgg11", "oxford/D", "nowhere"], "nowhere"),
        (["train", "nowhere", "--init-from", "vgg11", "--out", "run"], "nowhere"),
        (["quantize", "vgg11", "nowhere", "--out", "int8"], "nowhere"),
    ],
)
def test_nothing_is_downloaded_for_images_that_do_not_exist(
    arguments: list[str], missing: str, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write_torchvision_file(tmp_path / "theirs.pth", "A")
    play_torchvision(monkeypatch, source, entry_of("vgg11"), tmp_path / "theirs.pth")
    assert run(arguments) == 2
    said = f"{missing}: there is no such file, folder or data set; torchvision/vgg11 is not downloaded for it"
    assert said in capsys.readouterr().err
    assert not source.requests


@pytest.mark.parametrize(
    ("options", "images"),
    [
        (EvaluateOptions(("a", "b", "photos")), ("photos",)),
        (PredictOptions(("a", "b.jpg", "c.jpg")), ("b.jpg", "c.jpg")),
        (TransferOptions(("a", "photos"), against=("pixels", "b")), ("photos",)),
        (QuantizeOptions(Path("a"), "photos", Path("o")), ("photos",)),
        (TrainOptions("photos", init_from=Path("a")), ("photos",)),
        (ServeOptions(("a", "b"), boxes=Path("c")), ()),
        (LocalizePredictOptions(("a", "b.jpg"), classifier=(Path("c"),)), ("b.jpg",)),
    ],
    ids=lambda given: type(given).__name__,
)
def test_images_are_told_from_models(options, images: tuple[str, ...]) -> None:
    assert images_of(options) == images


def test_a_file_or_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    vggnet.save_pretrained(vggnet.build("A", num_classes=3, width=1 / 16, crop=32), "vgg16")
    assert vggnet.load("vgg16").architecture.net == "A"
    assert resolve("vgg16") == "vgg16"


def test_those_who_come_while_a_model_is_fetched_wait_for_it(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_torchvision_file(tmp_path / "theirs.pth", "A")
    path = play_torchvision(monkeypatch, source, entry_of("vgg11"), tmp_path / "theirs.pth")
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(resolve, ["vgg11", "torchvision/vgg11", "VGG11"]))
    assert folders == {folder_of(entry_of("vgg11"))}
    assert source.downloads_of(path) == 1


@pytest.mark.slow
def test_several_processes_make_one_download(source: Source, tmp_path: Path) -> None:
    write_torchvision_file(tmp_path / "theirs.pth", "A")
    script = (
        "import sys, pytest\n"
        "from pathlib import Path\n"
        "import sources\n"
        "monkeypatch = pytest.MonkeyPatch()\n"
        "server = sources.Source()\n"
        "server.address = sys.argv[1]\n"
        "sources.play_torchvision(monkeypatch, server, sources.entry_of('vgg11'), Path(sys.argv[2]))\n"
        "import vggnet\n"
        "print(len(vggnet.load('vgg11').description.classes))\n"
    )
    path = f"/models/vgg11-{sha256(tmp_path / 'theirs.pth')[:8]}.pth"
    source.files[path] = tmp_path / "theirs.pth"
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", script, source.address, str(tmp_path / "theirs.pth")]
    environment = {**os.environ, "PYTHONPATH": f"{tests}:{Path(vggnet.__file__).parents[1]}"}
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    for process in started:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out.strip()) == (0, "1000"), err
    assert source.downloads_of(path) == 1


def test_the_list_of_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nets", "--pretrained", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {entry.name for entry in PRETRAINED}
    assert (rows["oxford/D"]["top1_error"], rows["oxford/D"]["top5_error"]) == (24.4, 7.2)
    assert (rows["oxford/E"]["top1_error"], rows["oxford/E"]["top5_error"]) == (24.4, 7.1)
    assert rows["oxford/D"]["input"].startswith("BGR of 0..255, mean 103.939 116.779 123.68")
    assert rows["torchvision/vgg16"]["top1_error"] == pytest.approx(28.408)
    assert rows["timm/vgg16.tv_in1k"]["top1_error"] == pytest.approx(28.408)
    assert all(row["licence"] and row["megabytes"] > 500 and not row["cached"] for row in rows.values())
    assert run(["nets", "--pretrained"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows)


def test_the_class_names_are_those_of_torchvision_and_of_timm() -> None:
    codes, words = imagenet_classes()
    assert list(words) == torchvision_weights(entry_of("vgg16")).meta["categories"]
    timm = pytest.importorskip("timm", reason="timm is not installed")
    listed = Path(timm.__file__).parent / "data" / "_info" / "imagenet_synsets.txt"
    assert list(codes) == listed.read_text().split()


def test_the_addresses_and_hashes_are_those_of_keras() -> None:
    keras = importlib.util.find_spec("keras")
    if keras is None or keras.origin is None:
        pytest.skip("keras is not installed")
    for file, (md5, _) in KERAS_FILES.items():
        module = Path(keras.origin).parent / "src" / "applications" / f"{file.partition('/')[0]}.py"
        text = "".join(module.read_text().split()).replace('""', "")
        assert KERAS_URL + file in text
        assert f'file_hash="{md5}"' in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vgg61", "vgg16"),
        ("torchvison/vgg16", "torchvision/vgg16"),
        ("oxford/F", "oxford/"),
        ("timm/resnet50", "nets --pretrained"),
        ("hf-hub:nobody", "hf-hub:OWNER/NAME"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_ones(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", name, "photo.jpg"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"vggnet: {name}: neither a file or folder nor the name of a model: ")
    assert said in error
    with pytest.raises(UserError, match="neither a file or folder"):
        vggnet.load(name)


@pytest.mark.parametrize("path", ["runs/D", "model.safetensors", "./vgg16", "/no/vgg16", "D", "photos"])
def test_paths_are_no_misspelt_names(path: str) -> None:
    assert find(path) is None
    assert resolve(path) == path


def test_a_name_where_images_go_is_told_apart(capsys: pytest.CaptureFixture[str], photo: Path) -> None:
    assert run(["predict", "runs/D", "vgg16"]) == 2
    assert "vgg16: this is the name of a model, and images go there: vggnet predict MODEL IMAGE..." in (
        capsys.readouterr().err
    )
