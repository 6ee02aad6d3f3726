"""The pages of docs/: their links and paths lead somewhere, README lists all of them, and their Python runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_the_python_of_the_weights_page_runs() -> None:
    text = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    runnable = [block for block in blocks if NEEDS_FILES not in block]
    assert len(runnable) == len(blocks) - 1 == 2
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(runnable)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "'conv4_2': (1, 128, 12, 16)" in done.stdout
