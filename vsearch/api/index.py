"""An open index: search it, ask what it is, how it answers and how well."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.api.changing import ChangeableIndex
from vsearch.api.encoding import EncodingIndex
from vsearch.api.explanation import Explanation, sql_of
from vsearch.api.history import TravellingIndex
from vsearch.api.hits import DocumentHits, DocumentMatches, Hits
from vsearch.api.maintaining import MaintainableIndex
from vsearch.api.measuring import check_target, check_tunable, draw_sample, measure_recall, tune_snapshot
from vsearch.api.opened import rereads
from vsearch.checks import check_columns, check_search
from vsearch.errors import InputError
from vsearch.search.engine.promise import uncovered
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.recall import RecallReport, TuneReport
from vsearch.search.state.expiry import present, seen
from vsearch.search.state.fetching import get_rows, take_columns, take_ids
from vsearch.search.state.model import check_queries
from vsearch.search.vectors import search_page, search_vectors
from vsearch.search.where import mask_of
from vsearch.storage.stores.waiting import within

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot


class Index(TravellingIndex, MaintainableIndex, ChangeableIndex, EncodingIndex):
    """An open index. Safe to use from several threads.

    It reads one snapshot, until it changes the index itself or `refresh` finds a newer one.
    """

    def __repr__(self) -> str:
        manifest = self._snapshot.manifest
        return (
            f"<vsearch.Index {self._snapshot.store.url} snapshot {manifest.snapshot}: "
            f"{manifest.rows} x {manifest.dimensions} {manifest.metric}>"
        )

    def __len__(self) -> int:
        return seen(self._snapshot).live_count

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
    ) -> Hits:
        """Find the nearest rows that satisfy a predicate.

        Parameters
        ----------
        queries : array (m, d) or (d,); a text or a list of texts where the index holds a query encoder
        k : int
            1 to 10,000. min(k, rows that match) rows come back.
        where : str, dict or expression, optional
            A SQL WHERE string, a Mongo-style dict, or ``vsearch.col("x") < 3``; see `vsearch.predicates`.
        nprobe : int, optional
            Visit so many partitions instead of what the settings ask for; under `where` it is a minimum.
        columns : sequence of str
            Attribute columns to return with the hits.
        exact : bool
            Score every matching row by what is stored, no estimates.
        min_score : float, optional
            Leave out rows that are less similar; under l2 the largest squared distance.
        timeout : float, optional
            Seconds.
        offset : int
            Rows before those that come back, for the next page: offset + k is at most 10,000. Pages of the same snapshot,
            queries, k and other options never share a row, and together hold all of them. A page costs about twice a
            search for offset + k, the first one nothing more; with `exact` one such search.

        Raises
        ------
        InputError
            Queries or options are not usable; PredicateError for `where`.
        SearchTimeoutError
            The timeout ran out; no partial answer is given.
        """
        begun = time.perf_counter()
        check_search(k=k, nprobe=nprobe, min_score=min_score, timeout=timeout, offset=offset)
        deadline = None if timeout is None else time.monotonic() + timeout
        with within(deadline):
            snapshot = self._current()
            if not isinstance(columns, tuple) or columns:  # names are not even listed for a search that wants none
                check_columns(columns, snapshot.schema.names)
            stats = SearchStats()
            vectors = self._check_queries(snapshot, queries)
            stats.add("prepare", begun)
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
            answer = find(snapshot, vectors, request, mask_of(snapshot, where, stats), stats)
            begun = time.perf_counter()
            ids = take_ids(snapshot, answer.rows)
            found = take_columns(snapshot, columns, answer.rows.reshape(-1)) if len(columns) else None
            stats.add("fetch", begun)
            return Hits(ids, answer.scores, stats, found, request.offset)

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
        """Find the documents whose vectors answer a query's vectors best: for each of these the best one, added up.

        Parameters
        ----------
        query_vectors : array (n, d), or a list of such
            One query, or several; a padded block or what an encoder returns will do.
        k : int
            1 to 10,000. min(k, documents that match) come back.
        where : str, dict or expression, optional
            On the attributes of the documents; exact, as for `search`.
        query_keep : float
            Use only this share of each query's vectors, the most salient ones.
        candidates : int or "all", optional
            Documents that each shard reranks (128 by default); "all" scores every one that matches.
        query_saliency : array (n,), or a list of such
            What `query_keep` goes by.
        matches : bool
            Tell which vector of each hit each query vector met.
        exact : bool
            Order the candidates by the stored vectors; the index must have been built with `store`.
        columns : sequence of str
            Attribute columns to return with the hits.
        timeout : float, optional
            Seconds.
        offset : int
            Documents before those that come back; see `search`.

        Raises
        ------
        InputError
            The index has no documents, or the query or an option is not usable; PredicateError for `where`.
        SearchTimeoutError
            The timeout ran out; no partial answer is given.
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
                found = take_columns(snapshot, columns, rows) if len(columns) else None
                met: tuple[DocumentMatches, ...] | None = None
                if matches:
                    each = [
                        match_rows(index, query, best, exact=exact)
                        for query, best in zip(queries, answer.rows, strict=True)
                    ]
                    met = tuple(DocumentMatches(m.positions, m.scores, at) for m, at in zip(each, places, strict=True))
            return DocumentHits(ids, answer.scores, stats, found, request.offset, met)

    @property
    def has_documents(self) -> bool:
        """Whether it holds documents of many vectors, for `search_documents`."""
        return self._snapshot.manifest.documents is not None

    def explain(self, queries: Any, k: int = 10, where: Where = None, **options: Any) -> Explanation:
        """Run a search and tell its plan and its counts per level; takes what `search` takes."""
        hits = self.search(queries, k, where, **options)
        snapshot = self._snapshot
        settings = snapshot.settings
        chosen: dict[str, Any] = {"k": k, "reach": round(settings.reach, 4), "margin": round(settings.margin, 4)}
        chosen["tail"] = round(settings.tail, 4)
        chosen |= {
            name: value for name, value in options.items() if not (value is None or value is False or value == ())
        }
        chosen["code_bytes"] = list(snapshot.model.quantizer.stage_bytes)
        chosen["rerank"] = snapshot.model.rerank
        predicate = sql_of(where)
        notes = uncovered(settings, k=k, filtered=predicate is not None, nprobe=options.get("nprobe"))
        return Explanation(predicate, chosen, hits.stats, notes)

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
        """Measure recall@k against exhaustive search of what is stored, or against given truth.

        Parameters
        ----------
        queries : array (m, d), optional
            `sample` rows of the index by default, which do not count themselves.
        truth : array (m, >= k) of ids, optional
            The true neighbours of each query, best first.
        min_score : float, optional
            Measure the rows that are at least so similar (l2: at most so far), up to k: a range search.
        timeout : float, optional
            Seconds.

        Raises
        ------
        InputError
        SearchTimeoutError
            The timeout ran out.
        """
        check_search(k=k, nprobe=nprobe, min_score=min_score, timeout=timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        if queries is None and truth is not None:
            raise InputError("truth needs the queries that it is about; give both")
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
        """Find and store the cheapest settings that reach a recall; `search` then uses them.

        The settings become a new snapshot, whatever others commit meanwhile; of two tunings the later one counts. They also reach the recall for queries unlike any row and under filters that
        exclude what is near, as far as the codes allow; the report says what was measured.

        Parameters
        ----------
        queries : array (m, d), optional
            What to tune with; a few hundred like those to come tell most. By default `sample` rows of the index and
            points near them, which do not count themselves.
        where : str, dict or expression, optional
            The filter that they are asked with. Some rows must pass it. Searches without it keep the recall, too.

        Raises
        ------
        InputError
        ConflictError
            The index was replaced or trained anew meanwhile.
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

    @rereads
    def get(self, ids: Any, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows by id: a table with ``id`` and the attribute columns (all by default), in the order asked for.

        An attribute that is called ``id`` itself is ``attribute.id`` there.

        Raises
        ------
        InputError
            An id is not in the index, or has the wrong type.
        """
        return get_rows(self._current(), ids, columns)

    def info(self) -> dict[str, Any]:
        """What the index is: rows, dimensions, codes, bytes per vector by part, attributes, settings, snapshot, drift."""
        from vsearch.search.state.info import describe

        return describe(seen(self._snapshot))

    def _check_queries(self, snapshot: Snapshot, queries: Any) -> NDArray[np.float32]:
        try:
            encoded = queries if isinstance(queries, np.ndarray) else self._encode_texts(snapshot, queries)
            return check_queries(encoded, snapshot.model.dimensions, snapshot.model.metric)
        except InputError as error:
            if not self.has_documents:
                raise
            raise InputError(f"this index holds multi-vector documents: use search_documents ({error})") from None
