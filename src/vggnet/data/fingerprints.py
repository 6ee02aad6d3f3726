"""`fingerprint`: one hash for the files, labels and boxes of a split, to tell whether two runs see the same data."""

import hashlib
import os

import numpy as np

from vggnet.data.compact import BoxLists
from vggnet.data.splits import Split


def fingerprint(split: Split, classes: tuple[str, ...] = ()) -> str:
    """Return the SHA-256 (hex) of the split's file names in order, its labels, boxes and regions, and `classes`.

    The folder in which the files lie does not count: a data set that was copied has the fingerprint of the original.
    The contents of the images do not count either.
    """
    digest = hashlib.sha256()

    def add(kind: str, content: bytes) -> None:
        digest.update(f"{kind} {len(content)}\n".encode())
        digest.update(content)

    add("classes", b"\0".join(os.fsencode(name) for name in classes))
    add("files", b"\0".join(os.fsencode(file) for file in split.files))
    for kind, array in (("labels", split.labels), ("regions", split.regions)):
        if array is not None:
            add(kind, np.ascontiguousarray(array, "<i8").tobytes())
    if split.boxes is not None:
        boxes = BoxLists.of(split.boxes)
        add("counts", boxes.counts.astype("<i8").tobytes())
        add("boxes", boxes.rows().astype("<i8").tobytes())
    return digest.hexdigest()
