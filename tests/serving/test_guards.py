"""What the server refuses, each with one sentence as JSON, and that it lives on."""

import asyncio
import io
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import save_random_net
from PIL import Image
from served import CLASSES, SCRIPT, Serve, listening, options_for
from waiting import wait_until

from vggnet.cli import run
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.views import View
from vggnet.network.weights import load_model
from vggnet.serving.engine import Engine
from vggnet.serving.guards import HEADERS
from vggnet.serving.running import application

MakeImage = Callable[..., Path]


def refusal(answer: Any, status: int) -> str:
    """Return the sentence of an answer that must be an error as JSON, with the headers that every answer has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    content = answer.json()
    assert list(content) == ["error"]
    return str(content["error"])


def bodies() -> dict[str, bytes]:
    """Return files that are no image, or a damaged or harmful one, by what is wrong with them."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)).save(stream, "JPEG")
    jpeg = stream.getvalue()
    line, tiff = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (1, 30_000)).save(line, "PNG")
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tiff, "TIFF")
    return {
        "text": b"no image at all",
        "html": b"<html><img src=http://example.org/a.jpg></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "a path": b"/etc/passwd",
        "a URL": b"http://127.0.0.1:1/a.jpg",
        "zeros": bytes(5000),
        "a cut JPEG": jpeg[: len(jpeg) // 2],
        "a header alone": jpeg[:20],
        "a long line": line.getvalue(),
        "32-bit floats": tiff.getvalue(),
        "a JPEG with a hole": jpeg[:600] + bytes(2000) + jpeg[2600:3000],
    }


@pytest.mark.parametrize("path", ["predict", "boxes", "picture", "score-map?class=bee", "saliency/picture?class=bee"])
def test_files_that_are_no_image_get_a_reason_and_the_server_lives(
    serve: Serve, model: Path, tmp_path: Path, make_image: MakeImage, path: str
) -> None:
    save_random_net(tmp_path / "boxes.safetensors", CLASSES, boxes="scr")
    client = serve(model, boxes=tmp_path / "boxes.safetensors")
    for name, body in bodies().items():
        text = refusal(client.post(f"/api/{path}", content=body), 422)
        assert text.startswith("the image: "), name
        assert str(tmp_path) not in text
        assert "vggnet-serve" not in text
    assert refusal(client.post(f"/api/{path}", content=b""), 400).startswith("the body is empty")
    assert client.post(f"/api/{path}", content=make_image("good.png").read_bytes()).status_code == 200


def test_unusual_images_are_answered(serve: Serve, model: Path, make_image: MakeImage) -> None:
    client = serve(model)
    for name, options in {"a.gif": {}, "a.webp": {}, "a.tif": {}, "a.bmp": {}, "a.jp2": {}, "a.ppm": {}}.items():
        content = make_image(name, **options).read_bytes()
        assert client.post("/api/predict", content=content).status_code == 200, name
        assert client.post("/api/picture", content=content).headers["content-type"] == "image/jpeg", name


def test_large_files_and_images_are_refused(serve: Serve, model: Path, make_image: MakeImage) -> None:
    content = make_image("a.png", size=(60, 50)).read_bytes()
    assert len(content) > 5000
    client = serve(model, max_megabytes=0.005)
    assert refusal(client.post("/api/predict", content=content), 413) == (
        "the file is larger than 5,000 bytes: reduce the image"
    )

    def parts() -> Iterator[bytes]:  # no Content-Length
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    assert "larger than" in refusal(client.post("/api/predict", content=parts()), 413)
    client = serve(model, max_megapixels=0.0029)
    assert "60x50 pixels, more than 2,900" in refusal(client.post("/api/predict", content=content), 413)
    assert client.get("/api/status").json()["at_once"] == 0


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("predict?model=E", 404, "`model` 'E': no such net is served; the nets are 'A'"),
        ("predict?view=all", 422, "`view` 'all'"),
        ("predict?test_scale=31", 422, "Q must be at least 32"),
        ("predict?test_scale=0", 422, "`test_scale` 0: give a number from 1 to 10,000"),
        ("predict?test_scale=many", 422, "`test_scale`"),
        ("predict?test_scale=9999", 422, "more than the 4,194,304 pixels"),
        ("predict?test_scale=32&test_scale=33&test_scale=34&test_scale=35", 422, "at most 3 sizes"),
        ("predict?top=0", 422, "`top` '0'"),
        ("score-map", 422, "`class`"),
        ("score-map?class=wasp", 404, "`class` 'wasp': net A has no such class"),
        ("score-map/picture?class=../../etc/passwd", 404, "no such class"),
        ("saliency/picture?class=bee&test_scale=31", 422, "Q must be at least 32"),
        ("boxes", 404, "no net that draws boxes is served"),
        ("nothing", 404, "Not Found; the API is described at /docs"),
    ],
)
def test_parameters_that_cannot_be_are_refused(
    serve: Serve, model: Path, make_image: MakeImage, path: str, status: int, text: str
) -> None:
    content = make_image("a.png").read_bytes()
    assert text in refusal(serve(model).post(f"/api/{path}", content=content), status)


