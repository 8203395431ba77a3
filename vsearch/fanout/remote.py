"""An index that is searched by the functions of a stack; it looks like one that is opened here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from vsearch.errors import IncompleteAnswerError, InputError, PredicateError, RemoteError, SearchTimeoutError
from vsearch.explanation import Explanation
from vsearch.fanout import wire
from vsearch.fanout.bill import PRICES, Bill, Prices, make_bill
from vsearch.fanout.columns import Column, to_arrow
from vsearch.fanout.invokers import LIVE, Invoker, Names
from vsearch.fanout.local import local_endpoint
from vsearch.fanout.mail import LAMBDA_LIMIT, Mail, binary_limit
from vsearch.fanout.merging import append
from vsearch.fanout.messages import (
    LARGEST_K,
    Answer,
    Described,
    InfoRequest,
    Message,
    Options,
    Outcome,
    SearchRequest,
    Warmed,
    WarmRequest,
    floats,
    int32s,
)
from vsearch.fanout.outcomes import CallError, Deadline, Kind, RetryPolicy, call_with_retries
from vsearch.fanout.telemetry import span, traceparent
from vsearch.fanout.web import encode_where
from vsearch.fanout.worker import open_reply
from vsearch.hits import Hits
from vsearch.search.model import check_queries
from vsearch.search.stats import SearchStats

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.fanout.remote_documents import RemoteDocumentHits
    from vsearch.predicates import Where

SCHEMES = ("lambda", "local-faas")

MOST_QUERIES = 2048
"""Queries of one request; larger batches are sent as several."""


@dataclass(frozen=True, eq=False)
class RemoteHits(Hits):
    """Hits that functions found.

    Attributes
    ----------
    bill : Bill
        What they cost.
    plan : str
        How they were found, and why so.
    failed : tuple of Outcome
        Shards that gave no answer; empty unless ``allow_partial``.
    snapshot : int
    shards : tuple of int
        Which were searched.
    """

    bill: Bill | None = None
    plan: str = ""
    failed: tuple[Outcome, ...] = ()
    snapshot: int = 0
    shards: tuple[int, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every shard answered."""
        return not self.failed


def open_remote(url: str, snapshot: int | None = None, **options: Any) -> RemoteIndex:
    """Open ``lambda://stack`` or ``local-faas://stack``. Nothing is called yet.

    Parameters
    ----------
    **options
        ``region``, ``endpoint``, ``profile``, and ``alias`` where functions are called by another than the one that
        `vsearch deploy` moves (None: by what was last put there).

    Raises
    ------
    InputError
        The URL names no stack, or an option is not usable.
    """
    from vsearch.fanout.remote_invokers import LambdaInvoker

    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.netloc or parts.path.strip("/"):
        raise InputError(f"{url!r} names no stack; write lambda://stack or local-faas://stack")
    unknown = sorted(set(options) - {"region", "endpoint", "profile", "alias"})
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no such option of {parts.scheme}://")
    options.setdefault("alias", LIVE)
    if parts.scheme == "local-faas":
        options.setdefault("endpoint", os.environ.get("AWS_ENDPOINT_URL_LAMBDA") or local_endpoint())
        if not options["endpoint"]:
            raise InputError("no local FaaS is running; start one with: vsearch faas up")
    return RemoteIndex(url, Names(parts.netloc), LambdaInvoker(**options), Mail(binary_limit(LAMBDA_LIMIT)), snapshot)


