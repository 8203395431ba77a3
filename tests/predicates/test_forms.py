"""Forms of predicates: text, case, empty lists, COALESCE and three-valued logic, and errors where they do not apply."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from tests.predicates.conftest import Table
from vsearch.errors import PredicateError
from vsearch.predicates import col, decode, encode, parse
from vsearch.predicates.folding import folded

TEXTS = ["Abc", "aBC", "", None, "É", "ß", "İi", "ΑΣ", "100%", "a_c"]
LISTS = [[], None, ["a"], [None], ["a", "a"], ["b", None], [""], ["a", "b"], [], None]


@pytest.fixture(scope="module")
def table() -> Table:
    arrow = pa.table({"s": TEXTS, "t": LISTS, "n": [1, None, 3, 4, None, 0, 7, 8, None, 10], "b": [True, None] * 5})
    connection = duckdb.connect()
    connection.register("source", arrow.append_column("row", pa.array(range(10))))
    connection.execute("CREATE TABLE t AS SELECT * FROM source")
    return Table(arrow, connection)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sql", "other"),
    [
        ("s ILIKE 'abc'", col("s").ilike("ABC")),
        ("s NOT ILIKE 'a%'", ~col("s").ilike("A%")),
        ("s ILIKE 'İ%'", {"s": {"$ilike": "İ%"}}),
        ("lower(s) = 'abc'", col("s").lower() == "abc"),
        ("upper(s) IN ('ABC', 'ẞ')", col("s").upper().is_in(["ABC", "ẞ"])),
        ("lower(s) BETWEEN 'a' AND 'é'", col("s").lower().between("a", "é")),
        ("contains(s, 'b')", {"s": {"$contains": "b"}}),
        ("contains(s, '%')", col("s").contains("%")),
        ("NOT contains(s, '')", {"s": {"$not": {"$contains": ""}}}),
        ("contains(lower(s), 'bc')", col("s").lower().contains("bc")),
        ("starts_with(s, 'a')", {"s": {"$startsWith": "a"}}),
        ("suffix(s, 'c')", col("s").ends_with("c")),
        ("contains(t, 'a')", {"t": {"$contains": "a"}}),
        ("t = []", {"t": []}),
        ("NOT t = []", {"t": {"$ne": []}}),
        ("len(t) = 0", {"t": {"$size": 0}}),
        ("array_length(t) > 0", ~col("t").is_empty()),
        ("(n > 3 AND b) IS NOT TRUE", None),
        ("(n > 3 OR b) IS UNKNOWN", None),
        ("NOT ((n > 3) IS FALSE)", None),
        ("((n > 3) IS UNKNOWN) IS NOT TRUE", None),
        ("(list_contains(t, 'a')) IS NOT TRUE", None),
        ("('a' = ANY(t)) IS UNKNOWN", None),
        ("(NULL) IS UNKNOWN", None),
        ("COALESCE(n, 5) > 4", None),
        ("NOT COALESCE(n, 5) > 4", None),
        ("COALESCE(s, 'X') ILIKE 'x'", None),
        ("COALESCE(b, FALSE) IS NOT TRUE", None),
        ("IFNULL(n, 0) IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)", None),
        ("COALESCE(n, NULL) = 3", None),
    ],
)
def test_forms(table: Table, sql: str, other: object) -> None:
    expected = table.duckdb_rows(sql)
    expression = parse(sql)
    assert table.rows(decode(encode(expression))) == expected
    if other is not None:
        assert table.rows(parse(other)) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("len(t) = 2", "only be tested for empty or not"),
        ("COALESCE(n, 1.5) > 1", "must be a value that the column can hold"),
        ("COALESCE(n, b, 1) > 1", "a column and a value"),
        ("lower(n) = 'a'", "lower applies to strings"),
        ("contains(n, 'a')", "contains applies to strings and lists"),
        ("starts_with(t, 'a')", "starts_with applies to strings"),
        ("contains(s, 5)", "needs a string, got the number 5"),
        ("s = []", "only a list can be empty"),
        ("t < []", "only = and <> apply"),
        ("abs(n) = 1", "functions are not supported, except lower"),
        ({"s": {"$regex": "a"}}, r"use \$like, \$ilike, \$contains"),
        ({"t": {"$size": 2}}, "must be 0"),
    ],
)
def test_what_does_not_apply_is_said(table: Table, where: object, message: str) -> None:
    with pytest.raises(PredicateError, match=message):
        table.rows(parse(where))


def test_unknown_of_unknown_stays_small(table: Table) -> None:
    where = "n > 1"
    for _ in range(15):
        where = f"(({where}) IS UNKNOWN AND b)"
    with pytest.raises(PredicateError, match="more than 1000 parts"):
        parse(where)


UNICODE_16 = {
    *(0x19B, 0x264),
    *(
        point
        for first, last in ((0x1C89, 0x1C8A), (0xA7CB, 0xA7DD), (0x10D50, 0x10D85))
        for point in range(first, last + 1)
    ),
}
"""Letters that have case since Unicode 16, which Python has from 3.14 on, and DuckDB does not yet."""


def test_case_is_that_of_duckdb_for_every_code_point() -> None:
    points = [point for point in range(1, 0x20000) if not 0xD800 <= point < 0xE000 and point not in UNICODE_16]
    connection = duckdb.connect()
    connection.execute("CREATE TABLE t AS SELECT unnest(?::INT[]) AS p", [points])
    lower, upper = connection.execute(
        "SELECT string_agg(lower(chr(p)), '' ORDER BY p), string_agg(upper(chr(p)), '' ORDER BY p) FROM t"
    ).fetchone()
    text = "".join(map(chr, points))
    assert folded(text, "lower") == lower
    assert folded(text, "upper") == upper


@pytest.mark.parametrize(
    "constant",
    [
        "1 = 1",
        "1=0",
        "(1) <> (1)",
        "TRUE",
        "FALSE",
        "TRUE > FALSE",
        "'a' < 'B'",
        "'é' >= 'z'",
        "1 = 1.0",
        "0.1 = 0.10",
        "9007199254740993 = 9007199254740992.0",
        "18446744073709551616 > 18446744073709551615",
        "-1 < 0",
        "0.1::FLOAT = 0.1::DOUBLE",
        "-0e0 = 0e0",
        "'NaN'::DOUBLE = 'NaN'::DOUBLE",
        "'NaN'::DOUBLE > 'inf'::DOUBLE",
        "DATE '2020-01-01' < DATE '2020-01-02'",
        "TIMESTAMP '2020-01-01 00:00:01' <= TIMESTAMP '2020-01-01'",
        "NULL = 1",
        "NULL <> NULL",
        "NULL IS DISTINCT FROM 1",
        "NULL IS NOT DISTINCT FROM NULL",
        "1 IS NOT DISTINCT FROM 1",
    ],
)
def test_comparisons_of_constants(table, constant):
    """Query builders write them for conditions that are always true or false."""
    for where in (
        constant,
        f"NOT {constant}",
        f"{constant} AND n > 3",
        f"n > 3 OR {constant}",
        f"NOT ({constant} AND n > 3)",
        f"({constant}) IS UNKNOWN OR n IN (1, 3)",
    ):
        assert table.rows(decode(encode(parse(where)))) == table.duckdb_rows(where), where
