"""Tests for every attribute type."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from vsearch.api import build_and_open
from vsearch.api.index import Index
from vsearch.building.training import BuildOptions
from vsearch.errors import PredicateError
from vsearch.fanout.wire.values import to_values
from vsearch.forking import cached_property
from vsearch.predicates import col, encode_column, keys_from_arrow, keys_from_values
from vsearch.predicates.keys import byte_cuts, cuts, element_key
from vsearch.predicates.literals import to_literal
from vsearch.predicates.plain_encoding import encode_plain
from vsearch.predicates.types.record import AttributeRecord, ByteKeys, ElementKeys, OrderedKeys
from vsearch.predicates.types.table import TYPES, attribute_from_arrow, attribute_of_kind
from vsearch.search.state.field_types import column_of
from vsearch.storage import SegmentFile, open_store, write_table
from vsearch.storage.files.column_types import column_type, type_of
from vsearch.storage.files.columns import take
from vsearch.storage.files.plain_columns import (
    Column,
    check_column,
    concatenate,
    empty_column,
    gather,
    read_column,
    to_arrow,
)
from vsearch.testing.building import build_untuned

ROWS = 700
NULL_EVERY = 7


def identity(value: Any) -> Any:
    """The value itself."""
    return value


@dataclass(frozen=True, eq=False)
class AttributeTypeCase:
    """An attribute type, and values to test it with.

    Attributes
    ----------
    record : AttributeRecord
        Of `vsearch.predicates.types.table.TYPES`.
    arrow : pyarrow.DataType
        The Arrow type of the input.
    values : sequence
        At least two that differ from each other, ascending where the type has an order: as `pyarrow.array` takes them and
        `Index.get` gives them back. More than 255 of them also try cells of several values.
    foreign : object
        A literal that does not compare with the type.
    literal : callable, optional
        Converts a value (for lists an element) to a literal of a predicate; the value itself by default.
    """

    record: AttributeRecord
    arrow: pa.DataType
    values: Sequence[Any]
    foreign: Any
    literal: Callable[[Any], Any] = identity

    @cached_property
    def chosen(self) -> list[int | None]:
        """The index of each row's value, None for NULL."""
        return [None if row % NULL_EVERY == 3 else row % len(self.values) for row in range(ROWS)]

    @cached_property
    def column(self) -> list[Any]:
        """The value of each row."""
        return [None if place is None else self.values[place] for place in self.chosen]

    @cached_property
    def array(self) -> pa.Array:
        return pa.array(self.column, self.arrow)

    @cached_property
    def stored(self) -> pa.Array:
        """The values as stored in the index."""
        return self.record.convert(self.array, self.record.stored(self.arrow))

    @cached_property
    def opened(self) -> Index:
        """An index in memory with one column of the type, ``value``; the ids are the rows."""
        vectors = np.random.default_rng(5).normal(size=(ROWS, 8)).astype(np.float32)
        url, table = f"memory://attribute-{uuid.uuid4().hex}", pa.table({"value": self.array})
        return build_untuned(url, vectors, BuildOptions("l2", shards=2, partitions=4), table)

    @property
    def is_list(self) -> bool:
        return isinstance(self.record.keys, ElementKeys)