class RemoteIndex:
    """An index behind functions. Safe to use from several threads.

    Parameters
    ----------
    url : str
    names : Names
        Of the functions.
    invoker : Invoker
    mail : Mail
    snapshot : int or None
        None: the newest at the time of each search.
    """

    def __init__(
        self,
        url: str,
        names: Names,
        invoker: Invoker,
        mail: Mail,
        snapshot: int | None = None,
        prices: Prices | None = None,
    ) -> None:
        self._url, self._names, self._invoker, self._mail = url, names, invoker, mail
        self._snapshot = snapshot
        self._prices = prices or PRICES["x86_64"]
        self._policy = RetryPolicy()

    def __repr__(self) -> str:
        return f"<vsearch.RemoteIndex {self._url}>"

    def close(self) -> None:
        """Close the connections that are kept open; a search opens them again."""
        close = getattr(self._invoker, "close", None)  # some have nothing to close
        if close is not None:
            close()

    def search(
        self,
        queries: Any,
        k: int = 10,
        where: Where = None,
        nprobe: int | None = None,
        columns: Sequence[str] = (),
        exact: bool = False,
        min_score: float | None = None,
        timeout: float | None = None,
        allow_partial: bool = False,
        mode: str = "auto",
        allocators: int | None = None,
        branching: int | None = None,
    ) -> RemoteHits:
        """Find the nearest rows that satisfy a predicate; see `vsearch.Index.search`.

        Parameters
        ----------
        allow_partial : bool
            Take what the others found where a shard gives no answer; `RemoteHits.failed` names it.
        mode : {"auto", "alone", "flat", "tree"}
            How to answer: the coordinator alone, with the processors, or with a tree of allocators. It chooses by itself.
        allocators, branching : int, optional
            Shape of the tree.

        Raises
        ------
        InputError
            Queries or options are not usable; PredicateError for `where`.
        IncompleteAnswerError
            A shard gave no answer, and `allow_partial` was not asked for.
        SearchTimeoutError
            The timeout ran out; no partial answer is given.
        RemoteError
            The functions could not be called, or failed.
        """
        vectors = np.asarray(queries)
        if vectors.ndim == 1:
            vectors = vectors[None, :]
        checked = check_queries(vectors, vectors.shape[-1] if vectors.ndim else 0)
        if isinstance(columns, str):
            raise InputError(f"columns must be a sequence of names: give [{columns!r}]")
        options = self._options(k, where, nprobe, tuple(columns), exact, min_score)
        deadline = _check_call(timeout, mode)
        answers: list[Answer] = []
        for start in range(0, max(1, len(checked)), self._batch(checked.shape[1], options)):
            some = checked[start : start + self._batch(checked.shape[1], options)]
            if len(some) == 0:
                break
            request = SearchRequest(
                count=len(some),
                dimensions=some.shape[1],
                queries=some.astype("<f4").tobytes(),
                options=options,
                snapshot=answers[0].snapshot if answers else self._snapshot,
                remaining=deadline.remaining(),
                mode=mode,  # type: ignore[arg-type]
                allocators=allocators,
                branching=branching,
                allow_partial=allow_partial,
            )
            with span("search", queries=len(some)):
                answers.append(self._ask(msgspec.structs.replace(request, trace=traceparent()), deadline))
        if not answers:
            raise InputError("there is no query; give at least one")
        return self._hits(answers, options)

    def explain(self, queries: Any, k: int = 10, where: Where = None, **options: Any) -> Explanation:
        """Run a search and tell who answered it and why so, and its counts; takes what `search` takes."""
        hits = self.search(queries, k, where, **options)
        hits.stats.partitions = self.info()["partitions"]
        plan = {"k": k, "how": hits.plan, "shards": list(hits.shards), "snapshot": hits.snapshot}
        plan |= {name: value for name, value in options.items() if not (value is None or value is False or value == ())}
        return Explanation(_to_sql(where), plan | {"bill": str(hits.bill)}, hits.stats)

    def info(self) -> dict[str, Any]:
        """What the index is; see `vsearch.Index.info`.

        Raises
        ------
        RemoteError
        """
        asked = InfoRequest(snapshot=self._snapshot)
        found: dict[str, Any] = msgspec.json.decode(self._call(self._names.coordinator, asked, Described).document)
        return found

    def search_documents(
        self,
        query_vectors: Any,
        k: int = 10,
        where: Where = None,
        query_keep: float = 1.0,
        candidates: int | str | None = None,
        *,
        query_saliency: Any = None,
        matches: bool = False,
        exact: bool = False,
        columns: Sequence[str] = (),
        timeout: float | None = None,
        allow_partial: bool = False,
        mode: str = "auto",
        allocators: int | None = None,
        branching: int | None = None,
    ) -> RemoteDocumentHits:
        """Find the documents whose vectors answer a query's vectors best; see `vsearch.Index.search_documents`.

        Parameters
        ----------
        allow_partial, mode, allocators, branching
            As for `search`.

        Raises
        ------
        InputError, IncompleteAnswerError, SearchTimeoutError, RemoteError
            As for `search`.
        """
        from vsearch.fanout.remote_documents import Asked, RemoteDocumentHits, read_hits

        if isinstance(columns, str):
            raise InputError(f"columns must be a sequence of names: give [{columns!r}]")
        options = self._options(k, where, None, tuple(columns), exact=False, min_score=None)
        asked = Asked.of(query_vectors, query_saliency, query_keep, options.k, candidates, exact=exact, matches=matches)
        deadline = _check_call(timeout, mode)
        answers: list[Answer] = []
        for documents in asked.batches(self._room(options), _answered(options), options.k):
            request = SearchRequest(
                count=len(documents.lengths) // 4,
                dimensions=documents.dimensions,
                queries=b"",
                options=options,
                snapshot=answers[0].snapshot if answers else self._snapshot,
                remaining=deadline.remaining(),
                mode=mode,  # type: ignore[arg-type]
                allocators=allocators,
                branching=branching,
                allow_partial=allow_partial,
                documents=documents,
            )
            answers.append(self._ask(request, deadline))
        whole = append(answers)
        hits = self._hits(answers, options)
        met = read_hits(asked, whole.found, options.k, whole.columns)
        return RemoteDocumentHits(**{name: getattr(hits, name) for name in hits.__dataclass_fields__}, matches=met)

    @property
    def has_documents(self) -> bool:
        """Whether it holds documents of many vectors, for `search_documents`; the functions are asked."""
        return self.info().get("documents") is not None

    def warm(self, shards: int | None = None) -> int:
        """Load what searches need into every function; returns the bytes that they hold.

        Parameters
        ----------
        shards : int, optional
            Processors of the stack; as many as the index has shards by default.
        """
        shards = self.info()["shards"] if shards is None else shards
        first = self._warm(self._names.coordinator, self._snapshot, None)
        # only a coordinator may look for the newest snapshot; the others are told
        warmed = [first, self._warm(self._names.allocator, first.snapshot, None)]
        warmed += [self._warm(self._names.processor(shard), first.snapshot, shard) for shard in range(shards)]
        return sum(each.bytes for each in warmed)

    def _warm(self, function: str, snapshot: int | None, shard: int | None) -> Warmed:
        warmed: Warmed = self._call(function, WarmRequest(snapshot=snapshot, shard=shard), Warmed)
        return warmed

    def _call(self, function: str, request: Message, kind: type) -> Any:
        def once() -> Any:
            reply = open_reply(self._mail, self._invoker.invoke(function, wire.encode(request), None), function)
            if not isinstance(reply, kind):
                raise CallError(Kind.MALFORMED, f"{function} answered something else")
            return reply

        try:
            return call_with_retries(once, self._policy, Deadline())
        except CallError as error:
            raise _translate(error) from None

    def _options(
        self, k: int, where: Where, nprobe: int | None, columns: tuple[str, ...], exact: bool, min_score: float | None
    ) -> Options:
        for name, value, largest in (("k", k, LARGEST_K), ("nprobe", nprobe, 2**31)):
            if value is None and name == "nprobe":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= largest:
                raise InputError(f"{name}={value!r} is not usable: give a whole number from 1 to {largest}")
        if min_score is not None and not np.isfinite(min_score):
            raise InputError(f"min_score={min_score!r} is not usable: give a finite number")
        return Options(
            k=int(k),
            where=encode_where(where),
            nprobe=None if nprobe is None else int(nprobe),
            exact=bool(exact),
            min_score=None if min_score is None else float(min_score),
            columns=columns,
        )

    def _batch(self, dimensions: int, options: Options) -> int:
        if self._mail.limit is None or self._mail.overflow is not None:
            return MOST_QUERIES
        room = self._room(options) or 0
        return max(1, min(MOST_QUERIES, room // (4 * dimensions), room // _answered(options)))

    def _room(self, options: Options) -> int | None:
        """Bytes that queries, or their answers, may take in one message; None where there is no limit."""
        if self._mail.limit is None or self._mail.overflow is not None:
            return None
        return int(0.9 * self._mail.limit) - 4096 - len(options.where or b"")

    def _ask(self, request: SearchRequest, deadline: Deadline) -> Answer:
        function = self._names.coordinator

        def once() -> Answer:
            left = deadline.remaining()
            reply = open_reply(self._mail, self._invoker.invoke(function, self._mail.pack(request), left), function)
            if not isinstance(reply, Answer) or (reply.count, reply.k) != (request.count, request.options.k):
                raise CallError(Kind.MALFORMED, f"{function} answered something else")
            return reply

        try:
            answer = call_with_retries(once, self._policy, deadline)
        except CallError as error:
            raise _translate(error) from None
        if answer.outcomes and not request.allow_partial:
            raise IncompleteAnswerError("the answer lacks a shard, and allow_partial was not asked for")
        return answer

    def _hits(self, answers: Sequence[Answer], options: Options) -> RemoteHits:
        answer = append(answers)
        found = int32s(answer.found)
        there = np.arange(options.k) < found[:, None]
        scores = np.full(there.shape, np.nan, np.float32)
        scores[there] = floats(answer.scores)
        ids = _ids(answer.ids, there)
        counters = answer.counters
        stats = SearchStats()
        stats.queries, stats.estimated = answer.count, answer.estimated
        stats.partitions_visited, stats.rows_masked = counters.partitions_visited, counters.rows_masked
        stats.rows_rechecked, stats.rows_scanned = counters.rows_rechecked, counters.rows_scanned
        stats.rows_refined, stats.rows_reranked = counters.rows_refined, counters.rows_reranked
        stats.bytes_fetched = answer.usages.total.bytes
        return RemoteHits(
            ids,
            scores,
            stats,
            _table(options.columns, answer.columns[: len(options.columns)], there),
            bill=make_bill(answer.usages, self._prices),
            plan=answers[0].plan,
            failed=answer.outcomes,
            snapshot=answer.snapshot,
            shards=answer.shards,
        )


def _to_sql(where: Where) -> str | None:
    if where is None:
        return None
    from vsearch.predicates import parse, to_sql

    expression = parse(where)
    return None if expression is None else to_sql(expression)


def _answered(options: Options) -> int:
    """About as many bytes does the answer to one query take."""
    return 4 + options.k * (4 + 8 + 16 + 32 * len(options.columns))


def _check_call(timeout: float | None, mode: str) -> Deadline:
    if timeout is not None and not timeout > 0:
        raise InputError(f"timeout={timeout!r} is not usable: give seconds above 0")
    if mode not in ("auto", "alone", "flat", "tree"):
        raise InputError(f"mode={mode!r} is not usable: give auto, alone, flat or tree")
    return Deadline.after(timeout)


def _ids(column: Column | None, there: Any) -> Any:
    if column is None or column.type == "string":
        text = column is not None
        ids: Any = np.full(there.shape, None if text else -1, object if text else np.int64)
        if column is not None:
            ids[there] = np.array(to_arrow(column).to_pylist(), object)
        return ids
    numbers = np.full(there.shape, -1, np.int64)
    numbers[there] = np.frombuffer(column.values, "<i8")
    return numbers


def _table(names: tuple[str, ...], columns: Sequence[Column], there: Any) -> pa.Table | None:
    if not names:
        return None
    import pyarrow as pa

    if not columns:  # nothing was found, so the types are not known here
        return pa.table({name: pa.nulls(there.size) for name in names})
    position = np.cumsum(there.reshape(-1)) - 1
    rows = pa.array(position, mask=~there.reshape(-1))
    return pa.table({name: to_arrow(column).take(rows) for name, column in zip(names, columns, strict=True)})


def _translate(error: CallError) -> Exception:
    """A failure as the exception that the same mistake raises on an index that is opened here."""
    text = str(error)
    if error.kind is Kind.REFUSED:
        return PredicateError(text) if "predicate" in text else InputError(text)
    if error.final and error.kind is not Kind.DEADLINE:
        return IncompleteAnswerError(text)
    if error.kind in (Kind.DEADLINE, Kind.TIMEOUT):
        return SearchTimeoutError(text)
    return RemoteError(f"{text} ({error.kind}, {error.attempts} attempts)")
