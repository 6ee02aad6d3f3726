"""A net with class names that pages must not trust, and clients that ask without a network."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from nets import save_random_net
from served import CLASSES, Serve, options_for
from starlette.testclient import TestClient

from vggnet.serving.running import application


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_random_net(tmp_path / "model.safetensors", CLASSES)
    return tmp_path / "model.safetensors"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that serves nets and returns a client; all is closed at the end of the test."""
    with ExitStack() as stack:

        def start(*models: Path, **options: Any) -> TestClient:
            app = stack.enter_context(application(options_for(*models, **options)))
            client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
            return stack.enter_context(client)

        yield start
