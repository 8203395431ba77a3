from __future__ import annotations

import datetime as dt
import decimal
import operator

import msgspec
import numpy as np
import pandas as pd
import pytest

from vsearch.errors import InputError, PredicateError
from vsearch.predicates import col, decode, encode, parse
from vsearch.predicates.expressions import And, Comparison, Constant, In, Like, Not, Or
from vsearch.predicates.literals import Date, Number, Timestamp, parse_date, parse_timestamp, to_literal


@pytest.mark.parametrize(
    "use", [bool, lambda e: e and e, lambda e: e or e, lambda e: not e], ids=["bool", "and", "or", "not"]
)
@pytest.mark.parametrize("expression", [col("x") == 1, ~(col("x") < 2), col("x")])
def test_truth_value_is_an_error_that_explains(use, expression):
    with pytest.raises(PredicateError, match="join with & and"):
        use(expression)


def test_chained_comparison_is_an_error_that_explains():
    with pytest.raises(PredicateError, match=r'\(col\("x"\) > a\) & \(col\("x"\) < b\)'):
        1 < col("x") < 5  # noqa: B015


def test_precedence_slips_are_errors():
    with pytest.raises((PredicateError, TypeError)):
        col("x") == 1 & col("y") == 2  # noqa: B015
    with pytest.raises(PredicateError, match="parentheses"):
        (col("x") == 1) & 5


def test_reflected_operators():
    assert (10 > col("x")) == (col("x") < 10)  # noqa: SIM300
    assert (10 == col("x")) == Comparison("x", "=", 10)  # noqa: SIM300


def test_joins_are_flat():
    a, b, c = col("a") == 1, col("b") == 2, col("c") == 3
    assert a & b & c == And((a, b, c))
    assert (a | b) | c == Or((a, b, c))
    assert (a | b) & c == And((Or((a, b)), c))


def test_a_bool_column_is_a_predicate():
    assert parse(col("b")) == Comparison("b", "=", True)
    assert ~col("b") & col("c") == And((Not(Comparison("b", "=", True)), Comparison("c", "=", True)))


@pytest.mark.parametrize("compare", [operator.eq, operator.ne, operator.lt])
def test_none_is_refused_where_sql_would_find_nothing(compare):
    with pytest.raises(PredicateError, match="is_null"):
        compare(col("x"), None)


def test_columns_are_not_compared_with_columns():
    with pytest.raises(PredicateError, match="another column"):
        col("x") == col("y")  # noqa: B015


@pytest.mark.parametrize("name", ["", None, 3])
def test_column_names_are_strings(name):
    with pytest.raises(PredicateError):
        col(name)


@pytest.mark.parametrize("values", ["abc", b"xyz", 5, None])
def test_lists_are_lists(values):
    with pytest.raises(PredicateError, match="list of values"):
        col("x").is_in(values)


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (True, True),
        (np.True_, True),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (2**64, Number(str(2**64))),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.str_("é"), "é"),
        (decimal.Decimal("10.50"), 10.5),
        (decimal.Decimal("1E+3"), 1000),
        (decimal.Decimal("9007199254740993.5"), Number("9007199254740993.5")),
        (dt.date(1970, 1, 2), Date(1)),
        (dt.datetime(1970, 1, 1, 0, 0, 1), Timestamp(1_000_000)),
        (dt.datetime(1970, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), Timestamp(0)),
        (np.datetime64("1970-01-02"), Date(1)),
        (np.datetime64("1970-01-01T00:00:01.000000500"), Timestamp(1_000_000, 500)),
        (pd.Timestamp("1970-01-01T00:00:01Z"), Timestamp(1_000_000)),
    ],
)
def test_literals(value, literal):
    made = to_literal(value)
    assert made == literal
    assert type(made) is type(literal)


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        [1],
        {},
        object(),
        1j,
        pd.NaT,
        np.datetime64("NaT", "us"),
        "\ud800",
        "x" * 2**21,
        10**400,
        np.arange(3),
        decimal.Decimal("1e999"),
    ],
)
def test_what_is_no_literal(value):
    with pytest.raises(PredicateError):
        to_literal(value)


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("1970-01-01", 0),
        ("1970-1-2", 86_400_000_000),
        ("1970-01-01 00:00", 0),
        ("1970-01-01T00:00:01", 1_000_000),
        ("1970-01-01 00:00:00.5", 500_000),
        ("1970-01-01 00:00:00.123456", 123_456),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01 02:00:00+02", 0),
        ("1970-01-01 02:30:00+02:30", 0),
        ("1970-01-01 00:00:00-0100", 3_600_000_000),
        (" 1969-12-31 23:59:59.999999 ", -1),
    ],
)
def test_timestamps(text, microseconds):
    assert parse_timestamp(text) == Timestamp(microseconds)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2020-13-01", "2020-02-30", "2020-01-01 25:00", "2020", "20200101", "2020-01-01 5"]
)
def test_what_is_no_timestamp(text):
    with pytest.raises(PredicateError, match="is not a timestamp"):
        parse_timestamp(text)


