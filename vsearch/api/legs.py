"""Search by the legs of an index (ways to find rows other than by vectors), alone or fused with vectors."""

from __future__ import annotations

import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from vsearch.api.changing import ChangeableIndex
from vsearch.api.hits import Hits
from vsearch.api.hybrid_hits import HybridHits
from vsearch.api.opened import rereads
from vsearch.checks import caller_level, check_columns, check_search
from vsearch.errors import InputError, VsearchWarning
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.state.decoding import decode_vectors
from vsearch.search.state.fetching import take_columns, take_ids
from vsearch.search.where import mask_of
from vsearch.storage.stores.waiting import within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vsearch.legs.fusing import FusionOptions
    from vsearch.legs.protocol import Leg
    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot


class LegSearchableIndex(ChangeableIndex):
    """Search by the legs of an index."""

    @rereads
    def search_leg(
        self,
        leg: str,
        queries: Any,
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        query_vectors: Any = None,
        fusion: Literal["rrf", "weighted"] | Callable[[Any, Any], Any] | None = None,
        weights: Sequence[float] | None = None,
        depth: int | None = None,
        nprobe: int | None = None,
        exact: bool = False,
        timeout: float | None = None,
        offset: int = 0,
    ) -> Hits:
        """Find the best rows of a leg, alone or together with vectors.

        A leg is a way to find rows other than by their vectors; `info` lists those of an index. The words of text columns are the leg
        ``"text"``, for which `search_text` and ``search(text=)`` are shorter.

        Parameters
        ----------
        leg : str
            Name of the leg.
        queries : object
            One query or several, as the leg takes them.
        k : int
            1 to 10,000. Returns min(k, number of matching rows) rows.
        where : str, dict or expression, optional
            As for `search`; exact.
        columns : sequence of str
            Attribute columns to return with the hits.
        query_vectors : optional
            Queries as for `search`, one for each query of the leg. The answer is then `HybridHits`, with the best rows by both.
        fusion, weights, depth, nprobe, exact
            As for `search` with `text`; only with `query_vectors`.
        timeout : float, optional
            Seconds.
        offset : int
            Rows to skip, for the next page: offset + k is at most 1,000,000, with `query_vectors` at most `depth`.

        Raises
        ------
        InputError
            There is no such leg, the index does not have it, or a query or option is invalid; PredicateError for `where`.
        SearchTimeoutError
            The search exceeded the timeout; no partial result is returned.
        """
        check_search(k=k, nprobe=nprobe, timeout=timeout, offset=offset)
        if query_vectors is None:
            check_alone(fusion=fusion, weights=weights, depth=depth, nprobe=nprobe, exact=exact or None)
            return self._search_leg(leg, queries, int(k), where, columns, timeout, int(offset))
        options = {"nprobe": nprobe, "exact": exact, "min_score": None, "timeout": timeout}
        return self._search_both(
            query_vectors,
            (leg, queries, "queries"),
            int(k),
            where,
            (fusion, weights, depth),
            options,
            columns=columns,
            vectors=False,
            offset=int(offset),
        )

    def _search_leg(
        self,
        name: str,
        queries: Any,
        k: int,
        where: Where,
        columns: Sequence[str],
        timeout: float | None,
        offset: int,
    ) -> Hits:
        """Search a leg alone; all arguments but the queries, the predicate and the columns are checked."""
        from vsearch.legs.hybrid import search_leg
        from vsearch.legs.registry import find_leg

        leg = find_leg(name)
        encoded = leg.read(queries, "queries")
        deadline = None if timeout is None else time.monotonic() + timeout
        with within(deadline):
            snapshot, stats = self._current(), SearchStats()
            for text in leg.warnings(snapshot.manifest, encoded):
                warnings.warn(text, VsearchWarning, stacklevel=caller_level())
            if not isinstance(columns, tuple) or columns:
                check_columns(columns, snapshot.schema.names)
            mask = mask_of(snapshot, where, stats)
            scores, rows = search_leg(snapshot, leg, encoded, k + offset, mask, stats, deadline)
            scores, rows = scores[:, offset:], rows[:, offset:]
            with stats.level("fetch"):
                ids = take_ids(snapshot, rows)
                attributes = take_columns(snapshot, columns, rows.reshape(-1)) if len(columns) else None
            return Hits(ids, scores, stats, attributes, offset)

    def _search_both(
        self,
        queries: Any,
        of_leg: tuple[str, Any, str],
        k: int,
        where: Where,
        fusing: tuple[Any, Any, Any],
        vector_options: dict[str, Any],
        *,
        columns: Sequence[str],
        vectors: bool,
        offset: int,
    ) -> HybridHits:
        """Search by vectors and a leg; `fusing` and `vector_options` are the options of the fusion and of the vectors.

        `of_leg` has the name of the leg, its queries, and what users call these.
        """
        started = time.perf_counter()
        nprobe = vector_options["nprobe"]
        if (
            (offset == 0 and not vectors and type(columns) is tuple and not columns)
            and (vector_options["timeout"] is None and vector_options["min_score"] is None)
            and (vector_options["exact"] is False and (nprobe is None or (type(nprobe) is int and nprobe < 2**31)))
        ):
            from vsearch.legs.single import search_single_fused

            answer = search_single_fused(self._current(), queries, of_leg, k, where, fusing, nprobe, started)
            if answer is not None:
                ids, stats, (scores, near, by_leg), (vector_ranks, leg_ranks) = answer
                return HybridHits(ids, scores, stats, None, 0, None, near, vector_ranks, by_leg, leg_ranks, of_leg[0])
        from vsearch.legs.hybrid import search_both

        leg, encoded, options = read_fused(of_leg, fusing, k, offset, vector_options["min_score"])
        timeout = vector_options["timeout"]
        deadline = None if timeout is None else time.monotonic() + timeout
        with within(deadline):
            snapshot, stats = self._current(), SearchStats()
            for text in leg.warnings(snapshot.manifest, encoded):
                warnings.warn(text, VsearchWarning, stacklevel=caller_level())
            if not isinstance(columns, tuple) or columns:
                check_columns(columns, snapshot.schema.names)
            points = self._check_queries(snapshot, queries)
            check_counts(leg, len(points), len(encoded))
            request = SearchRequest(
                k=k + offset,
                settings=snapshot.settings,
                nprobe=vector_options["nprobe"],
                exact=vector_options["exact"],
                deadline=deadline,
            )
            mask = mask_of(snapshot, where, stats)
            best = search_both(snapshot, points, leg, encoded, request, options, mask, stats)
            with stats.level("fetch"):
                rows = best.rows[:, offset:]
                ids = take_ids(snapshot, rows)
                attributes = take_columns(snapshot, columns, rows.reshape(-1)) if len(columns) else None
                decoded = decode_vectors(snapshot, rows) if vectors else None
            return HybridHits(
                ids,
                best.scores[:, offset:],
                stats,
                attributes,
                offset,
                decoded,
                best.vector_scores[:, offset:],
                best.vector_ranks[:, offset:],
                best.leg_scores[:, offset:],
                best.leg_ranks[:, offset:],
                leg.name,
            )

    @abstractmethod
    def _check_queries(self, snapshot: Snapshot, queries: Any) -> NDArray[np.float32]:
        """Return queries as vectors."""


