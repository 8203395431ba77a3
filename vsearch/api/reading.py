"""Rows of an open index without a search: by id or predicate, their number, and the values of attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vsearch.api.opened import OpenedIndex, rereads
from vsearch.checks import check_missing, check_whole
from vsearch.search.state.fetching import get_rows, rows_of_ids

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.predicates import Where

MOST = 2**31 - 1
"""Largest number of rows of a page or batch."""


@dataclass(frozen=True, eq=False)
class StoredVectors:
    """Vectors decoded from an index.

    Attributes
    ----------
    ids : int64, or object (str) (n,)
    vectors : float32 (n, d)
    codes : {"float32", "float16", "int8", "codes"}
        The codes they are decoded from, which determine their accuracy: rerank codes of float32 keep the indexed vector up to
        rounding; float16 to about 3 digits of its distance to the centroid; int8 to a step, 1/127 of the largest element of that
        difference. Indexes without rerank codes only have the codes that are scanned: coarse approximations.
    """

    ids: NDArray[Any]
    vectors: NDArray[np.float32]
    codes: str

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class DocumentVectors:
    """Vectors of multi-vector documents, decoded from an index.

    Attributes
    ----------
    ids : int64, or object (str) (n,)
    vectors : list of float32 (vectors of the document, d)
        As many as were kept: `keep` and `pool` of the build leave out and merge some.
    codes : {"float32", "float16", "codes"}
        Their source: the vectors kept by ``store`` in the build, or the codes that are scored.
    """

    ids: NDArray[Any]
    vectors: list[NDArray[np.float32]]
    codes: str

    def __len__(self) -> int:
        return len(self.ids)


class ReadableIndex(OpenedIndex):
    """Reading of rows, counts and values."""

    @rereads
    def get(
        self, ids: Any, columns: Sequence[str] | None = None, *, missing: Literal["error", "skip"] = "error"
    ) -> pa.Table:
        """Fetch rows by id: a table with ``id`` and the attribute columns (all by default), in the order of `ids`.

        An attribute named ``id`` becomes ``attribute.id``.

        Parameters
        ----------
        missing : {"error", "skip"}
            Whether ids that are not in the index are an error or left out.

        Raises
        ------
        InputError
            An id is not in the index, unless they are skipped, or has the wrong type.
        """
        check_missing(missing)
        return get_rows(self._current(), ids, columns, skip=missing == "skip")

    @rereads
    def vectors(self, ids: Any, *, missing: Literal["error", "skip"] = "error") -> StoredVectors:
        """Decode the vectors of rows, by id.

        Under cosine they have length 1, since lengths are not stored. Their distance from the vectors that were indexed depends
        on the codes: see `StoredVectors`.

        Parameters
        ----------
        missing : {"error", "skip"}
            Whether ids that are not in the index are an error or left out.

        Raises
        ------
        InputError
            An id is not in the index, unless they are skipped, or has the wrong type; or the index has multi-vector documents.
        """
        from vsearch.search.state.decoding import decode_vectors

        check_missing(missing)
        snapshot = self._current()
        present_ids, rows = rows_of_ids(snapshot, ids, skip=missing == "skip")
        return StoredVectors(present_ids, decode_vectors(snapshot, rows), snapshot.model.rerank or "codes")

    @rereads
    def document_vectors(self, ids: Any, *, missing: Literal["error", "skip"] = "error") -> DocumentVectors:
        """Decode the vectors of multi-vector documents, by id.

        Parameters
        ----------
        missing : {"error", "skip"}
            Whether ids that are not in the index are an error or left out.

        Raises
        ------
        InputError
            An id is not in the index, unless they are skipped, or has the wrong type; or the index has one vector per row.
        """
        from vsearch.multivector.reading import read_vectors

        check_missing(missing)
        snapshot = self._current()
        present_ids, rows = rows_of_ids(snapshot, ids, skip=missing == "skip")
        return DocumentVectors(present_ids, *read_vectors(snapshot, rows))

    @rereads
    def count(self, where: Where = None) -> int:
        """Count the rows that satisfy a predicate; all rows without one. Exact.

        Raises
        ------
        PredicateError
            `where` is not a valid predicate on the attributes.
        """
        from vsearch.search.listing import count_rows

        return count_rows(self._current(), where)

    @rereads
    def rows(
        self,
        where: Where = None,
        columns: Sequence[str] | None = None,
        *,
        order: str | Sequence[str] | None = None,
        limit: int | None = None,
        after: Any = None,
    ) -> pa.Table:
        """Fetch the rows that satisfy a predicate: a table with ``id`` and the attribute columns, as `get` returns it.

        Parameters
        ----------
        where : str, dict or expression, optional
        columns : sequence of str, optional
            Attribute columns; all by default.
        order : str or sequence of str, optional
            Columns to sort by, each with ``ASC`` (the default) or ``DESC``, such as ``["price DESC", "name"]``. NULL comes
            last. Ties are in ascending order of the ids, and so are all rows by default; strings are ordered by their bytes.
        limit : int, optional
            Maximum number of rows; all by default.
        after : int, str or UUID, optional
            The id of the last row of the page before. Pages of one snapshot never repeat or omit a row. Without `order`, they
            never do so for rows that exist throughout, even if others are added or deleted in between.

        Raises
        ------
        InputError
            An option is invalid, or `after` is not the id of a row that satisfies the predicate, which `order` requires.
        PredicateError
            `where` is not a valid predicate on the attributes.
        """
        from vsearch.search.listing import list_page, make_table, parse_order

        if limit is not None:
            check_whole("limit", limit, MOST)
        snapshot = self._current()
        make_table(snapshot, snapshot.partition_rows[:0], columns)  # checks them first
        return make_table(
            snapshot, list_page(snapshot, where, parse_order(order, snapshot.schema), limit, after), columns
        )

    @rereads
    def to_batches(
        self,
        where: Where = None,
        columns: Sequence[str] | None = None,
        *,
        order: str | Sequence[str] | None = None,
        batch_rows: int = 10_000,
    ) -> pa.RecordBatchReader:
        """Stream the rows that satisfy a predicate as Arrow record batches, with the columns that `rows` returns.

        All batches come from the current snapshot, even if the index changes in between.

        Parameters
        ----------
        where, columns
            As for `rows`.
        order : str or sequence of str, optional
            As for `rows`; by default the order in which rows are stored, which needs no sorting and reads files in sequence.
        batch_rows : int
            Maximum number of rows of a batch.

        Raises
        ------
        InputError, PredicateError
            As for `rows`.
        """
        from vsearch.search.listing import list_page, make_batches, parse_order, passing_rows

        check_whole("batch_rows", batch_rows, MOST)
        snapshot = self._current()
        sorted_by = parse_order(order, snapshot.schema)
        rows = list_page(snapshot, where, sorted_by, None, None) if sorted_by else passing_rows(snapshot, where)
        return make_batches(snapshot, rows, columns, int(batch_rows))

    @rereads
    def facet(self, column: str, where: Where = None, *, limit: int | None = None) -> pa.Table:
        """Count how many of the rows that satisfy a predicate have each value of an attribute. Exact.

        Parameters
        ----------
        column : str
            An attribute. Of lists, rows are counted once for each distinct element that is not NULL.
        where : str, dict or expression, optional
        limit : int, optional
            Only this many values; all by default.

        Returns
        -------
        pyarrow.Table
            ``value`` and ``count`` (int64), most frequent first and equally frequent values in ascending order. NULL is a value,
            except as or in a list.

        Raises
        ------
        InputError
            There is no such attribute, or `limit` is invalid.
        PredicateError
            `where` is not a valid predicate on the attributes.
        """
        from vsearch.checks import stored_names
        from vsearch.search.facets import count_values

        if limit is not None:
            check_whole("limit", limit, MOST)
        snapshot = self._current()
        (name,) = stored_names([column], snapshot.schema.names)
        return count_values(snapshot, name, where, limit)

    @rereads
    def min_max(self, column: str, where: Where = None) -> tuple[Any, Any]:
        """Return the least and the greatest value of an attribute among the rows that satisfy a predicate.

        NULL does not count, and NaN is above all numbers; both are None if there is no value. Timestamps in nanoseconds are
        returned as `numpy.datetime64`.

        Raises
        ------
        InputError
            There is no such attribute, or it holds lists.
        PredicateError
            `where` is not a valid predicate on the attributes.
        """
        from vsearch.checks import stored_names
        from vsearch.search.facets import extremes

        snapshot = self._current()
        (name,) = stored_names([column], snapshot.schema.names)
        return extremes(snapshot, name, where)
