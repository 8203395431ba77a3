"""The weights of rows that users pass to a build as an attribute: from a CSR matrix, a list of dicts, or an Arrow column of maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.errors import InputError
from vsearch.sparse.matrices import is_matrix, matrix_rows
from vsearch.sparse.weights import LEAST_WEIGHT, MOST_ROW_TERMS, check_weights, write_row

if TYPE_CHECKING:
    import pyarrow as pa

COLUMN = "sparse"
"""Name of the attribute in which weights are stored if they are not passed as a column of the input."""

DIGITS = 4
"""Significant digits of weights in that attribute."""


def as_column(weights: Any) -> pa.Array:
    """Return the weights of all rows as a column of JSON objects.

    Raises
    ------
    InputError
        `weights` is none of the accepted forms.
    """
    import pyarrow as pa

    if is_matrix(weights):
        return pa.array(_short(matrix_rows(weights, "sparse")), pa.string())
    if isinstance(weights, pa.ChunkedArray):
        weights = weights.combine_chunks()
    if isinstance(weights, pa.Array):
        from vsearch.building.inputs.attribute_types import kept_type, normalize

        if not pa.types.is_map(weights.type):
            raise InputError(f"sparse must be a column of maps from terms to weights, got {weights.type}")
        kind = kept_type(weights.type)
        if kind is None:
            raise InputError(f"sparse must be a column of maps whose keys are strings or integers, got {weights.type}")
        return normalize(weights, kind, COLUMN, "sparse")
    if not isinstance(weights, list | tuple) or not all(isinstance(row, Mapping) or row is None for row in weights):
        raise InputError(
            "sparse must be a CSR matrix of weights, a list of dicts from terms to weights, a column of maps, or the name of such "
            f"an attribute, got {weights!r:.100}"
        )
    checked = (
        None if row is None else check_weights(row, f"row {number} of sparse", MOST_ROW_TERMS)
        for number, row in enumerate(weights)
    )
    return pa.array(_short(checked), pa.string())


def _short(rows: Iterable[Mapping[str, float] | None]) -> Iterator[str | None]:
    """Yield rows as JSON with weights of `DIGITS` digits: postings keep fewer, and each digit takes bytes of every weight."""
    for row in rows:
        if row is None:
            yield None
            continue
        weights = np.maximum(np.fromiter(row.values(), np.float64, len(row)), LEAST_WEIGHT)
        power = DIGITS - 1 - np.floor(np.log10(weights))
        high, low = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)
        short = np.rint(weights * high / low) * low / high
        yield write_row(dict(zip(row, short.tolist(), strict=True)))
