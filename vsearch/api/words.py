"""Searching the words of text columns."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vsearch.api.changing import ChangeableIndex
from vsearch.api.hits import Hits
from vsearch.api.hybrid_hits import HybridHits
from vsearch.api.opened import rereads
from vsearch.checks import check_columns, check_search
from vsearch.errors import InputError
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.state.decoding import decode_vectors
from vsearch.search.state.fetching import take_columns, take_ids
from vsearch.search.where import mask_of
from vsearch.storage.stores.waiting import within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vsearch.live.commits import Commit
    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.text.columns import TextColumn


class TextSearchableIndex(ChangeableIndex):
    """Search for words, in an index with text columns."""

    @rereads
    def search_text(
        self,
        queries: str | Sequence[str],
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        timeout: float | None = None,
        offset: int = 0,
    ) -> Hits:
        """Find the rows that fit words best, by BM25.

        A query has words, of which a row needs one or more; ``+word``, which it needs; ``-word``, which it must not have;
        ``prefix*``; and ``column:word`` for one of the text columns, but for no other attribute. Scores are the sums over all text columns, with their weights.

        Parameters
        ----------
        queries : str or list of str
        k : int
            1 to 10,000. Returns min(k, number of matching rows) rows: those that pass `where` and have a word of the query.
        where : str, dict or expression, optional
            As for `search`; exact.
        columns : sequence of str
            Attribute columns to return with the hits.
        timeout : float, optional
            Seconds.
        offset : int
            Rows to skip, for the next page: offset + k is at most 10,000.

        Raises
        ------
        InputError
            The index has no text columns, or a query is invalid; PredicateError for `where`.
        SearchTimeoutError
            The search exceeded the timeout; no partial result is returned.
        """
        from vsearch.text.query import as_words
        from vsearch.text.search import search_words

        check_search(k=k, timeout=timeout, offset=offset)
        texts = as_words(queries)
        deadline = None if timeout is None else time.monotonic() + timeout
        with within(deadline):
            snapshot, stats = self._current(), SearchStats()
            if not isinstance(columns, tuple) or columns:
                check_columns(columns, snapshot.schema.names)
            mask = mask_of(snapshot, where, stats)
            scores, rows = search_words(snapshot, texts, int(k) + int(offset), mask, stats, deadline)
            scores, rows = scores[:, offset:], rows[:, offset:]
            with stats.level("fetch"):
                ids = take_ids(snapshot, rows)
                attributes = take_columns(snapshot, columns, rows.reshape(-1)) if len(columns) else None
            return Hits(ids, scores, stats, attributes, int(offset))

    def _search_both(
        self,
        queries: Any,
        text: Any,
        k: int,
        where: Where,
        fusing: tuple[Any, Any, Any],
        asked: dict[str, Any],
        *,
        columns: Sequence[str],
        vectors: bool,
        offset: int,
    ) -> HybridHits:
        """Search by vectors and words; `fusing` and `asked` are the options of the fusion and of the vectors."""
        from vsearch.text.fusing import FusionOptions
        from vsearch.text.hybrid import search_both
        from vsearch.text.query import as_words

        fusion, weights, depth = fusing
        texts = as_words(text, fusing)
        if asked["min_score"] is not None:
            raise InputError("min_score cannot be combined with text: fused scores have no scale of their own")
        options = FusionOptions.of(fusion, weights, depth, k + offset)
        timeout = asked["timeout"]
        deadline = None if timeout is None else time.monotonic() + timeout
        with within(deadline):
            snapshot, stats = self._current(), SearchStats()
            if not isinstance(columns, tuple) or columns:
                check_columns(columns, snapshot.schema.names)
            points = self._check_queries(snapshot, queries)
            if len(points) != len(texts):
                raise InputError(f"there must be one text for each of the {len(points)} queries, got {len(texts)}")
            request = SearchRequest(
                k=k + offset,
                settings=snapshot.settings,
                nprobe=asked["nprobe"],
                exact=asked["exact"],
                deadline=deadline,
            )
            found = search_both(snapshot, points, texts, request, options, mask_of(snapshot, where, stats), stats)
            with stats.level("fetch"):
                rows = found.rows[:, offset:]
                ids = take_ids(snapshot, rows)
                attributes = take_columns(snapshot, columns, rows.reshape(-1)) if len(columns) else None
                decoded = decode_vectors(snapshot, rows) if vectors else None
            return HybridHits(
                ids,
                found.scores[:, offset:],
                stats,
                attributes,
                offset,
                decoded,
                found.vector_scores[:, offset:],
                found.vector_ranks[:, offset:],
                found.text_scores[:, offset:],
                found.text_ranks[:, offset:],
            )

    @abstractmethod
    def _check_queries(self, snapshot: Snapshot, queries: Any) -> NDArray[np.float32]:
        """Return queries as vectors."""

    @property
    def has_text(self) -> bool:
        """Whether the index has text columns, for `search_text`."""
        return bool(self._snapshot.manifest.text)

    def add_text(
        self,
        column: str,
        settings: TextColumn | None = None,
        *,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Make the words of an attribute searchable. Only the manifest is written.

        Its words are collected from the texts when they are first searched, once per process, until `optimize` or `retrain`
        writes them with the rows that it merges. A build with ``text=`` writes them at once.

        Parameters
        ----------
        column : str
            An attribute of strings.
        settings : TextColumn, optional
        token, if_snapshot
            See `append`.

        Raises
        ------
        InputError
        ConflictError
        """
        from vsearch.live.texts import AddText
        from vsearch.text.columns import TextColumn

        if settings is not None and not isinstance(settings, TextColumn):
            raise InputError(f"settings must be a vsearch.TextColumn, got {settings!r:.100}")
        return self._change(AddText(column, settings or TextColumn()), token, if_snapshot)

    def drop_text(self, column: str, *, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        """Stop searching the words of an attribute, which stays as it is.

        Raises
        ------
        InputError
        ConflictError
        """
        from vsearch.live.texts import DropText

        return self._change(DropText(column), token, if_snapshot)
