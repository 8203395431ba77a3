"""Filtered search end to end: the rows that DuckDB finds, nearest first."""

from __future__ import annotations

import datetime as dt
import random

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import best, brute_force, check_exact, clustered, unit

ROWS = 1500
LEAVES = [
    lambda r: f"price {r.choice(['<', '<=', '>', '>=', '=', '!='])} {r.choice([-3, 0, 7, 50, 90, 99, 100.5, 1e9])}",
    lambda r: f"price BETWEEN {r.randint(-10, 60)} AND {r.randint(40, 110)}",
    lambda r: f"rating {r.choice(['<', '>=', '='])} {r.choice([0.0, 0.25, 0.5, 0.75, 1.5])}",
    lambda r: f"stock {r.choice(['', 'NOT '])}IN ({', '.join(str(r.randint(-2, 8)) for _ in range(3))})",
    lambda r: r.choice(["active", "active = true", "active = false", "NOT active", "active IS NULL"]),
    lambda r: f"colour {r.choice(['=', '!='])} '{r.choice(['red', 'green', 'blue', 'none'])}'",
    lambda r: f"colour {r.choice(['', 'NOT '])}LIKE '{r.choice(['r%', '%e%', '_lue', '%n', 'x%', '%'])}'",
    lambda r: f"sku {r.choice(['', 'NOT '])}LIKE 'item-{r.choice(['1%', '_5%', '%7', '%99%', '12__'])}'",
    lambda r: f"sku = 'item-{r.randint(990, 2600)}'",
    lambda r: f"seen {r.choice(['<', '>=', '>'])} TIMESTAMP '20{r.randint(19, 25)}-0{r.randint(1, 9)}-11 08:30:00'",
    lambda r: (
        f"{r.choice(['price', 'rating', 'stock', 'colour', 'sku', 'seen', 'day'])} IS {r.choice(['', 'NOT '])}NULL"
    ),
    lambda r: f"day {r.choice(['<', '=', '>='])} DATE '2024-0{r.randint(1, 9)}-15'",
    lambda r: f"list_contains(tags, '{r.choice(['new', 'sale', 'old', 'never'])}')",
]


def predicate(r, depth=0):
    if depth < 2 and r.random() < 0.55:
        joined = f" {r.choice(['AND', 'OR'])} ".join(f"({predicate(r, depth + 1)})" for _ in range(r.randint(2, 3)))
        return f"NOT ({joined})" if r.random() < 0.25 else joined
    return r.choice(LEAVES)(r)


def attributes(rows, seed=0):
    rng = np.random.default_rng(seed)

    def column(values, kind, nulls=0.1):
        return pa.array(values, kind, mask=rng.random(rows) < nulls)

    moments = [dt.datetime(2019, 1, 1) + dt.timedelta(hours=int(h)) for h in rng.integers(0, 60_000, rows)]
    ratings = rng.random(rows)
    ratings[rng.random(rows) < 0.05] = np.nan
    tags = [rng.choice(["new", "sale", "old"], rng.integers(0, 3), replace=False).tolist() for _ in range(rows)]
    return pa.table(
        {
            "price": column(rng.integers(0, 100, rows), pa.int64()),
            "rating": column(ratings, pa.float64()),
            "stock": column(rng.integers(0, 6, rows), pa.int32()),
            "active": column(rng.random(rows) < 0.5, pa.bool_()),
            "colour": column(rng.choice(["red", "green", "blue"], rows, p=[0.9, 0.09, 0.01]), pa.string()),
            "sku": column([f"item-{1000 + i}" for i in rng.permutation(rows)], pa.string()),
            "seen": column(moments, pa.timestamp("us")),
            "day": column(
                [dt.date(2024, 1, 1) + dt.timedelta(days=int(d)) for d in rng.integers(0, 366, rows)], pa.date32()
            ),
            "tags": column(tags, pa.list_(pa.string())),
        }
    )


@pytest.fixture(scope="module")
def table():
    return attributes(ROWS)


@pytest.fixture(scope="module")
def matching(table):
    connection = duckdb.connect()
    connection.register("attributes", table.append_column("row", pa.array(np.arange(ROWS))))

    def find(where):
        rows = connection.execute(f"SELECT row FROM attributes WHERE {where}").fetchnumpy()["row"]
        allowed = np.zeros(ROWS, bool)
        allowed[rows] = True
        return allowed

    return find


KINDS = [("cosine", "float32", 1.0, 1), ("l2", "int8", 2.0, 3), ("ip", None, 0.5, 2)]


