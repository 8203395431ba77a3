"""Searches for words by functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from vsearch.api.remote_client import search_options
from vsearch.api.remote_execution import Execution, ExecutionOptions
from vsearch.api.remote_legs import RemoteLegs

if TYPE_CHECKING:
    from vsearch.api.remote_hits import RemoteHits
    from vsearch.predicates import Where
    from vsearch.text.structured import TextQuery


class RemoteWords(RemoteLegs):
    """Search for words, in an index with text columns."""

    def search_text(
        self,
        queries: TextQuery | Sequence[TextQuery],
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        timeout: float | None = None,
        offset: int = 0,
        **execution: Unpack[Execution],
    ) -> RemoteHits:
        """Find the rows that fit words best, by BM25; see `vsearch.Index.search_text`.

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
        return self._search_leg("text", queries, options, how)
