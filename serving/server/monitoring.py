"""The page that Prometheus reads."""

from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.server.config_messages import MonitoringConfig
from serving.server.metrics import metrics_page
from serving.server.text_proto import TextProtoError, read_text_proto

DEFAULT_PATH = "/monitoring/prometheus/metrics"


def read_metrics_path(file: Path) -> str | None:
    """Reads a text proto `MonitoringConfig`.

    Returns:
        The path under which the metrics are to be found, or None when they are not enabled.

    Raises:
        TextProtoError: The file cannot be read or parsed, or its path does not begin with a slash.
    """
    config = read_text_proto(file, MonitoringConfig()).prometheus_config
    if not config.enable:
        return None
    path = str(config.path) or DEFAULT_PATH
    if not path.startswith("/"):
        raise TextProtoError(f"{file}: prometheus_config.path must begin with /, got {path!r}")
    return path


class MetricsEndpoint:
    """Answers the metrics' path, and hands every other request on.

    Args:
        app: The application behind it.
        path: The metrics' path.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request (the ASGI entry point)."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        if scope["query_string"]:
            asked = f"{self._path}?{scope['query_string'].decode('latin-1')}"
            response = PlainTextResponse(f"Unexpected path: {asked}. Should be {self._path}", 400)
        else:
            response = PlainTextResponse(metrics_page())
        await response(scope, receive, send)
