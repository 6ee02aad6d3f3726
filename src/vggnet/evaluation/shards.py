"""Read the shards of a view's folder: files with the keys of images and their values (`store` writes them).

Shapes: n images, D values of a view (K posteriors).
"""

from collections.abc import Container
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from vggnet.evaluation.image_keys import KEY_BYTES, checksum

Shard = tuple[np.ndarray, np.ndarray]  # keys (n, 16) of images, and their values (n, D)


def shard_files(place: Path) -> list[Path]:
    """Return the shards in a view's folder; none where it is not there or cannot be read."""
    try:
        return sorted(place.glob("[0-9]*.safetensors"))
    except OSError:
        return []


def read_shard(file: Path, name: str, wanted: Container[bytes]) -> Shard | None:
    """Return a shard's keys (n, 16) and values (n, D); None where it holds no wanted image, or is damaged.

    A shard of another view's folder counts as damaged. The images of a damaged shard are scored again.
    """
    try:
        with safe_open(file, framework="numpy") as content:
            keys = content.get_tensor("keys")
            if not any(key in wanted for key in key_list(keys)):
                return None
            values = content.get_tensor("posteriors")
            intact = (content.metadata() or {}).get("sha256") == checksum([keys, values], name)
    except (SafetensorError, OSError):
        return None
    return (keys, values) if intact else None


def key_list(keys: np.ndarray) -> list[bytes]:
    """Return the rows of (n, 16) as bytes."""
    content = np.ascontiguousarray(keys).tobytes()
    return [content[start : start + KEY_BYTES] for start in range(0, len(content), KEY_BYTES)]