@pytest.fixture(scope="module")
def indexes(build_once, table):
    """The index of a kind."""

    def of(kind):
        options = dict(zip(("metric", "rerank", "bits", "shards"), kind, strict=True))
        return build_once(("filters", *kind), clustered(ROWS, d=16), attributes=table, partitions=25, **options)

    return of


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(map(str, kind)))
def case(request, indexes):
    return *request.param[:2], indexes(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_predicates(case, matching, seed):
    """Never a row that fails the predicate, always min(k, matching) rows, whatever the settings."""
    metric, rerank, index = case
    vectors, queries = clustered(ROWS, d=16), clustered(2, d=16, seed=seed + 10)
    r = random.Random(seed)
    true = brute_force(metric, queries, vectors)
    selected = []
    for _ in range(50):
        where = predicate(r)
        allowed = matching(where)
        matches = int(allowed.sum())
        selected.append(matches)
        for options in ({"k": ROWS}, {"k": 5}, {"k": 20, "nprobe": 1}, {"k": 7, "exact": True}):
            hits = index.search(queries, where=where, **options)
            found = hits.ids >= 0
            assert found.sum(axis=1).tolist() == [min(options["k"], matches)] * 2, where
            assert allowed[hits.ids[found]].all(), where
            assert np.isnan(hits.scores[~found]).all()
            assert (hits.ids[:, : min(options["k"], matches)] >= 0).all()
            assert hits.stats.rows_masked == matches
            if options["k"] == ROWS:
                assert set(hits.ids[0][found[0]]) == set(np.flatnonzero(allowed)), where
            if "exact" in options and rerank == "float32":
                check_exact(hits, metric, true, 3e-6 * unit(metric, queries, vectors), 7, allowed)
    # predicates of all selectivities were among them
    assert min(selected) < 20
    assert max(selected) > ROWS / 2


def test_filtered_search_finds_the_nearest(indexes, matching):
    metric, index = KINDS[0][0], indexes(KINDS[0])
    vectors, queries = clustered(ROWS, d=16), clustered(50, d=16, seed=5)
    true = brute_force(metric, queries, vectors)
    for where in ("price < 50", "price < 5", "colour = 'blue'", "sku LIKE 'item-12%'", "price < 10 AND stock = 3"):
        allowed = matching(where)
        wanted = best(metric, true, 10, allowed)
        hits = index.search(queries, where=where)
        shared = sum(len(set(a) & set(b)) for a, b in zip(hits.ids.tolist(), wanted.tolist(), strict=True))
        assert shared / np.count_nonzero(wanted >= 0) > 0.9, where


def test_fewer_matches_are_less_work(indexes):
    index = indexes(KINDS[0])
    queries = clustered(20, d=16, seed=6)
    work = []
    for where in ("price < 100", "price < 30", "price < 2"):
        stats = index.search(queries, where=where, k=1).stats
        work.append(stats.rows_scanned + stats.rows_reranked)
    assert work[2] < work[1] < work[0]


def test_the_three_spellings_agree(indexes):
    index = indexes(KINDS[0])
    queries = clustered(3, d=16, seed=7)
    col = vsearch.col
    spellings = [
        "price < 30 AND (colour = 'red' OR stock IN (1, 2))",
        {"price": {"$lt": 30}, "$or": [{"colour": "red"}, {"stock": {"$in": [1, 2]}}]},
        (col("price") < 30) & ((col("colour") == "red") | col("stock").is_in([1, 2])),
    ]
    first, *others = (index.search(queries, where=where) for where in spellings)
    for other in others:
        np.testing.assert_array_equal(first.ids, other.ids)
        np.testing.assert_array_equal(first.scores, other.scores)


@pytest.mark.parametrize("where", ["price < 0", "price > 5 AND price < 5", "colour = 'mauve'", "false"])
def test_nothing_matches(case, where):
    _, _, index = case
    for exact in (False, True):
        hits = index.search(clustered(3, d=16), where=where, columns=["price", "tags"], exact=exact)
        assert (hits.ids == -1).all()
        assert np.isnan(hits.scores).all()
        assert hits.columns.num_rows == 30
        assert hits.columns.column("price").null_count == 30
        assert hits.to_arrow().num_rows == 0
        assert hits.to_arrow().column_names == ["query", "rank", "id", "score", "price", "tags"]


def test_columns_are_those_of_the_rows(case, table):
    _, _, index = case
    names = table.column_names
    hits = index.search(clustered(4, d=16, seed=8), k=30, where="price < 20", columns=names)
    ids = hits.ids.reshape(-1)
    expected = table.take(pa.array(ids)).cast(hits.columns.schema)  # times become UTC
    for name in names:
        # as text: NaN is itself
        assert str(hits.columns.column(name).to_pylist()) == str(expected.column(name).to_pylist())
    arrow = hits.to_arrow()
    assert arrow.column("id").to_pylist() == ids.tolist()
    assert arrow.column("rank").to_pylist() == list(range(1, 31)) * 4
    assert arrow.column("query").to_pylist() == np.repeat(np.arange(4), 30).tolist()
    assert max(arrow.column("price").to_pylist()) < 20


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("weight < 3", "weight"),
        ("price < 'cheap'", "price"),
        ("SELECT 1", None),
        ("price <", None),
        ("", None),
        ({"price": {"$near": 3}}, "near"),
        (42, None),
    ],
)
def test_what_is_no_predicate_is_refused(case, where, message):
    _, _, index = case
    for ask in (index.search, index.explain, index.recall):
        with pytest.raises(vsearch.PredicateError, match=message):
            ask(clustered(1, d=16), where=where)


def test_columns_without_any_value(tmp_path):
    n = 300
    table = pa.table(
        {
            "nothing": pa.nulls(n, pa.int64()),
            "no_text": pa.nulls(n, pa.string()),
            "no_list": pa.nulls(n, pa.list_(pa.string())),
            "empty_text": pa.array([""] * n),
            "empty_list": pa.array([[]] * n, pa.list_(pa.string())),
            "one": pa.array([1.5] * n),
        }
    )
    vsearch.build(clustered(n, d=4), tmp_path / "index", attributes=table, shards=2)
    index = vsearch.open(tmp_path / "index")
    query = clustered(1, d=4, seed=1)
    for where, matches in (
        ("nothing IS NULL AND no_text IS NULL AND no_list IS NULL", n),
        ("nothing = 1 OR no_text = 'a' OR no_text LIKE '%' OR list_contains(no_list, 'a')", 0),
        ("NOT (nothing = 1)", 0),
        ("empty_text = '' AND NOT list_contains(empty_list, 'a') AND one = 1.5", n),
    ):
        assert (index.search(query, k=n, where=where, columns=table.column_names).ids >= 0).sum() == matches
