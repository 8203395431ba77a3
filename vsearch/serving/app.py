"""The ASGI application of a server."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import Counter
from functools import partial
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from vsearch.fanout.platforms.http_api import knows_key
from vsearch.fanout.platforms.http_searches import LARGEST_BODY
from vsearch.fanout.roles.heap import use_one_heap
from vsearch.serving.assets import page_routes
from vsearch.serving.endpoint import Endpoint
from vsearch.serving.guard import Guard
from vsearch.serving.inspecting import Inspector
from vsearch.serving.memory import role_megabytes
from vsearch.serving.settings import VARIABLE, ServerSettings

logger = logging.getLogger("vsearch")

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the buckets of request times, in seconds."""

BODY_SECONDS = 60.0
"""Seconds that a client may take to send a body."""

METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]
HEADERS = ["content-type", "x-api-key", "x-write-key"]

CONSOLE = "/console/"
"""Path of an index's requests that only the console makes."""

TOO_LARGE = {"error": "too large", "message": f"the body is too large; at most {LARGEST_BODY} bytes"}
TOO_SLOW = {"error": "timeout", "message": f"the body did not arrive within {BODY_SECONDS:.0f} seconds"}
INTERNAL = {"error": "internal", "message": "the request could not be answered; the log of the server says why"}


class Metrics:
    """Request counts of this process."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, index: str, status: int, seconds: float) -> None:
        """Count a request. Called on the event loop only."""
        self._requests[index, status] += 1
        self._buckets[next((place for place, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))] += 1
        self._seconds += seconds

    def text(self) -> str:
        """Return the metrics in the text format of Prometheus."""
        lines = ["# TYPE vsearch_requests_total counter"]
        for (index, status), count in sorted(self._requests.items()):
            lines.append(f'vsearch_requests_total{{index="{index}",status="{status}"}} {count}')
        lines.append("# TYPE vsearch_request_seconds histogram")
        total = 0
        for bound, count in zip((*BOUNDS, "+Inf"), self._buckets, strict=True):
            total += count
            lines.append(f'vsearch_request_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"vsearch_request_seconds_sum {self._seconds:.6f}", f"vsearch_request_seconds_count {total}"]
        return "\n".join(lines) + "\n"


def make_app(settings: ServerSettings, **storage: Any) -> Starlette:
    """Return the application: each index at its path, the console at ``/``, ``/health`` and ``/metrics``."""
    metrics = Metrics()
    memory = role_megabytes(len(settings.indexes), settings.processes)
    keys = settings.search_key, settings.write_key
    routes = [
        Route("/health", lambda _: _json(200, {"status": "ok"}), methods=["GET"]),
        Route("/metrics", lambda _: PlainTextResponse(metrics.text()), methods=["GET"]),
        Route("/console/indexes", partial(_indexes, settings=settings), methods=["GET"]),
        *page_routes(),
    ]
    for name, url in sorted(settings.indexes.items(), reverse=True):  # the root matches everything, so it comes last
        opening = {**settings.storage(url), **storage}
        endpoint = Endpoint(url, *keys, writable=settings.writable, memory=memory, **opening)
        route = _handler(endpoint, Inspector(url, **opening), name, metrics)
        path = f"/{name}/{{path:path}}" if name else "/{path:path}"
        routes.append(Route(path, route, methods=METHODS))
    middleware = [Middleware(Guard, settings=settings)]
    if settings.origins:
        allowed = list(settings.origins)
        middleware.insert(
            0, Middleware(CORSMiddleware, allow_origins=allowed, allow_methods=METHODS, allow_headers=HEADERS)
        )
    return Starlette(routes=routes, middleware=middleware)


def _handler(endpoint: Endpoint, inspector: Inspector, name: str, metrics: Metrics) -> Any:
    def answer(method: str, path: str, headers: dict[str, str], body: bytes, query: str) -> tuple[int, dict[str, Any]]:
        if path.startswith(CONSOLE) and endpoint.admits(path, headers):
            return inspector.answer(method, path.removeprefix(CONSOLE.rstrip("/")), body)
        return endpoint.answer(method, path, headers, body, query)

    async def handle(request: Request) -> Response:
        started = time.perf_counter()
        headers = {key.lower(): value for key, value in request.headers.items()}
        path = "/" + request.path_params["path"]
        body: bytes | None = b""
        try:
            if endpoint.admits(path, headers):  # otherwise it is refused regardless of its body
                async with asyncio.timeout(BODY_SECONDS):
                    body = await _body(request)
        except TimeoutError:
            status, document = 408, TOO_SLOW
        except ClientDisconnect:
            return Response(status_code=400)  # the client is gone
        else:
            status, document = (413, TOO_LARGE) if body is None else (0, {})
        if body is not None and not status:
            try:
                status, document = await run_in_threadpool(
                    answer, request.method, path, headers, body, request.url.query
                )
            except Exception:
                logger.exception("%s: a request could not be answered", endpoint.url)
                status, document = 500, INTERNAL
        metrics.add(name, status, time.perf_counter() - started)
        return _json(status, document)

    return handle


async def _body(request: Request) -> bytes | None:
    """Return the body; None if it is too large. No more than the limit is read."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            return None
        parts.append(part)
    return b"".join(parts)


async def _indexes(request: Request, settings: ServerSettings) -> Response:
    if settings.search_key and not knows_key(request.headers, "x-api-key", settings.search_key):
        return _json(401, {"error": "denied", "message": "send the API key in the header x-api-key"})
    return _json(200, {"indexes": sorted(settings.indexes)})


def _json(status: int, document: dict[str, Any]) -> Response:
    return Response(json.dumps(document, allow_nan=False), status, media_type="application/json")


def from_environment() -> Starlette:
    """Return the application of a worker process, whose threads all allocate from one heap."""
    use_one_heap()
    return make_app(msgspec.json.decode(os.environ[VARIABLE], type=ServerSettings))
