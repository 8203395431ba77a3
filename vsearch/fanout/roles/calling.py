"""Calls between the functions of a stack: with retries, hedged if requested, and checked against the request."""

from __future__ import annotations

import os
import time
from typing import Any, Protocol

import msgspec

from vsearch.fanout.calls.bill import Usage, Usages
from vsearch.fanout.calls.hedging import Hedging, Race, hedge
from vsearch.fanout.calls.invoker import Invoker, Names
from vsearch.fanout.calls.retries import CallError, Deadline, ErrorKind, RetryPolicy, call_with_retries
from vsearch.fanout.calls.telemetry import span, traceparent
from vsearch.fanout.roles.allocator import Calls, check_answer, check_subtree
from vsearch.fanout.roles.coordinator import require
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import AllocateRequest, Answer, Message, ProcessRequest
from vsearch.fanout.wire.replies import ReportedError, check_reply, read_reply
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import Manifest

RESERVE = 0.05
"""Seconds of its deadline that a caller reserves for merging the replies."""

HEDGED = frozenset({"processor"})
"""Roles whose calls are hedged: they only read, and a second call repeats the work of a single shard."""


class UnsentError(CallError):
    """A message could not be sent, so that no function ran."""


class Caller(Protocol):
    """The part of a worker that calls use; see `vsearch.fanout.roles.worker.Worker`."""

    function: str
    memory: int
    invoker: Invoker | None
    names: Names | None
    envelope: Envelope
    policy: RetryPolicy
    hedging: Hedging | None


def call(
    caller: Caller,
    function: str,
    message: Message,
    deadline: Deadline,
    role: str,
    check: Any = None,
    parent: str = "",
) -> tuple[Any, Usages]:
    """Call a function of the stack, with retries.

    Parameters
    ----------
    parent : str
        The traceparent of the span of the call, which runs in its own thread.

    Returns
    -------
    reply : Answer or Warmed
    usages : Usages
        The usage of failed attempts and of hedged calls.

    Raises
    ------
    CallError
        The last error, after all retries.
    """
    invoker = caller.invoker
    if invoker is None:
        raise CallError(ErrorKind.INTERNAL, f"{caller.function} cannot call functions")
    wasted: list[Usages] = []
    hedging = caller.hedging if role in HEDGED else None

    def send() -> Any:
        left = deadline.remaining()
        limit = None if left is None else max(0.0, left - RESERVE)
        request = _fill_in(message, limit, trace)
        try:
            payload = caller.envelope.pack(request)
        except CallError as error:
            raise UnsentError(error.kind, str(error)) from None
        reply = read_reply(caller.envelope, invoker.invoke(function, payload, left), function, request.id)
        if check is not None:
            check_reply(check, reply, function)
        return reply

    def attempt() -> Any:
        race = _send_once(send) if hedging is None else hedge(send, hedging)
        wasted.extend(_usages(caller, role, error, seconds) for error, seconds in race.errors)
        if race.unfinished is not None:
            wasted.append(_estimate(caller, role, race.unfinished, failed=False))
        if race.reply is None:
            raise race.errors[0][0]
        return race.reply

    with span("call", parent, function=function):
        trace = traceparent()
        return call_with_retries(attempt, caller.policy, deadline), Usages.sum(wasted)


def _send_once(send: Any) -> Race[Any]:
    started = time.perf_counter()
    try:
        return Race(send(), [])
    except CallError as error:
        return Race(None, [(error, time.perf_counter() - started)])


def _usages(caller: Caller, role: str, error: CallError, seconds: float) -> Usages:
    """Return the usage of a failed call."""
    if isinstance(error, UnsentError):
        return Usages()
    return error.usages if isinstance(error, ReportedError) else _estimate(caller, role, seconds, failed=True)


def _estimate(caller: Caller, role: str, seconds: float, *, failed: bool) -> Usages:
    """Return the usage of a call without a reply, as if it had run for so many seconds with the caller's memory."""
    return Usages.of(role, Usage(1, 0, int(failed), seconds, seconds * caller.memory / 1024))


def _fill_in(message: Message, remaining: float | None, trace: str) -> Message:
    """Return the message with a new id, the remaining time and the trace."""
    message = msgspec.structs.replace(message, id=os.urandom(16).hex())
    if not hasattr(message, "remaining"):
        return message
    if remaining is not None:
        message = msgspec.structs.replace(message, remaining=min(remaining, 86_400.0))
    return msgspec.structs.replace(message, trace=trace) if trace else message


def remote_calls(caller: Caller, manifest: Manifest, snapshot: Snapshot | None, deadline: Deadline) -> Calls:
    """Return the functions by which a caller calls processors and allocators with its invoker."""
    names, parent = caller.names or Names("vsearch"), traceparent()

    def processor(shard: int, request: ProcessRequest) -> Answer:
        def check(reply: Any) -> None:
            require(reply, Answer)
            if snapshot is not None:
                check_answer(reply, request, snapshot)

        reply, wasted = call(caller, names.processor(shard), request, deadline, "processor", check, parent)
        answer: Answer = reply
        return msgspec.structs.replace(answer, usages=answer.usages + wasted)

    def allocator(request: AllocateRequest) -> Answer:
        def check(reply: Any) -> None:
            require(reply, Answer)
            check_subtree(reply, request, manifest)

        reply, wasted = call(caller, names.allocator, request, deadline, "allocator", check, parent)
        answer: Answer = reply
        return msgspec.structs.replace(answer, usages=answer.usages + wasted)

    return Calls(processor, allocator, caller.envelope.limit)
