"""Reading of rows of an index behind functions: by id, and their number; methods that read many rows are refused."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from vsearch.api.groups import FixedIndex
from vsearch.api.paging import PagedSearch, PageOptions, pages_by_offset
from vsearch.api.remote_queries import check_vectors
from vsearch.api.variants import GroupedSearch
from vsearch.checks import check_columns, check_missing
from vsearch.encoders.queries import as_texts
from vsearch.errors import InputError
from vsearch.fanout.calls.retries import Deadline

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.api.hits import Hits
    from vsearch.api.protocol import SearchableIndex
    from vsearch.predicates import Where


def _refuse(feature: str) -> NoReturn:
    raise InputError(
        f"{feature} is not available through functions, which return the best rows of a query, with ids and attributes: open the "
        "index by its own URL and do it there"
    )


def refuse_vectors() -> NoReturn:
    """Refuse to return vectors with hits."""
    _refuse("vectors=True")


class RemoteReading(GroupedSearch, PagedSearch):
    """Methods of `vsearch.Index` that read rows. Those that read many rows always raise `vsearch.InputError`."""

    @abstractmethod
    def _describe(self, deadline: Deadline) -> tuple[dict[str, Any], SearchableIndex]:
        """Return the description of the index, and the index fixed to what was described."""

    def _fixed(self) -> FixedIndex:
        info, pinned = self._describe(Deadline())
        return FixedIndex(pinned, info["attributes"], info["metric"])

    def _points(self, queries: Any) -> Any:
        texts = as_texts(queries)
        return check_vectors(queries) if texts is None else list(texts)

    def _search_pages(self, queries: Any, where: Where, options: PageOptions) -> Iterator[Hits]:
        if options.vectors:
            refuse_vectors()
        points, fixed = self._points(queries), self._fixed()
        check_columns(options.columns, tuple(fixed.types))
        return pages_by_offset(fixed.index, points, where, options)

    def get(
        self, ids: Any, columns: Sequence[str] | None = None, *, missing: Literal["error", "skip"] = "error"
    ) -> pa.Table:
        """Fetch rows by id; see `vsearch.Index.get`. Takes one search per thousand ids.

        Raises
        ------
        InputError
            An id is not in the index, unless they are skipped, or has the wrong type.
        RemoteError
            The functions could not be called, or failed.
        """
        from vsearch.api.remote_rows import get_remote_rows

        check_missing(missing)
        info, pinned = self._describe(Deadline())
        return get_remote_rows(pinned, info, ids, columns, skip=missing == "skip")

    def count(self, where: Where = None) -> int:
        """Count the rows that satisfy a predicate; see `vsearch.Index.count`. Takes an exact search among these rows.

        Raises
        ------
        PredicateError
            `where` is not a valid predicate on the attributes.
        RemoteError
            The functions could not be called, or failed.
        """
        from vsearch.api.remote_rows import count_remote_rows

        info, pinned = self._describe(Deadline())
        return count_remote_rows(pinned, info, where)

    def rows(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.rows`."""
        _refuse("rows")

    def to_batches(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.to_batches`."""
        _refuse("to_batches")

    def facet(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.facet`."""
        _refuse("facet")

    def min_max(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.min_max`."""
        _refuse("min_max")

    def vectors(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.vectors`."""
        _refuse("vectors")

    def search_diverse(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.search_diverse`."""
        _refuse("search_diverse")

    def search_like(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.search_like`."""
        _refuse("search_like")

    def document_vectors(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.document_vectors`."""
        _refuse("document_vectors")
