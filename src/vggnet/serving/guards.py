"""Check the host of every request, and put the headers of a strict content policy on every answer.

Notable: a page of another site can send requests to this server through its visitor's browser. Browsers name the host
that they believe they ask (a name that was rebound to this address is not ours) and the site that asks.
"""

import json
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_FOREIGN = (b"cross-site", b"same-site")  # same-site: another port or subdomain


class Guards:
    """An ASGI application in front of another; `names` are the hosts, without ports, by which it may be asked for."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return None

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_encoded(HEADERS)]
            await send(message)

        headers: MutableMapping[bytes, bytes] = dict(scope["headers"])
        host = _without_port(headers.get(b"host", b"").decode("latin-1")).lower()
        if host not in self._names:
            remedy = f"start it with `vggnet serve --allowed-host {host[:100]}`"
            text = f"this server does not answer for the host {host[:100]!r}: {remedy}"
            await _answer(guarded, 421, text)
        elif headers.get(b"sec-fetch-site") in _FOREIGN and headers.get(b"sec-fetch-mode") != b"navigate":
            await _answer(guarded, 403, "a page of another site may not use this server")
        else:
            await self._app(scope, receive, guarded)


def _without_port(host: str) -> str:
    """Return the name in a Host header: localhost:8000 is localhost, [::1]:8000 is [::1]."""
    name, found, port = host.rpartition(":")
    return name if found and port.isdigit() else host


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def _answer(send: Send, status: int, text: str) -> None:
    body: Any = json.dumps({"error": text}).encode()
    headers = _encoded({"content-type": "application/json", "content-length": str(len(body))})
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
