"""The API and the channels from one port: each request goes to the one whose address it names.

Rules a change must keep: the addresses of the API are listed here and everything else is a page;
the lifespan is the API's.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

API_PATHS: Final = frozenset({"/health", "/live", "/ready", "/metrics", "/openapi.json", "/docs",
                              "/problems"})  # fmt: skip
API_BEGINNINGS: Final = ("/v1/", "/webhooks/", "/problems/", "/docs/")


def beside_api(api: Application, channels: Application) -> Application:
    """Return one application of both."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        belongs_to_api = scope["type"] != "http" or is_of_api(scope["path"])
        await (api if belongs_to_api else channels)(scope, receive, send)

    return serve


def is_of_api(path: str) -> bool:
    """Say whether machines are meant by this address."""
    return path in API_PATHS or path.startswith(API_BEGINNINGS)
