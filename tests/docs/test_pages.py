"""The pages of docs/: their links and paths lead somewhere, README lists all of them, and their Python runs."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torchvision
from nets import random_net

import vggnet

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "reference"  # `make docs` writes it
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent != GENERATED]
PAGES += [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
NEEDS_FILES = "D.onnx"  # the block that opens an exported net and a photograph


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http:", "https:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target in (GENERATED / "commands.md", GENERATED / "python.md"):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_of_source_files_exist(page: Path) -> None:
    named = re.findall(r"`((?:[a-z_]+/)+\w+\.(?:py|sh))`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not any((root / name).exists() for root in (ROOT, ROOT / "src/vggnet"))] == []


def test_every_page_is_in_the_contents_of_the_site() -> None:
    docs = ROOT / "docs"
    listed = (docs / "index.md").read_text(encoding="utf-8").splitlines()
    pages = [page.relative_to(docs).with_suffix("").as_posix() for page in PAGES if docs in page.parents]
    assert sorted(set(pages) - set(listed)) == ["index"]


def test_the_python_of_the_weights_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    runnable = [block for block in blocks if NEEDS_FILES not in block]
    assert len(runnable) == len(blocks) - 1 == 3
    exec(compile("\n".join(runnable), "docs/weights.md", "exec"), {})
    assert "'conv4_2': (1, 128, 12, 16)" in capsys.readouterr().out


def test_the_loop_of_the_training_page_runs(
    class_folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "training.md").read_text(encoding="utf-8"), re.DOTALL
    )
    monkeypatch.chdir(class_folders(train=8, val=2, side=80, name="photos").parent)
    found: dict = {}
    exec(compile(block, "docs/training.md", "exec"), found)
    assert found["posteriors"].shape == (6, 3)


def test_the_table_of_the_test_page_compares_a_vgg_with_a_resnet(
    class_folders: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The example, with an untrained ResNet of three classes in place of the weights that it downloads."""
    page = (ROOT / "docs" / "test-protocol.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    classes = ["class0", "class1", "class2"]
    class_folders(train=1, val=2, side=256, name="photos")
    model = random_net(classes)
    (tmp_path / "runs" / "D").mkdir(parents=True)
    vggnet.save(tmp_path / "runs" / "D" / "best.safetensors", model)
    preset = torchvision.transforms._presets.ImageClassification(crop_size=32)
    weights = SimpleNamespace(transforms=lambda: preset, meta={"categories": classes})
    plain = torchvision.models.resnet18(num_classes=3)
    monkeypatch.setattr(torchvision.models, "ResNet18_Weights", SimpleNamespace(DEFAULT=weights))
    monkeypatch.setattr(torchvision.models, "resnet18", lambda weights: plain)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/test-protocol.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "| ResNet | - | center | 256 |" in printed
    assert "McNemar" in printed
