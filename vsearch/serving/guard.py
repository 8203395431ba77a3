"""Refuses requests from web pages of other origins that are open in a browser on this machine.

A page may send a plain-text POST to any address without a preflight request; CORS only withholds the response. By DNS rebinding, a
page may also let its own host name resolve to this machine, so that the browser treats the server as the same origin. Requests
state their origin and the host, and both are checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from vsearch.serving.settings import ServerSettings, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send


class Guard:
    """An application that refuses requests of other origins before `app` sees them.

    Parameters
    ----------
    app : ASGI application
    settings : ServerSettings
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        reason = refusal(Headers(scope=scope), self._settings) if scope["type"] == "http" else None
        if reason is None:
            await self._app(scope, receive, send)
        else:
            await JSONResponse({"error": "denied", "message": reason}, 403)(scope, receive, send)


def refusal(headers: Mapping[str, str], settings: ServerSettings) -> str | None:
    """Return the reason to refuse a request; None to accept it.

    Parameters
    ----------
    headers : mapping
        Names in lower case, or a case-insensitive mapping.
    settings : ServerSettings
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    allowed = settings.origins
    if origin is not None and not {"*", origin.lower()} & set(allowed) and origin.partition("://")[2] != host:
        return f"pages of {origin[:100]!r} may not call this server; allow them with --origin"
    if settings.keyless and host and not is_loopback(_name(host)):
        return f"without keys, the server must be called by an address of this machine, not as {host[:100]!r}; or set VSEARCH_API_KEY"
    return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