def read_fused(
    of_leg: tuple[str, Any, str], fusing: tuple[Any, Any, Any], k: int, offset: int, min_score: float | None
) -> tuple[Leg[Any], list[bytes], FusionOptions]:
    """Return a leg, its queries and the options of a fusion with vectors, for `k` hits after `offset`.

    Raises
    ------
    InputError
        There is no such leg, or a query or option is invalid.
    """
    from vsearch.legs.fusing import FusionOptions
    from vsearch.legs.registry import find_leg

    name, queries, argument = of_leg
    if queries is None:
        raise InputError(f"fusion, weights and depth require {argument}, got None")
    leg = find_leg(name)
    encoded = leg.read(queries, argument)
    if min_score is not None:
        raise InputError(f"min_score cannot be combined with {argument}: fused scores have no fixed scale")
    return leg, encoded, FusionOptions.of(*fusing, k, offset)


def check_counts(leg: Leg[Any], vectors: int, queries: int) -> None:
    """Raise InputError unless there are as many queries of a leg as vectors."""
    if vectors != queries:
        raise InputError(f"there must be one {leg.query} for each of the {vectors} queries, got {queries}")


def check_alone(**options: Any) -> None:
    """Raise InputError if there are options of a fusion or of vectors, in a search without vectors."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} requires query_vectors: without them, only the leg is searched")
