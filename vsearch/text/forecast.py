"""Predict the postings of text columns from the first texts."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from vsearch.errors import InputError
from vsearch.legs.protocol import LegForecast
from vsearch.text.analyzer import Analyzer
from vsearch.text.building import texts_of_table
from vsearch.text.columns import TextColumn, analyzer_of, check_columns, read_columns
from vsearch.text.encoding import make_postings
from vsearch.text.tokens import TokenAnalyzer

if TYPE_CHECKING:
    import pyarrow as pa

TERM_BYTES = 40
"""Bytes of memory per word of the texts of a shard, while its postings are made."""


@dataclass(frozen=True)
class TextForecast:
    """The forecast of text columns, by the names of attributes; a `Forecast` of `plan_build`."""

    columns: Mapping[str, TextColumn]

    @classmethod
    def of(cls, text: Any) -> Self:
        """Return the forecast of text columns as passed to `vsearch.build`."""
        return cls(read_columns(text))

    def __call__(self, table: pa.Table | None, rows: int, shards: int) -> LegForecast:
        """Return the forecast for `rows` rows, given the first of them as a table."""
        from vsearch.predicates import schema_from_arrow

        if table is None:
            raise InputError("text columns must be attributes, but the input has no attributes")
        check_columns(
            {name: column.tokens for name, column in self.columns.items()},
            {a.name: a.kind for a in schema_from_arrow(table.schema)},
        )
        size = words = seconds = 0.0
        sampled = table.num_rows
        for name, column in self.columns.items():
            analyzer, begun = analyzer_of(column.entry(name, "0")), time.perf_counter()
            full, of_column = _measure(table, name, analyzer, column)
            seconds += (time.perf_counter() - begun) * rows / sampled
            words += of_column * rows / sampled
            half, _ = _measure(table.slice(0, -(-sampled // 2)), name, analyzer, column)
            size += shards * sum(_grown(half[file], full[file], rows / shards / sampled) for file in full)
        return LegForecast("text", size, TERM_BYTES * words / shards, seconds)


def _grown(half: int, full: int, factor: float) -> float:
    """Return the size for more rows: sizes grow by a power of their number, below 1 for dictionaries and short lists."""
    return full * factor ** min(1.0, math.log2(full / half)) if half else full * factor


def _measure(
    table: pa.Table, name: str, analyzer: Analyzer | TokenAnalyzer, settings: TextColumn
) -> tuple[dict[str, int], int]:
    """Return the bytes of the postings of some rows by file, and their number of words."""
    texts = texts_of_table(table, name, table.num_rows)
    postings = make_postings(texts, table.num_rows, analyzer, phrases=settings.phrases)
    sizes = {file: sum(array.nbytes for array in arrays.values()) for file, arrays in postings.arrays().items()}
    return sizes, int(postings.lengths.sum())
