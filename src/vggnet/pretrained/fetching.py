"""Download a weight file with torch.hub, continue a download that was interrupted, and check the file's hash.

Notable: torch.hub checks a file's SHA-256, and starts anew after an interruption. So a handler of urllib below it also
writes what arrives to NAME.partial. The next try takes these bytes first and asks the server for the rest (HTTP Range).
"""

import hashlib
import http.client
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import torch

from vggnet.console import note, progress
from vggnet.errors import UserError, reason_of
from vggnet.files import is_offline

TRIES = 5  # of a download whose connection ends early
TIMEOUT_S = 60.0  # without a byte
_NETWORK = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError)
_AGENT = "torch.hub"
Tick = Callable[[int, int], Any]  # bytes that are there, bytes in all (0: unknown)


@dataclass(frozen=True)
class Remote:
    """A file to download: `sha256` is the beginning of its hash, `md5` the whole of another kind; one of them is given.

    `megabytes` is its size, 0 where it is not known; `by_hand` is the command that converts a file brought by hand.
    """

    url: str
    by_hand: str
    sha256: str = ""
    md5: str = ""
    megabytes: float = 0.0

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(urlsplit(self.url).path).name

    def is_whole(self, path: Path) -> bool:
        """Return whether `path` is this file, by its hash."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5" if self.md5 else "sha256").hexdigest()
        return digest == self.md5 if self.md5 else digest.startswith(self.sha256)


def fetch(remote: Remote, folder: Path, elsewhere: tuple[Path, ...] = ()) -> Path:
    """Return the file: one that lies in `elsewhere` or `folder` with the right hash, or else downloaded into `folder`.

    Raises UserError where it cannot be downloaded, or is not the file that its publisher names.
    """
    target = folder / remote.name
    for path in (*(place / remote.name for place in elsewhere), target):
        if remote.is_whole(path):
            return path
    if is_offline():
        raise UserError(
            f"{remote.name} is not in {folder}, and without a network it cannot be fetched. {by_hand(remote, folder)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_full(folder, remote)
    partial = folder / f"{remote.name}.partial"
    if remote.is_whole(partial):  # the process ended just before it could be renamed
        partial.replace(target)
        return target
    note(f"downloading {remote.url} ({remote.megabytes:.0f} MB)")
    with progress(f"downloading {remote.name} (MB)") as ticker:
        _download(remote, target, partial, lambda done, total: ticker(done // 10**6, total // 10**6))
    partial.unlink(missing_ok=True)
    return target


def by_hand(remote: Remote, folder: Path) -> str:
    """Return in words how to bring a file that cannot be fetched."""
    size = f" ({remote.megabytes:.0f} MB)" if remote.megabytes else ""
    other = f", or {remote.by_hand}" if remote.by_hand else ""
    return f"By hand: fetch {remote.url}{size} on another machine and put it into {folder}{other}"


def _refuse_full(folder: Path, remote: Remote) -> None:
    """Raise UserError where the disk has no room for the file and what is made from it."""
    needed = 2 * remote.megabytes * 1e6  # the partial file and torch.hub's, then the file and the converted model
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {free / 1e6:.0f} MB free, and {remote.name} needs {needed / 1e6:.0f} MB while it is converted: "
            "free some, or name another folder in $VGGNET_CACHE"
        )


def _download(remote: Remote, target: Path, partial: Path, tick: Tick) -> None:
    """Download to `target`; try again where the connection ends early, as long as something arrives."""
    reason = ""
    for _ in range(TRIES):
        have = _size(partial)
        reason = _attempt(remote, target, partial, tick)
        if not reason:
            return
        if _size(partial) <= have:
            break
    rest = f"; {_size(partial) / 1e6:.1f} MB are there, and the same command continues" if _size(partial) else ""
    raise _failed(remote, target.parent, f"{reason}{rest}")


def _attempt(remote: Remote, target: Path, partial: Path, tick: Tick) -> str:
    """Download to `target` once. Return why the connection ended early; "" where the file is whole.

    Raises UserError for an answer that is not the file.
    """
    announced = _Announced()
    try:
        with _resuming(partial, announced, tick):
            torch.hub.download_url_to_file(remote.url, str(target), remote.sha256 or None, progress=False)
        if remote.sha256 or remote.is_whole(target):
            return ""
    except urllib.error.HTTPError as error:
        raise _failed(remote, target.parent, f"HTTP {error.code} {error.reason}") from error
    except _NETWORK as error:
        return reason_of(error)
    except RuntimeError as error:
        if "hash" not in str(error):
            raise
    target.unlink(missing_ok=True)
    if _size(partial) < announced.size:
        return f"the connection ended after {_size(partial):,} of {announced.size:,} bytes"
    raise _other_file(remote, partial)


def _failed(remote: Remote, folder: Path, reason: str) -> UserError:
    return UserError(f"{remote.url} could not be downloaded ({reason}). {by_hand(remote, folder)}")


def _other_file(remote: Remote, partial: Path) -> UserError:
    """Remove what arrived, and return the error that says what it was."""
    with partial.open("rb") as file:
        beginning = file.read(512).lstrip().lower()
        file.seek(0)
        digest = hashlib.file_digest(file, "md5" if remote.md5 else "sha256").hexdigest()
    size = _size(partial)
    partial.unlink()
    expected = f"its SHA-256 begins with {digest[: len(remote.sha256)]}, expected {remote.sha256}"
    if remote.md5:
        expected = f"its MD5 is {digest}, expected {remote.md5}"
    page = ""
    if beginning.startswith((b"<!doctype", b"<html", b"<head")):
        page = " It is an HTML page, as a proxy or a login sends it: open the address in a browser."
    return UserError(
        f"{remote.url}: what came ({size:,} bytes) is not the file that its publisher names: {expected}.{page} "
        f"It was removed. {by_hand(remote, partial.parent)}"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class _Announced:
    """The size that the server states; 0 before it has, and where it does not."""

    size = 0


@contextmanager
def _resuming(partial: Path, announced: _Announced, tick: Tick) -> Iterator[None]:
    """Let torch.hub's requests continue from `partial` within the block."""
    previous = getattr(urllib.request, "_opener", None)
    urllib.request.install_opener(urllib.request.build_opener(_Resume(partial, announced, tick)))
    try:
        yield
    finally:
        urllib.request.install_opener(previous)


