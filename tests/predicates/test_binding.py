from __future__ import annotations

import numpy as np
import pytest

from vsearch.errors import PredicateError
from vsearch.predicates import Attribute, AttributeType, Schema, bind, col, columns_of, parse
from vsearch.predicates.bound import AllOf, Everything, KeyRange, NullTest, StringRange
from vsearch.predicates.keys import cuts, keys_from_values
from vsearch.predicates.types.numbers import float_key
from vsearch.predicates.types.record import LOWEST, TOP

SCHEMA = Schema(
    (
        Attribute("price", AttributeType.FLOAT64),
        Attribute("count", AttributeType.INT64),
        Attribute("big", AttributeType.UINT64),
        Attribute("name", AttributeType.STRING),
        Attribute("active", AttributeType.BOOL),
        Attribute("made", AttributeType.TIMESTAMP),
        Attribute("day", AttributeType.DATE),
        Attribute("tags", AttributeType.STRINGS),
        Attribute("Case", AttributeType.INT64),
        Attribute("case", AttributeType.INT64),
    )
)


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("prize < 3", "did you mean 'price'"),
        ("PRIZE < 3", "did you mean 'price'"),
        ("t.price < 3", "did you mean 'price'"),
        ("xyzzy = 1", "the columns are price, count"),
        ("CASE = 1", "CASE|not a SQL"),
        ('"CASE" = 1', "did you mean"),
        ("price = 'abc'", "'price' is float64 and cannot be compared with the string 'abc'"),
        ("count = true", "'count' is int64 and cannot be compared with the bool True"),
        ("name = 5", "'name' is string and cannot be compared with the number 5; put"),
        ("active = 1", "write true or false"),
        ("count", "'count' is int64"),
        ("made > 5", "'made' is timestamp and cannot be compared with the number 5"),
        ("made > 'soon'", "'made' is timestamp: 'soon' is not a timestamp"),
        ("day > '2020-01-01 12:00'", "TIMESTAMP '2020-01-01 12:00'"),
        ("count LIKE 'x'", "LIKE applies to strings"),
        ("list_contains(name, 'x')", "not a list"),
        ("tags > 'x'", "is a list"),
        ("list_contains(tags, 5)", "cannot hold the number 5"),
        ("count IN (1, 'x')", "the string 'x'"),
        ("count = DATE '2020-01-01'", "the date 2020-01-01"),
        ("name LIKE 'a!' ESCAPE '!'", "escape character"),
    ],
)
def test_errors(where, reason):
    with pytest.raises(PredicateError, match=reason):
        bind(parse(where), SCHEMA)


def test_a_schema_without_attributes_says_so():
    with pytest.raises(PredicateError, match="without attributes"):
        bind(parse("a = 1"), Schema(()))


def test_names_fold_case_where_that_is_unambiguous():
    assert columns_of(bind(parse('PRICE < 3 AND "Case" = 1 AND "case" = 2'), SCHEMA)) == ("price", "Case", "case")


def test_ranges_of_a_column_become_one():
    bound = bind(parse("price >= 1 AND price < 2 AND count IN (1, 2, 3)"), SCHEMA)
    assert isinstance(bound, AllOf)
    assert bound.terms == (
        KeyRange("price", ((float_key(1.0), float_key(2.0)),)),
        KeyRange("count", ((1, 4),)),
    )
    assert bind(parse("name LIKE 'a%' OR name = 'b' OR name = 'a'"), SCHEMA) == StringRange("name", ((b"a", b"b\0"),))


@pytest.mark.parametrize(
    ("where", "bound"),
    [
        (None, Everything(True)),
        ("count = NULL", Everything(False)),
        ("NOT count = NULL", Everything(False)),
        ("count NOT IN (1, NULL)", Everything(False)),
        ("count IN (NULL)", Everything(False)),
        ("NULL", Everything(False)),
        ("NOT NULL", Everything(False)),
        ("count < 1 AND count > 1", Everything(False)),
        ("count < 1 OR count >= 1", NullTest("count", False)),
        ("count < 1 OR count >= 1 OR count = 5", NullTest("count", False)),
        ("count < 1 AND count > 1 AND count = 5 AND price < 1", Everything(False)),
        ("count = 1.5", Everything(False)),
        ("count != 1.5", NullTest("count", False)),
        ("count < 9223372036854775808", NullTest("count", False)),
        ("count > 9223372036854775807", Everything(False)),
        ("count != 9223372036854775807", KeyRange("count", ((LOWEST, 2**63 - 1),))),
        ("big < 0", Everything(False)),
        ("big <= 18446744073709551615", NullTest("big", False)),
        ("name LIKE '%'", NullTest("name", False)),
        ("name >= ''", NullTest("name", False)),
        ("name < ''", Everything(False)),
        ("count < 5 OR TRUE", Everything(True)),
        ("count < 5 AND (FALSE OR NULL)", Everything(False)),
        ("count IS NOT DISTINCT FROM NULL", NullTest("count", True)),
    ],
)
def test_what_needs_no_look_at_values(where, bound):
    assert bind(parse(where), SCHEMA) == bound


def test_an_empty_list_holds_nothing():
    assert bind(col("count").is_in([]), SCHEMA) == Everything(False)
    assert bind(col("count").not_in([]), SCHEMA) == Everything(True)


def test_cuts_of_doubles_on_integers():
    column = SCHEMA.find("count")
    assert cuts(column, float("nan")) == (TOP, TOP)
    assert cuts(column, float("-inf")) == (LOWEST, LOWEST)
    # 2**53 and 2**53 + 1 are the same double.
    assert cuts(column, 2.0**53) == (2**53, 2**53 + 2)
    assert cuts(column, 2.0**63) == (2**63 - 512, TOP)
    assert cuts(SCHEMA.find("big"), 2.0**64)[1] == TOP


def test_float_keys_keep_order():
    values = [-np.inf, -1e300, -1.0, -5e-324, 0.0, 5e-324, 1.0, 1e300, np.inf, np.nan]
    keys = [float_key(value) for value in values]
    assert keys == sorted(set(keys))
    array = np.array([*values, -0.0, -np.nan])
    np.testing.assert_array_equal(
        keys_from_values(AttributeType.FLOAT64, array), [*keys, float_key(0.0), float_key(np.nan)]
    )


def test_membership_in_a_key_range():
    leaf = KeyRange("count", ((LOWEST, -5), (0, 3), (10, None)))
    keys = np.array([LOWEST, -6, -5, -1, 0, 2, 3, 9, 10, 2**63 - 1])
    assert leaf.matches(keys).tolist() == [True, True, False, False, True, True, False, False, True, True]
    assert KeyRange("count", ((0, 1),)).matches(np.empty(0, np.int64)).tolist() == []