def test_names_are_never_paths(serve: Serve, model: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    client = serve(model)
    names = ("/../secret", "/%2e%2e/%2e%2e/etc/passwd", "/page/page.html", "/api/samples/../secret", "/api/samples/9")
    for name in names:
        refusal(client.get(name), 404)
    refusal(client.get("/api/samples/-1"), 404)
    refusal(client.get("/api/samples/%2fetc%2fpasswd"), 404)
    assert "Method Not Allowed" in refusal(client.get("/api/predict"), 405)


def test_only_its_own_hosts_and_pages_may_ask(serve: Serve, model: Path) -> None:
    client = serve(model, allowed_host=("nets.example",))
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:99", "[::1]:80", "nets.example"):
        assert client.get("/api/models", headers={"host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example:8000", "", "127.0.0.1.evil.example", "[::2]"):
        assert "does not answer for the host" in refusal(client.get("/", headers={"host": host}), 421)
    for site, mode, status in (
        ("cross-site", "cors", 403),
        ("same-site", "no-cors", 403),
        ("same-origin", "cors", 200),
    ):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": mode}
        assert client.get("/api/models", headers=headers).status_code == status
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200


def test_pages_load_nothing_from_elsewhere_and_show_names_as_text(serve: Serve, model: Path) -> None:
    client = serve(model)
    for path in ("/", "/page.css", "/page.js", "/docs"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        outside = set(re.findall(r"(?:https?:)?//[\w.-]+", answer.text)) - {"http://127.0.0.1", "http://www.w3.org"}
        assert {each for each in outside if not each.startswith("// ")} == set()
    page = (files("vggnet.serving") / "page" / "page.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)
    assert client.get("/api/models").json()[0]["classes"][1]["class"] == SCRIPT


def test_the_description_names_every_path_and_field(serve: Serve, model: Path) -> None:
    client = serve(model)
    api = client.get("/openapi.json").json()
    text = client.get("/docs").text
    assert {"/api/predict", "/api/score-map", "/api/boxes", "/api/models"} <= set(api["paths"])
    for path, methods in api["paths"].items():
        assert path in text
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                assert f"<code>{parameter['name']}</code>" in text
    for field in ("posterior", "percent", "forward_passes", "xmin"):
        assert f"{field}</code>" in text


class Held:
    """A net's thread that waits within `with`, so that requests gather."""

    def __init__(self, engine: Engine) -> None:
        self._go, self._held = threading.Event(), threading.Event()
        engine.call(next(iter(engine._nets)), lambda _: (self._held.set(), self._go.wait(60)))

    def __enter__(self) -> None:
        assert self._held.wait(60)

    def __exit__(self, *_: object) -> None:
        self._go.set()


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """The engines that the test starts."""
    started: list[Engine] = []
    enter = Engine.__enter__
    monkeypatch.setattr(Engine, "__enter__", lambda self: (started.append(self), enter(self))[1])
    return started


def test_requests_that_wait_share_a_forward_pass_and_each_gets_its_own_answer(
    serve: Serve, model: Path, make_image: MakeImage, engines: list[Engine]
) -> None:
    client = serve(model)
    contents = [make_image(f"{i}.png", size=(60, 40), seed=i).read_bytes() for i in range(8)]
    alone = [client.post("/api/predict", content=each).json()["classes"] for each in contents]
    assert client.get("/api/status").json()["largest_batch"] == 1
    with ThreadPoolExecutor(8) as pool:
        with Held(engines[0]):
            asked = [pool.submit(client.post, "/api/predict", content=each) for each in contents]
            wait_until(lambda: engines[0]._waiting.qsize() == 8)
        together = [each.result().json()["classes"] for each in asked]
    status = client.get("/api/status").json()
    assert (status["largest_batch"], status["batches"], status["images"]) == (8, 9, 16)
    for one, other in zip(alone, together, strict=True):
        assert [each["class"] for each in one] == [each["class"] for each in other]
        assert [each["percent"] for each in one] == [each["percent"] for each in other]


def test_a_full_queue_answers_429_with_the_time_to_come_back(
    serve: Serve, model: Path, make_image: MakeImage, engines: list[Engine]
) -> None:
    client = serve(model, max_images=2)
    content = make_image("a.png").read_bytes()
    with ThreadPoolExecutor(2) as pool:
        with Held(engines[0]):
            asked = [pool.submit(client.post, "/api/predict", content=content) for _ in range(2)]
            wait_until(lambda: engines[0]._waiting.qsize() == 2)
            answer = client.post("/api/predict", content=content)
            assert "2 images are being computed" in refusal(answer, 429)
            assert answer.headers["retry-after"] == "1"
            assert client.get("/api/status").json()["at_once"] == 2
        assert [each.result().status_code for each in asked] == [200, 200]
    assert client.post("/api/predict", content=content).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(
    serve: Serve, model: Path, make_image: MakeImage, engines: list[Engine]
) -> None:
    client = serve(model, max_seconds=0.3)
    content = make_image("a.png").read_bytes()
    client.post("/api/predict", content=content)
    with Held(engines[0]):
        answer = client.post("/api/predict", content=content)
        assert "no answer within 0.3 s" in refusal(answer, 503)
        assert client.get("/api/status").json()["at_once"] == 0
    counted = client.get("/api/status").json()["images"]
    assert counted <= 1  # what was given up before it began is not computed


def test_a_browser_that_goes_away_leaves_nothing_behind(model: Path) -> None:
    async def leave(app: Any) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        messages = iter([{"type": "http.request", "body": b"\xff\xd8", "more_body": True}, {"type": "http.disconnect"}])

        async def receive() -> dict[str, Any]:
            return next(messages)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost")]
        scope = {"type": "http", "method": "POST", "path": "/api/predict", "query_string": b"", "headers": headers}
        await app(scope | {"http_version": "1.1", "scheme": "http", "root_path": ""}, receive, send)
        return sent

    with application(options_for(model)) as app:
        for _ in range(3):
            asyncio.run(leave(app))
        handlers = app._app  # type: ignore[attr-defined]
        status = next(route.endpoint for route in handlers.routes if getattr(route, "path", "") == "/api/status")
        assert asyncio.run(status()).at_once == 0
        assert list(status.__self__._folder.iterdir()) == []


def test_an_engine_that_fails_tells_each_request_and_goes_on(model: Path) -> None:
    net = load_model(model)
    with Engine({"A": net}, Computing()) as engine:
        failing = engine.call("A", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            failing.result(60)
        with pytest.raises(KeyError):
            engine.score("A", (View("dense", 40),), {}).result(60)
        assert engine.call("A", lambda scorer: scorer.precision).result(60) == "fp32"


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(["serve", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_what_cannot_be_served_is_a_message(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], make_image: MakeImage
) -> None:
    for name in ("boxes", "more"):
        save_random_net(tmp_path / f"{name}.safetensors", CLASSES, boxes="pcr")
    boxes = tmp_path / "boxes.safetensors"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: another program listens there" in fails(capsys, model, "--port", port)
    assert "--host 192.0.2.1: cannot listen there" in fails(capsys, model, "--host", "192.0.2.1", "--port", 0)
    assert "give the classification run that chooses the classes with --classifier" in fails(capsys, boxes, "--port", 0)
    two = fails(capsys, model, boxes, "--boxes", tmp_path / "more.safetensors", "--port", 0)
    assert "give one run that draws boxes, not 2" in two
    assert "names classes and draws no boxes" in fails(capsys, model, "--boxes", model, "--port", 0)
    assert "no such folder" in fails(capsys, model, "--samples", tmp_path / "nowhere", "--port", 0)
    assert "these are images" in fails(capsys, make_image("a.png"), "--port", 0)
    assert "--max-images 0: give a number" in fails(capsys, model, "--max-images", 0)
    assert "--port 70000: give a number" in fails(capsys, model, "--port", 70000)


def test_samples_are_the_users_or_val_images_of_the_nets_data(
    serve: Serve, tmp_path: Path, class_folders: MakeImage
) -> None:
    data = class_folders(classes=3)
    net = tmp_path / "run"
    net.mkdir()
    save_random_net(net / "best.safetensors", ("class0", "class1", "class2"))
    (net / "config.json").write_text(json.dumps({"data": str(data)}))
    client = serve(net)
    samples = client.get("/api/samples").json()
    assert [each["title"] for each in samples] == sorted(each["title"] for each in samples)
    assert {each["title"] for each in samples} == {"class0", "class1", "class2"}
    content = client.get("/api/samples/0").content
    assert content == (data / "val" / "class0" / "0.jpg").read_bytes()
    assert client.get("/api/samples/0/picture").headers["content-type"] == "image/jpeg"
    assert client.post("/api/predict", content=content).status_code == 200
    client = serve(net, samples=data / "train" / "class1")
    assert client.get("/api/samples").json()[0]["title"] == "0.jpg"
    for config in (json.dumps({"data": str(tmp_path / "gone")}), "no json", json.dumps({"data": 3}), "[]"):
        (net / "config.json").write_text(config)
        assert [each["title"] for each in serve(net).get("/api/samples").json()] == ["china", "flower"]


def test_a_real_server_answers(model: Path, make_image: MakeImage) -> None:
    import httpx

    with listening(model) as address:
        answer = httpx.post(f"{address}api/predict", content=make_image("a.png").read_bytes())
        assert answer.json()["classes"][0]["class"] in CLASSES
        late = httpx.post(f"{address}api/predict", content=bytes(30_000_000))
        assert "larger than 20,000,000 bytes" in refusal(late, 413)
