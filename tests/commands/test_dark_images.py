"""Images of 12 bits in files of 16 bits: everything that shows them to a net says that it sees them nearly black."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nets import save_random_net
from PIL import Image
from served import options_for
from starlette.testclient import TestClient

import vggnet
from vggnet.cli import run
from vggnet.description import InputPolicy
from vggnet.evaluation import quantizing
from vggnet.evaluation.computing import Computing
from vggnet.reporting.boxes import boxes_section
from vggnet.reporting.merged_boxes import rating_of
from vggnet.reporting.sources import read_sources
from vggnet.serving.running import application

CLASSES = ("bee", "cat", "dog")
POLICIES = {"full": InputPolicy(), "twelve": InputPolicy(pixel_range=(0, 4095))}
DARK = "is 4080 of 65535: less than half of 0 to 65535 is used; if "
CPU = ("--device", "cpu")


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    """Three classes of gray images whose brightest pixel is 4080, with a box each."""
    rows = ["image,class,xmin,ymin,xmax,ymax"]
    for part, count in (("train", 3), ("val", 2)):
        for place, name in enumerate(CLASSES):
            for number in range(count):
                path = tmp_path / "dark" / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng([place, number]).integers(0, 4000, (44, 40)).astype(np.uint16)
                pixels[0, 0] = 4080
                Image.fromarray(pixels).save(path)
                rows.append(f"{part}/{name}/{number}.png,{name},4,4,30,30")
    (tmp_path / "dark" / "boxes.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "dark"


@pytest.fixture
def nets(tmp_path: Path) -> dict[str, Path]:
    """One that reads 0 to 65535, one that reads 0 to 4095, and a box net of each kind."""
    found = {}
    for name, policy in POLICIES.items():
        for boxes in ("", "pcr"):
            found[name + boxes] = tmp_path / f"{name}{boxes}.safetensors"
            save_random_net(found[name + boxes], CLASSES, policy=policy, boxes=boxes)  # type: ignore[arg-type]
    return found


def command_of(name: str, net: Path, box_net: Path, data: Path, out: Path) -> list[str]:
    image = str(data / "val" / "bee" / "0.png")
    model, boxes, images = str(net), str(box_net), str(data)
    sizes = ["--train-per-class", "3", "--test-per-class", "1", "--splits", "1", "--costs", "1"]
    return {
        "evaluate": ["evaluate", model, images, *CPU],
        "predict": ["predict", model, image, *CPU],
        "features": ["features", model, images, "--out", str(out / "f.npz"), *CPU, "--workers", "0"],
        "transfer": ["transfer", model, images, *sizes, *CPU, "--workers", "0"],
        "test 1": ["localize", "evaluate", boxes, images, *CPU, "--workers", "0"],
        "test 2": ["localize", "evaluate", boxes, images, "--classifier", model, *CPU, "--workers", "0"],
        "boxes": ["localize", "predict", boxes, image, "--classifier", model, "--out", str(out / "o"), *CPU],
        "quantize": ["quantize", model, str(data / "val" / "bee"), "--out", str(out / "q"), "--workers", "0"],
    }[name]


@pytest.mark.usefixtures("nothing_noted")
@pytest.mark.parametrize(
    "name", ["evaluate", "predict", "features", "transfer", "test 1", "test 2", "boxes", "quantize"]
)
def test_every_command_says_it_once_where_the_net_expects_brighter_images(
    name: str,
    dark: Path,
    nets: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantizing, "choose_inference_precision", lambda *_: "int8")  # measuring needs no int8
    for kind, expected in (("full", 1), ("twelve", 0)):
        (tmp_path / kind).mkdir()
        assert run(command_of(name, nets[kind], nets[f"{kind}pcr"], dark, tmp_path / kind)) == 0
        said = capsys.readouterr()
        assert " ".join((said.out + said.err).split()).count(DARK) == expected


def notes_of_descriptors(net: Path, box_net: Path, data: Path) -> tuple[str, ...]:
    return vggnet.descriptors(net, data, device="cpu", workers=0).notes


def notes_of_evaluate(net: Path, box_net: Path, data: Path) -> tuple[str, ...]:
    return vggnet.evaluate(net, data, device="cpu", workers=0).notes


def notes_of_localize(net: Path, box_net: Path, data: Path) -> tuple[str, ...]:
    return vggnet.localize.evaluate(box_net, data, device="cpu", workers=0).notes


def notes_of_serve(net: Path, box_net: Path, data: Path) -> tuple[str, ...]:
    content = (data / "val" / "bee" / "0.png").read_bytes()
    with application(options_for(net)) as app, TestClient(app, base_url="http://localhost") as client:
        return tuple(client.post("/api/predict", content=content).json()["notes"])


def notes_of_a_report_on_boxes(net: Path, box_net: Path, data: Path) -> tuple[str, ...]:
    sources = read_sources([box_net])
    (found,) = sources.runs
    return (repr(boxes_section(found, str(data), Computing.of("cpu", "fp32", 0, "skip"), rating_of(found, sources))),)


@pytest.mark.parametrize(
    "notes",
    [
        notes_of_descriptors,
        notes_of_evaluate,
        notes_of_localize,
        notes_of_serve,
        pytest.param(notes_of_a_report_on_boxes, marks=pytest.mark.slow),
    ],
)
def test_python_s_results_the_server_and_reports_have_it_among_their_notes(
    notes: Callable[[Path, Path, Path], tuple[str, ...]], dark: Path, nets: dict[str, Path]
) -> None:
    for kind, expected in (("full", 1), ("twelve", 0)):
        found = notes(nets[kind], nets[f"{kind}pcr"], dark)
        assert sum(note.count(DARK) for note in found) == expected