def test_a_date_has_no_time_of_day():
    assert parse_date("1970-01-02 00:00") == Date(1)
    with pytest.raises(PredicateError, match="TIMESTAMP '1970-01-02 12:00'"):
        parse_date("1970-01-02 12:00")


def test_round_trip():
    expression = (
        (col("a") == 2**64 - 1)
        & col("b").is_in([None, True, -(2**63), 0.5, "é", dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), 2**70])
        & (col("c").like("a!_%", "!") | ~col("d").is_null() | col("e").contains_all(["x", None]))
    ) | Constant(None)
    assert decode(encode(expression)) == expression


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"garbage",
        msgspec.msgpack.encode({"kind": "comparison", "column": "x", "operator": "like", "value": 1}),
        msgspec.msgpack.encode({"kind": "comparison", "column": "", "operator": "=", "value": 1}),
        msgspec.msgpack.encode({"kind": "comparison", "column": "x", "operator": "=", "value": [1]}),
        msgspec.msgpack.encode(
            {"kind": "comparison", "column": "x", "operator": "=", "value": {"kind": "number", "text": "1e9"}}
        ),
        msgspec.msgpack.encode({"kind": "and", "terms": [{"kind": "surprise"}]}),
        msgspec.msgpack.encode({"kind": "like", "column": "x", "pattern": "a", "escape": "é"}),
        msgspec.msgpack.encode({"kind": "like", "column": "x", "pattern": "a" * 20_000}),
        msgspec.msgpack.encode({"kind": "in", "column": "x", "values": [0] * 100_001}),
        b"\x82\xa4kind\xa3not\xa4term" * 100_000 + b"\xc0",
    ],
)
def test_hostile_bytes(data):
    with pytest.raises(PredicateError):
        decode(data)


def deep(levels):
    expression = col("x") == 1
    for _ in range(levels - 1):
        expression = Not(expression)
    return expression


def test_bounds():
    assert parse(deep(100)) is not None
    with pytest.raises(PredicateError, match="deep"):
        parse(deep(101))
    leaf = col("x") == 1
    assert parse(Or((leaf,) * 999)) is not None
    with pytest.raises(PredicateError, match="1000 parts"):
        parse(Or((leaf,) * 1000))
    assert parse(col("x").is_in(range(100_000))) is not None
    with pytest.raises(PredicateError, match="100000 are allowed"):
        col("x").is_in(range(100_001))
    with pytest.raises(PredicateError, match="lists of the predicate"):
        parse(Or((In("x", (1,) * 60_000), In("y", (1,) * 60_000))))
    with pytest.raises(PredicateError, match="pattern"):
        col("x").like("a" * 10_001)


def test_parse_takes_nothing_else():
    assert parse(None) is None
    assert parse({}) is None
    with pytest.raises(InputError, match="got int"):
        parse(5)
    with pytest.raises(PredicateError, match="ESCAPE"):
        parse(Like("x", "a", "é"))
