"""Read the replies of functions, and the failures that they report."""

from __future__ import annotations

from typing import Any

from vsearch.errors import InputError
from vsearch.fanout.calls.bill import Usages
from vsearch.fanout.calls.retries import CallError, ErrorKind
from vsearch.fanout.wire.change_messages import BadRows, Committed, Kept
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import Answer, Described, Failure, Warmed

Reply = Answer | Warmed | Described | Committed | BadRows | Kept


class ReportedError(CallError):
    """A failure reported by the function itself, with its usage."""

    def __init__(self, kind: ErrorKind, message: str, usages: Usages, *, final: bool) -> None:
        super().__init__(kind, message, final=final)
        self.usages = usages


def open_reply(envelope: Envelope, data: bytes, function: str, id: str | None = None) -> Any:
    """Read the reply of a function to the request with this id; None accepts any id.

    Raises
    ------
    CallError
        The function failed, or the bytes are not a reply.
    """
    try:
        return read_reply(envelope, data, function, id)
    except ReportedError as error:
        raise CallError(error.kind, str(error), final=error.final) from None


def read_reply(envelope: Envelope, data: bytes, function: str, id: str | None) -> Any:
    """Read a reply like `open_reply`, but raise failures with their usage.

    Raises
    ------
    ReportedError
        The function reported a failure.
    CallError
        The reply is malformed, of another type, or to another request.
    """
    try:
        reply = envelope.unpack(data)
    except InputError as error:
        raise CallError(ErrorKind.MALFORMED, f"{function} returned a malformed reply: {error}") from None
    unread = (
        isinstance(reply, Failure) and not reply.id
    )  # the function could not read the request, so it does not know its id
    if id is not None and reply.id != id and not unread:
        raise CallError(ErrorKind.MALFORMED, f"{function} replied to another request")
    if isinstance(reply, Failure):
        kind = ErrorKind(reply.error) if reply.error in set(ErrorKind) else ErrorKind.INTERNAL
        raise ReportedError(kind, f"{function}: {reply.message}", reply.usages, final=reply.final)
    if not isinstance(reply, Reply):
        raise CallError(ErrorKind.MALFORMED, f"{function} replied with a {type(reply).__name__}")
    return reply


def check_reply(check: Any, reply: Any, function: str) -> None:
    """Check a reply against the request with a function that raises InputError.

    Raises
    ------
    CallError
        They do not match.
    """
    try:
        check(reply)
    except InputError as error:
        raise CallError(ErrorKind.MALFORMED, f"{function}: {error}") from None
