"""Parse the command line, run the command, and turn a user's mistake into a message and an exit status.

Exit status, also in docs/installation.md: 0 done, 1 something failed on the machine (no memory, the self-test of
`doctor`), 2 a mistake that the user can correct, 75 the disk failed or is full, and the command goes on when that is
mended, 130 stopped by the user, 141 standard output was closed before the end (`| head`), 143 stopped by SIGTERM.
"""

import difflib
import errno
import importlib
import io
import os
import platform
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from importlib import metadata
from typing import Any

import tyro

import vggnet
from vggnet.console import spelled, visible
from vggnet.errors import MachineFault, OutputLost, Terminated, UserError, reason_of
from vggnet.files import ESCAPED, OFFLINE
from vggnet.options.bench import BenchOptions
from vggnet.options.common import SWITCHES
from vggnet.options.data import DataOptions
from vggnet.options.doctor import DoctorOptions
from vggnet.options.evaluation import EvaluateOptions, PredictOptions
from vggnet.options.flags import with_flags
from vggnet.options.localization import LocalizeOptions
from vggnet.options.quantization import QuantizeOptions
from vggnet.options.ranges import check_numbers
from vggnet.options.reporting import ReportOptions
from vggnet.options.serving import ServeOptions
from vggnet.options.training import DiagnoseOptions, LadderOptions, NetsOptions, QuickstartOptions, TrainOptions
from vggnet.options.transfer import FeaturesOptions, TransferOptions
from vggnet.options.weights import ConvertOptions, ExportOptions
from vggnet.pretrained.resolving import with_folders

# name: options, and the module of vggnet.commands with a function of that name; imported only when it is asked for,
# so that help needs no torch
COMMANDS: dict[str, tuple[type, str]] = {
    "quickstart": (QuickstartOptions, "training"),
    "train": (TrainOptions, "training"),
    "ladder": (LadderOptions, "training"),
    "evaluate": (EvaluateOptions, "evaluation"),
    "predict": (PredictOptions, "evaluation"),
    "localize": (LocalizeOptions, "localization"),
    "serve": (ServeOptions, "serving"),
    "features": (FeaturesOptions, "transfer"),
    "transfer": (TransferOptions, "transfer"),
    "data": (DataOptions, "data"),
    "convert": (ConvertOptions, "weights"),
    "export": (ExportOptions, "weights"),
    "quantize": (QuantizeOptions, "quantization"),
    "diagnose": (DiagnoseOptions, "training"),
    "nets": (NetsOptions, "nets"),
    "bench": (BenchOptions, "bench"),
    "report": (ReportOptions, "reporting"),
    "doctor": (DoctorOptions, "checkup"),
}

# how a stopped command continues; the other commands start again and reuse what is in the cache
CONTINUED = dict.fromkeys(("train", "localize"), "the same command with --resume continues")
CONTINUED |= dict.fromkeys(("quickstart", "ladder"), "the same command continues")

DESCRIPTION = """Train and test the nets of "Very Deep Convolutional Networks" (Simonyan and Zisserman, 2015).

  vggnet quickstart                          train nets A and D in minutes, without a download
  vggnet train FOLDER --net D --out RUN      train a net on your images
  vggnet evaluate RUN FOLDER                 measure the net's error by the paper's test protocol
  vggnet predict vgg16 photo.jpg             name what is in a photograph, with weights trained on ImageNet
  vggnet COMMAND --help                      list the options of a command
  vggnet COMMAND ... --offline               (any command) download nothing: models and data that are given by name
                                             must be in the cache
  vggnet --version                           print the versions, for a bug report"""


# How often PyTorch's threads look for each other before they sleep. The default, 100 times as much, keeps cores that
# other programs need. GNU's OpenMP reads it when PyTorch is imported, so no import of this module may import PyTorch.
SPINS = "3000"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `vggnet ARGUMENTS` and exit."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    termination = _Termination()
    signal.signal(signal.SIGTERM, termination)
    try:
        status = run(sys.argv[1:] if arguments is None else arguments)
    except Terminated:  # the agent of torchrun ends a rank that is about to print an error
        status = 143
    termination.ending = True
    sys.exit(status)


