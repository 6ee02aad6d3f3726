"""Serve a page and a JSON API to try nets on images (`vggnet serve`)."""

from vggnet.commands.inputs import check_models
from vggnet.errors import missing_package
from vggnet.options.serving import ServeOptions


def serve(options: ServeOptions) -> None:
    """Serve until SIGINT (Ctrl-C) or SIGTERM. Raises UserError where the packages of vggnet[serve] are missing."""
    check_models([*options.models, *options.classifier], "vggnet serve MODEL...")
    try:
        from vggnet.serving.running import serve as run_server
    except ModuleNotFoundError as error:
        raise missing_package("this", error.name or "fastapi", "serve") from error
    run_server(options)
