"""An open index: search, explanation, recall, tuning and information."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vsearch.api.asynchronous import AsyncIndex
from vsearch.api.encoding import EncodingIndex
from vsearch.api.explanation import Explanation, explain_search
from vsearch.api.exporting import ExportableIndex
from vsearch.api.groups import FixedIndex
from vsearch.api.history import VersionedIndex
from vsearch.api.hits import DocumentHits, DocumentMatches, Hits
from vsearch.api.maintaining import MaintainableIndex
from vsearch.api.measuring import check_target, check_tunable, draw_sample, measure_recall, tune_snapshot
from vsearch.api.opened import rereads
from vsearch.api.paging import PageableIndex
from vsearch.api.plotting import PlottableIndex
from vsearch.api.reading import ReadableIndex
from vsearch.api.variants import VectorSearch
from vsearch.api.weights import SparseSearchableIndex, fused_leg
from vsearch.api.words import TextSearchableIndex
from vsearch.checks import LARGEST_K, check_columns, check_search
from vsearch.encoders.queries import check_hybrid
from vsearch.errors import InputError
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.recall import RecallReport, TuneReport
from vsearch.search.single import search_single
from vsearch.search.state.decoding import decode_vectors
from vsearch.search.state.expiry import expiry_view, present
from vsearch.search.state.fetching import take_columns, take_ids
from vsearch.search.state.model import check_queries
from vsearch.search.vectors import search_page, search_vectors
from vsearch.search.where import mask_of
from vsearch.storage.stores.waiting import within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot


class Index(
    VersionedIndex,
    MaintainableIndex,
    TextSearchableIndex,
    SparseSearchableIndex,
    ReadableIndex,
    PlottableIndex,
    ExportableIndex,
    EncodingIndex,
    PageableIndex,
    VectorSearch,
    AsyncIndex,
):
    """An open index. Thread-safe.

    It reads one snapshot, until it is changed through this object or `refresh` finds a newer one.
    """

    def __repr__(self) -> str:
        manifest = self._snapshot.manifest
        return (
            f"<vsearch.Index {self._snapshot.store.url} snapshot {manifest.snapshot}: "
            f"{manifest.rows} x {manifest.dimensions} {manifest.metric}>"
        )

    def _repr_html_(self) -> str:
        """The index as a table, for notebooks."""
        from html import escape

        manifest = self._snapshot.manifest
        facts = {
            "index": self._snapshot.store.url,
            "snapshot": str(manifest.snapshot),
            "rows": f"{len(self):,}",
            "vectors": f"{manifest.dimensions} dimensions, {manifest.metric}, {manifest.quantizer.name}",
            "attributes": ", ".join(f"{attribute.name} {attribute.type}" for attribute in manifest.attributes)
            or "none",
        }
        rows = "".join(f"<tr><th>{name}</th><td>{escape(fact)}</td></tr>" for name, fact in facts.items())
        return f"<table>{rows}</table>"

    def __len__(self) -> int:
        return expiry_view(self._snapshot).live_count

    @rereads
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
    ) -> Hits:
        """Find the nearest rows that satisfy a predicate; with `text`, those that are best by vectors and words together.

        Parameters
        ----------
        queries : array (m, d) or (d,); a string or list of strings if the index contains a query encoder
        k : int
            1 to 10,000. Returns min(k, number of matching rows) rows; `search_pages` returns more.
        where : str, dict or expression, optional
            A SQL WHERE string, a Mongo-style dict, or ``vsearch.col("x") < 3``; see `vsearch.predicates`.
        nprobe : int, optional
            Number of partitions to visit, overriding the settings; with `where` it is a minimum.
        columns : sequence of str
            Attribute columns to return with the hits.
        exact : bool
            Score every matching row with the stored vectors, without estimates.
        min_score : float, optional
            Leave out rows with a lower score; under l2 and hamming, with a larger one.
        timeout : float, optional
            Seconds.
        offset : int
            Rows to skip, for the next page: offset + k is at most 1,000,000. Pages of the same snapshot, queries, k and other
            options never share a row and together hold all of them. A page costs about twice as much as a search for
            offset + k rows, with `exact` as much; the first page costs nothing extra.
        vectors : bool
            Decode the vectors of the hits; see `Index.vectors`.
        text : str or list of str, optional
            Words for each query, as for `search_text`. The answer is `HybridHits`.
        sparse : dict, list of dicts or CSR matrix, optional
            Weights for each query, as for `search_sparse`, in place of `text`. The answer is `HybridHits`.
        fusion : {"rrf", "weighted"} or callable, optional
            How the nearest rows and those with the words become one ranking: by reciprocal ranks (the default), by the sum of their
            scores scaled to 0 to 1, or by ``fusion(vector_scores, text_scores)``, which returns a number per row.
        weights : two numbers, optional
            Of vectors and of words, 1 by default.
        depth : int, optional
            Candidates of each part, from offset + k to 10,000; by default 2 k, and at least 100. Pages do not overlap if
            they have the same depth.
        hybrid : bool
            Search the words of queries that are texts as well: short for `text` with the same texts.

        Raises
        ------
        InputError
            Queries or options are invalid; PredicateError for `where`.
        SearchTimeoutError
            The search exceeded the timeout; no partial result is returned.
        """
        started = time.perf_counter()
        if (
            (min_score is None and timeout is None and text is None and sparse is None)
            and (fusion is None and weights is None and depth is None and exact is False and vectors is False)
            and hybrid is False
            and (type(k) is int and 0 < k <= LARGEST_K and type(offset) is int and offset == 0)
            and (type(columns) is tuple and not columns)
            and (nprobe is None or (type(nprobe) is int and 0 < nprobe < 2**31))
        ):
            quick_answer = search_single(self._current(), queries, k, where, started, nprobe)
            if quick_answer is not None:
                return Hits(*quick_answer)
        check_search(k=k, nprobe=nprobe, min_score=min_score, timeout=timeout, offset=offset)
        if hybrid:
            text = check_hybrid(queries, text)
        if not (text is None and sparse is None and fusion is None and weights is None and depth is None):
            fusing, of_leg = (fusion, weights, depth), fused_leg(text, sparse)
            of_vectors = {"nprobe": nprobe, "exact": exact, "min_score": min_score, "timeout": timeout}
            shown: dict[str, Any] = {"columns": columns, "vectors": vectors, "offset": int(offset)}
            return self._search_both(queries, of_leg, int(k), where, fusing, of_vectors, **shown)
        deadline = None if timeout is None else time.monotonic() + timeout
        with within(deadline):
            snapshot = self._current()
            if not isinstance(columns, tuple) or columns:  # skip listing the schema if no columns are requested
                check_columns(columns, snapshot.schema.names)
            stats = SearchStats()
            points = self._check_queries(snapshot, queries)
            stats.add("prepare", started)
            request = SearchRequest(
                k=int(k),
                settings=snapshot.settings,
                nprobe=nprobe,
                exact=exact,
                min_score=min_score,
                deadline=deadline,
                offset=int(offset),
            )
            find = search_page if offset else search_vectors
            answer = find(snapshot, points, request, mask_of(snapshot, where, stats), stats)
            started = time.perf_counter()
            ids = take_ids(snapshot, answer.rows)
            attributes = take_columns(snapshot, columns, answer.rows.reshape(-1)) if len(columns) else None
            decoded = decode_vectors(snapshot, answer.rows) if vectors else None
            stats.add("fetch", started)
            return Hits(ids, answer.scores, stats, attributes, request.offset, decoded)

    @rereads
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
    ) -> DocumentHits:
        """Find the documents with the best MaxSim score: each query vector's best inner product in the document, summed.

        Parameters
        ----------
        query_vectors : array (n, d), or a list of these
            One query, or several; a padded array or the output of an encoder also works.
        k : int
            1 to 10,000. Returns min(k, number of matching documents) documents.
        where : str, dict or expression, optional
            Filter on the attributes of the documents; exact, as for `search`.
        query_keep : float
            Use only this fraction of each query's vectors, by saliency.
        candidates : int or "all", optional
            Number of documents that each shard reranks (128 by default); "all" scores every matching document.
        query_saliency : array (n,), or a list of these
            Saliency for `query_keep`.
        matches : bool
            Return which document vector each query vector matched, for each hit.
        exact : bool
            Score the candidates with the original vectors; requires an index built with `store`.
        columns : sequence of str
            Attribute columns to return with the hits.
        timeout : float, optional
            Seconds.
        offset : int
            Documents to skip; see `search`.

        Raises
        ------
        InputError
            The index has no documents, or the query or an option is invalid; PredicateError for `where`.
        SearchTimeoutError
            The search exceeded the timeout; no partial result is returned.
        """
        from vsearch.multivector.maxsim import match_rows
        from vsearch.multivector.opening import open_documents
        from vsearch.multivector.queries import check_request, prepare_queries
        from vsearch.multivector.search import search_document_page, search_documents

        check_search(k=k, timeout=timeout, offset=offset)
        deadline = None if timeout is None else time.monotonic() + timeout
        with within(deadline):
            snapshot, stats = self._current(), SearchStats()
            check_columns(columns, snapshot.schema.names)
            index = open_documents(snapshot)
            request = check_request(index.entry, int(k), candidates, exact=exact, deadline=deadline)
            request = replace(request, offset=int(offset))
            with stats.level("prepare"):
                queries, places = prepare_queries(query_vectors, query_saliency, query_keep, index.dimensions)
            find = search_document_page if offset else search_documents
            answer = find(snapshot, index, queries, request, mask_of(snapshot, where, stats), stats)
            with stats.level("fetch"):
                rows = answer.rows.reshape(-1)
                ids = take_ids(snapshot, answer.rows)
                attributes = take_columns(snapshot, columns, rows) if len(columns) else None
                matched: tuple[DocumentMatches, ...] | None = None
                if matches:
                    row_matches = [
                        match_rows(index, query, best, exact=exact)
                        for query, best in zip(queries, answer.rows, strict=True)
                    ]
                    matched = tuple(
                        DocumentMatches(m.positions, m.scores, at) for m, at in zip(row_matches, places, strict=True)
                    )
            return DocumentHits(ids, answer.scores, stats, attributes, request.offset, matches=matched)

    @property
    def has_documents(self) -> bool:
        """Whether the index holds multi-vector documents, for `search_documents`."""
        return self._snapshot.manifest.documents is not None

    def explain(self, queries: Any, k: int = 10, where: Where = None, **options: Any) -> Explanation:
        """Run a search and return its plan and its counts per stage; takes the arguments of `search`."""
        hits = self.search(queries, k, where, **options)
        return explain_search(self._snapshot, hits.stats, k, where, options)

    @rereads
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
        """Measure recall@k against exhaustive search with the stored vectors, or against a given ground truth.

        Parameters
        ----------
        queries : array (m, d), optional
            By default, `sample` rows of the index; a row does not count as its own neighbor.
        truth : array (m, >= k) of ids, optional
            The true neighbors of each query, best first.
        min_score : float, optional
            Measure a range search: all rows with at least this score (l2: at most this squared distance), up to k.
        timeout : float, optional
            Seconds.

        Raises
        ------
        InputError
            An argument is invalid, or `truth` is passed without `queries`.
        SearchTimeoutError
            The measurement exceeded the timeout.
        """
        check_search(k=k, nprobe=nprobe, min_score=min_score, timeout=timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        if queries is None and truth is not None:
            raise InputError("truth requires queries; pass both")
        with within(deadline):
            snapshot = self._current()
            drawn = replace(draw_sample(snapshot, queries, sample), mask=mask_of(snapshot, where, SearchStats()))
            request = SearchRequest(
                k=k, settings=snapshot.settings, nprobe=nprobe, min_score=min_score, deadline=deadline
            )
            return measure_recall(snapshot, drawn, request, truth)

    def tune(
        self, recall: float = 0.95, k: int = 10, queries: Any = None, sample: int = 512, where: Where = None
    ) -> TuneReport:
        """Find and store the cheapest settings that reach a target recall; `search` uses them from then on.

        The settings are committed as a new snapshot, on top of any concurrent commits; of two tunings, the later one wins.
        They also reach the recall for queries unlike any row and under filters that exclude nearby rows, as far as the codes
        allow; the report says what was measured.

        Parameters
        ----------
        queries : array (m, d), optional
            Queries to tune with, ideally a few hundred like those to come. By default `sample` rows of the index and points
            near them; a row does not count as its own neighbor.
        where : str, dict or expression, optional
            The filter that such queries come with; some rows must pass it. Searches without it keep the recall as well.

        Raises
        ------
        InputError
            An argument is invalid, the index has no rows, or no row passes `where`.
        ConflictError
            The index was replaced or retrained in the meantime.
        """
        check_target(recall)
        check_search(k=k)
        with self._lock:
            snapshot = present(self._snapshot)
            check_tunable(snapshot)
            drawn = draw_sample(snapshot, queries, sample, mixture=True)
            mask = mask_of(snapshot, where, SearchStats())
            self._snapshot, report = tune_snapshot(snapshot, recall, k, drawn, sample, mask)
        return report

    def info(self) -> dict[str, Any]:
        """Describe the index: rows, dimensions, codes, bytes per vector by part, attributes, settings, snapshot, drift."""
        from vsearch.search.state.info import describe

        return describe(expiry_view(self._snapshot))

    def _fixed(self) -> FixedIndex:
        snapshot = self._newest()
        types = {attribute.name: attribute.type for attribute in snapshot.manifest.attributes}
        return FixedIndex(type(self)(snapshot), types, snapshot.manifest.metric)

    def _points(self, queries: Any) -> NDArray[np.float32]:
        return self._check_queries(self._snapshot, queries)

    def _check_queries(self, snapshot: Snapshot, queries: Any) -> NDArray[np.float32]:
        try:
            encoded = queries if isinstance(queries, np.ndarray) else self._encode_texts(snapshot, queries)
            return check_queries(encoded, snapshot.model.dimensions, snapshot.manifest.metric)
        except InputError as error:
            if not self.has_documents:
                raise
            raise InputError(f"this index holds multi-vector documents: use search_documents ({error})") from None
