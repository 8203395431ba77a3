"""The pages of a server: files of this package, sent with headers that let them load nothing else."""

from __future__ import annotations

from functools import cache, partial
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
"""No script and no style but those of this server, nothing from elsewhere, and no frames around or inside."""

ASSETS = "/_console"
"""Path below which the files of the pages are."""

PAGES = {"/": "console.html", "/docs": "docs.html"}


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """The bytes and the media type of each file, by name."""
    places = {file: TYPES.get(file.name[file.name.rfind(".") :]) for file in (files(__package__) / "pages").iterdir()}
    return {file.name: (file.read_bytes(), kind) for file, kind in places.items() if kind is not None}


def read(name: str) -> tuple[bytes, str] | None:
    """Return the bytes and the media type of a file; None if it does not exist."""
    return _files().get(name)


def page_routes() -> list[Route]:
    """Return the routes of the pages and of the files that they load."""
    pages = [Route(path, partial(_send, name=name), methods=["GET"]) for path, name in PAGES.items()]
    return [*pages, Route(f"{ASSETS}/{{name}}", _send, methods=["GET"])]


async def _send(request: Request, name: str = "") -> Response:
    asset = read(name or request.path_params["name"])
    if asset is None:
        return Response("there is no such page\n", 404, media_type="text/plain")
    return Response(asset[0], 200, HEADERS, asset[1])
