"""A net goes to a hub and comes back, through huggingface_hub, to a server of our own that plays the hub."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from nets import random_net

import vggnet
from vggnet.errors import UserError

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
CLASSES = ("bee", "cat", "dog")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """What of the hub's interface an upload and a download need; it keeps the files in memory."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool | None] = {}
        self.tokens: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.add(self.headers.get("Authorization") or "")
        if self.headers.get("Authorization") != "Bearer right":
            self._json({"error": "Invalid user token."}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.server.repositories.setdefault(name, {})
            self.server.private[name] = asked.get("visibility") == "private" or asked.get("private")
            self._json({"url": f"{self.server.address}/{name}"})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            answer = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]
            self._json({"files": answer})
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/models/").split("/commit/")[0]
            for line in body.splitlines():
                item = json.loads(line)
                if item["key"] == "file":
                    content = base64.b64decode(item["value"]["content"])
                    self.server.repositories[name][item["value"]["path"]] = content
            self._json(
                {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.server.address}/{name}/commit/{COMMIT}"}
            )
        else:
            self._json({"error": "not found"}, 404)

    def do_HEAD(self) -> None:
        self._get(with_body=False)

    def do_GET(self) -> None:
        self._get(with_body=True)

    def _get(self, *, with_body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/"):
            name, _, what = path.removeprefix("/api/models/").partition("/revision/")
            if not what:
                name, _, what = name.partition("/tree/")
            if name not in self.server.repositories:
                self._json({"error": "Repository not found"}, 404)
                return
            files = self.server.repositories[name]
            if "/tree/" in path:
                self._json([{"type": "file", "path": each, "size": len(files[each]), "oid": COMMIT} for each in files])
            else:
                siblings = [{"rfilename": each} for each in files]
                self._json({"id": name, "sha": COMMIT, "siblings": siblings, "private": False})
            return
        name, _, rest = path[1:].partition("/resolve/")
        content = self.server.repositories.get(name, {}).get(rest.partition("/")[2])
        if content is None:
            self._json({"error": "Entry not found"}, 404)
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _json(self, value: object, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_net_goes_to_the_hub_and_comes_back(hub: Hub, tmp_path) -> None:
    model = random_net(CLASSES).eval()
    address = vggnet.push_to_hub(model, "me/vgg-a", private=True, token="right", endpoint=hub.address)
    assert address == f"{hub.address}/me/vgg-a"
    assert set(hub.repositories["me/vgg-a"]) == {"config.json", "model.safetensors", "README.md"}
    assert hub.private["me/vgg-a"] is True
    found = vggnet.from_pretrained("me/vgg-a", endpoint=hub.address, cache_dir=tmp_path / "hub")
    assert found.description == model.description
    images = torch.randn(1, 3, 40, 40)
    assert torch.equal(found.posteriors(images), model.posteriors(images))


def test_what_the_hub_does_not_take_is_said(hub: Hub) -> None:
    model = random_net(CLASSES)
    with pytest.raises(UserError, match=r"me/vgg-a: the hub does not take it .*401"):
        vggnet.push_to_hub(model, "me/vgg-a", token="wrong", endpoint=hub.address)
    assert hub.repositories == {}
    with pytest.raises(UserError, match=r"not the name of a repository \(OWNER/NAME\)"):
        vggnet.push_to_hub(model, "vgg-a", token="right", endpoint=hub.address)
    hub.shutdown()
    hub.server_close()
    with pytest.raises(UserError, match="me/vgg-a: the hub does not take it"):
        vggnet.push_to_hub(model, "me/vgg-a", token="right", endpoint=hub.address)
