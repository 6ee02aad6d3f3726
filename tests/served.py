"""Serve small nets in this process, for tests that ask without a network and for tests with a real one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from vggnet.options.serving import ServeOptions
from vggnet.serving.running import application

SCRIPT = "<script>alert(1)</script>"
CLASSES = ("bee", SCRIPT, "دب", "a \"quoted\" 'name'", "x" * 300)  # names that pages must not trust
Serve = Callable[..., Any]


def options_for(*models: Path, **options: Any) -> ServeOptions:
    """Return options of nets that compute as the tests' other nets do."""
    options = {"device": "cpu", "precision": "fp32"} | options
    return ServeOptions(tuple(map(str, models)), **options)


@contextmanager
def listening(*models: Path, **options: Any) -> Iterator[str]:
    """Serve on a free port of the loopback from a thread; yield the address."""
    with application(options_for(*models, **options)) as app:
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
            port = server.servers[0].sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.should_exit = True
            thread.join()
