"""How a file appears: whole or not at all, whatever is killed or cut off in between."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, alone: bool = True) -> Iterator[Path]:
    """A path beside `path` to write to; when the block ends well, it takes the place of `path`.

    Alone, what a kill leaves behind is overwritten the next time. Where other processes may write the same file at the
    same moment, each has a name of its own, and the last one stays.
    """
    temporary = path.with_name(f".{path.name}.part" if alone else f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)  # the rename itself must outlive a power cut
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_whole(path: Path, content: bytes | str, *, alone: bool = True) -> None:
    """Replace `path` by `content` (text in UTF-8), whole or not at all; `alone` as in `replacing`."""
    with replacing(path, alone=alone) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
