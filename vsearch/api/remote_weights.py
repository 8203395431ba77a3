"""Searches by weights of terms by functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from vsearch.api.remote_client import search_options
from vsearch.api.remote_execution import Execution, ExecutionOptions
from vsearch.api.remote_legs import RemoteLegs

if TYPE_CHECKING:
    from vsearch.api.remote_hits import RemoteHits
    from vsearch.predicates import Where


class RemoteWeights(RemoteLegs):
    """Search by weights of terms, in an index that was built with ``sparse=``."""

    def search_sparse(
        self,
        queries: Mapping[Any, float] | Sequence[Mapping[Any, float]] | Any,
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        timeout: float | None = None,
        offset: int = 0,
        **execution: Unpack[Execution],
    ) -> RemoteHits:
        """Find the rows with the largest inner products of weights; see `vsearch.Index.search_sparse`.

        Parameters
        ----------
        **execution
            ``allow_partial``, ``mode``, ``allocators``, ``branching``, ``at_least`` and ``freshness``, as for `search`.

        Raises
        ------
        InputError, IncompleteAnswerError, SearchTimeoutError, RemoteError
            As for `search`.
        """
        how = ExecutionOptions.of(timeout, **execution)
        options = search_options(k, where, None, columns, exact=False, min_score=None, offset=offset)
        return self._search_leg("sparse", queries, options, how)