class AttributeTypeContract:
    """Tests of a fixture ``case``, an `AttributeTypeCase`; return the same object every time, so that one index serves all tests."""

    @pytest.fixture
    def opened(self, case: AttributeTypeCase) -> Index:
        """The index of the case."""
        return case.opened

    def test_the_record_is_the_only_one(self, case: AttributeTypeCase) -> None:
        record = case.record
        assert TYPES[record.name] is record
        assert [other.name for other in TYPES.values() if other.accepts(case.arrow)] == [record.name]
        stored = record.stored(case.arrow)
        assert record.accepts(stored)
        assert record.stored(stored) == stored
        attribute = attribute_from_arrow("value", case.arrow)
        assert attribute.type == record.name
        assert attribute_of_kind("value", attribute.kind) == attribute

    def test_the_stored_type_has_a_name(self, case: AttributeTypeCase) -> None:
        recognized = type_of(case.stored.type)
        again = column_type(recognized.name)
        assert again == recognized
        assert recognized.arrow() == case.stored.type

    def test_keys_have_the_order_of_values(self, case: AttributeTypeCase) -> None:
        record, attribute = case.record, attribute_from_arrow("value", case.arrow)
        array = pa.array([*case.values, None], case.arrow)
        literals = [case.literal(value) for value in case.values]
        if isinstance(record.keys, OrderedKeys):
            keys, valid = keys_from_arrow(record.name, array)
            assert valid.tolist() == [True] * len(case.values) + [False]
            assert (np.diff(keys[:-1]) > 0).all()
            cut_keys = [cuts(attribute, to_literal(literal)) for literal in literals]
            assert [low for low, _ in cut_keys] == keys[:-1].tolist()
            assert all(low < above <= following for (low, above), (following, _) in pairwise(cut_keys))
            stored = record.convert(array[:-1], record.stored(case.arrow))
            kept = type_of(stored.type)
            numbers = np.frombuffer(stored.buffers()[1], kind_of(kept.dtype), len(stored)) if kept.width > 1 else None
            if numbers is not None:  # bools are bits
                assert keys_from_values(record.name, numbers).tolist() == keys[:-1].tolist()
        elif isinstance(record.keys, ByteKeys):
            texts = record.keys.from_arrow(record.convert(array[:-1], record.stored(case.arrow)))
            found_bytes = [byte_cuts(attribute, to_literal(literal)) for literal in literals]
            assert [low for low, _ in found_bytes] == texts.cast(pa.binary()).to_pylist()
            assert all(low < above <= following for (low, above), (following, _) in pairwise(found_bytes))
        else:
            elements = record.convert(array, record.stored(case.arrow)).flatten()
            brought = [element for value in case.values for element in value]
            keys_of = record.keys.from_arrow(elements).cast(pa.binary()).to_pylist()
            for element, key in zip(brought, keys_of, strict=True):
                assert (None if element is None else element_key(attribute, to_literal(case.literal(element)))) == key

    def test_null_is_null(self, case: AttributeTypeCase, opened: Index) -> None:
        null = {row for row, place in enumerate(case.chosen) if place is None}
        assert rows_of(opened, col("value").is_null()) == null
        assert rows_of(opened, col("value").is_not_null()) == set(range(ROWS)) - null

    def test_comparisons_are_exact(self, case: AttributeTypeCase, opened: Index) -> None:
        """Compares the order of the values, independently of the keys."""
        if case.is_list:
            pytest.skip("lists have no order")
        count = len(case.values)
        for place in sorted({0, 1, count // 2, count - 1}):
            for where, places in comparisons(case, place):
                expected = {row for row, value in enumerate(case.chosen) if value is not None and value in places}
                assert rows_of(opened, where) == expected, where

    def test_lists_are_asked_for_elements(self, case: AttributeTypeCase, opened: Index) -> None:
        if not case.is_list:
            pytest.skip("it is no list")
        elements = list(dict.fromkeys(e for value in case.values for e in value if e is not None))[:5]
        for searched in ([elements[0]], elements[:2], elements[1:]):
            for where, places in containments(case, searched):
                expected = {row for row, value in enumerate(case.chosen) if value is not None and value in places}
                assert rows_of(opened, where) == expected, where

    def test_what_does_not_compare_is_refused(self, case: AttributeTypeCase, opened: Index) -> None:
        where = col("value").contains(case.foreign) if case.is_list else col("value") == case.foreign
        with pytest.raises(PredicateError, match="value"):
            rows_of(opened, where)

    def test_an_index_says_the_type(self, case: AttributeTypeCase, opened: Index) -> None:
        kind = attribute_from_arrow("value", case.arrow).kind
        assert opened.info()["attributes"] == {"value": kind}
        assert build_and_open.open(opened.info()["url"]).info()["attributes"] == {"value": kind}

    def test_values_come_back(self, case: AttributeTypeCase, opened: Index) -> None:
        rows = [5, 3, 0, ROWS - 1, 5]
        assert opened.get(rows).column("value").to_pylist() == [case.column[row] for row in rows]

    def test_some_rows_of_a_file(self, case: AttributeTypeCase) -> None:
        file = written(case.stored)
        for rows in chosen_rows():
            assert take(file, ["value"], rows).column(0).combine_chunks().equals(case.stored.take(pa.array(rows)))

    def test_values_travel(self, case: AttributeTypeCase) -> None:
        """From a file to a message and back, without an Arrow library until the end."""
        file = written(case.stored)
        for rows in chosen_rows():
            column = msgspec.msgpack.decode(msgspec.msgpack.encode(read_column(file, "value", rows)), type=Column)
            check_column(column, len(rows))
            expected = case.stored.take(pa.array(rows))
            assert to_arrow(column).equals(expected)
            order = np.arange(len(rows))[::-1]
            assert to_arrow(gather(column, order)).equals(expected.take(pa.array(order)))
            nothing = empty_column(type_of(case.stored.type).name)
            check_column(nothing, 0)
            twice = concatenate([column, nothing, column])
            check_column(twice, 2 * len(rows))
            assert to_arrow(twice).to_pylist() == expected.to_pylist() * 2
            plain = to_values(column)
            assert [value is None for value in plain] == [not valid for valid in expected.is_valid().to_pylist()]
            assert msgspec.json.decode(msgspec.json.encode(plain)) == plain
            distinct = dict.fromkeys(map(repr, expected.drop_null().to_pylist()))
            assert len({repr(value) for value in plain if value is not None}) == len(distinct)

    def test_functions_encode_alike(self, case: AttributeTypeCase) -> None:
        """Without an Arrow library, with the same result as in a build with one."""
        attribute = attribute_from_arrow("value", case.arrow)
        assert column_of(attribute) == type_of(case.record.stored(case.arrow)).name
        order = np.random.default_rng(3).permutation(ROWS)
        stored = case.stored.take(pa.array(order))
        column = gather(read_column(written(case.stored), "value", np.arange(ROWS)), order)
        for chosen in (slice(0, 0), slice(0, 40), slice(0, ROWS)):
            plain = encode_plain("value", case.record.name, gather(column, np.arange(ROWS)[chosen]))
            built = encode_column("value", case.record.name, stored[chosen])
            assert plain.header() == built.header()
            arrays = dict(built.arrays())
            assert dict(plain.arrays()).keys() == arrays.keys()
            for name, array in plain.arrays().items():
                np.testing.assert_array_equal(array, arrays[name], err_msg=name)

    def test_columns_of_another_length_are_refused(self, case: AttributeTypeCase) -> None:
        column = read_column(written(case.stored), "value", np.arange(20))
        with pytest.raises(ValueError, match="column"):
            check_column(column, 19)
        cut = msgspec.structs.replace(column, values=column.values[:-1] if column.values else b"\0")
        with pytest.raises(ValueError, match="column"):
            check_column(cut, 20)


def comparisons(case: AttributeTypeCase, place: int) -> list[tuple[Any, set[int]]]:
    """Predicates on a value, and the positions of the values that match."""
    column, count = col("value"), len(case.values)
    first, literal, last = (case.literal(case.values[at]) for at in (0, place, count - 1))
    every, below = set(range(count)), set(range(place))
    return [
        (column == literal, {place}),
        (column != literal, every - {place}),
        (column < literal, below),
        (column <= literal, below | {place}),
        (column > literal, every - below - {place}),
        (column >= literal, every - below),
        (~(column < literal), every - below),
        (column.is_in([literal, first]), {0, place}),
        (column.not_in([literal]), every - {place}),
        (column.between(literal, last), every - below),
    ]


def containments(case: AttributeTypeCase, elements: list[Any]) -> list[tuple[Any, set[int]]]:
    """Predicates on list elements, and the positions of the lists that match."""
    column, literals = col("value"), [case.literal(element) for element in elements]
    every = set(range(len(case.values)))
    having = [{place for place in every if element in case.values[place]} for element in elements]
    return [
        (column.contains(literals[0]), having[0]),
        (~column.contains(literals[0]), every - having[0]),
        (column.contains_any(literals), set.union(*having)),
        (column.contains_all(literals), set.intersection(*having)),
        (column.is_empty(), {place for place in every if not case.values[place]}),
    ]


def kind_of(dtype: str) -> np.dtype[Any]:
    """The little-endian NumPy type."""
    return np.dtype(dtype).newbyteorder("<")


def rows_of(opened: Index, where: Any) -> set[int]:
    """The rows that a predicate finds."""
    hits = opened.search(np.zeros(8, np.float32), k=ROWS, where=where)
    return {int(row) for row in hits.ids[0][~np.isnan(hits.scores[0])]}


def written(array: pa.Array) -> SegmentFile:
    """A file with the one column ``value``."""
    store = open_store(f"memory://attribute-{uuid.uuid4().hex}")
    entry, checksums = write_table(store, "value.arrow", pa.table({"value": array}))
    return SegmentFile(store, entry, checksums)


def chosen_rows() -> list[npt.NDArray[np.int64]]:
    """Rows to read: none, one, some with repetitions, all."""
    choices = [np.empty(0), np.array([NULL_EVERY + 1]), np.array([ROWS - 1, 3, 0, 3, 63, 64, 65, 8]), np.arange(ROWS)]
    return [rows.astype(np.int64) for rows in choices]
