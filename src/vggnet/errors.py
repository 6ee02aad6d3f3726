"""Errors that a user can correct. The text says what is wrong, where, and what to do next.

The command line prints their text without a traceback; from Python they are ordinary `ValueError`s.
"""

from collections.abc import Sequence
from importlib.util import find_spec

LISTED_BAD_IMAGES = 10


class UserError(ValueError):
    """A mistake in what the user gave: an option, a folder, a file. Its text is the whole message."""


class Diverged(UserError):
    """Weights or outputs of a net are not finite. `what` says which, and what to do next."""

    RETRAIN = "take another epoch's weights, or train again at a lower learning rate"

    def __init__(self, what: str) -> None:
        super().__init__(f"the weights have diverged: {what}")
        self.what = what

    def __reduce__(self) -> tuple[type["Diverged"], tuple[str]]:
        return Diverged, (self.what,)  # pickled between processes


class BadImage(UserError):
    """One image that cannot be used.

    `path` is the file and `reason` says what is wrong with it, in words ("0 bytes: the file is empty").
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["BadImage"], tuple[str, str]]:
        return BadImage, (self.path, self.reason)  # pickled between processes


def describe_bad(bad: Sequence[BadImage]) -> str:
    """Return one line for each of the first images, and how many more there are."""
    lines = [f"  {error}" for error in bad[:LISTED_BAD_IMAGES]]
    if len(bad) > LISTED_BAD_IMAGES:
        lines.append(f"  ... and {len(bad) - LISTED_BAD_IMAGES} more")
    return "\n".join(lines)


def missing_package(what: str, package: str, extra: str) -> UserError:
    """Return the error of a task (`what`) that needs a package which is not installed."""
    return UserError(f"{what} needs the package {package}: pip install 'vggnet[{extra}]'")


def is_installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    return find_spec(module) is not None


class Terminated(KeyboardInterrupt):
    """The program was asked to end by SIGTERM, as by Ctrl-C."""


class MachineFault(Exception):
    """Something on this machine does not work. The text is the whole message."""


class OutputLost(Exception):
    """Standard output cannot be written to any more; the text says why.

    This is not an OSError, so that code that handles a file's errors does not catch it.
    """


def reason_of(error: BaseException) -> str:
    """Return the first line of the message of another library's exception, or its class name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
