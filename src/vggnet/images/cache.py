"""Where made and fetched data are kept, and how a folder appears there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from vggnet.errors import UserError


def default_cache() -> Path:
    """$VGGNET_CACHE, or $XDG_CACHE_HOME/vggnet, or ~/.cache/vggnet. Not created here."""
    if chosen := os.environ.get("VGGNET_CACHE"):
        return Path(chosen).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "vggnet"
    return Path.home() / ".cache" / "vggnet"


def made_once(target: Path, fill: Callable[[Path], None]) -> Path:
    """`target`, which `fill` writes on first use: into a folder beside it that is renamed when complete.

    Two processes may do so at once: the first to finish wins. UserError where the disk refuses.
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
