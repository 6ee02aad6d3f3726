"""A report in a browser, wide and narrow, light and dark. Skipped where Chromium or Playwright are not installed."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vggnet.reporting.building import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
    pytest.mark.slow,
]
TITLES = ("<script>alert(1)</script>", "\u0623\u0633\u0648\u062f \u0642\u0637", "t" * 300)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page_file(class_folders: Callable[..., Path], make_run: Callable[..., Path]) -> Path:
    """The report of a ladder of two nets whose classes have names that break pages."""
    data = class_folders()
    first = make_run("A-S40", data, titles=TITLES)
    make_run("D-S40", data, net="D", titles=TITLES, source="A-S40", seed=1)
    (first.parent / "ladder.json").write_text(json.dumps([{"stage": "A-S40"}, {"stage": "D-S40"}]))
    return write_report([first.parent], device="cpu", workers=0).file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_report_is_accessible_fits_and_asks_for_nothing(
    browser: Any, page_file: Path, scheme: str, width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    size = {"width": width, "height": 900}
    context = browser.new_context(color_scheme=scheme, viewport=size, bypass_csp=True)
    page = context.new_page()
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
    page.goto(page_file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    assert problems == []
    assert TITLES[0] in page.inner_text("main")
    found = axe.Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert serious == [], [(each["id"], [node["html"][:300] for node in each["nodes"]]) for each in serious]
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    context.close()


def test_a_column_sorts_by_its_numbers_up_and_down(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    column = "table.sortable tbody tr td:nth-child(3)"
    for direction in ("ascending", "descending"):
        page.click("table.sortable thead th:nth-child(3) button")
        assert page.get_attribute("table.sortable thead th:nth-child(3)", "aria-sort") == direction
        numbers = [float(text.split()[0]) for text in page.locator(column).all_inner_texts()]
        assert numbers == sorted(numbers, reverse=direction == "descending")
    page.close()


def test_on_a_phone_captions_are_not_cut_and_an_edge_shows_that_there_is_more(browser: Any, page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(page_file.as_uri())
    wide = page.locator(".scroll:visible").first
    assert wide.evaluate("each => each.scrollWidth > each.clientWidth")
    caption = wide.locator("caption")
    for left in (0, 60):  # and after scrolling
        wide.evaluate(f"each => {{ each.scrollLeft = {left}; }}")
        box = caption.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    for part in (".scroll", ".drawing"):
        style = page.locator(part).first.evaluate("each => getComputedStyle(each).backgroundAttachment")
        assert style == "local, local, scroll, scroll"
    page.close()


def test_a_report_works_without_scripts(browser: Any, page_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("table.sortable tbody tr").count() == 3
    context.close()
