"""A worker on a platform: created from the environment, called with the platform's events.

Environment: ``VSEARCH_INDEX`` (URL of the index), ``VSEARCH_STACK`` (prefix of the function names), ``VSEARCH_OVERFLOW`` (URL of
the overflow store, optional), ``VSEARCH_INVOKER`` (``lambda``, the default, another platform of
`vsearch.fanout.platforms.registry`, or the URL template of an HTTP platform), ``VSEARCH_HTTP_TOKEN`` (bearer token for that
platform, optional), ``VSEARCH_ALIAS`` (alias by which a Lambda function calls others, optional), ``VSEARCH_HEDGE`` (seconds after
which calls of processors are hedged, optional), ``VSEARCH_API_KEY_SHA256`` and ``VSEARCH_WRITE_KEY_SHA256`` (hashes of the API
keys of the web handler). Credentials, region and endpoints are read from AWS's usual variables.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from vsearch.errors import InputError, RemoteError, VsearchError
from vsearch.fanout.calls.hedging import Hedging
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import Deadline, ErrorKind
from vsearch.fanout.platforms.registry import platform_of_functions
from vsearch.fanout.roles.heap import use_one_heap
from vsearch.fanout.roles.worker import Worker, serve
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope, from_event, to_event
from vsearch.fanout.wire.messages import failure
from vsearch.forking import renew_in_children
from vsearch.storage import open_store

LEAVES = ("processor", "writer", "keeper")
"""Roles that do not call other functions."""

LAST = 0.2
"""Seconds before the platform's time limit at which a function replies with a timeout."""


class Host:
    """The worker of this process, created on the first call.

    Parameters
    ----------
    role : {"coordinator", "allocator", "processor", "writer", "keeper"}
    started : float
        `time.perf_counter` at the process's start, or of the first import.
    run : callable, optional
        See `Worker.run`.
    """

    def __init__(self, role: str, started: float, run: Callable[[Worker, Any, Deadline], Any] | None = None) -> None:
        self.role, self.run = role, run
        # the first call may come much later, if the platform starts functions in advance
        self._imported = time.perf_counter() - started
        self._worker: Worker | None = None
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread may have held at the fork."""
        self._lock = threading.Lock()

    def worker(self) -> Worker:
        """Return the worker.

        Raises
        ------
        VsearchError
            The environment is incomplete or invalid.
        """
        with self._lock:
            if self._worker is None:
                started = time.perf_counter()
                use_one_heap()
                self._worker = open_worker(self.role, os.environ)
                self._worker.run, self._worker.releases = self.run, True
                self._worker.init_seconds = self._imported + time.perf_counter() - started
            return self._worker

    def answer_event(self, event: object, context: Any = None) -> dict[str, str]:
        """Answer a JSON event with a message, as passed by AWS Lambda."""
        try:
            payload = from_event(event)
        except InputError as error:
            return to_event(wire.encode(failure(ErrorKind.REFUSED, str(error))))
        return to_event(self.answer_bytes(payload, _time_left(context)))

    def answer_bytes(self, payload: bytes, seconds: float | None = None) -> bytes:
        """Answer a message within `seconds`."""
        try:
            worker = self.worker()
        except VsearchError as error:
            return wire.encode(failure(ErrorKind.INIT, str(error)))
        return serve(worker, payload, Deadline.after(seconds))

    def answer_http(self, request: Any) -> tuple[bytes, int, dict[str, str]]:
        """Answer a POST request with a message (a Flask request, as passed by functions-framework)."""
        reply = self.answer_bytes(request.get_data())
        return reply, 200, {"content-type": "application/msgpack"}


def open_worker(role: str, environment: Mapping[str, str]) -> Worker:
    """Create a worker from environment variables.

    Raises
    ------
    InputError
        A variable is missing or invalid.
    """
    url, stack = environment.get("VSEARCH_INDEX"), environment.get("VSEARCH_STACK")
    if not url or not stack:
        raise InputError("VSEARCH_INDEX and VSEARCH_STACK must be set")
    overflow = environment.get("VSEARCH_OVERFLOW")
    named = environment.get("VSEARCH_INVOKER", "lambda")
    platform = platform_of_functions(named)
    return Worker.open(
        role,
        open_store(url),
        environment.get(platform.function_variable, f"{stack}-{role}"),
        memory=int(environment.get(platform.memory_variable, "1769")),
        invoker=None if role in LEAVES or platform.call is None else platform.call(named, environment),
        names=Names(stack),
        envelope=Envelope(platform.message_bytes, open_store(overflow) if overflow else None),
        hedging=Hedging.parse(hedge) if (hedge := environment.get("VSEARCH_HEDGE")) else None,
    )


def _time_left(context: Any) -> float | None:
    left = getattr(context, "get_remaining_time_in_millis", None)
    return None if left is None else max(0.0, left() / 1000 - LAST)


def keep_event(host: Host, event: object, context: Any) -> dict[str, Any]:
    """Handle a scheduled event or a message as the keeper; returns a report, which the platform logs.

    Raises
    ------
    RemoteError
        It failed; the platform counts the failure and may retry.
    """
    if isinstance(event, dict) and "vsearch" in event:
        return dict(host.answer_event(event, context))
    from vsearch.fanout.wire.change_messages import KeepRequest, Kept

    reply = wire.decode(host.answer_bytes(wire.encode(KeepRequest()), _time_left(context)))
    if not isinstance(reply, Kept):
        raise RemoteError(f"the index was not maintained: {getattr(reply, 'message', reply)}")
    report: dict[str, Any] = json.loads(reply.report)
    return report


def web_event(host: Host, event: object, context: Any) -> dict[str, Any]:
    """Answer an event of a function URL; see `vsearch.fanout.platforms.http_api`."""
    from vsearch.fanout.platforms import http_api as web

    try:
        worker = host.worker()
    except VsearchError:
        text = '{"error": "init", "message": "the function cannot start; its environment does not describe an index"}'
        return {"statusCode": 500, "headers": {"content-type": "application/json"}, "body": text}
    try:
        return web.answer_event(worker, event, web.KeyHashes.of(os.environ), Deadline.after(_time_left(context)))
    except Exception:
        traceback.print_exc(file=sys.stderr)  # the function's log
        text = '{"error": "internal", "message": "the request could not be answered; the function\'s log says why"}'
        return {"statusCode": 500, "headers": {"content-type": "application/json"}, "body": text}
