"""Record the images a net was trained on, in a file beside its weights, so that it is not tested on them.

An image is identified by its content (`content_digest`) and, within its data set, by name and content. The two tell a
copy of a training image among the test images from a training image that is itself used as a test image.
"""

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from vggnet.data.dividing import names_in_data
from vggnet.data.image_files import File, content_of, open_file, refuse_special, size_of
from vggnet.data.splits import Split
from vggnet.errors import BadImage, UserError, reason_of
from vggnet.files import write_whole

FILE = "learnt.npz"  # in a run's folder
_FIRST, _LATER = 8192, 4096  # bytes that are read of a file: its first, and some from its middle and its end
_READERS = 8
_NOTHING = np.empty(0, np.uint64)


def content_digest(file: File) -> int:
    """Return 64 bits of a hash of a file's size and parts of its content; 0 where it cannot be read."""
    try:
        refuse_special(file)
        with open_file(file) as raw:
            size = size_of(file)
            content = [raw.read(_FIRST)]
            if size > _FIRST:
                for place in (size // 2, size - _LATER):
                    raw.seek(max(place, _FIRST))
                    content.append(raw.read(_LATER))
    except (OSError, BadImage):
        return 0
    return _short(b"%d " % size + b"".join(content))


def content_digests(split: Split) -> np.ndarray:
    """Return the `content_digest` of each image, uint64 (n,)."""
    with ThreadPoolExecutor(_READERS) as pool:
        files = (split.file(index) for index in range(len(split)))
        return np.fromiter(pool.map(content_digest, files), np.uint64, len(split))


def same_content(one: File, other: File) -> bool:
    """Return whether two files hold the same bytes."""
    try:
        return content_of(one) == content_of(other)
    except (OSError, BadImage):
        return False


@dataclass(frozen=True, eq=False)
class Learnt:
    """Hashes of images, uint64, sorted: `contents` of whatever name, `images` of name and content together."""

    contents: np.ndarray
    images: np.ndarray

    @classmethod
    def of(cls, split: Split, digests: np.ndarray) -> "Learnt":
        return cls(np.unique(digests[digests != 0]), np.unique(_images(split, digests)))

    def __or__(self, other: "Learnt | None") -> "Learnt":
        if other is None:
            return self
        return Learnt(np.union1d(self.contents, other.contents), np.union1d(self.images, other.images))

    def holds_contents(self, digests: np.ndarray) -> np.ndarray:
        """Return for each image, bool (n,), whether its content was trained on, under any name."""
        return np.isin(digests, self.contents)

    def holds_images(self, split: Split, digests: np.ndarray) -> np.ndarray:
        """Return for each image, bool (n,), whether it was trained on under this name in its data set."""
        return self.holds_contents(digests) & np.isin(_images(split, digests), self.images)


def write_learnt(run: Path, own: Learnt, before: Learnt | None) -> None:
    """Write the images a run is trained on into its folder; `before` are those of the net it starts from."""
    before = before or Learnt(_NOTHING, _NOTHING)
    content = io.BytesIO()
    np.savez(
        content,
        contents=own.contents,
        images=own.images,
        contents_before=before.contents,
        images_before=before.images,
    )
    write_whole(run / FILE, content.getvalue())


def copy_learnt(model: Path, folder: Path) -> None:
    """Write the record of `model` into the folder of another form of the same net."""
    if (found := _read(model)) is not None:
        write_learnt(folder, *found)


def read_learnt(model: str | Path) -> Learnt | None:
    """Return the images that a run's net was trained on, including those of the net it started from.

    `model` is the run or a file in it. None without a record, as beside the weights of other programs.
    """
    found = _read(model)
    return None if found is None else found[0] | found[1]


def read_learnt_before(run: str | Path) -> Learnt | None:
    """Return the images that the net a run started from was trained on; None without a record."""
    found = _read(run)
    return None if found is None else found[1]


def _read(model: str | Path) -> tuple[Learnt, Learnt] | None:
    path = Path(model)
    try:
        record = (path if path.is_dir() else path.parent) / FILE
        with record.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            own = Learnt(arrays["contents"], arrays["images"])
            return own, Learnt(arrays["contents_before"], arrays["images_before"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(
            f"{path}: {FILE} in its folder, the record of the images learnt from, is damaged ({reason_of(error)}); "
            "restore it, or remove it to go on without"
        ) from error


def _images(split: Split, digests: np.ndarray) -> np.ndarray:
    pairs = zip(names_in_data(split), digests.tolist(), strict=True)
    hashes = (_short(b"%d " % digest + os.fsencode(name)) for name, digest in pairs)
    return np.fromiter(hashes, np.uint64, len(split))


def _short(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little")
