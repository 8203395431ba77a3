"""Searching by the weights of terms that sparse encoders give."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from vsearch.api.hits import Hits
from vsearch.api.legs import LegSearchableIndex
from vsearch.api.opened import rereads
from vsearch.checks import LARGEST_K, check_search
from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.live.commits import Commit
    from vsearch.predicates import Where


class SparseSearchableIndex(LegSearchableIndex):
    """Search by weights of terms, in an index that was built with ``sparse=``."""

    @rereads
    def search_sparse(
        self,
        queries: Mapping[Any, float] | Sequence[Mapping[Any, float]] | Any,
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        timeout: float | None = None,
        offset: int = 0,
    ) -> Hits:
        """Find the rows with the largest inner products of their weights and those of a query.

        The weights of rows are rounded to steps that the index chose when it was built, so a score differs from that of the original
        weights by at most a step for each unit of the query's weights.

        Parameters
        ----------
        queries : dict, list of dicts, or CSR matrix
            Weights from 0 to 1e9 by term, a string or an integer, of which up to 10,000 are positive. Each query needs one. The columns
            of a matrix are integer terms.
        k : int
            1 to 10,000. Returns min(k, number of matching rows) rows: those that pass `where` and have a term of the query.
        where : str, dict or expression, optional
            As for `search`; exact.
        columns : sequence of str
            Attribute columns to return with the hits.
        timeout : float, optional
            Seconds.
        offset : int
            Rows to skip, for the next page: offset + k is at most 1,000,000.

        Raises
        ------
        InputError
            The index was built without ``sparse=``, or a query is invalid; PredicateError for `where`.
        SearchTimeoutError
            The search exceeded the timeout; no partial result is returned.
        """
        if (
            (timeout is None and type(columns) is tuple and not columns)
            and (type(k) is int and 0 < k <= LARGEST_K)
            and (type(offset) is int and offset == 0)
        ):
            started = time.perf_counter()
            answer = _search_weights()(self._current(), queries, k, where, started)
            if answer is not None:
                return Hits(*answer)
        check_search(k=k, timeout=timeout, offset=offset)
        return self._search_leg("sparse", queries, int(k), where, columns, timeout, int(offset))

    def add_sparse(
        self, column: str, largest: float | None = None, *, token: str | None = None, if_snapshot: int | None = None
    ) -> Commit:
        """Make an attribute of weights searchable. Only the manifest is written.

        Its weights are read from the attribute when they are first searched, once per process, until `optimize` or `retrain` writes their
        postings with the rows that it merges. A build with ``sparse=`` writes them at once.

        Parameters
        ----------
        column : str
            An attribute of maps from terms to weights, or of JSON objects.
        largest : float, optional
            The largest usual weight, from 1e-9 to 1e9; the index rounds weights to a 255th of it, or less. By default that of the rows, or
            about 4 if there are none.
        token, if_snapshot
            See `append`.

        Raises
        ------
        InputError
            There is no such attribute, a value is not a map of weights, the index is searched by weights already, or `largest` is invalid.
        ConflictError
            The index was rebuilt or retrained in the meantime, or `if_snapshot` is not the newest snapshot.
        """
        from vsearch.live.weights import AddSparse

        return self._change(AddSparse(column, largest), token, if_snapshot)


@cache
def _search_weights() -> Callable[..., Any]:
    """Return the search by the weights of a dict, imported once: an import in the method would take longer than this call."""
    from vsearch.sparse.single import search_weights

    return search_weights


def fused_leg(text: Any, sparse: Any) -> tuple[str, Any, str]:
    """Return the name of the leg that a search fuses with vectors, its queries, and what users call these.

    Raises
    ------
    InputError
        There are queries of both.
    """
    if sparse is None:
        return "text", text, "text"
    if text is not None:
        raise InputError("text and sparse cannot be combined: vectors are fused with one of them")
    return "sparse", sparse, "sparse"
