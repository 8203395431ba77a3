"""Nasty tables, in Arrow, in DuckDB and encoded."""

from __future__ import annotations

import datetime as dt
import random
import struct

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from vsearch.kernels.filters.bitmaps import list_rows
from vsearch.predicates import (
    bind,
    columns_of,
    decode_column,
    encode_column,
    evaluate,
    keys_from_arrow,
    recheck,
    schema_from_arrow,
)

INTEGERS = [-(2**63), -(2**63) + 1, 2**63 - 1, 2**63 - 2, 0, 1, -1, 2**53, 2**53 + 1, 2**53 - 1, -(2**53) - 1, 10]
UNSIGNED = [0, 1, 2, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1, 2**64 - 2, 2**53 + 1, 10]
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.1, 10.25, 5e-324, -5e-324, 1.7976931348623157e308, float("inf"), float("-inf")]
FLOATS += [
    float("nan"),
    struct.unpack("<d", b"\1\0\0\0\0\0\xf8\xff")[0],
    2.0**53,
    2.0**53 + 2,
    9.223372036854775807e18,
    1e300,
]
STRINGS = [
    "",
    " ",
    "a",
    "A",
    "b",
    "ab",
    "abc",
    "aab",
    "abab",
    "%",
    "_",
    "a%b",
    "a_b",
    "a\\b",
    "é",
    "e\u0301",
    "ß",
    "日本語",
]
STRINGS += [
    "日本",
    "\U0001f600",
    "a\U0001f600b",
    "'",
    '"',
    "it's",
    "\ud7ff",
    "\uffff",
    "\U0010ffff",
    "zz",
    "naïve",
    "\n",
    "\t",
]
MOMENTS = [dt.datetime(1970, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(2020, 2, 29, 12, 30)]
MOMENTS += [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(2020, 2, 29)]
DAYS = [moment.date() for moment in MOMENTS] + [dt.date(2020, 3, 1), dt.date(1969, 12, 31)]


class Table:
    """Not a dataclass: hypothesis would print all of it."""

    def __init__(self, arrow: pa.Table, connection: duckdb.DuckDBPyConnection) -> None:
        self.arrow = arrow
        self.connection = connection
        self.schema = schema_from_arrow(arrow.schema)
        self.columns = {}
        for attribute in self.schema:
            encoded = encode_column(attribute.name, attribute.type, arrow[attribute.name])
            self.columns[attribute.name] = decode_column(encoded.header(), encoded.arrays())

    def __repr__(self) -> str:
        return f"<table of {len(self.arrow)} rows>"

    def duckdb_rows(self, where: str) -> list[int]:
        return [row for (row,) in self.connection.execute(f"SELECT row FROM t WHERE {where} ORDER BY row").fetchall()]

    def rows(self, expression) -> list[int]:
        """The rows that match, with the columns as a reader gets them, and the maybe rows rechecked."""
        bound = bind(expression, self.schema)
        columns = {name: self.columns[name] for name in columns_of(bound)}
        mask = evaluate(bound, columns, len(self.arrow))
        found = list_rows(mask.yes, 0, len(self.arrow))
        if mask.maybe is not None:
            maybe = list_rows(mask.maybe, 0, len(self.arrow))
            found = np.union1d(found, maybe[recheck(mask, self.read_keys, maybe)])
            everything = np.arange(len(self.arrow))
            assert np.array_equal(everything[recheck(mask, self.read_keys, everything)], found)
        return found.tolist()

    def read_keys(self, name, rows):
        return keys_from_arrow(self.schema.find(name).type, self.arrow[name].take(pa.array(rows)))


def make_table(rows: int, seed: int, null_share: float) -> Table:
    rng = random.Random(seed)

    def column(pool, fresh, fresh_share=0.7):
        return [
            None if rng.random() < null_share else fresh() if rng.random() < fresh_share else rng.choice(pool)
            for _ in range(rows)
        ]

    def text():
        return "".join(rng.choice("ab%_é\\日") for _ in range(rng.randrange(6)))

    def moment():
        return dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=rng.randrange(-(2**50), 2**52))

    def strings():
        return [
            None if rng.random() < 0.15 else rng.choice(["a", "b", "ab", "", "é", text()])
            for _ in range(rng.randrange(4))
        ]

    arrow = pa.table(
        {
            "i": pa.array(column(INTEGERS, lambda: rng.randrange(-(2**63), 2**63)), pa.int64()),
            "n": pa.array(column([0, 1, 2], lambda: int(rng.gauss(0, 40))), pa.int64()),
            "u": pa.array(column(UNSIGNED, lambda: rng.randrange(2**64)), pa.uint64()),
            "f": pa.array(column(FLOATS, lambda: rng.gauss(0, 10)), pa.float64()),
            "b": pa.array(column([True, False], lambda: True, 0.1), pa.bool_()),
            "s": pa.array(column(STRINGS, text), pa.string()),
            "c": pa.array(column(STRINGS[:10], lambda: "abc"), pa.string()),
            "t": pa.array(column(MOMENTS, moment), pa.timestamp("us")),
            "d": pa.array(column(DAYS, lambda: moment().date()), pa.date32()),
            "l": pa.array(column([[], [None], ["a"], ["a", "a"], ["a", None]], strings), pa.list_(pa.string())),
        }
    )
    connection = duckdb.connect(config={"threads": 1})
    source = arrow.append_column("row", pa.array(range(rows), pa.int64()))
    connection.register("source", source)
    connection.execute("CREATE TABLE t AS SELECT * FROM source")
    return Table(arrow, connection)


@pytest.fixture(scope="session")
def tables() -> list[Table]:
    return [
        make_table(3000, 1, 0.1),
        make_table(1000, 2, 0.3),
        make_table(64, 3, 0.2),
        make_table(65, 4, 0.0),
        make_table(5, 5, 1.0),
        make_table(1, 6, 0.0),
        make_table(0, 7, 0.0),
    ]
