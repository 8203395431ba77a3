"""Codes of individual rows, independent of blocks and partition scales: the form in which rows move between runs.

Numbers stored as float16 in a run are float32 with 11 significant bits here. If the scales of a run are powers of two, rows
that move to another run (`run_layout`) keep every bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.kernels.scan.blocks import BLOCK
from vsearch.quantizers.rerank_codes import round_to_half_precision
from vsearch.search.state.shard import RERANK_DTYPES

if TYPE_CHECKING:
    from vsearch.search.state.model import Model
    from vsearch.search.state.shard import Shard

SIGNED = ("offsets", "rerank")  # columns that may contain negative numbers


@dataclass(frozen=True, eq=False)
class RowCodes:
    """Codes of n rows; columns that the index does not have are None (see `row_columns`).

    Attributes
    ----------
    partitions : int32 (n,)
        Positions of the partitions in the snapshot; deltas store their numbers instead (`Model.numbers`).
    codes : uint8 (n, bytes)
        Codes of all stages, row-major.
    factors, first_factors : float32 (n,) or None
        With at most 11 significant bits.
    offsets : float32 (n,) or None
    rerank_scales : float32 (n,) or None
        With at most 11 significant bits; for float16 codes, a power of two for each row, or 0.
    squares : float32 (n,)
        Squared norm of the residual; for rows read from a run, the mean of the partition.
    rerank : int8, float16 or float32 (n, d), or None
    """

    partitions: NDArray[np.int32]
    codes: NDArray[np.uint8]
    factors: NDArray[np.float32] | None
    first_factors: NDArray[np.float32] | None
    offsets: NDArray[np.float32] | None
    rerank_scales: NDArray[np.float32] | None
    squares: NDArray[np.float32]
    rerank: NDArray[np.int8] | NDArray[np.float16] | NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.partitions)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the columns that exist, by name."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in columns.items() if column is not None}

    @classmethod
    def from_arrays(cls, path: str, model: Model, arrays: Mapping[str, NDArray[Any]]) -> RowCodes:
        """Check the arrays read from `path`; arrays that the model does not need are ignored.

        Raises
        ------
        CorruptIndexError
            A column is missing, or has an invalid type, shape or value.
        """
        checked: dict[str, NDArray[Any]] = {}
        rows = len(arrays["partitions"]) if "partitions" in arrays and arrays["partitions"].ndim else 0
        for name, (dtype, inner) in row_columns(model).items():
            array = arrays.get(name)
            if array is None:
                raise CorruptIndexError(path, f"the column {name} of its row codes is missing")
            if array.dtype != dtype or array.shape != (rows, *inner):
                expected = f"{dtype} {(rows, *inner)}"
                raise CorruptIndexError(path, f"{name} is {array.dtype} {array.shape}, expected {expected}")
            if dtype.kind == "f":
                if not np.isfinite(array).all():
                    raise CorruptIndexError(path, f"{name} must be finite")
                if name not in SIGNED and array.min(initial=0) < 0:
                    raise CorruptIndexError(path, f"{name} must not be negative, got {array.min():g}")
            checked[name] = np.ascontiguousarray(array)
        checked["partitions"] = model.partitions_of(checked["partitions"])
        if checked["partitions"].min(initial=0) < 0:
            raise CorruptIndexError(path, f"its rows refer to unknown partitions; the index has {len(model.centroids)}")
        return _from_columns(checked)


def row_columns(model: Model) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return the columns of rows encoded by a model: dtype and shape per row."""
    stages, reranked = model.quantizer.stage_bytes, model.rerank is not None
    cells = model.quantizer.scan == "cells"
    numbers = {
        "factors": not cells,
        "first_factors": len(stages) == 2 and not cells,
        "offsets": model.metric == "l2" and (reranked or not cells),
        "rerank_scales": reranked,
        "squares": True,
    }
    columns: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        "partitions": (np.dtype(np.int32), ()),
        "codes": (np.dtype(np.uint8), (sum(stages),)),
    }
    columns |= {name: (np.dtype(np.float32), ()) for name, present in numbers.items() if present}
    if model.rerank is not None:
        columns["rerank"] = (np.dtype(RERANK_DTYPES[model.rerank]), (model.dimensions,))
    return columns


def no_rows(model: Model) -> RowCodes:
    """Return empty codes, with the columns of a model."""
    return _from_columns({name: np.empty((0, *inner), dtype) for name, (dtype, inner) in row_columns(model).items()})


def take(codes: RowCodes, order: NDArray[np.integer[Any]]) -> RowCodes:
    """Return selected rows, in the given order."""
    return _from_columns({name: column[order] for name, column in codes.to_arrays().items()})


def concatenate(parts: Sequence[RowCodes]) -> RowCodes:
    """Concatenate codes of one or more parts."""
    columns = [part.to_arrays() for part in parts]
    return (
        parts[0] if len(parts) == 1 else _from_columns({n: np.concatenate([c[n] for c in columns]) for n in columns[0]})
    )


def _from_columns(columns: Mapping[str, NDArray[Any]]) -> RowCodes:
    return RowCodes(**{field.name: columns.get(field.name) for field in fields(RowCodes)})  # type: ignore[arg-type]


def read_row_codes(model: Model, shard: Shard, rows: NDArray[np.int64]) -> RowCodes:
    """Read and verify the codes of rows of a shard, numbered within it. O(rows * bytes per row)."""
    table, arrays = shard.table, shard.arrays
    local = np.searchsorted(table.row_starts + table.rows, rows, side="right").astype(np.int32)
    shard.ensure(np.unique(local))
    columns: dict[str, NDArray[Any]] = {
        "partitions": local + np.int32(shard.first_partition),
        "codes": row_major_codes(shard, local, rows),
        "squares": np.square(table.radii)[local],
    }
    present = row_columns(model)
    for name, halves, scales in (
        ("factors", arrays.factors, table.factor_scales),
        ("first_factors", arrays.first_factors, table.first_factor_scales),
        ("rerank_scales", arrays.rerank_scales, table.rerank_scales),
    ):
        if name in present:
            values = halves[rows].view(np.float16).astype(np.float32) * scales[local]
            columns[name] = round_to_half_precision(values)  # needed for scales that are not powers of two
    if "offsets" in present:
        columns["offsets"] = arrays.offsets[rows]
    if model.rerank is not None:
        columns["rerank"] = rerank_codes(model, shard)[rows]
    return _from_columns(columns)


def rerank_codes(model: Model, shard: Shard) -> NDArray[Any]:
    """Return the rerank codes of all rows of a shard, (rows, d) in the model's dtype, for a model with rerank codes."""
    arrays = shard.arrays
    stored: dict[str | None, NDArray[Any]] = {
        "int8": arrays.rerank_bytes,
        "float16": arrays.rerank_halves.view(np.float16),
        "float32": arrays.rerank_floats,
    }
    return stored[model.rerank]


def row_major_codes(shard: Shard, partitions: NDArray[np.int32], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Extract row-major codes uint8 (n, bytes) of rows of a shard from their blocks.

    Parameters
    ----------
    partitions, rows : int32 (n,), int64 (n,)
        Numbered within the shard.
    """
    table, arrays = shard.table, shard.arrays
    positions = rows - table.row_starts[partitions]
    blocks, lanes = table.block_starts[partitions] + positions // BLOCK, positions % BLOCK
    parts = [
        codes.reshape(len(codes), -1, BLOCK)[blocks, :, lanes]
        for codes in (arrays.first_codes, arrays.later_codes)
        if codes.shape[1]
    ]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))
