"""Write the postings of weights with the shards of a build, and predict their size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from vsearch.errors import InputError
from vsearch.legs.protocol import LegForecast
from vsearch.sparse.entries import NAME, SparseEntry
from vsearch.sparse.levels import choose_step
from vsearch.sparse.postings import FILES, PREFIX, make_postings, named_arrays
from vsearch.sparse.weights import RowWeights, read_rows
from vsearch.text.building import texts_of_table

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.building.shards import WriteArrays

WEIGHT_BYTES = 100
"""Bytes of memory per weight of a shard, while its postings are made."""


class SparseWriter:
    """Writes the postings of weights, as a `PartWriter`.

    Parameters
    ----------
    column : str
        The column of the weights: its field in the index, or its name in the input of a build.
    step : float or None
        None to choose it by the rows of the first shard.
    """

    name = NAME
    kinds = frozenset(f"{PREFIX}{name}" for name in FILES)

    def __init__(self, column: str, step: float | None) -> None:
        self._column, self._step = column, step
        self.unencoded = (column,)

    def model(self) -> dict[str, NDArray[Any]]:
        """Return no arrays: everything is stored per shard."""
        return {}

    def check(self, attributes: pa.Schema | None) -> None:
        """Check that the input has the weights."""
        check_schema(self._column, attributes)

    def entry(self) -> dict[str, Any]:
        """Return the entry in the manifest."""
        entry: dict[str, Any] = msgspec.to_builtins(SparseEntry(self._column, self._step or 1.0))
        return entry

    def write_shard(self, rows: NDArray[np.int64], arrays: WriteArrays, attributes: pa.Table | None) -> None:
        """Write the postings of the weights of a shard."""
        weights = weights_of(attributes, self._column, len(rows))
        if self._step is None:
            self._step = choose_step(weights.weights)
        for kind, of_kind in named_arrays(make_postings(weights, len(rows), self._step, self._column)):
            arrays(kind, of_kind)


def check_schema(column: str, attributes: pa.Schema | None) -> None:
    """Check that the attributes of an input have a column of weights.

    Raises
    ------
    InputError
        There is no such attribute, or it has another type.
    """
    from vsearch.predicates import schema_from_arrow

    kinds = (
        {} if attributes is None else {attribute.name: attribute.kind for attribute in schema_from_arrow(attributes)}
    )
    if column not in kinds:
        raise InputError(
            f"sparse must be the name of an attribute ({', '.join(kinds) or 'there are none'}), got {column!r:.100}"
        )
    if kinds[column] != "string":
        raise InputError(f"the sparse weights {column!r:.100} must be maps or JSON objects, got {kinds[column]}")


def weights_of(attributes: pa.Table | None, column: str, rows: int) -> RowWeights:
    """Return the weights of the first rows of a table."""
    return read_rows(texts_of_table(attributes, column, rows), column)


@dataclass(frozen=True)
class SparseForecast:
    """The forecast of weights in an attribute; a `Forecast` of `plan_build`."""

    column: str

    @property
    def unencoded(self) -> tuple[str, ...]:
        """Columns that are not encoded for predicates; see `Leg.unencoded`."""
        return (self.column,)

    def __call__(self, table: pa.Table | None, rows: int, shards: int) -> LegForecast:
        """Return the forecast for `rows` rows, given the first of them as a table: the size of lists grows with their number."""
        check_schema(self.column, None if table is None else table.schema)
        sampled, begun = (0 if table is None else table.num_rows), time.perf_counter()
        weights = weights_of(table, self.column, sampled)
        size = make_postings(weights, sampled, choose_step(weights.weights), self.column).size
        more = rows / max(sampled, 1)
        seconds = (time.perf_counter() - begun) * more
        return LegForecast(NAME, size * more, WEIGHT_BYTES * len(weights.rows) * more / shards, seconds)
