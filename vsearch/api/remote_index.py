"""An index that is searched by the functions of a stack, with the interface of a local index."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack

import msgspec

from vsearch.api.asynchronous import AsyncIndex
from vsearch.api.explanation import Explanation, sql_of
from vsearch.api.remote_changes import RemoteChanges
from vsearch.api.remote_client import Client, result_bytes, search_options
from vsearch.api.remote_execution import Execution, ExecutionOptions
from vsearch.api.remote_hits import RemoteHits, make_hits, probe_request, without_queries
from vsearch.api.remote_queries import check_vectors, text_requests, vector_requests
from vsearch.api.remote_reading import RemoteReading, refuse_vectors
from vsearch.api.remote_weights import RemoteWeights
from vsearch.api.remote_words import RemoteWords
from vsearch.api.weights import fused_leg
from vsearch.checks import caller_level, check_search
from vsearch.encoders.queries import as_texts, check_hybrid
from vsearch.errors import InputError, VsearchWarning
from vsearch.fanout.calls.bill import Prices
from vsearch.fanout.calls.invoker import Invoker, Names
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms.aws_lambda import LAMBDA
from vsearch.fanout.platforms.platform import Platform
from vsearch.fanout.roles.merging import append
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import (
    Answer,
    Described,
    InfoRequest,
    SearchRequest,
    Warmed,
    WarmRequest,
)

if TYPE_CHECKING:
    from vsearch.api.remote_documents import RemoteDocumentHits
    from vsearch.predicates import Where
    from vsearch.search.recall import RecallReport, TuneReport
    from vsearch.storage import SnapshotInfo


class RemoteIndex(RemoteReading, RemoteChanges, RemoteWords, RemoteWeights, AsyncIndex):
    """An index behind functions. Thread-safe.

    Parameters
    ----------
    url : str
    names : Names
        Of the functions.
    invoker : Invoker
    envelope : Envelope
    snapshot : int or None
        None for the newest at the time of each search.
    prices : Prices, optional
        Prices for the bill; by default list prices of the architecture that the functions run on.
    platform : Platform
        The platform whose list prices apply.
    """

    def __init__(
        self,
        url: str,
        names: Names,
        invoker: Invoker,
        envelope: Envelope,
        snapshot: int | None = None,
        prices: Prices | None = None,
        platform: Platform = LAMBDA,
    ) -> None:
        self._url, self._client = url, Client(names, invoker, envelope)
        self._snapshot, self._prices, self._platform = snapshot, prices, platform
        self._moment: int | None = None  # time by which rows have expired; None leaves it to the functions

    def __repr__(self) -> str:
        return f"<vsearch.RemoteIndex {self._url}>"

    def _pinned(self, snapshot: int, moment: int | None) -> RemoteIndex:
        """The same index, fixed to one snapshot and the rows of one moment; shares the connections."""
        connection = self._client.names, self._client.invoker, self._client.envelope
        pinned = RemoteIndex(self._url, *connection, snapshot, self._prices, self._platform)
        pinned._moment = moment
        return pinned

    def _prices_of(self, arch: str) -> Prices:
        return self._prices or self._platform.prices_of(arch)

    @property
    def snapshot(self) -> Any:
        """Not available: the snapshot is open in the functions, not in this process.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            "the snapshot is open in the functions, not here: for training and other uses of it, open the index by its own URL"
        )

    def close(self) -> None:
        """Close open connections; a later search opens new ones."""
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
        offset: int = 0,
        vectors: bool = False,
        *,
        text: str | Sequence[str] | None = None,
        sparse: Any = None,
        fusion: Literal["rrf", "weighted"] | Callable[[Any, Any], Any] | None = None,
        weights: Sequence[float] | None = None,
        depth: int | None = None,
        hybrid: bool = False,
        **execution: Unpack[Execution],
    ) -> RemoteHits:
        """Find the nearest rows that satisfy a predicate; see `vsearch.Index.search`.

        Texts are encoded by the functions, with the compressed encoder that the index holds. An empty array (0, d) is validated by the functions as well, by a search for one row.

        Parameters
        ----------
        allow_partial : bool
            Accept results without the shards that did not answer; `RemoteHits.failed` names these.
        mode : {"auto", "alone", "flat", "tree"}
            How to execute: by the coordinator alone, with processors, or with a tree of allocators; "auto" lets it choose.
        allocators, branching : int, optional
            Shape of the tree.
        offset : int
            As for `vsearch.Index.search`. Pages are consistent if the index is opened at a snapshot: ``vsearch.open(url,
            snapshot=hits.snapshot)`` returns further pages of `hits` regardless of commits in between.
        at_least : int
            The oldest acceptable snapshot: with `Commit.snapshot` a search reads its caller's own write, which other searches
            may see up to a second later.
        freshness : float
            Maximum staleness of the answer in seconds. A newer snapshot is then loaded in the background while the previous one
            answers, so no search waits for it.
        vectors : bool
            Not for functions, which do not return vectors.
        text, sparse, fusion, weights, depth, hybrid
            As for `vsearch.Index.search`, except that fusions cannot be functions. The answer is `RemoteHybridHits`.

        Raises
        ------
        InputError
            Queries or options are invalid; PredicateError for `where`.
        IncompleteAnswerError
            A shard did not answer, and `allow_partial` is false.
        SearchTimeoutError
            The search exceeded the timeout; no partial result is returned.
        RemoteError
            The functions could not be called, or failed.
        """
        if vectors:
            refuse_vectors()
        how = ExecutionOptions.of(timeout, **execution)
        options = search_options(k, where, nprobe, columns, exact=exact, min_score=min_score, offset=offset)
        if hybrid:
            text = check_hybrid(queries, text)
        if any(argument is not None for argument in (text, sparse, fusion, weights, depth)):
            return self._search_both(queries, fused_leg(text, sparse), (fusion, weights, depth), options, how)
        texts = as_texts(queries)
        points = check_vectors(queries) if texts is None else None
        if points is None:
            requests = text_requests(self._client, texts or (), options)
        elif len(points):
            requests = vector_requests(self._client, points, options)
        else:
            answer = self._answers([probe_request(points.shape[1], options)], how)[0]
            return make_hits(RemoteHits, [without_queries(answer)], options, self._prices_of)
        return make_hits(RemoteHits, self._answers(requests, how), options, self._prices_of)

    def explain(self, queries: Any, k: int = 10, where: Where = None, **options: Any) -> Explanation:
        """Run a search and return how it was executed, why, and its counts; takes the arguments of `search`."""
        hits = self.search(queries, k, where, **options)
        hits.stats.partitions = self._pinned(hits.snapshot, None).info()["partitions"]
        plan = {"k": k, "how": hits.plan, "shards": list(hits.shards), "snapshot": hits.snapshot}
        plan |= {name: value for name, value in options.items() if not (value is None or value is False or value == ())}
        return Explanation(sql_of(where), plan | {"bill": str(hits.bill)}, hits.stats)

    def info(self) -> dict[str, Any]:
        """Describe the index; see `vsearch.Index.info`.

        Raises
        ------
        RemoteError
            The functions could not be called, or failed.
        """
        return self._describe(Deadline())[0]

    def _describe(self, deadline: Deadline) -> tuple[dict[str, Any], RemoteIndex]:
        """Return the description of the index, and the index fixed to what was described."""
        request = InfoRequest(snapshot=self._snapshot, moment=self._moment)
        described: Described = self._client.call(self._client.names.coordinator, request, Described, deadline)
        info = msgspec.json.decode(described.document)
        return info, self._pinned(info["snapshot"], described.moment)

    def __bool__(self) -> bool:
        return True  # without asking the functions for its length

    def __len__(self) -> int:
        rows: int = self.info()["rows"]
        return rows

    def recall(
        self,
        queries: Any = None,
        k: int = 10,
        where: Where = None,
        sample: int = 100,
        truth: Any = None,
        nprobe: int | None = None,
        timeout: float | None = None,
        min_score: float | None = None,
    ) -> RecallReport:
        """Measure recall@k against exhaustive search, or against a given ground truth; see `vsearch.Index.recall`.

        Parameters
        ----------
        queries : array (m, d)
            Required: functions do not draw rows, so `sample` has no effect.

        Raises
        ------
        InputError
            An argument is invalid, or `queries` is not passed.
        SearchTimeoutError
            The measurement did not finish in time.
        RemoteError
            The functions could not be called, or failed.
        """
        from vsearch.api.remote_rows import measure_remote_recall

        check_search(k=k, nprobe=nprobe, min_score=min_score, timeout=timeout)
        deadline = Deadline.after(timeout)
        info, pinned = self._describe(deadline)
        return measure_remote_recall(
            pinned,
            info,
            queries,
            k,
            where,
            sample,
            truth,
            nprobe=nprobe,
            min_score=min_score,
            until=deadline.at,
        )

    def tune(self, *_options: Any, **_more: Any) -> TuneReport:
        """Not for functions, which only read.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            "functions only read an index: open it by its own URL to tune it; they use its newest snapshot"
        )

    def snapshots(self) -> list[SnapshotInfo]:
        """Not for functions, which may not list the index.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            "functions do not list snapshots: open the index by its own URL; info() names the one they use"
        )

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
        offset: int = 0,
        **execution: Unpack[Execution],
    ) -> RemoteDocumentHits:
        """Find the documents with the best MaxSim score; see `vsearch.Index.search_documents`.

        Parameters
        ----------
        **execution
            ``allow_partial``, ``mode``, ``allocators``, ``branching``, ``at_least`` and ``freshness``, as for `search`.

        Raises
        ------
        InputError, IncompleteAnswerError, SearchTimeoutError, RemoteError
            As for `search`.
        """
        from vsearch.api.remote_documents import QueryBatch, RemoteDocumentHits, read_hits

        how = ExecutionOptions.of(timeout, **execution)
        options = search_options(k, where, None, columns, exact=False, min_score=None, offset=offset)
        batch = QueryBatch.of(
            query_vectors, query_saliency, query_keep, options.k, candidates, exact=exact, matches=matches
        )
        requests = (
            SearchRequest(
                count=len(documents.lengths) // 4,
                dimensions=documents.dimensions,
                queries=b"",
                options=options,
                documents=documents,
            )
            for documents in batch.batches(self._client.room(options), result_bytes(options), options.k)
        )
        answers = self._answers(requests, how)
        combined = append(answers)
        matched = read_hits(batch, combined.found, options.k, combined.columns)
        return make_hits(RemoteDocumentHits, answers, options, self._prices_of, matches=matched)

    @property
    def has_documents(self) -> bool:
        """Whether the index holds multi-vector documents, for `search_documents`; calls the functions."""
        return self.info().get("documents") is not None

    @property
    def has_text(self) -> bool:
        """Whether the index has text columns, for `search_text`; calls the functions."""
        return self.info().get("text") is not None

    def warm(self, shards: int | None = None) -> int:
        """Load what searches need into every function; return the total bytes that they hold.

        Parameters
        ----------
        shards : int, optional
            Number of processors to warm; by default the number of the index's shards.
        """
        shards = self.info()["shards"] if shards is None else shards
        names = self._client.names
        first = self._warm(names.coordinator, self._snapshot, None)
        # only a coordinator may look for the newest snapshot; the others get its number
        warmed = [first, self._warm(names.allocator, first.snapshot, None)]
        warmed += [self._warm(names.processor(shard), first.snapshot, shard) for shard in range(shards)]
        return sum(reply.bytes for reply in warmed)

    def _warm(self, function: str, snapshot: int | None, shard: int | None) -> Warmed:
        warmed: Warmed = self._client.call(function, WarmRequest(snapshot=snapshot, shard=shard), Warmed)
        return warmed

    def _answers(self, requests: Iterable[SearchRequest], execution: ExecutionOptions) -> list[Answer]:
        """Run one search that takes several requests, all on the snapshot of the first."""
        answers: list[Answer] = []
        for request in requests:
            complete = msgspec.structs.replace(
                request,
                snapshot=answers[0].snapshot if answers else self._snapshot,
                at_least=execution.at_least,
                freshness=execution.freshness,
                moment=answers[0].moment if answers else self._moment,
                remaining=execution.deadline.remaining(),
                mode=execution.mode,
                allocators=execution.allocators,
                branching=execution.branching,
                allow_partial=execution.allow_partial,
            )
            answers.append(self._client.search(complete, execution.deadline))
            for text in answers[-1].warnings:
                warnings.warn(text, VsearchWarning, stacklevel=caller_level())
        return answers
