"""Run the server until it is told to end (`vggnet serve`)."""

import errno
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from vggnet.console import note, say
from vggnet.errors import UserError
from vggnet.evaluation.computing import Computing
from vggnet.options.serving import ServeOptions
from vggnet.serving.app import create_app
from vggnet.serving.engine import Engine
from vggnet.serving.handlers import Handlers
from vggnet.serving.limits import Limits
from vggnet.serving.nets import open_nets
from vggnet.serving.samples import find_samples

_REFUSED_AT_ONCE = 256  # connections, beyond those of the images at once, that are answered
_FINISHING_S = 5.0  # longer than a request may take, until the server ends without it


@contextmanager
def application(options: ServeOptions) -> Iterator[ASGIApp]:
    """Yield the application that `options` describe; at the end of the block its threads finish and end.

    Raises UserError for models, samples or a precision that cannot be used.
    """
    limits = Limits.of(options)
    computing = Computing.of(options.device, options.precision, workers=0)
    nets = open_nets(options)
    samples = find_samples(options.samples, [net.path for net in nets.values()])
    with (
        tempfile.TemporaryDirectory(prefix="vggnet-serve-") as folder,
        Engine({name: net.model for name, net in nets.items()}, computing) as engine,
    ):
        handlers = Handlers(nets, engine, limits, samples, Path(folder))
        try:
            yield create_app(handlers, _names(options))
        finally:
            handlers.work.close()


def serve(options: ServeOptions) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests that are being answered.

    Raises UserError for a port in use, an address that is not this machine's, and as `application`.
    """
    with _listening(options.host, options.port) as listener, application(options) as app:
        limits = Limits.of(options)
        config = uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=limits.images + _REFUSED_AT_ONCE,
            timeout_graceful_shutdown=int(limits.seconds + _FINISHING_S),
        )
        server = uvicorn.Server(config)
        host = f"[{options.host}]" if ":" in options.host else options.host
        with _signals_end_quietly(server):
            say(f"serving at http://{host}:{listener.getsockname()[1]}/ (its API: /docs); Ctrl-C stops")
            server.run(sockets=[listener])
    say("stopped")


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket that listens; the nets are opened only when the port is ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            raise UserError(_why(error, host, port)) from error
        if host not in ("127.0.0.1", "::1", "localhost"):
            note(f"`host` {host}: everybody who reaches this address can use the page; there is no password")
        yield listener


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"`port` {port}: another program listens there; choose another port, or 0 for one that is free"
    if error.errno == errno.EACCES:
        return f"`port` {port}: this user may not listen there; choose one above 1023, or 0 for one that is free"
    return f"`host` {host}: cannot listen there ({error.strerror or error}); leave it out for this machine alone"


def _names(options: ServeOptions) -> tuple[str, ...]:
    """Return the names, besides those of this machine, by which the page may be asked for."""
    own = f"[{options.host}]" if ":" in options.host else options.host
    return (own, *options.allowed_host)


@contextmanager
def _signals_end_quietly(server: uvicorn.Server) -> Iterator[None]:
    """End the server on SIGINT and SIGTERM, also before uvicorn handles them, which triggers them again afterwards."""

    def end(number: int, frame: object) -> None:
        server.should_exit = True

    before = {each: signal.signal(each, end) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
