"""Random predicates on random typed tables full of NULLs, compared with DuckDB: as SQL, after serialization, and as displayed."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from vsearch.kernels.filters.bitmaps import list_rows
from vsearch.predicates import (
    Schema,
    bind,
    columns_of,
    decode,
    decode_column,
    encode,
    encode_column,
    evaluate,
    keys_from_arrow,
    parse,
    recheck,
    schema_from_arrow,
    to_sql,
)

ROWS = (0, 1, 5, 64, 65, 700)
TRIES_PER_TABLE = 50
TEXTS = ["", "a", "A", "ab", "AB", "aBc", "é", "É", "İ", "ß", "日本", "%", "_", "it's", "x%y", "zz", "ΑΣ", "a b"]
PATTERNS = ["%", "a%", "%b", "_", "%B%", "A_", "é", "%日%", "x!%%", "", "i%", "%'s"]
FEW = [0, 1, 2, 3, -1, 10, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
OPERATORS = ["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]
ARRAYS = {"tags": ["'a'", "'B'", "''", "'zz'"], "numbers": ["0", "1", "-1", "9007199254740993"]}


@dataclass(frozen=True)
class Table:
    """A random table, in DuckDB and encoded."""

    arrow: pa.Table
    connection: Any
    schema: Schema
    columns: dict[str, Any]

    def expected(self, where: str) -> list[int]:
        """The rows that DuckDB finds."""
        sql = f"SELECT row FROM t WHERE {where} ORDER BY row"  # noqa: S608  made below
        return [row for (row,) in self.connection.execute(sql).fetchall()]

    def found(self, expression: Any) -> list[int]:
        """The rows that vsearch finds."""
        bound, rows = bind(expression, self.schema), len(self.arrow)
        mask = evaluate(bound, {name: self.columns[name] for name in columns_of(bound)}, rows)
        yes = list_rows(mask.yes, 0, rows)
        if mask.maybe is not None:
            maybe = list_rows(mask.maybe, 0, rows)
            yes = np.union1d(yes, maybe[recheck(mask, self._keys, maybe)])
        return [int(row) for row in yes]

    def _keys(self, name: str, rows: Any) -> Any:
        return keys_from_arrow(self.schema.find(name).type, self.arrow[name].take(pa.array(rows)))


def fuzz_predicates(seed: int, tries: int) -> None:
    """Try random predicates; deterministic for a given seed.

    Raises
    ------
    AssertionError
        Names the seed, the try and the predicate for which the rows differ from DuckDB.
    """
    rng = random.Random(seed)
    table = make_table(rng)
    for number in range(tries):
        if number and number % TRIES_PER_TABLE == 0:
            table = make_table(rng)
        where = condition(rng, 3)
        expected = table.expected(where)
        expression = parse(where)
        assert expression is not None
        named = f"seed {seed}, try {number}, {len(table.arrow)} rows: {where}"
        assert table.found(decode(encode(expression))) == expected, named
        assert table.found(parse(to_sql(expression))) == expected, f"{named}, shown as {to_sql(expression)}"


def make_table(rng: random.Random) -> Table:
    """A table of all types with many NULLs, and few or many distinct values."""
    import duckdb

    rows, nulls, wide = rng.choice(ROWS), rng.choice([0.0, 0.1, 0.5, 1.0]), rng.random() < 0.5

    def column(values: list[Any], draw: Callable[[], Any]) -> list[Any]:
        return [
            None if rng.random() < nulls else draw() if wide and rng.random() < 0.8 else rng.choice(values)
            for _ in range(rows)
        ]

    def items(pool: list[Any]) -> Callable[[], Any]:
        return lambda: [rng.choice([*pool, None]) for _ in range(rng.randrange(4))]

    def moment() -> dt.datetime:
        return _moment("2024-01-01") + dt.timedelta(microseconds=rng.randrange(-(2**50), 2**50))

    moments = [_moment(text) for text in ("2024-01-01", "2024-05-31 23:59:59", "1969-12-31")]
    singles = [0.1, 0.3, 1.3, 7.5, -0.0, float("inf"), float("nan")]
    arrow = pa.table(
        {
            "n": pa.array(column(FEW, lambda: rng.randrange(-300, 300)), pa.int64()),
            "u": pa.array(column([0, 1, 2**63, 2**64 - 1], lambda: rng.randrange(2**64)), pa.uint64()),
            "f": pa.array(column([*singles, 2.0**53], lambda: rng.gauss(0, 5)), pa.float64()),
            "speed": pa.array(column(singles, lambda: rng.randrange(-500, 500) / 10), pa.float32()),
            "price": pa.array(
                column(
                    [Decimal("0.10"), Decimal("9007199254740993.01"), Decimal(-1)],
                    lambda: Decimal(rng.randrange(999)) / 100,
                ),
                pa.decimal128(20, 2),
            ),
            "b": pa.array(column([True, False], lambda: rng.random() < 0.5), pa.bool_()),
            "s": pa.array(
                column(TEXTS, lambda: "".join(rng.choice("aAbBéÉ_%") for _ in range(rng.randrange(5)))), pa.string()
            ),
            "t": pa.array(column(moments, moment), pa.timestamp("us")),
            "day": pa.array([None if one is None else one.date() for one in column(moments, moment)], pa.date32()),
            "tags": pa.array(column([[], ["a"], ["a", None]], items(["a", "B", "", "zz"])), pa.list_(pa.string())),
            "numbers": pa.array(column([[], [0], [None]], items(FEW)), pa.list_(pa.int64())),
        }
    )
    connection = duckdb.connect(config={"threads": 1})
    connection.register("source", arrow.append_column("row", pa.array(range(rows), pa.int64())))
    connection.execute("CREATE TABLE t AS SELECT * FROM source")
    schema = schema_from_arrow(arrow.schema)
    columns = {}
    for attribute in schema:
        encoded = encode_column(attribute.name, attribute.type, arrow[attribute.name])
        columns[attribute.name] = decode_column(encoded.header(), encoded.arrays())
    return Table(arrow, connection, schema, columns)


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def condition(rng: random.Random, depth: int) -> str:
    """A random condition that both can parse."""
    kind = rng.randrange(9)
    if depth == 0 or kind < 4:
        return _leaf(rng)
    inner = condition(rng, depth - 1)
    if kind == 4:
        return f"NOT ({inner})"
    if kind == 5:
        return f"({inner}) IS {rng.choice(['', 'NOT '])}{rng.choice(['TRUE', 'FALSE', 'UNKNOWN', 'NULL'])}"
    return f"({inner}) {rng.choice(['AND', 'OR'])} ({condition(rng, depth - 1)})"


def _leaf(rng: random.Random) -> str:
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice(
            ["b", "TRUE", "FALSE", "NULL", "COALESCE(b, TRUE)", "b IS TRUE", "b IS NOT FALSE", "s IS NULL", "n = NULL"]
        )
    if kind == 1:
        column = rng.choice([*ARRAYS, "s", "n", "speed", "price", "day"])
        return f"{column} IS {rng.choice(['', 'NOT '])}NULL"
    if kind == 2:
        return _list_test(rng)
    if kind in (3, 4, 5):
        return _text_test(rng)
    column, literal = _scalar(rng)
    if rng.random() < 0.25:
        default = literal()
        column = (
            f"COALESCE({column}, {'0.10' if default == '0.105' else default})"  # the default has two decimals as well
        )
    shape = rng.randrange(3)
    if shape == 0:
        low, high = literal(), literal()
        return f"{column} {rng.choice(['', 'NOT '])}BETWEEN {low} AND {high}"
    if shape == 1:
        values = [literal() for _ in range(rng.choice([1, 2, 3, 12]))] + (["NULL"] if rng.random() < 0.2 else [])
        return f"{column} {rng.choice(['', 'NOT '])}IN ({', '.join(values)})"
    return f"{column} {rng.choice(OPERATORS)} {literal()}"


def _scalar(rng: random.Random) -> tuple[str, Callable[[], str]]:
    days = ["DATE '2024-01-01'", "DATE '2024-05-31'", "'1969-12-31'"]
    literals: dict[str, Callable[[], str]] = {
        "n": lambda: str(rng.choice([*FEW, rng.randrange(-300, 300)])),
        "u": lambda: str(rng.choice([0, 1, 2**63, 2**64 - 1, rng.randrange(2**63)])),
        "f": lambda: rng.choice(["0.1", "1.3", "7.5", "-0.5", "9007199254740993", "0", "'NaN'::DOUBLE", "1e0"]),
        "speed": lambda: f"{rng.choice([1, 3, 13, 75, rng.randrange(-500, 500)]) / 10}{rng.choice(['', '0'])}",
        "price": lambda: rng.choice(
            ["0.1", "0.100", "9007199254740993.01", "-1", "0.105", f"{rng.randrange(999) / 100}"]
        ),
        "t": lambda: rng.choice(
            ["TIMESTAMP '2024-01-01'", "'2024-05-31 23:59:59'", "TIMESTAMP '2023-07-01 12:00:00.5'"]
        ),
        "day": lambda: rng.choice(days),
    }
    column = rng.choice(sorted(literals))
    return column, literals[column]


def _text(rng: random.Random) -> str:
    return "'" + rng.choice(TEXTS).replace("'", "''") + "'"


def _text_test(rng: random.Random) -> str:
    column = rng.choice(["s", "s", "lower(s)", "upper(s)"])
    if rng.random() < 0.25:
        column = f"COALESCE({column}, {_text(rng)})"
    negation = rng.choice(["", "NOT "])
    kind = rng.randrange(4)
    if kind == 0:
        return f"{column} {rng.choice(OPERATORS)} {_text(rng)}"
    if kind == 1:
        return f"{column} {negation}IN ({_text(rng)}, {_text(rng)})"
    if kind == 2:
        pattern = "'" + rng.choice(PATTERNS).replace("'", "''") + "'"
        return f"{column} {negation}{rng.choice(['LIKE', 'ILIKE'])} {pattern}{rng.choice(['', chr(32) + 'ESCAPE ' + repr('!')])}"
    name = rng.choice(["contains", "starts_with", "ends_with", "prefix", "suffix"])
    return f"{negation}{name}({column}, {_text(rng)})"


def _list_test(rng: random.Random) -> str:
    column = rng.choice(sorted(ARRAYS))
    values = ARRAYS[column]
    one, some = rng.choice(values), ", ".join(rng.choices(values, k=rng.choice([1, 2, 3])))
    return rng.choice(
        [
            f"list_contains({column}, {one})",
            f"contains({column}, {one})",
            f"list_has_any({column}, [{some}])",
            f"list_has_all({column}, [{some}])",
            f"{one} = ANY({column})",
            f"{column} = []",
            f"{column} <> []",
            f"len({column}) {rng.choice(['= 0', '> 0', '<= 0', '>= 1', '<> 0', '< 1'])}",
            f"array_length({column}) = 0",
        ]
    )
