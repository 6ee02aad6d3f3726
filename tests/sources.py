"""Play the sources of pretrained weights: a server on the loopback, and small files in the form of the real ones.

The source's own library does the download: only the address (and the hash that it names) is another.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import SMALL, STAGES, torchvision_net
from safetensors.torch import save_file

from vggnet.pretrained import catalogue, sources
from vggnet.pretrained.catalogue import Pretrained

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Source:
    """A server of files by path. `requests` are (method, path, Range); `cut` ends an answer early, once."""

    def __init__(self) -> None:
        self.files: dict[str, Path | bytes] = {}
        self.answers: dict[str, Any] = {}  # JSON
        self.requests: list[tuple[str, str, str]] = []
        self.cut: dict[str, int] = {}
        self.headers: dict[str, str] = {}
        self.address = ""

    def downloads_of(self, path: str) -> int:
        """How many times a file was asked for."""
        return sum(method == "GET" and asked == path for method, asked, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    source: Source

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path, source = self.path.partition("?")[0], self.source
        asked = self.headers.get("Range", "")
        source.requests.append((self.command, path, asked))
        if path in source.answers:
            content, start = json.dumps(source.answers[path]).encode(), 0
        elif path in source.files:
            file = source.files[path]
            content = file if isinstance(file, bytes) else file.read_bytes()
            start = int(asked.removeprefix("bytes=").rstrip("-") or 0) if asked else 0
        else:
            self.send_error(404)
            return
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content[start : source.cut.pop(path, len(content))])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[Source]:
    """A server on the loopback, until the block ends."""
    source = Source()
    handler = type("Handler", (_Handler,), {"source": source})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    source.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield source
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def play_torchvision(monkeypatch: pytest.MonkeyPatch, source: Source, entry: Pretrained, file: Path) -> str:
    """Let torchvision's own record of `entry` name `file` on the server, with its hash; the path there."""
    member = sources.torchvision_weights(entry)
    path = f"/models/{entry.file.split()[0]}-{sha256(file)[:8]}.pth"
    source.files[path] = file
    monkeypatch.setattr(member, "_value_", dataclasses.replace(member.value, url=source.address + path))
    return path


def play_keras(monkeypatch: pytest.MonkeyPatch, source: Source, entry: Pretrained, file: Path) -> str:
    """Let Keras's file of `entry` lie on the server, with its hash; the path there."""
    path = f"/keras/{entry.file}"
    source.files[path] = file
    monkeypatch.setattr(sources, "KERAS_URL", f"{source.address}/keras/")
    monkeypatch.setitem(sources.KERAS_FILES, entry.file, (hashlib.md5(file.read_bytes()).hexdigest(), 1.0))
    return path


def play_hub(
    monkeypatch: pytest.MonkeyPatch, source: Source, repository: str, folder: Path, revision: str = "main"
) -> None:
    """Let huggingface_hub find the files of `folder` as a repository on the server."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", source.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder.parent / "hub-cache"))
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", source.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    siblings: list[dict[str, Any]] = []
    for file in sorted(folder.iterdir()):
        source.files[f"/{repository}/resolve/{COMMIT}/{file.name}"] = file
        about: dict[str, Any] = {"rfilename": file.name, "size": file.stat().st_size, "blobId": "0" * 40}
        if file.suffix in (".safetensors", ".bin"):
            about["lfs"] = {"sha256": sha256(file), "size": file.stat().st_size, "pointerSize": 134}
        siblings.append(about)
    answer = {
        "id": repository,
        "modelId": repository,
        "sha": COMMIT,
        "siblings": siblings,
        "tags": [],
        "private": False,
    }
    for place in ("", f"/revision/{revision}"):
        source.answers[f"/api/models/{repository}{place}"] = answer


def entry_of(name: str) -> Pretrained:
    found = catalogue.find(name)
    assert found is not None
    return found


def write_torchvision_file(path: Path, net: str, *, batch_norm: bool = False, classes: int = 1000) -> torch.nn.Module:
    """Write a net of width 1/16 in torchvision's form, in the format of 2017 as its files have it; return the net."""
    model = torchvision_net(net, classes, batch_norm)
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)
    return model


def write_keras_file(path: Path, net: str, *, small: bool = True, classes: int = 1000, seed: int = 0) -> None:
    """Write random weights in the form of Keras's files of 2016, names and attributes included."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    rng = np.random.default_rng(seed)
    channels = SMALL if small else (64, 128, 256, 512, 512)
    hidden = 4096 // 16 if small else 4096
    names: list[str] = ["input_1"]
    with h5py.File(path, "w") as file:
        before = 3

        def add(name: str, shape: tuple[int, ...]) -> None:
            names.append(name)
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}_W_1:0".encode(), f"{name}_b_1:0".encode()]
            block = rng.standard_normal(min(int(np.prod(shape)), 1_000_003), dtype=np.float32)
            kernel = np.resize(block, shape) * np.float32(np.sqrt(2 / np.prod(shape[:-1])))
            if name == "predictions":
                kernel /= 160  # scores of a few units: posteriors that are neither equal nor 0 and 1
            group.create_dataset(f"{name}_W_1:0", data=kernel)
            group.create_dataset(f"{name}_b_1:0", data=rng.standard_normal(shape[-1], dtype=np.float32) / 10)

        for stage, (width, count) in enumerate(zip(channels, STAGES[net], strict=True), start=1):
            for place in range(1, count + 1):
                add(f"block{stage}_conv{place}", (3, 3, before, width))
                before = width
            names.append(f"block{stage}_pool")
        names.append("flatten")
        add("fc1", (49 * before, hidden))
        add("fc2", (hidden, hidden))
        add("predictions", (hidden, classes))
        for name in names:
            if name not in file:
                file.create_group(name).attrs["weight_names"] = []
        file.attrs["layer_names"] = [name.encode() for name in names]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"1.2.1"


def write_timm_repository(folder: Path, net: str, *, tag: str = "tv_in1k", classes: int = 1000, **more: Any) -> None:
    """Write a net of width 1/16 as timm writes its repositories on the hub; `more` goes into config.json."""
    folder.mkdir(parents=True)
    state = {}
    for name, tensor in torchvision_net(net, classes).state_dict().items():
        head = re.fullmatch(r"classifier\.(\d)\.(\w+)", name)
        if head is None:
            state[name] = tensor
        elif head[1] == "6":
            state[f"head.fc.{head[2]}"] = tensor
        else:
            shaped = tensor
            if head[2] == "weight":
                kernel = 7 if head[1] == "0" else 1
                shaped = tensor.view(tensor.shape[0], -1, kernel, kernel)
            state[f"pre_logits.fc{1 if head[1] == '0' else 2}.{head[2]}"] = shaped
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    config = {
        "architecture": "vgg11",
        "num_classes": classes,
        "pretrained_cfg": {
            "tag": tag,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "input_size": [3, 224, 224],
            "crop_pct": 0.875,
        },
    }
    (folder / "config.json").write_text(json.dumps(config | more))
