from __future__ import annotations

import pytest

from vsearch.errors import PredicateError
from vsearch.predicates import col, parse
from vsearch.predicates.expressions import And, Or

A, B = col("a"), col("b")


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        ({"a": 1}, A == 1),
        ({"a": {"$eq": 1}}, A == 1),
        ({"a": {"$ne": 1}}, A != 1),
        ({"a": {"$gt": 1, "$lte": 5}}, And((A > 1, A <= 5))),
        ({"a": {"$gte": 1}, "b": {"$lt": 5}}, And((A >= 1, B < 5))),
        ({"a": {"$in": [1, None]}}, A.is_in([1, None])),
        ({"a": {"$nin": [1, 2]}}, A.not_in([1, 2])),
        ({"a": {"$exists": True}}, A.is_not_null()),
        ({"a": {"$exists": False}}, A.is_null()),
        ({"a": {"$like": "x%"}}, A.like("x%")),
        ({"a": {"$any": ["x"]}}, A.contains_any(["x"])),
        ({"a": {"$all": ["x"]}}, A.contains_all(["x"])),
        ({"a": {"$not": {"$gt": 1}}}, ~(A > 1)),
        ({"$and": [{"a": 1}, {"b": 2}]}, And((A == 1, B == 2))),
        ({"$or": [{"a": 1}, {"b": 2}]}, Or((A == 1, B == 2))),
        ({"$nor": [{"a": 1}, {"b": 2}]}, ~Or((A == 1, B == 2))),
        ({"$not": {"a": 1}}, ~(A == 1)),
        ({"$or": [{"a": 1, "b": 2}, {"a": True}]}, Or((And((A == 1, B == 2)), A == True))),  # noqa: E712
    ],
)
def test_mongo(where, expression):
    assert parse(where) == expression


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ({"a": None}, "exists"),
        ({"a": {"$eq": None}}, "exists"),
        ({"a": [1, 2]}, "in, .any or .all"),
        ({"a": {}}, "empty"),
        ({"a": {"$gtt": 1}}, r"did you mean \$gt"),
        ({"a": {"$regex": "x"}}, "is not an operator"),
        ({"a": {1: 2}}, "is not an operator"),
        ({"$xor": []}, "is not an operator"),
        ({"$and": []}, "needs a non-empty list"),
        ({"$and": {"a": 1}}, "needs a non-empty list"),
        ({"$or": [1]}, "must be a dict"),
        ({"$not": 5}, "must be a dict"),
        ({"a": {"$exists": 1}}, "True or False"),
        ({"a": {"$in": "abc"}}, "list of values"),
        ({"a": {"$like": 5}}, "must be a string"),
        ({3: 1}, "column names"),
        ({"": 1}, "column names"),
        ({"a": b"x"}, "must be None"),
    ],
)
def test_what_is_no_filter(where, reason):
    with pytest.raises(PredicateError, match=reason):
        parse(where)


@pytest.mark.parametrize("wrap", [lambda f: {"$not": f}, lambda f: {"$and": [f]}], ids=["not", "and"])
def test_depth_is_bounded(wrap):
    where: dict = {"a": 1}
    for _ in range(5000):
        where = wrap(where)
    with pytest.raises(PredicateError, match="deep"):
        parse(where)


def test_depth_on_a_column_is_bounded():
    where: dict = {"$gt": 1}
    for _ in range(5000):
        where = {"$not": where}
    with pytest.raises(PredicateError, match="deep"):
        parse({"a": where})
