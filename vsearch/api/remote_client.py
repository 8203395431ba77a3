"""The client of a stack's functions: calls with retries, and translation of failures to public exceptions."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import TYPE_CHECKING, Any

import msgspec

from vsearch.checks import check_search
from vsearch.errors import (
    ConflictError,
    IncompleteAnswerError,
    InputError,
    PredicateError,
    RemoteError,
    RemoteSnapshotNotFoundError,
    SearchTimeoutError,
)
from vsearch.fanout.calls.invoker import Invoker, Names
from vsearch.fanout.calls.retries import CallError, Deadline, ErrorKind, RetryPolicy, call_with_retries
from vsearch.fanout.calls.telemetry import span, traceparent
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import Answer, Message, Options, SearchRequest
from vsearch.fanout.wire.replies import open_reply
from vsearch.fanout.wire.where import encode_where
from vsearch.storage.stores.waiting import within

if TYPE_CHECKING:
    from vsearch.predicates import Where

MOST_QUERIES = 2048
"""Maximum queries per request; larger batches are split."""


@dataclass(frozen=True, eq=False)
class Client:
    """The way to call a stack.

    Attributes
    ----------
    names : Names
        Of the functions.
    invoker : Invoker
    envelope : Envelope
    policy : RetryPolicy
    """

    names: Names
    invoker: Invoker
    envelope: Envelope
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    def search(self, request: SearchRequest, deadline: Deadline) -> Answer:
        """Call the coordinator.

        Raises
        ------
        InputError
            The functions refused the request.
        IncompleteAnswerError
            A shard did not answer, and the request does not allow partial answers.
        SearchTimeoutError
            The search did not finish in time.
        RemoteError
            The functions could not be called, or failed.
        """

        def check(reply: Any) -> bool:
            expected = request.count, request.options.k
            return isinstance(reply, Answer) and (reply.count, reply.k) == expected

        with span("search", queries=request.count):
            traced = msgspec.structs.replace(request, trace=traceparent())
            answer: Answer = self._call(self.names.coordinator, traced, check, deadline)
        if answer.outcomes and not request.allow_partial:
            raise IncompleteAnswerError("some shards did not answer, and allow_partial is false")
        return answer

    def call(
        self,
        function: str,
        request: Message,
        kind: type | UnionType,
        deadline: Deadline | None = None,
        *,
        absent: str | None = None,
    ) -> Any:
        """Call a function whose reply must be of a type.

        Parameters
        ----------
        absent : str, optional
            Message of the error if the stack does not have this function.

        Raises
        ------
        InputError
            The function refused the request.
        ConflictError
            The index was rebuilt or retrained in the meantime, or changed since the snapshot of the request.
        RemoteError
            The function could not be called, or failed.
        """
        return self._call(function, request, lambda reply: isinstance(reply, kind), deadline or Deadline(), absent)

    def room(self, options: Options) -> int | None:
        """Bytes that queries, or their answers, may take in one message; None if there is no limit."""
        if self.envelope.limit is None or self.envelope.overflow is not None:
            return None
        return int(0.9 * self.envelope.limit) - 4096 - len(options.where or b"")

    def batch(self, dimensions: int, options: Options) -> int:
        """Number of single-vector queries that fit a request and whose answers usually fit a reply."""
        room = self.room(options)
        if room is None:
            return MOST_QUERIES
        return max(1, min(MOST_QUERIES, room // (4 * dimensions), room // result_bytes(options)))

    def close(self) -> None:
        """Close open connections; a later call opens new ones."""
        close = getattr(self.invoker, "close", None)  # not all invokers have connections
        if close is not None:
            close()

    def _call(
        self,
        function: str,
        request: Message,
        check: Callable[[Any], bool],
        deadline: Deadline,
        absent: str | None = None,
    ) -> Any:
        def once() -> Any:
            attempt = msgspec.structs.replace(request, id=os.urandom(16).hex())
            with within(deadline.at):
                payload = self.invoker.invoke(function, self.envelope.pack(attempt), deadline.remaining())
            try:
                with within(deadline.at):
                    reply = open_reply(self.envelope, payload, function, attempt.id)
            except CallError as error:
                if error.kind is ErrorKind.MALFORMED:
                    self.close()  # a connection may be out of sync
                raise
            if not check(reply):
                raise CallError(ErrorKind.MALFORMED, f"{function} returned an unexpected reply")
            return reply

        try:
            return call_with_retries(once, self.policy, deadline)
        except CallError as error:
            if absent is not None and error.kind is ErrorKind.ABSENT:
                raise RemoteError(f"{absent} ({error})") from None
            raise _translate(error) from None


class TooLargeError(RemoteError):
    """A message is over the platform's limit."""


def result_bytes(options: Options) -> int:
    """Estimate the bytes of the answer to one query."""
    return 4 + options.k * (4 + 8 + 16 + 32 * len(options.columns))


def search_options(
    k: int,
    where: Where,
    nprobe: int | None,
    columns: Sequence[str],
    *,
    exact: bool,
    min_score: float | None,
    offset: int,
) -> Options:
    """Validate search options and encode them for a request.

    Raises
    ------
    InputError
        An option is invalid.
    """
    if isinstance(columns, str):
        raise InputError(f"columns must be a sequence of names, got {columns!r}; use [{columns!r}]")
    check_search(k=k, nprobe=nprobe, min_score=min_score, offset=offset)
    return Options(
        k=int(k),
        where=encode_where(where),
        nprobe=None if nprobe is None else int(nprobe),
        exact=bool(exact),
        min_score=None if min_score is None else float(min_score),
        columns=tuple(columns),
        offset=int(offset),
    )


def _translate(error: CallError) -> Exception:
    """Translate a failure to the exception that a local index would raise."""
    text = str(error)
    if error.kind is ErrorKind.PREDICATE:
        return PredicateError(text)
    if error.kind is ErrorKind.REFUSED:
        return InputError(text)
    if error.kind is ErrorKind.CONFLICT:
        return ConflictError(text)
    if error.kind is ErrorKind.SNAPSHOT:
        return RemoteSnapshotNotFoundError(f"{text} ({error.kind}, {error.attempts} attempts)")
    if error.final and error.kind is not ErrorKind.DEADLINE:
        return IncompleteAnswerError(text)
    if error.kind in (ErrorKind.DEADLINE, ErrorKind.TIMEOUT):
        return SearchTimeoutError(text)
    kind = TooLargeError if error.kind is ErrorKind.TOO_LARGE else RemoteError
    return kind(f"{text} ({error.kind}, {error.attempts} attempts)")
