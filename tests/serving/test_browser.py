"""The page in a browser: what people see, hear and click. Skipped where Chromium or Playwright are not installed."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nets import save_random_net
from served import CLASSES, SCRIPT, listening

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
    pytest.mark.slow,
]
MakeImage = Callable[..., Path]
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Visitor:
    """A page in a browser with what it asked for and complained about."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requested: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog {dialog.message}"))
        self.page.goto(address)
        self.page.wait_for_selector("body[data-ready]", timeout=WAIT_MS)
        self.answers = 0

    def answered(self) -> None:
        """Wait for the answers to the last click."""
        self.answers += 1
        self.page.wait_for_selector(f'#results[data-done="{self.answers}"]', timeout=WAIT_MS)

    def says(self, text: str) -> None:
        """Wait until the page's status holds `text`."""
        playwright.expect(self.page.locator("#status")).to_contain_text(text, timeout=WAIT_MS)

    def choose(self, **radios: str) -> None:
        for name, value in radios.items():
            self.page.check(f'input[name="{name}"][value="{value}"]')
            self.answered()

    def drop(self, file: Path) -> None:
        """Drop a file on the page, as a person does from a window of files."""
        transfer = self.page.evaluate_handle(
            """([bytes, name]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], name));
                return transfer;
            }""",
            [list(file.read_bytes()), file.name],
        )
        self.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
        self.answered()

    def paste(self, file: Path) -> None:
        """Put an image (PNG) on the clipboard, and press Control and V."""
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page.evaluate(
            """bytes => navigator.clipboard.write(
                [new ClipboardItem({"image/png": new Blob([new Uint8Array(bytes)], {type: "image/png"})})])""",
            list(file.read_bytes()),
        )
        self.page.locator("body").press("Control+V")
        self.answered()

    def table(self, place: int = 0) -> list[tuple[str, str]]:
        """Return the classes and percentages of an answer, as they are shown."""
        rows = self.page.locator(".answer").nth(place).locator("tbody tr")
        return [tuple(row.locator("td").all_inner_texts()) for row in rows.all()]  # type: ignore[misc]


def printed(model: Path, image: Path, *options: str) -> list[tuple[str, str]]:
    """Return the classes and percentages that `vggnet predict` prints."""
    command = [sys.executable, "-m", "vggnet", "predict", str(model), str(image), "--device", "cpu", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = re.findall(r"^ +([\d.]+ %)  (.*)$", done.stdout, re.M)
    return [(name, percent) for percent, name in lines]


def test_a_dropped_photograph_gets_the_numbers_of_predict_by_every_protocol(
    browser: Any, model: Path, make_image: MakeImage
) -> None:
    image = make_image("photo.jpg", size=(90, 60))
    with listening(model) as address:
        visitor = Visitor(browser, address)
        visitor.drop(image)
        assert visitor.table() == printed(model, image)
        dense = visitor.table()
        seen = {}
        for view in ("center", "crops", "both", "dense"):
            visitor.choose(view=view)
            seen[view] = visitor.table()
        assert seen["dense"] == dense
        assert len({str(each) for each in seen.values()}) == 4
        for layer in ("score-map", "saliency", "windows"):
            visitor.choose(layer=layer)
            assert visitor.page.locator(".answer img").evaluate("image => image.naturalWidth") > 0
            assert visitor.table() == dense
        visitor.choose(scales="three")
        assert visitor.table() != dense
        assert "Q=35" in visitor.page.inner_text("figcaption")
        assert "Q=45" in visitor.page.inner_text("figcaption")
        assert visitor.problems == []
        assert {re.match(r"blob:|data:|http://127\.0\.0\.1:\d+/", url) is not None for url in visitor.requested} == {
            True
        }


def test_a_pasted_image_gets_the_numbers_of_predict(browser: Any, model: Path, make_image: MakeImage) -> None:
    image = make_image("photo.png", size=(90, 60))
    with listening(model) as address:
        visitor = Visitor(browser, address)
        visitor.paste(image)
        assert visitor.table() == printed(model, image)
        assert visitor.page.inner_text("#status").startswith("Pasted image. Net ")
        assert visitor.problems == []


def test_names_are_shown_as_text_and_the_map_of_any_class_is_drawn(
    browser: Any, model: Path, make_image: MakeImage
) -> None:
    file = make_image("photo.png")
    hostile = file.rename(file.with_name("<img src=x onerror=alert(2)>.png"))
    with listening(model) as address:
        visitor = Visitor(browser, address)
        visitor.drop(hostile)
        assert SCRIPT in dict(visitor.table())
        assert "<img src=x" in visitor.page.inner_text("#status")
        visitor.page.get_by_role("button", name=SCRIPT).click()
        visitor.answered()
        assert SCRIPT in visitor.page.inner_text("figcaption")
        assert visitor.page.locator("script").count() == 1
        visitor.page.fill("#class", "دب")
        visitor.page.press("#class", "Tab")
        visitor.answered()
        assert "دب" in visitor.page.inner_text("figcaption")
        visitor.page.fill("#class", "wasp")
        visitor.page.press("#class", "Tab")
        visitor.says("no class")
        assert visitor.problems == []


def test_two_nets_stand_side_by_side_and_boxes_are_drawn(
    browser: Any, model: Path, make_image: MakeImage, tmp_path: Path
) -> None:
    other, boxes = tmp_path / "other.safetensors", tmp_path / "boxes.safetensors"
    save_random_net(other, CLASSES, seed=5)
    save_random_net(boxes, CLASSES, boxes="pcr", seed=3)
    image = make_image("photo.png", size=(80, 60))
    with listening(model, other, boxes=boxes) as address:
        visitor = Visitor(browser, address)
        visitor.drop(image)
        visitor.page.select_option("#second", index=2)
        visitor.answered()
        assert [visitor.table(0), visitor.table(1)] == [printed(model, image), printed(other, image)]
        visitor.choose(layer="boxes")
        assert visitor.page.locator(".answer").nth(0).locator("svg rect").count() == 10  # five boxes, each with a rim
        assert visitor.problems == []


def test_what_is_wrong_is_said_and_the_page_goes_on(browser: Any, model: Path, make_image: MakeImage) -> None:
    image = make_image("photo.png")
    text = image.with_name("text.jpg")
    text.write_text("no image")
    with listening(model) as address:
        visitor = Visitor(browser, address)
        visitor.page.set_input_files("#file", text)
        visitor.says("the image: not an image of a known format")
        visitor.page.set_input_files("#file", image)
        visitor.answered()
        assert len(visitor.table()) == 5
        visitor.page.locator("#samples button").first.focus()
        visitor.page.keyboard.press("Enter")
        visitor.answered()
        assert "china" in visitor.page.inner_text("#status")
    visitor.page.check('input[value="center"]')
    visitor.says("does not answer")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_accessible_and_fits(
    browser: Any, model: Path, make_image: MakeImage, scheme: str, width: int, tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    other = tmp_path / "other.safetensors"
    save_random_net(other, ("one", "two", "three", "four", "five"), seed=5)
    with listening(other, model) as address:
        visitor = Visitor(
            browser, address, color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
        )
        visitor.drop(make_image("photo.png", size=(300, 200)))
        visitor.page.select_option("#second", index=2)
        visitor.answered()
        visitor.choose(layer="score-map")
        for path in ("", "docs"):
            if path:
                visitor.page.goto(address + path)
            found = axe.Axe().run(visitor.page).response["violations"]
            serious = [each for each in found if each["impact"] in ("serious", "critical")]
            assert serious == [], [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious]
            overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            assert not visitor.page.evaluate(overflow)
