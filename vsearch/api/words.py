"""Searching the words of text columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
    from vsearch.text.columns import TextColumn
    from vsearch.text.structured import TextQuery


class TextSearchableIndex(LegSearchableIndex):
    """Search for words, in an index with text columns."""

    @rereads
    def search_text(
        self,
        queries: TextQuery | Sequence[TextQuery],
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        timeout: float | None = None,
        offset: int = 0,
    ) -> Hits:
        """Find the rows that fit words best, by BM25.

        A query consists of words, of which a row must have at least one; ``+word``, required; ``-word``, excluded;
        ``prefix*``; ``"a phrase"``, if the columns have `phrases`; and ``column:word`` for one of the text columns, but for no other
        attribute. Scores are the sums over all text columns, with their weights.

        Parameters
        ----------
        queries : str, dict, or list of these
            Dicts are for programs: ``must``, ``should`` and ``not`` hold clauses, each a text or a dict with `text`, `phrase`, `prefix` or
            `tokens` (terms as stored), and optionally `column`.
        k : int
            1 to 10,000. Returns min(k, number of matching rows) rows: those that pass `where` and have a word of the query.
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
            The index has no text columns, or a query is invalid; PredicateError for `where`.
        SearchTimeoutError
            The search exceeded the timeout; no partial result is returned.
        """
        if (
            (type(queries) is str and timeout is None and type(columns) is tuple and not columns)
            and (type(k) is int and 0 < k <= LARGEST_K)
            and (type(offset) is int and offset == 0)
        ):
            started = time.perf_counter()
            answer = _search_words()(self._current(), queries, k, where, started)
            if answer is not None:
                return Hits(*answer)
        check_search(k=k, timeout=timeout, offset=offset)
        return self._search_leg("text", queries, int(k), where, columns, timeout, int(offset))

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
            There is no such attribute, it does not hold strings, or its words are searched already.
        ConflictError
            The index was rebuilt or retrained in the meantime, or `if_snapshot` is not the newest snapshot.
        """
        from vsearch.live.texts import AddText
        from vsearch.text.columns import TextColumn

        if settings is not None and not isinstance(settings, TextColumn):
            raise InputError(f"settings must be a vsearch.TextColumn, got {settings!r:.100}")
        return self._change(AddText(column, settings or TextColumn()), token, if_snapshot)

    def drop_text(self, column: str, *, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        """Stop searching the words of an attribute, which itself is unchanged.

        Raises
        ------
        InputError
            The words of the attribute are not searched.
        ConflictError
            The index was rebuilt or retrained in the meantime, or `if_snapshot` is not the newest snapshot.
        """
        from vsearch.live.texts import DropText

        return self._change(DropText(column), token, if_snapshot)


@cache
def _search_words() -> Callable[..., Any]:
    """Return the search for plain words, imported once: an import in the method would take longer than this call."""
    from vsearch.text.single import search_words

    return search_words
