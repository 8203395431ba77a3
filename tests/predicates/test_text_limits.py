"""Texts are measured before they are parsed: what is too large is refused at once, long lists need no parser."""

from __future__ import annotations

import itertools
import random
import tracemalloc

import msgspec
import pytest

import vsearch
from vsearch.errors import PredicateError
from vsearch.predicates import limits, parse, to_sql
from vsearch.predicates.limits import LONG, LongLists
from vsearch.predicates.sql import _predicate, _read


@pytest.fixture
def no_parser(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("it was parsed")

    monkeypatch.setattr("vsearch.predicates.sql._read", refuse)
    monkeypatch.setattr("vsearch.predicates.mongo.parse_mongo", refuse)


NUMBERS = ",".join(map(str, range(700_000)))
TOO_MUCH = {
    "numbers": f"a IN ({NUMBERS})",
    "strings": "a IN (" + ",".join(f"'{i:030d}'" for i in range(150_000)) + ")",
    "conditions": "a = 1 OR " * 90_000 + "b = 2",
    "negations": "- " * 100_000 + "1",
    "statements": "a = 1;" * 100_000,
    "casts": "a" + "::INT" * 30_000 + " = 1",
    "picks": "a" + "[1]" * 3_000,
    "spaced picks": "a" + " [ 1 ] " * 3_000,
    "parentheses": "(" * 5_000 + "a" + ")" * 5_000,
    "brackets": "a IN (" + "[" * 5_000,
    "expressions in a list": "a IN (" + ",".join(f"{i}+1" for i in range(150_000)) + ")",
    "a name": "a" * 5_000_000,
    "a string": "a = '" + "x" * 5_000_000 + "'",
    "a comment": "/*" + "x" * 5_000_000 + "*/ a",
}


@pytest.mark.parametrize("where", TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_much_is_refused_before_it_is_parsed(no_parser, where):
    tracemalloc.start()
    try:
        with pytest.raises(PredicateError, match=r"too long|more than") as refused:
            parse(where)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert len(str(refused.value)) < 300


def test_the_values_of_all_lists_count():
    with pytest.raises(PredicateError, match="more than 100000"):
        parse(" OR ".join(["a IN (" + ",".join("1" * 50_000) + ")"] * 3))


def nested(depth):
    where = {"a": 1}
    for _ in range(depth):
        where = {"$and": [where]}
    return where


DICTS = {
    "a list": {"a": {"$in": list(range(100_001))}},
    "two lists": {"a": {"$in": list(range(60_000))}, "b": {"$any": ["x"] * 60_000}},
    "conditions": {"$or": [{"a": i} for i in range(100_001)]},
    "keys": {f"c{i}": 1 for i in range(100_001)},
    "depth": nested(5_000),
    "lists in lists": {"a": {"$in": [[[0] * 50_000] * 3]}},
    "a string": {"a": "x" * 5_000_000},
}


@pytest.mark.parametrize("where", DICTS.values(), ids=DICTS)
def test_dicts_are_measured_too(no_parser, where):
    with pytest.raises(PredicateError, match=r"more than|too long"):
        parse(where)


def test_json_of_dicts_is_measured_too(no_parser):
    where = msgspec.json.decode(b'{"a": {"$in": [' + NUMBERS.encode() + b"]}}")
    with pytest.raises(PredicateError, match="more than"):
        parse(where)


def test_endless_values_end():
    with pytest.raises(PredicateError, match="more than"):
        vsearch.col("a").is_in(itertools.count())
    with pytest.raises(PredicateError, match="100001 values"):
        vsearch.col("a").is_in(range(100_001))


LITERALS = ["0", "7", "-3", "- 12", "1.50", "-0.25", "1e5", "2.5E-3", "''", "'a'", "'it''s'", "'a,b'", "'('", "')'", "'--'", "'ü'", "NULL",
            "TRUE", "DATE '2020-01-02'", "'x' 'y'", "1_0", "a", "'\\'", "'/*'", "1 -- c\n", "+4", ".5", "5."]  # fmt: skip
FORMS = ["a IN ({})", "NOT a IN ( {} )", "a NOT IN ({}) OR b = '({})'", "list_has_any(t, [{}])", "t @> [{}] AND b LIKE '%('",
         "(a IN ({}) AND (b = 1 OR NOT t && [{}]))", "a = ({})", "f({})", "a IN ({}", "a + ({}) > 1", "a IN ({}) -- ({})"]  # fmt: skip


def plainly(where):
    """As the SQL parser reads it all."""
    try:
        return _predicate(_read(where))
    except PredicateError as error:
        return type(error)


@pytest.mark.parametrize("form", FORMS)
def test_long_lists_mean_what_the_parser_says(form):
    draw = random.Random(form)
    for _ in range(60):
        known = draw.choice([LITERALS[:16], LITERALS, LITERALS[:7]])
        text = draw.choice([",", ", ", " ,\n"]).join(draw.choice(known) for _ in range(draw.randint(1, 3 * LONG)))
        where = form.replace("{}", text)
        expected = plainly(where)
        if isinstance(expected, type):
            with pytest.raises(expected) as refused:
                parse(where)
            assert "list-" not in str(refused.value)
        else:
            assert parse(where) == expected


def test_long_lists_are_not_parsed():
    where = "a IN (" + ",".join(map(str, range(99_990))) + ") AND b NOT IN ('" + "','".join("abcdefghij") + "')"
    assert len(LongLists(where).text) < 200
    found = parse(where)
    assert len(found.terms[0].values) == 99_990
    assert to_sql(found).endswith("'i', 'j')")


@pytest.mark.slow
def test_as_much_as_is_allowed():
    parse(" OR ".join(f"a IN ({', '.join(map(str, range(7)))})" for _ in range(900)))
    parse("a = '" + "x" * 1_000_000 + "'")
    parse("a = 1" + " " * 3_000_000)
    assert limits.MAXIMUM_LENGTH == 4 << 20
