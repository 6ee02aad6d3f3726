"""One real server under load, and at its end: nothing is lost, nothing is wrong, memory stays as it is."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from waiting import read_until, wait_until

import vggnet

pytestmark = pytest.mark.slow
MakeImage = Callable[..., Path]
REQUESTS, AT_ONCE = 200, 16
KEPT_BYTES = 30_000_000  # that the process may grow by, after 40 requests


@contextmanager
def server(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `vggnet serve` on a free port; yield the process and the address."""
    command = [sys.executable, "-m", "vggnet", "serve", *map(str, arguments), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("serving at "):
                    yield process, line.split()[2]
                    break
            else:
                raise AssertionError("".join(lines))
        finally:
            process.kill()


def resident_bytes(process: subprocess.Popen[str]) -> int:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * 4096


def test_of_200_requests_16_at_a_time_none_is_lost_and_none_is_wrong(model: Path, make_image: MakeImage) -> None:
    images = [make_image(f"images/{i:02d}.jpg", size=(90 + i % 4, 60 + i % 3), seed=i) for i in range(20)]
    expected = [
        [(guess.name, guess.percent) for guess in each.classes]
        for each in vggnet.predict(model, images, device="cpu", precision="fp32")
    ]
    with server(model, "--precision", "fp32") as (process, address), httpx.Client(timeout=60) as client:

        def ask(number: int) -> list[tuple[str, str]]:
            answer = client.post(f"{address}api/predict", content=images[number % len(images)].read_bytes())
            assert answer.status_code == 200, answer.text
            return [(each["class"], each["percent"]) for each in answer.json()["classes"]]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            first = list(pool.map(ask, range(40)))
            before = resident_bytes(process)
            rest = list(pool.map(ask, range(40, REQUESTS)))
        assert resident_bytes(process) - before < KEPT_BYTES
        for number, found in enumerate([*first, *rest]):
            assert found == expected[number % len(images)]
        status = client.get(f"{address}api/status").json()
        assert status["images"] == REQUESTS
        assert status["batches"] < REQUESTS  # requests that waited were computed together
        assert status["at_once"] == 0


def test_sigterm_finishes_what_is_running_and_ends_with_0(model: Path, make_image: MakeImage) -> None:
    content = make_image("a.png", size=(1500, 1200)).read_bytes()
    parameters = {"view": "both", "test_scale": [600, 700, 800]}  # takes long enough to be running at the signal
    with server(model) as (process, address), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{address}api/predict", params=parameters, content=content, timeout=60)
        wait_until(lambda: httpx.get(f"{address}api/status").json()["at_once"] == 1)
        process.send_signal(signal.SIGTERM)
        assert asked.result().status_code == 200
        assert process.stdout is not None
        read_until(process.stdout, "stopped")
        assert process.wait(60) == 0


def test_ctrl_c_ends_it_too(model: Path) -> None:
    with server(model) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
