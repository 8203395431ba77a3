"""An index that is searched by the functions of a stack; it looks like one that is opened here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.arguments import check_search
from vsearch.errors import InputError
from vsearch.explanation import Explanation
from vsearch.fanout.bill import Prices
from vsearch.fanout.client import Client, answered
from vsearch.fanout.invokers import LIVE, Invoker, Names
from vsearch.fanout.local import local_endpoint
from vsearch.fanout.mail import LAMBDA_LIMIT, Mail, binary_limit
from vsearch.fanout.merging import append
from vsearch.fanout.messages import (
    Answer,
    Described,
    InfoRequest,
    Options,
    SearchRequest,
    Warmed,
    WarmRequest,
)
from vsearch.fanout.outcomes import Deadline
from vsearch.fanout.remote_hits import RemoteHits, make_hits
from vsearch.fanout.web import encode_where
from vsearch.search.model import check_queries
from vsearch.storage import open_store
from vsearch.storage.urls import redacted, split_url

if TYPE_CHECKING:
    from vsearch.fanout.remote_documents import RemoteDocumentHits
    from vsearch.predicates import Where

SCHEMES = ("lambda", "local-faas")
MODES = ("auto", "alone", "flat", "tree")


def open_remote(url: str, snapshot: int | None = None, **options: Any) -> RemoteIndex:
    """Open ``lambda://stack`` or ``local-faas://stack``. Nothing is called yet.

    Parameters
    ----------
    **options
        ``region``, ``endpoint``, ``profile``; ``alias`` where functions are called by another than the one that `vsearch
        deploy` moves (None: by what was last put there); ``prices``, of the bill: a `vsearch.fanout.bill.Prices`, by
        default AWS's list prices where the functions run; ``overflow``, the ``s3://`` place for large messages that the
        stack was deployed with.

    Raises
    ------
    InputError
        The URL names no stack, or an option is not usable.
    """
    from vsearch.fanout.remote_invokers import LambdaInvoker

    parts = split_url(url)
    if parts.scheme not in SCHEMES or not parts.netloc or parts.path.strip("/"):
        raise InputError(f"{redacted(url)!r} names no stack; write lambda://stack or local-faas://stack")
    unknown = sorted(set(options) - {"region", "endpoint", "profile", "alias", "prices", "overflow"})
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no such option of {parts.scheme}://")
    prices, overflow = options.pop("prices", None), options.pop("overflow", None)
    if not isinstance(prices, Prices | None):
        raise InputError("prices must be a vsearch.fanout.bill.Prices, or None for list prices")
    options.setdefault("alias", LIVE)
    if parts.scheme == "local-faas":
        options.setdefault("endpoint", os.environ.get("AWS_ENDPOINT_URL_LAMBDA") or local_endpoint())
        if not options["endpoint"]:
            raise InputError("no local FaaS is running; start one with: vsearch faas up")
    mail = Mail(binary_limit(LAMBDA_LIMIT), open_store(overflow) if overflow else None)
    return RemoteIndex(url, Names(parts.netloc), LambdaInvoker(**options), mail, snapshot, prices)


@dataclass(frozen=True)
class _Wishes:
    """What a caller wants of how it is answered."""

    deadline: Deadline
    mode: str
    allocators: int | None
    branching: int | None
    allow_partial: bool

    @classmethod
    def of(
        cls, timeout: float | None, mode: str, allocators: int | None, branching: int | None, *, allow_partial: bool
    ) -> _Wishes:
        check_search(k=1, timeout=timeout)
        if mode not in MODES:
            raise InputError(f"mode={mode!r} is not usable: give auto, alone, flat or tree")
        return cls(Deadline.after(timeout), mode, allocators, branching, allow_partial)


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
    prices : Prices, optional
        Of the bill; list prices of the architecture that the functions run on by default.
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
        self._url, self._client = url, Client(names, invoker, mail)
        self._snapshot, self._prices = snapshot, prices

    def __repr__(self) -> str:
        return f"<vsearch.RemoteIndex {self._url}>"

    def close(self) -> None:
        """Close the connections that are kept open; a search opens them again."""
        self._client.close()

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
        offset: int = 0,
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
        offset : int
            As there. Pages are of one snapshot where the index is opened with one: ``vsearch.open(url,
            snapshot=hits.snapshot)`` gives the next pages of `hits` whatever is committed in between.

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
        wishes = _Wishes.of(timeout, mode, allocators, branching, allow_partial=allow_partial)
        vectors = np.asarray(queries)
        if vectors.ndim == 1:
            vectors = vectors[None, :]
        checked = check_queries(vectors, vectors.shape[-1] if vectors.ndim else 0)
        options = _options(k, where, nprobe, columns, exact=exact, min_score=min_score, offset=offset)
        if len(checked) == 0:
            raise InputError("there is no query; give at least one")
        size = self._client.batch(checked.shape[1], options)
        batches = (checked[start : start + size] for start in range(0, len(checked), size))
        requests = (
            SearchRequest(
                count=len(some), dimensions=some.shape[1], queries=some.astype("<f4").tobytes(), options=options
            )
            for some in batches
        )
        return make_hits(RemoteHits, self._answers(requests, wishes), options, self._prices)

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
        found: dict[str, Any] = msgspec.json.decode(
            self._client.call(self._client.names.coordinator, asked, Described).document
        )
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
        offset: int = 0,
    ) -> RemoteDocumentHits:
        """Find the documents whose vectors answer a query's vectors best; see `vsearch.Index.search_documents`.

        Parameters
        ----------
        allow_partial, mode, allocators, branching, offset
            As for `search`.

        Raises
        ------
        InputError, IncompleteAnswerError, SearchTimeoutError, RemoteError
            As for `search`.
        """
        from vsearch.fanout.remote_documents import Asked, RemoteDocumentHits, read_hits

        wishes = _Wishes.of(timeout, mode, allocators, branching, allow_partial=allow_partial)
        options = _options(k, where, None, columns, exact=False, min_score=None, offset=offset)
        asked = Asked.of(query_vectors, query_saliency, query_keep, options.k, candidates, exact=exact, matches=matches)
        requests = (
            SearchRequest(
                count=len(documents.lengths) // 4,
                dimensions=documents.dimensions,
                queries=b"",
                options=options,
                documents=documents,
            )
            for documents in asked.batches(self._client.room(options), answered(options), options.k)
        )
        answers = self._answers(requests, wishes)
        whole = append(answers)
        met = read_hits(asked, whole.found, options.k, whole.columns)
        return make_hits(RemoteDocumentHits, answers, options, self._prices, matches=met)

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
        names = self._client.names
        first = self._warm(names.coordinator, self._snapshot, None)
        # only a coordinator may look for the newest snapshot; the others are told
        warmed = [first, self._warm(names.allocator, first.snapshot, None)]
        warmed += [self._warm(names.processor(shard), first.snapshot, shard) for shard in range(shards)]
        return sum(each.bytes for each in warmed)

    def _warm(self, function: str, snapshot: int | None, shard: int | None) -> Warmed:
        warmed: Warmed = self._client.call(function, WarmRequest(snapshot=snapshot, shard=shard), Warmed)
        return warmed

    def _answers(self, requests: Iterable[SearchRequest], wishes: _Wishes) -> list[Answer]:
        """The answers to one search that takes some requests; all of the snapshot that the first one saw."""
        answers: list[Answer] = []
        for request in requests:
            asked = msgspec.structs.replace(
                request,
                snapshot=answers[0].snapshot if answers else self._snapshot,
                remaining=wishes.deadline.remaining(),
                mode=wishes.mode,
                allocators=wishes.allocators,
                branching=wishes.branching,
                allow_partial=wishes.allow_partial,
            )
            answers.append(self._client.search(asked, wishes.deadline))
        return answers


def _options(
    k: int,
    where: Where,
    nprobe: int | None,
    columns: Sequence[str],
    *,
    exact: bool,
    min_score: float | None,
    offset: int,
) -> Options:
    if isinstance(columns, str):
        raise InputError(f"columns must be a sequence of names: give [{columns!r}]")
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


def _to_sql(where: Where) -> str | None:
    if where is None:
        return None
    from vsearch.predicates import parse, to_sql

    expression = parse(where)
    return None if expression is None else to_sql(expression)