class _Resume(urllib.request.BaseHandler):
    """Ask for the rest of a file of which the beginning is there, and answer with the whole."""

    handler_order = 400  # before urllib turns a status into an error

    def __init__(self, partial: Path, announced: _Announced, tick: Tick) -> None:
        self.partial, self.announced, self.tick = partial, announced, tick

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        if request.get_header("User-agent") == _AGENT:
            request.timeout = TIMEOUT_S
            if have := _size(self.partial):
                request.add_unredirected_header("Range", f"bytes={have}-")
        return request

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        if request.get_header("User-agent") != _AGENT:
            return response
        if response.status == 416:  # nothing is left after what is there, or the file there is another
            response.close()
            self.partial.unlink(missing_ok=True)
            return self.parent.open(urllib.request.Request(request.full_url, headers={"User-Agent": _AGENT}))
        if response.status == 206:
            range_ = str(response.headers.get("Content-Range", ""))
            if range_.startswith(f"bytes {_size(self.partial)}-"):
                return _Joined(response, self.partial, _size(self.partial), self.announced, self.tick)
            raise urllib.error.URLError(f"the server sent another part than was asked for ({range_})")
        if response.status == 200:
            return _Joined(response, self.partial, 0, self.announced, self.tick)
        return response

    https_request = http_request
    https_response = http_response


class _Joined:
    """A response whose first `start` bytes come from a file, and which writes the others to its end."""

    def __init__(self, response: Any, partial: Path, start: int, announced: _Announced, tick: Tick) -> None:
        self.response, self.tick = response, tick
        self.code = self.status = 200
        self.msg, self.url = response.msg, response.url
        length = response.headers.get("Content-Length")
        self.total = start + int(length) if length is not None else 0
        announced.size = self.total
        self.headers = Message()
        if self.total:
            self.headers["Content-Length"] = str(self.total)
        self.file: BinaryIO = partial.open("r+b" if start else "wb")
        self.left = start  # bytes of the file that are still to be read

    def info(self) -> Message:
        return self.headers

    def read(self, amount: int = -1) -> bytes:
        if self.left:
            content = self.file.read(min(amount, self.left) if amount >= 0 else self.left)
            self.left -= len(content)
            return content
        try:
            content = self.response.read(amount) if amount >= 0 else self.response.read()
        except http.client.IncompleteRead as error:
            content = error.partial
        self.file.write(content)
        self.tick(self.file.tell(), self.total)
        return bytes(content)

    def close(self) -> None:
        with suppress(OSError):  # a full disk has been reported by the write
            self.file.close()
        self.response.close()

    def __enter__(self) -> "_Joined":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
