"""Numbers and moments at their edges are compared as DuckDB compares them, in the column's own type."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.predicates.conftest import Table
from vsearch.errors import PredicateError
from vsearch.fanout.wire.values import to_values
from vsearch.predicates import parse
from vsearch.storage.files.columns import as_written
from vsearch.storage.files.plain_columns import Column

OPERATORS = ("=", "<>", "<", "<=", ">", ">=")


def table_of(columns: dict[str, pa.Array]) -> Table:
    arrow = pa.table(columns)
    connection = duckdb.connect(config={"threads": 1})
    connection.register("source", arrow.append_column("row", pa.array(range(len(arrow)), pa.int64())))
    connection.execute("CREATE TABLE t AS SELECT * FROM source")
    return Table(arrow, connection)


def predicates(column: str, literals: list[str], rng: random.Random) -> list[str]:
    found = [f"{column} {operator} {literal}" for literal in literals for operator in OPERATORS]
    found += [f"NOT {column} > {literal}" for literal in literals]
    for _ in range(40):
        some = rng.sample(literals, 3)
        found.append(f"{column} IN ({', '.join(some)})")
        found.append(f"{column} NOT IN ({', '.join(some)})")
        found.append(f"{column} BETWEEN {some[0]} AND {some[1]}")
        found.append(f"{column} IS DISTINCT FROM {some[0]}")
    return found


@pytest.mark.slow
def test_float32_compares_with_decimals_in_its_own_type() -> None:
    rng = random.Random(1)
    # literals of seven digits at most, which DuckDB's own cast to FLOAT rounds correctly
    written = ["0.1", "0.3", "1.3", "500.2", "7.5", "0.10", "16777217", "0", "-0.0", "-0.1", "3.5", "1000000.5"]
    written += [f"{rng.randrange(-10_000, 10_000) / 100}" for _ in range(30)]
    values = np.array([float(text) for text in written], np.float32)
    around = np.concatenate(
        [values, np.nextafter(values, np.float32(np.inf)), np.nextafter(values, -np.float32(np.inf))]
    )
    around = np.concatenate([around, np.array([np.inf, -np.inf, np.nan, 3.4028235e38, 1e-45], np.float32)])
    table = table_of({"f": pa.array([*around.tolist(), None], pa.float32())})
    literals = [
        *written,
        "0.10000000149011612e0",
        "1e-1",
        "0.1::DOUBLE",
        "CAST(0.1 AS FLOAT)",
        "-(0.1::REAL)",
        "(1e-1)::FLOAT",
        "'NaN'::DOUBLE",
        "1e39",
        "1e400",
    ]
    for where in predicates("f", written, rng) + [f"f {op} {literal}" for op in OPERATORS for literal in literals]:
        assert table.rows(parse(where)) == table.duckdb_rows(where), where


def test_more_values_than_cells_are_rechecked_in_their_own_type() -> None:
    values = np.arange(3000, dtype=np.float32) / np.float32(10)
    table = table_of({"f": pa.array(values)})
    halves = Table(pa.table({"h": pa.array(values.astype(np.float16))}), table.connection)
    for literal in ("0.1", "12.3", "299.9", "0.7"):
        assert table.rows(parse(f"f <= {literal}")) == table.duckdb_rows(f"f <= {literal}")
        assert (
            halves.rows(parse(f"h = {literal}"))
            == np.flatnonzero(values.astype(np.float16) == np.float16(literal)).tolist()
        )


@pytest.mark.parametrize(
    ("kind", "literal", "nearest"),
    [
        # a double rounds these to a tie first, which then goes the wrong way
        ("float32", "16777217.00000000001", 16777218.0),
        ("float32", "16777218.99999999999", 16777218.0),
        ("float16", "2049.00000000000000001", 2050.0),
        ("float16", "0.1", float(np.float16(0.1))),
    ],
)
def test_literals_are_rounded_once(kind: str, literal: str, nearest: float) -> None:
    own = np.array([2048, 2050, 0.1, nearest / 2, nearest] if kind == "float16" else [16777216, nearest], kind)
    table = Table(pa.table({"x": pa.array(own)}), duckdb.connect())
    assert table.rows(parse(f"x = {literal}")) == np.flatnonzero(own == own.dtype.type(nearest)).tolist()


@pytest.mark.parametrize("literal", ["65520", "1" + "0" * 38, "9" * 300])
def test_a_number_beyond_all_of_a_type_is_not_its_infinity(literal: str) -> None:
    halves = pa.array(np.array([1, 65504, np.inf, -np.inf, np.nan], np.float16))
    table = Table(pa.table({"h": halves}), duckdb.connect())
    assert table.rows(parse(f"h = {literal}")) == []
    assert table.rows(parse(f"h < {literal}")) == [0, 1, 3]
    assert table.rows(parse(f"h >= -{literal}")) == [0, 1, 2, 4]


@pytest.mark.slow
def test_decimals_are_exact() -> None:
    rng = random.Random(2)
    whole = [9007199254740992, 9007199254740993, 10**17, 10**17 + 1, -(10**17), 0, 1, -1, 10, 15]
    whole += [rng.randrange(-(10**17), 10**17) for _ in range(400)]
    few = pa.array([Decimal(n).scaleb(-2) for n in whole] + [None], pa.decimal128(18, 2))
    big = pa.array([Decimal(n * 10**18 + n % 7) for n in whole] + [None], pa.decimal128(38, 0))
    table = table_of({"d": few, "h": big})
    literals = [
        "0.1",
        "0.10",
        "0.100",
        "0.105",
        "0.1000000000000000001",
        "90071992547409.92",
        "90071992547409.93",
        "-0.01",
    ]
    literals += [
        "0",
        "-0.0",
        "1e-1",
        "0.15",
        "0.1e0",
        f"{whole[20] / 100:.2f}",
        "1000000000000000.01",
        "99999999999999999",
    ]
    for where in predicates("d", [each for each in literals if "e" not in each], rng):
        assert table.rows(parse(where)) == table.duckdb_rows(where), where
    for where in predicates("h", [str(n * 10**18 + d) for n in whole[:6] for d in (0, 1, 2)], rng):
        assert table.rows(parse(where)) == table.duckdb_rows(where), where
    assert table.rows(parse("d = 1e-1")) == [8]
    assert table.rows(parse("d < 1e400")) == list(range(len(whole)))
    assert table.rows(parse(f"d < {'9' * 100}")) == list(range(len(whole)))
    assert table.rows(parse({"d": Decimal("0.15")})) == [9]
    assert table.rows(parse({"d": 0.15})) == [9]


def test_decimals_come_back_as_they_were(tmp_path) -> None:
    values = [Decimal("9007199254740992.00"), Decimal("9007199254740993.00"), None, Decimal("-0.05")]
    given = pa.table(
        {"d": pa.array(values, pa.decimal128(20, 2)), "e": pa.array([1, 2, None, 4], pa.decimal128(38, 0))}
    )
    index = vsearch.build(np.eye(4, dtype=np.float32), str(tmp_path / "index"), attributes=given)
    assert index.get([0, 1, 2, 3]).select(["d", "e"]).equals(given)
    assert index.info()["attributes"] == {"d": "decimal(20, 2)", "e": "decimal(38, 0)"}
    again = vsearch.open(str(tmp_path / "index"))
    assert again.search(np.ones(4, np.float32), k=4, where="d = 9007199254740993").ids[0].tolist() == [1, -1, -1, -1]


def test_decimals_in_json_are_text() -> None:
    whole = np.array([[-5, -1], [1, 1], [100, 0]], "<i8")
    column = Column("decimal128(20, 2)", 3, b"\1\1\0", whole.tobytes())
    assert to_values(column) == ["-0.05", "184467440737095516.17", None]


def test_floats_come_back_as_they_were_written() -> None:
    values = [0.1, None, float("nan"), float("inf"), 1e-7, 16.0]
    for kind in (pa.float32(), pa.float16()):
        given = pa.array(
            np.array([v or 0 for v in values], kind.to_pandas_dtype()), mask=np.array([v is None for v in values])
        )
        back = as_written(pa.chunked_array([given])).to_pylist()
        assert back[0] == 0.1
        assert back[1] is None
        rounded = np.array([v or 0 for v in back], kind.to_pandas_dtype())
        assert np.array_equal(rounded[[0, 3, 4, 5]], given.fill_null(0).to_numpy(zero_copy_only=False)[[0, 3, 4, 5]])
        assert np.isnan(rounded[2])
    lists = pa.array([[0.1, None], None, []], pa.list_(pa.float32())).slice(0, 2)
    assert as_written(lists).to_pylist() == [[0.1, None], None]
    assert to_values(Column("float32", 1, None, np.float32(0.1).tobytes())) == [0.1]


def test_nanoseconds_are_exact() -> None:
    moments = [1_700_000_000_123_456_789, 1_700_000_000_123_456_000, 1_700_000_000_123_456_790, -1, 0, None]
    table = table_of({"t": pa.array(moments, pa.timestamp("ns"))})
    literals = [
        "2023-11-14 22:13:20.123456789",
        "2023-11-14 22:13:20.123456",
        "1969-12-31 23:59:59.999999999",
        "1970-01-01",
    ]
    for literal in literals:
        for operator in OPERATORS:
            where = f"t {operator} '{literal}'"
            assert table.rows(parse(where)) == table.duckdb_rows(f"t {operator} TIMESTAMP_NS '{literal}'")
            assert table.rows(parse(f"t {operator} TIMESTAMP '{literal}'")) == table.rows(parse(where))
    assert table.rows(parse({"t": np.datetime64(moments[0], "ns")})) == [0]
    assert table.rows(parse("t < '9000-01-01'")) == [0, 1, 2, 3, 4]
    assert table.rows(parse("t > '2023-11-14 23:13:20.123456789+01:00'")) == [2]


def test_a_moment_between_two_microseconds_equals_neither() -> None:
    table = table_of({"t": pa.array([5, 6], pa.timestamp("us"))})
    between = np.datetime64(5_500, "ns")
    assert table.rows(parse({"t": between})) == []
    assert table.rows(parse({"t": {"$gt": between}})) == [1]
    # text becomes what the column can hold, as in DuckDB
    assert table.rows(parse("t = '1970-01-01 00:00:00.0000055'")) == table.duckdb_rows(
        "t = '1970-01-01 00:00:00.0000055'"
    )


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us"), pa.timestamp("ns")])
def test_a_year_or_a_month_is_all_of_its_days(kind) -> None:
    days = [
        dt.date(2023, 12, 31),
        dt.date(2024, 1, 1),
        dt.date(2024, 5, 31),
        dt.date(2024, 12, 31),
        dt.date(2025, 1, 1),
    ]
    table = table_of({"d": pa.array(days).cast(kind)})
    assert table.rows(parse("d = '2024'")) == [1, 2, 3]
    assert table.rows(parse("d <> '2024'")) == [0, 4]
    assert table.rows(parse("d >= '2024'")) == [1, 2, 3, 4]
    assert table.rows(parse("d > '2024'")) == [4]
    assert table.rows(parse("d < '2024-05'")) == [0, 1]
    assert table.rows(parse("d <= '2024-05'")) == [0, 1, 2]
    assert table.rows(parse("d BETWEEN '2024' AND '2024-05'")) == [1, 2]
    assert table.rows(parse({"d": {"$in": ["2023", "2025-1"]}})) == [0, 4]
    assert table.rows(parse("d <= '9999'")) == [0, 1, 2, 3, 4]
    for wrong in ("2024-13", "0000", "20245"):
        with pytest.raises(PredicateError, match="'d' is"):
            table.rows(parse(f"d = '{wrong}'"))


@pytest.mark.slow
def test_integers_near_the_edges_of_doubles() -> None:
    edges = [0, 1, 2**53, 2**53 + 1, 2**53 - 1, 2**63 - 1, 2**63 - 2]
    signed = edges + [-value for value in edges] + [-(2**63)]
    unsigned = [*edges, 2**63, 2**63 + 1, 2**64 - 1, 2**64 - 2]
    count = max(len(signed), len(unsigned))
    table = table_of(
        {
            "i": pa.array((signed + [None] * count)[:count], pa.int64()),
            "u": pa.array((unsigned + [None] * count)[:count], pa.uint64()),
        }
    )
    literals = [str(value) for value in signed + unsigned] + [
        "1.5",
        "-0.0",
        "0.5",
        "9007199254740992.5",
        "9223372036854775807.0",
    ]
    doubles = ["9007199254740993e0", "1e400", "-1e400", "9223372036854775807e0", "1e0", "18446744073709551615e0"]
    for column in ("i", "u"):
        for where in [f"{column} {op} {literal}" for op in OPERATORS for literal in literals + doubles]:
            assert table.rows(parse(where)) == table.duckdb_rows(where), where


def test_numbers_in_lists() -> None:
    rng = random.Random(4)

    def lists(pool):
        return [None if rng.random() < 0.1 else [rng.choice(pool) for _ in range(rng.randrange(4))] for _ in range(600)]

    whole = [0, 1, -1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1, None]
    floats = [0.1, 0.5, -0.0, 1.0, float("inf"), 1e300, None]
    table = table_of(
        {
            "n": pa.array(lists(whole), pa.list_(pa.int64())),
            "f": pa.array(lists(floats), pa.list_(pa.float64())),
            "s": pa.array(lists([0.1, 0.3, 7.5, None]), pa.list_(pa.float32())),
        }
    )
    for column, values in (("n", whole[:-1]), ("f", [0.1, 0.5, 0.0, 1.0]), ("s", [0.1, 0.3, 7.5, 8])):
        for value in values:
            for where in (f"list_contains({column}, {value})", f"NOT list_contains({column}, {value})"):
                assert table.rows(parse(where)) == table.duckdb_rows(where), where
        some = ", ".join(str(value) for value in values[1:3])
        for name in ("list_has_any", "list_has_all"):
            where = f"{name}({column}, [{some}])"
            assert table.rows(parse(where)) == table.duckdb_rows(where), where
        assert table.rows(parse({column: values[1]})) == table.duckdb_rows(f"list_contains({column}, {values[1]})")
    assert table.rows(parse("list_contains(n, 1.5)")) == []
    assert table.rows(parse("list_has_all(n, [1.5])")) == []
    with pytest.raises(PredicateError, match=r"list of numbers .* cannot hold the string"):
        table.rows(parse("list_contains(n, 'a')"))
