"""Start processes that are forked from one in which PyTorch is imported already: each begins seconds earlier.

Otherwise they are as others: with an environment, signals and an exit status of their own.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from select import select
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["vggnet.cli", "vggnet.commands.training", "vggnet.commands.evaluation"])


class Forked:
    """A running `target(*arguments)`, used as a `subprocess.Popen` that writes its errors to its standard output.

    Args:
        target: A function of a module, which ends by returning or by `sys.exit`.
        environment: Variables beside this process's.
        cwd: The working directory; None: this process's.
        session: Whether it leads a process group of its own, as a command in a terminal does.
    """

    def __init__(
        self,
        target: Callable[..., object],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        session: bool = False,
    ) -> None:
        reader, writer = _CONTEXT.Pipe(duplex=False)
        variables = dict(os.environ) | dict(environment or {})
        self._process = _CONTEXT.Process(
            target=_be, args=(writer, variables, cwd or Path.cwd(), session, target, arguments)
        )
        self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()), encoding="utf-8", errors="replace")
        reader.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def communicate(self, timeout: float = 240.0) -> tuple[str, None]:
        """Return what it prints until it has ended. Raise TimeoutError after `timeout` seconds."""
        deadline, parts = time.monotonic() + timeout, []
        with self.stdout:
            while select([self.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                line = self.stdout.readline()
                if not line:
                    self._process.join(max(0.0, deadline - time.monotonic()))
                    break
                parts.append(line)
        if self.returncode is None:
            raise TimeoutError(f"still running after {timeout} s:\n{''.join(parts)}")
        return "".join(parts), None

    def wait(self, timeout: float = 240.0) -> int | None:
        """Return the exit status when it has ended."""
        self.communicate(timeout)
        return self.returncode


def command(*arguments: object, **options: Any) -> Forked:
    """Start `vggnet ARGUMENTS`; `options` are those of `Forked`."""
    return Forked(run_command, [str(argument) for argument in arguments], **options)


def run_command(arguments: list[str]) -> None:
    """Run `vggnet ARGUMENTS` and exit."""
    sys.argv = ["vggnet", *arguments]
    from vggnet.cli import main

    main(arguments)


def _be(
    writer: Connection,
    variables: Mapping[str, str],
    cwd: Path,
    session: bool,
    target: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    """Run in the forked process."""
    if session:
        os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits an ignored SIGINT
    for standard in (1, 2):
        os.dup2(writer.fileno(), standard)
    writer.close()
    sys.stdout, sys.stderr = (
        open(standard, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 (they last as long as it does)
        for standard in (1, 2)
    )
    target(*arguments)