class _Termination:
    """The handler of SIGTERM where no training handles it (`training.stopping`): raise Terminated, once.

    Schedulers and `torchrun` may send the signal twice: while the program ends, it is ignored.
    """

    def __init__(self) -> None:
        self.ending = False
        self._process = os.getpid()

    def __call__(self, number: int, frame: object) -> None:
        stopping = type(sys.exc_info()[1]).__name__ == "Interrupted"  # a training that was stopped leaves its blocks
        if self.ending or stopping or os.getpid() != self._process:
            return
        self.ending = True
        raise Terminated


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files and classes may hold any bytes
            stream.reconfigure(errors=ESCAPED)
    if list(arguments) == ["--version"]:
        print(f"vggnet {vggnet.__version__}, PyTorch {metadata.version('torch')}, Python {platform.python_version()}")
        return 0
    with _offline("--offline" in arguments):
        return _run([argument for argument in arguments if argument != "--offline"])


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Within the block, and in processes that are started in it, download nothing if `wanted`."""
    before = os.environ.get(OFFLINE)
    if wanted:
        os.environ[OFFLINE] = "1"
    try:
        yield
    finally:
        if wanted and before is None:
            os.environ.pop(OFFLINE, None)
        elif wanted and before is not None:
            os.environ[OFFLINE] = before


def _run(arguments: Sequence[str]) -> int:
    again = CONTINUED.get(arguments[0] if arguments else "", "give the same command again")
    options = None
    try:
        _check_command(arguments)
        options = parse(arguments)
        check_numbers(options)
        name, module = next((name, module) for name, (kind, module) in COMMANDS.items() if kind is type(options))
        with spelled(lambda text: _with_flags(text, options)):
            if (status := _launched(options, arguments)) is not None:
                return status
            options = with_folders(options)
            getattr(importlib.import_module(f"vggnet.commands.{module}"), name)(options)
    except UserError as error:
        return _fail(_with_flags(str(error), options), 2)
    except MachineFault as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt as error:
        return _fail("stopped by SIGTERM", 143) if isinstance(error, Terminated) else _fail("stopped", 130)
    except (BrokenPipeError, OutputLost) as error:
        return _output_lost(error, again)
    except OSError as error:
        return _fail(_explain_file(error, again), TEMPORARY if error.errno in _OF_THE_DISK else 1)
    except Exception as error:
        return _explain(error, again)
    return 0


def parse(arguments: Sequence[str]) -> Any:
    """Return the options (a dataclass) of the command that `arguments` name. Exits where they cannot be parsed."""
    with _printed_once(), _colors():
        return tyro.extras.subcommand_cli_from_dict(
            {name: options for name, (options, _) in COMMANDS.items()},
            prog="vggnet",
            description=DESCRIPTION,
            args=_spelled_out(arguments),
            config=(
                tyro.conf.FlagCreatePairsOff,
                tyro.conf.DisallowNone,  # None stands for an option that was not given
                tyro.conf.PositionalMetavarFromFieldName,
            ),
        )


def _check_command(arguments: Sequence[str]) -> None:
    """Raise UserError for a command that does not exist; tyro would call it an option."""
    command = arguments[0] if arguments else "--help"
    if command.startswith("-") or command in COMMANDS:
        return
    near = difflib.get_close_matches(command, COMMANDS, 1)
    meant = f"; did you mean {near[0]}?" if near else f"; the commands are {', '.join(COMMANDS)}"
    raise UserError(f"there is no command {command!r}{meant}")


def _with_flags(text: str, options: object) -> str:
    return with_flags(text, options, (kind for kind, _ in COMMANDS.values()))


def _output_lost(error: Exception, again: str) -> int:
    """Print on standard error that the command did not finish, and keep Python from writing to standard output."""
    with suppress(OSError, ValueError):  # no file behind it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    closed = isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError)
    what = "was closed by its reader" if closed else f"cannot be written to ({error})"
    return _fail(f"standard output {what}: stopped before the end; {again}", 141 if closed else 1)


TEMPORARY = 75  # EX_TEMPFAIL of <sysexits.h>
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_THE_DISK = (*_NO_SPACE, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOTCONN)

# advice for a file error, by its errno
_REMEDIES = {
    errno.EIO: "the disk or network share fails: look at the system's log (dmesg) and check it, then {again}",
    errno.EROFS: "mounted read-only: mount it writable or give another folder, then {again}",
    errno.EACCES: "give this user the right to it, then {again}",
    errno.EPERM: "give this user the right to it, then {again}",
    errno.ESTALE: "the network share was changed or mounted anew: check it, then {again}",
    errno.ENOTCONN: "the network share is gone: mount it again, then {again}",
    errno.EMFILE: "too many files are open: use fewer --workers or raise the limit (ulimit -n), then {again}",
    errno.ENOENT: "put it back, then {again}",
}


def _explain_file(error: OSError, again: str) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in _NO_SPACE:
        return f"{where}no space left to write it; free some, then {again}"
    remedy = _REMEDIES.get(error.errno or 0, "check the disk and the folder, then {again}").format(again=again)
    return f"{where}{error.strerror or error}; {remedy}"


def _explain(error: Exception, again: str) -> int:
    """Explain failures of the machine; raise any other exception again, a fault of vggnet, with its traceback."""
    name = type(error).__name__
    if name == "Interrupted":
        return _fail(f"{error}, {again}", getattr(error, "status", 130))
    if name == "OutOfMemoryError" or isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return _fail(f"out of memory ({str(error).splitlines()[0]}); try a smaller --micro-batch or --width", 1)
    if name == "WorkerLost":
        often = "often for lack of memory or of shared memory (/dev/shm): use fewer --workers"
        return _fail(f"a process that reads images was ended from outside, {often}, or {again} ({error})", 1)
    if _has_ranks() and (name.startswith("Dist") or "gloo/" in str(error)):
        lost = "another process of this training has ended or does not answer; look at what it printed"
        return _fail(f"{lost}, then {again} ({reason_of(error)[:200]})", 1)
    if any(words in str(error) for words in ("No space left", "File too large", "Disk quota exceeded")):
        return _fail(f"no space left to write; free some, then {again}", TEMPORARY)  # safetensors' own error
    raise error


def _fail(message: str, status: int) -> int:
    """Print why the command ends and return `status`; of several ranks one prints, with its number if it is not 0."""
    if _is_to_print(message):
        rank = os.environ.get("RANK", "0")
        where = f" (rank {rank} on {socket.gethostname()})" if rank != "0" else ""
        with suppress(OSError):  # standard error may be closed with the output
            print(f"vggnet: {visible(message)}{where}", file=sys.stderr, flush=True)
    return status


def _launched(options: Any, arguments: Sequence[str]) -> int | None:
    """Run the command in several processes, where its options ask for it, and return the exit status; else None."""
    machine = getattr(getattr(options, "command", options), "machine", None)
    if machine is None or (machine.processes == 1 and not machine.max_restarts):
        return None
    from vggnet.training.launching import is_launched, launch  # imports torch, which help does without

    if is_launched():
        return None
    if _has_ranks() or "TORCHELASTIC_RUN_ID" in os.environ:
        raise UserError(
            "`processes` and `max_restarts` start processes, and these are started already: leave both out, and give "
            "torchrun its own options, --nproc-per-node and --max-restarts, before -m"
        )
    return launch(arguments, machine.processes, machine.max_restarts)


def _has_ranks() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _is_to_print(message: str) -> bool:
    """Return whether this process prints its error message. Of several ranks, each also writes it for `torchrun`."""
    if not _has_ranks():
        return True
    from vggnet.training.messages import is_to_print, tell_torchrun  # they import torch, which help does without

    tell_torchrun(message)
    return is_to_print(message)


@contextmanager
def _printed_once() -> Iterator[None]:
    """Hold back what a rank prints in the block. If the rank exits there, one rank prints it for all."""
    if not _has_ranks():
        yield
        return
    text = io.StringIO()
    try:
        with redirect_stdout(text), redirect_stderr(text):
            yield
    except SystemExit:
        if _is_to_print(text.getvalue()):
            print(text.getvalue(), end="", file=sys.stderr, flush=True)
        raise


@contextmanager
def _colors() -> Iterator[None]:
    """Let tyro, which knows no NO_COLOR, print help and errors without colours in the block where that is set."""
    terminal = os.environ.get("TERM")
    if not os.environ.get("NO_COLOR") or terminal is None:
        yield
        return
    os.environ["TERM"] = "dumb"
    try:
        yield
    finally:
        os.environ["TERM"] = terminal


def _spelled_out(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the values that users leave out.

    `--json` without a file means standard output, `--json -`; `--no-mirror` is `--mirror False`.
    """
    on = {f"--{name}" for name in SWITCHES}
    off = {f"--no-{name}": f"--{name}" for name in SWITCHES}
    result: list[str] = []
    for place, argument in enumerate(arguments):
        following = arguments[place + 1] if place + 1 < len(arguments) else "--"
        if argument == "--json" and following.startswith("--"):
            result += ["--json", "-"]
        elif argument in on and following not in ("True", "False"):
            result += [argument, "True"]
        elif argument in off:
            result += [off[argument], "False"]
        else:
            result.append(argument)
    return result
