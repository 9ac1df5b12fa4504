"""How many REST requests may be in the server."""

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.server.json_writer import write_error
from serving.server.serving_error import Code, http_status

# Requests that may wait for a thread, their bodies in memory.
MAX_WAITING_REQUESTS = 128


class RestLimit:
    """Refuses requests above a limit with RESOURCE_EXHAUSTED (429), and keeps nothing of them.

    TF Serving lets any number wait.

    Args:
        app: The application behind it.
        limit: Requests at once, those that wait included.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request (the ASGI entry point)."""
        if self._inside >= self._limit and scope["type"] == "http":
            await self._refuse(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # Read to its end, so that the client hears why.
            async for _ in Request(scope, receive).stream():
                pass
        except ClientDisconnect:
            return
        content = write_error(f"the server has {self._limit} requests at hand; try again later")
        response = Response(content, http_status(Code.RESOURCE_EXHAUSTED), media_type="application/json")
        await response(scope, receive, send)
