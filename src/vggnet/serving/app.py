"""Put the page, the JSON API and its description together as an ASGI application."""

from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

import vggnet
from vggnet.errors import BadImage, UserError
from vggnet.serving.answers import ErrorAnswer
from vggnet.serving.description import description_page
from vggnet.serving.guards import LOCAL_NAMES, Guards
from vggnet.serving.handlers import Handlers
from vggnet.serving.refusals import Refused

_PAGE = files("vggnet.serving") / "page"
_FILES = {  # path: file of the page, media type
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_BODY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_IMAGE_BODY = {"requestBody": {"required": True, "content": _BODY, "description": "the bytes of an image file"}}
_STATUSES = {
    400: "the body is empty",
    404: "a model or class that is not served",
    408: "the image did not arrive in time",
    413: "the image is too large",
    422: "no image that can be read, or a parameter that cannot be",
    429: "too many images at once: come back after Retry-After seconds",
    503: "no answer in time",
}
DESCRIPTION = (
    "Send an image file as the body of a request, its parameters in the URL. The numbers are those of `vggnet "
    "predict`, `vggnet evaluate` and `vggnet localize predict`. Errors are JSON: `error` says what happened and what "
    "to do."
)


def create_app(handlers: Handlers, names: Iterable[str] = ()) -> ASGIApp:
    """Return the application; it answers for the host names of this machine and for `names`."""
    app = FastAPI(
        title="vggnet serve", version=vggnet.__version__, description=DESCRIPTION, docs_url=None, redoc_url=None
    )
    _add_errors(app)
    for path, (name, kind) in _FILES.items():
        app.add_api_route(path, _file(name, kind), include_in_schema=False)
    app.add_api_route(
        "/docs",
        lambda: Response(description_page(app.openapi()), media_type="text/html; charset=utf-8"),
        include_in_schema=False,
    )
    for path in ("models", "samples", "status"):
        app.add_api_route(f"/api/{path}", getattr(handlers, path), name=path)
    app.add_api_route("/api/samples/{number}", handlers.sample, response_class=Response)
    app.add_api_route("/api/samples/{number}/picture", handlers.sample_picture, response_class=Response)
    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": text} for status, text in _STATUSES.items()
    }
    for path in ("predict", "score-map", "boxes", "score-map/picture", "saliency/picture", "picture"):
        handler = getattr(handlers, path.replace("-", "_").replace("/", "_"))
        app.add_api_route(
            f"/api/{path}",
            handler,
            methods=["POST"],
            openapi_extra=_IMAGE_BODY,
            responses=errors,
            response_class=Response if path.endswith("picture") else JSONResponse,
        )
    return Guards(app, (*LOCAL_NAMES, *names))


def _file(name: str, kind: str) -> Callable[[], Response]:
    content = (_PAGE / name).read_bytes()
    return lambda: Response(content, media_type=kind)


def _add_errors(app: FastAPI) -> None:
    """Make every error JSON, with one sentence under "error"."""

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return _error(error.status, error.message, error.headers)

    def mistaken(_: Request, error: Exception) -> Response:
        return _error(422, f"the image: {error.reason}" if isinstance(error, BadImage) else str(error))

    def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = (
            first["loc"][1] if len(first["loc"]) > 1 else first["loc"][0]
        )  # the first is where it stands: query, path
        return _error(422, f"`{name}` {first.get('input')!r}: {first['msg']}"[:500])

    def unknown(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _error(error.status_code, f"{error.detail}; the API is described at /docs", error.headers or {})

    def failed(_: Request, error: Exception) -> Response:
        return _error(500, "the server failed; its terminal shows why")

    def gone(_: Request, error: Exception) -> Response:
        return Response(status_code=400)  # nobody reads it

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(UserError, mistaken)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, failed)


def _error(status: int, message: str, headers: Any = None) -> Response:
    return JSONResponse({"error": message}, status, headers)
