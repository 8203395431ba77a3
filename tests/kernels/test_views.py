"""Views of blocks: what a kernel reads by name is what was packed."""

from __future__ import annotations

from enum import IntEnum

import numba as nb
import numpy as np
import pytest

from vsearch.kernels.query import fields, views
from vsearch.kernels.toolchain.views import ArrayField, view
from vsearch.search.state.arguments import KernelArguments


class Field(IntEnum):
    ROWS = 0
    WIDTH = 1
    VECTOR = 2
    MATRIX = 3
    TRIPLE = 4


at = view(
    "test",
    Field,
    {
        "vector": ArrayField("float32", ("rows",)),
        "matrix": ArrayField("int16", ("rows", "width")),
        "triple": ArrayField("uint64", (3,)),
    },
)


@nb.njit
def read(address):
    block = at(address)
    total = np.float64(0.0)
    for i in range(block.rows):
        for j in range(block.width):
            total += block.vector[i] * block.matrix[i, j]
    answer = total, block.vector.shape[0], block.matrix.shape[1], block.triple[2]
    block.rows, block.width = block.matrix.shape[0], block.rows + block.vector.shape[0]
    return answer


def packed(rows: int, width: int) -> tuple[KernelArguments, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    vector = rng.standard_normal(rows).astype(np.float32)
    matrix = rng.integers(-9, 9, (rows, width)).astype(np.int16)
    block = KernelArguments(len(Field))
    block.values[Field.ROWS], block.values[Field.WIDTH] = rows, width
    block.point(Field.VECTOR, vector, np.float32)
    block.point(Field.MATRIX, matrix, np.int16)
    block.point(Field.TRIPLE, np.array([1, 2, 1 << 63], np.uint64), np.uint64)
    return block, vector, matrix


def test_fields_are_read_and_written_by_name() -> None:
    block, vector, matrix = packed(7, 5)
    total, rows, width, last = read(block.address)
    assert total == pytest.approx((vector[:, None] * matrix).sum(), rel=1e-5)
    assert (rows, width, last) == (7, 5, 1 << 63)
    assert block.values[:2].tolist() == [7, 14]


def test_an_array_that_is_not_there_has_no_rows() -> None:
    block, _, _ = packed(7, 0)
    block.values[Field.VECTOR] = 0
    assert read(block.address)[:3] == (0, 0, 0)
    assert block.values[:2].tolist() == [0, 7]


def test_an_unknown_field_is_refused() -> None:
    @nb.njit
    def unknown(address):
        return at(address).colour

    with pytest.raises(nb.TypingError, match="Unknown attribute 'colour'"):
        unknown(0)


@pytest.mark.parametrize(
    ("made", "enumeration"),
    [
        (views.MODEL, fields.ModelField),
        (views.SHARD, fields.ShardField),
        (views.CALL, fields.CallField),
        (views.RUNS, fields.RunsField),
        (views.RUN, fields.RunField),
        (views.BATCH, fields.BatchField),
    ],
)
def test_every_array_and_every_extent_is_a_field(made, enumeration) -> None:
    names = {field.name.lower() for field in enumeration}
    assert made.keys() <= names
    for array in made.values():
        assert {extent for extent in array.shape if isinstance(extent, str)} <= names - made.keys()
