"""Write files whole or not at all; find the cache folder; print names that are not UTF-8.

Linux names files by bytes. Python represents a byte that is not UTF-8 as a surrogate, which UTF-8 cannot encode. Such a
byte is escaped in text files and on the terminal (`caf\\xe9.jpg`).
"""

import codecs
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vggnet.console import is_first_rank
from vggnet.errors import UserError

OFFLINE = "VGGNET_OFFLINE"  # the variable that `--offline` sets
_ABANDONED_S = 24 * 3600  # an older temporary file was left by a killed process
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS)
_cleaned: set[Path] = set()  # folders whose abandoned temporary files this process has removed


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return "".join(map(_escaped_character, part)), error.end


def _escaped_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("ascii", "backslashreplace").decode()


ESCAPED = "vggnet.escaped"  # for `errors=` of str.encode and of streams
codecs.register_error(ESCAPED, _escape)


def printable(text: str) -> str:
    """Return `text` with what is not UTF-8 escaped."""
    return text.encode("utf-8", ESCAPED).decode()


def json_text(content: Any) -> str:
    """Return `content` (JSON values) as the text of every JSON file that is written for people and programs."""
    return json.dumps(content, indent=2) + "\n"


@contextmanager
def replacing(path: Path, *, alone: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends without an error, rename it to `path`.

    Args:
        alone: True for one temporary name, reused after a crash. False for a unique name per writer, where other
            processes may write the same file at the same time; the last writer wins.

    Raises OSError with `path` as its filename.
    """
    temporary = path.with_name(f".{path.name}.part" if alone else f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    if not alone and path.parent not in _cleaned:
        _cleaned.add(path.parent)
        remove_abandoned(path.parent, older_than_s=_ABANDONED_S)
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except BaseException as error:
        with suppress(OSError):  # the error itself is what the user needs to see
            temporary.unlink(missing_ok=True)
        _name(error, path)
        raise


def write_whole(path: Path, content: bytes | str, *, alone: bool = True) -> None:
    """Write `content` to `path` whole or not at all; text as UTF-8, escaped. `alone`: see `replacing`."""
    with replacing(path, alone=alone) as temporary:
        temporary.write_bytes(_as_bytes(content))


def write_result(path: str | Path, content: bytes | str, *, option: str = "") -> None:
    """Write a result to the user's `path` whole or not at all; create missing folders.

    Of several ranks the first one writes. A link is followed. An existing file keeps its permissions. A pipe or a
    device is written to directly. Raises UserError, which begins with `option`, where writing fails; an existing file
    is then unchanged.
    """
    if not is_first_rank():
        return
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if str(path).startswith("/dev/") or (path.exists() and not path.is_file()):
            path.write_bytes(_as_bytes(content))
            return
        target = Path(os.path.realpath(path))
        with replacing(target, alone=False) as temporary:
            temporary.write_bytes(_as_bytes(content))
            if target.exists():
                shutil.copymode(target, temporary)
    except OSError as error:
        where = f"{option} {path}" if option else str(path)
        raise UserError(f"{where}: cannot be written ({error.strerror or error}); give another file") from error


@contextmanager
def replacing_several(path: Path) -> Iterator[Path]:
    """Yield a temporary folder for `path` and the files that belong to it.

    When the block ends without an error, each file is renamed to its place beside `path`, `path` itself last.
    Otherwise nothing changes there. The folder that a crash leaves behind is removed the next time.
    """
    folder = path.with_name(f".{path.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
        files = sorted(folder.iterdir(), key=lambda file: file.name == path.name)
        for file in files:
            _flush(file)
        for file in files:
            os.replace(file, path.with_name(file.name))
        _flush(path.parent)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def creating_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; when the block ends without an error, rename it to `path`.

    The block forces its files to the disk (`write_flushed`, `link_or_copy`). `path` must not exist. The folder that a
    crash leaves behind is removed the next time. Raises OSError with `path` as its filename.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        _flush(temporary)
        temporary.rename(path)
        _flush(path.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _name(error, path)
        raise


def write_flushed(path: Path, parts: Iterable[bytes | memoryview]) -> tuple[int, str]:
    """Write a new file and force it to the disk. Return its size in bytes and its SHA-256."""
    size, digest = 0, hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
            digest.update(part)
            size += len(part)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name: a hard link, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
        _flush(target)


def _name(error: BaseException, path: Path) -> None:
    """Put `path` into a system error in place of the temporary file."""
    if isinstance(error, OSError) and not isinstance(error.filename, int):
        error.filename = str(path)


def _as_bytes(content: bytes | str) -> bytes:
    return content.encode("utf-8", ESCAPED) if isinstance(content, str) else content


def _flush(path: Path) -> None:
    """Force a file, or a folder's entries, to the disk, so that they survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot do it for folders
            raise
    finally:
        os.close(handle)


def remove_abandoned(folder: Path, *, older_than_s: float = 0.0) -> int:
    """Remove the temporary files that killed processes left in `folder`; return their number."""
    removed = 0
    latest = time.time() - older_than_s
    with suppress(OSError):
        for file in list(folder.glob(".*.part")):
            with suppress(OSError):
                if file.is_file() and not file.is_symlink() and (not older_than_s or file.stat().st_mtime <= latest):
                    file.unlink()
                    removed += 1
    return removed


def default_cache() -> Path:
    """Return $VGGNET_CACHE, or $XDG_CACHE_HOME/vggnet, or ~/.cache/vggnet, without creating it.

    Raises UserError for a user without a home folder.
    """
    if chosen := os.environ.get("VGGNET_CACHE"):
        return Path(chosen).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "vggnet"
    try:
        return Path.home() / ".cache" / "vggnet"
    except RuntimeError as error:
        raise UserError("this user has no home folder to cache files in: name a folder in $VGGNET_CACHE") from error


def is_offline() -> bool:
    """Return whether nothing may be downloaded: $VGGNET_OFFLINE is set, as --offline sets it, or $HF_HUB_OFFLINE."""
    given = (os.environ.get(name, "").lower() for name in (OFFLINE, "HF_HUB_OFFLINE"))
    return any(value not in ("", "0", "false", "no", "off") for value in given)


@contextmanager
def one_at_a_time(target: Path, on_wait: Callable[[], Any]) -> Iterator[None]:
    """Hold the lock of `target` within the block; while another process has it, wait, after one call of `on_wait`.

    On a file system without locks nobody waits. Raises UserError where the folder of `target` cannot be written to.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(f".{target.name}.lock").open("w")
    except OSError as error:
        raise UserError(f"{target}: {error.strerror or error}; name another folder in $VGGNET_CACHE") from error
    with lock:
        with suppress(OSError):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(target: Path, fill: Callable[[Path], None]) -> Path:
    """Return the folder `target`; on first use call `fill` on a temporary folder and rename that when complete.

    Where two processes do so at once, the first to finish wins. Raises UserError where the disk cannot be written.
    """
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise UserError(f"{target}: {error.strerror or error}; name another folder in $VGGNET_CACHE") from error
    try:
        partial.chmod(0o755)  # mkdtemp's 0700 would shut out the others who share a cache
        fill(partial)
        partial.rename(target)
    except OSError as error:
        if not target.is_dir():  # else another process was faster
            reason = error.strerror or error
            raise UserError(f"{target} could not be written: {reason}; name another folder in $VGGNET_CACHE") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
