"""Take the screenshots of these pages from a finished quickstart, with Playwright and Chromium.

python docs/take_screenshots.py quickstart        # writes docs/images/*.png
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VGGNET = (sys.executable, "-m", "vggnet")


@contextmanager
def served(runs: list[Path]) -> Iterator[str]:
    """Serve nets until the block ends; yield the address."""
    command = [*VGGNET, "serve", *map(str, runs), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = next(word for line in server.stdout for word in line.split() if word.startswith("http://"))
        try:
            yield address
        finally:
            server.terminate()
            server.stdout.read()  # its last line needs a reader


def wait_for_answer(page: Page, number: int) -> None:
    """Wait until the page has shown this many answers."""
    page.wait_for_selector(f'#results[data-done="{number}"]', timeout=120_000)


def shoot_page(page: Page, address: str) -> None:
    """Show a 4 to net D; then its score map beside that of net A."""
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    page.get_by_role("button", name="Sample: 4").click()
    wait_for_answer(page, 1)
    page.screenshot(path=IMAGES / "serve-page.png", full_page=True)
    page.select_option("#second", index=2)
    wait_for_answer(page, 2)
    page.check('input[name="layer"][value="score-map"]')
    wait_for_answer(page, 3)
    page.locator("#results").screenshot(path=IMAGES / "serve-score-map.png")


def shoot_report(page: Page, runs: list[Path], folder: Path) -> None:
    """Show the beginning of the report on both nets."""
    file = folder / "report.html"
    subprocess.run([*VGGNET, "report", *map(str, runs), "--out", str(file), "--device", "cpu"], check=True)
    page.goto(file.resolve().as_uri())
    page.screenshot(path=IMAGES / "report-first-page.png")


def main() -> None:
    """Take all screenshots from the quickstart in the folder that is named."""
    quickstart = Path(sys.argv[1])
    shallow, deep = quickstart / "A", quickstart / "D"
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 1000}, color_scheme="light")
        shoot_report(page, [shallow, deep], quickstart)
        with served([deep, shallow]) as address:
            shoot_page(page, address)
        browser.close()


if __name__ == "__main__":
    main()
