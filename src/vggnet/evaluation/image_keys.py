"""Keys of images by their content, under which results of an image are stored.

Notable: a key is a hash of the file's bytes, and of the region where only a part of the image is used. So a chmod, a
touch, a rename or a copy loses no result, and an overwritten file has another key even where its size and date were set
back. So that a file is read once only, hashes are stored in the user's cache under the file's path, size, times and
inode.

Shapes: n images, m cached hashes.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vggnet.data.image_files import content_of, state_of
from vggnet.data.splits import Split
from vggnet.errors import BadImage, UserError
from vggnet.files import default_cache, write_whole

KEY_BYTES = 16
SETTLED_NS = 3 * 10**9  # a file written later than that before it was hashed may change again within one clock tick
MOST_CACHED = 10_000_000  # hashes in one file, 320 MB
SIZE, MODIFIED, INODE, CHANGED = range(4)  # columns of a file's state
_NONE = np.zeros((0, KEY_BYTES), np.uint8), np.zeros((0, KEY_BYTES), np.uint8)


class ImageKeys:
    """The keys of a split's images. `compute` hashes the files; hashes in the user's cache are read at once."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self._states = split.states()
        self._hashes = np.zeros((len(split), KEY_BYTES), np.uint8)
        self._hashed = np.zeros(len(split), bool)
        self._file = _cache_file(split.root)
        self._cached = _read(self._file)
        self._new: list[int] = []
        self._find_cached()

    def compute(self, indices: Iterable[int]) -> None:
        """Hash the images at `indices` that are not hashed yet. Files that cannot be read have no key."""
        for index in indices:
            if not self._hashed[index] and self._states[index, SIZE] >= 0:
                self._hash(index)

    def known(self) -> dict[bytes, list[int]]:
        """Return {key: the images that have it} of the images hashed so far."""
        found: dict[bytes, list[int]] = {}
        for index in np.flatnonzero(self._hashed).tolist():
            found.setdefault(self.key(index), []).append(index)
        return found

    def key(self, index: int) -> bytes:
        """Return the key of an image that has been hashed."""
        content = self._hashes[index].tobytes()
        if self.split.regions is None:
            return content
        return hashlib.blake2b(content + self.split.regions[index].tobytes(), digest_size=KEY_BYTES).digest()

    def keys_of_read(self, indices: np.ndarray) -> np.ndarray:
        """Return the keys, uint8 (n, KEY_BYTES), of images that have just been read.

        Raises UserError where a file was replaced meanwhile: its key would belong to other pixels than those read.
        """
        self.compute(indices.tolist())
        for index in indices.tolist():
            if not (self._hashed[index] and _same_content(state_of(self.split.file(index)), self._states[index])):
                raise UserError(
                    f"{self.split.path(index)}: was replaced while the images were being read; give the same command "
                    "again (what is complete is cached)"
                )
        return np.frombuffer(b"".join(map(self.key, indices.tolist())), np.uint8).reshape(-1, KEY_BYTES)

    def _hash(self, index: int) -> None:
        file = self.split.file(index)
        try:
            digest = hashlib.sha256(content_of(file)).digest()[:KEY_BYTES]
        except (OSError, BadImage):
            return
        now = state_of(file)
        if not _same_content(now, self._states[index]):
            return
        self._hashes[index], self._hashed[index] = np.frombuffer(digest, np.uint8), True
        settled = time.time_ns() - max(now[MODIFIED], now[CHANGED]) > SETTLED_NS
        if settled and now[CHANGED] == self._states[index, CHANGED]:
            self._new.append(index)

    def _fingerprint(self, index: int) -> bytes:
        """Return the key of a file's hash in the cache: it changes when the file is written to."""
        state = f"{os.path.abspath(self.split.path(index))}\0{self._states[index].tolist()}"
        return hashlib.blake2b(os.fsencode(state), digest_size=KEY_BYTES).digest()

    def _find_cached(self) -> None:
        cached, hashes = self._cached
        if not len(cached) or not len(self.split):
            return
        own = np.frombuffer(b"".join(map(self._fingerprint, range(len(self.split)))), np.uint8).reshape(-1, KEY_BYTES)
        first, wanted = cached.view(np.uint64)[:, 0], own.view(np.uint64)[:, 0]
        order = np.argsort(first, kind="stable")
        places = order[np.minimum(np.searchsorted(first[order], wanted), len(order) - 1)]
        self._hashed = (cached[places] == own).all(1) & (self._states[:, SIZE] >= 0)
        self._hashes[self._hashed] = hashes[places][self._hashed]

    def save(self) -> None:
        """Add the new hashes to the cache. Where it cannot be written, the next command hashes the files again."""
        if not self._new:
            return
        own = np.frombuffer(b"".join(map(self._fingerprint, self._new)), np.uint8).reshape(-1, KEY_BYTES)
        older = self._cached if len(self._cached[0]) < MOST_CACHED else _NONE  # of files that are gone or have changed
        self._cached = np.concatenate([older[0], own]), np.concatenate([older[1], self._hashes[self._new]])
        self._new = []
        content = {"fingerprints": self._cached[0], "hashes": self._cached[1]}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, save(content, {"sha256": checksum(content.values())}), alone=False)
        except OSError:
            return


def checksum(arrays: Iterable[np.ndarray], name: str = "") -> str:
    """Return the SHA-256 of a name and of arrays, in their order."""
    digest = hashlib.sha256(name.encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _cache_file(root: str) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:20]
    return default_cache() / "image-hashes" / f"{name}.safetensors"


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return fingerprints and hashes, both uint8 (m, KEY_BYTES), empty where the file is missing or damaged."""
    try:
        with safe_open(file, framework="numpy") as content:
            found = content.get_tensor("fingerprints"), content.get_tensor("hashes")
            intact = (content.metadata() or {}).get("sha256") == checksum(found)
    except (SafetensorError, OSError):
        intact = False
    if not intact:
        return _NONE
    return np.ascontiguousarray(found[0]), found[1]


def _same_content(one: tuple[int, ...], other: np.ndarray) -> bool:
    """Return whether a file was not written to between two states. The time of change does not count: chmod sets it."""
    return list(one[:CHANGED]) == other[:CHANGED].tolist()
