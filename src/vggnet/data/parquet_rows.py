"""Read single rows of parquet files: the row group around a row is decoded, and kept for the rows after it."""

import os
import threading
from bisect import bisect_right
from functools import lru_cache
from typing import Any

_KEPT = 4  # row groups that a process keeps; Hugging Face's have 100 images
_lock = threading.Lock()


def read_row(path: str, state: tuple[int, ...], column: str, row: int) -> bytes:
    """Return the bytes of an image: those in `column`, or in its field `bytes`. `state` tells files of one path apart.

    Raises OSError, or pyarrow's ArrowException, for a file that is gone or damaged.
    """
    with _lock:  # a parquet reader is for one thread
        starts = _opened(path, state, os.getpid())[1]
        group = bisect_right(starts, row) - 1
        content = _group(path, state, column, group, os.getpid())
    found: bytes = content[row - starts[group]].as_py()
    return found


@lru_cache(16)
def _opened(path: str, state: tuple[int, ...], process: int) -> tuple[Any, list[int]]:
    """Return the open file, and the first row of each row group. A forked process opens it again."""
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    starts, first = [], 0
    for group in range(file.num_row_groups):
        starts.append(first)
        first += file.metadata.row_group(group).num_rows
    return file, starts


@lru_cache(_KEPT)
def _group(path: str, state: tuple[int, ...], column: str, group: int, process: int) -> Any:
    import pyarrow

    values = _opened(path, state, process)[0].read_row_group(group, columns=[column], use_threads=False)
    array = values.column(column).combine_chunks()
    if isinstance(array, pyarrow.ChunkedArray):
        array = array.chunk(0)
    return array.field("bytes") if pyarrow.types.is_struct(array.type) else array
