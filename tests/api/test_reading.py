"""Counts, rows, facets and extremes of a changed index with several shards, compared with DuckDB on the same rows."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import clustered

D = 8
FILTERS = [
    None,
    "whole > 3 AND word <> 'w1'",
    "word IS NULL OR ratio > 0.5",
    "list_contains(tags, 'a')",
    "many = 'no such value'",
]
SCALARS = [
    "whole",
    "big",
    "half",
    "single",
    "ratio",
    "price",
    "flag",
    "word",
    "many",
    "day",
    "moment",
    "exactly",
    "one",
]


def attributes(rows, seed):
    """Attributes of all types, with few and with many values, NULL, NaN, both zeros and numbers beyond 2^53."""
    rng = np.random.default_rng(seed)

    def some(values, share=0.2):
        return [None if rng.random() < share else values[int(rng.integers(len(values)))] for _ in range(rows)]

    halves = np.array([0.1, -0.0, 0.0, math.nan, 1.5, 65504.0], np.float16)
    doubles = [*rng.standard_normal(500), math.nan, -0.0, 0.0, math.inf, -math.inf]
    second = dt.datetime(2024, 5, 1)
    return pa.table(
        {
            "whole": pa.array(some(list(range(-3, 9))), pa.int64()),
            "big": pa.array(some([2**64 - 1, 2**53, 2**53 + 1, 0, 7]), pa.uint64()),
            "half": pa.array(some(list(halves)), pa.float16()),
            "single": pa.array(some([0.1, 0.2, -0.0, 0.0, math.nan]), pa.float32()),
            "ratio": pa.array(some(doubles), pa.float64()),
            "price": pa.array(some([Decimal("0.10"), Decimal("-3.25"), Decimal("12.00")]), pa.decimal128(10, 2)),
            "flag": pa.array(some([True, False]), pa.bool_()),
            "word": pa.array(some(["w1", "w2", "", "ä", "a\0"]), pa.string()),
            "many": pa.array(some([f"text {i}" for i in range(2000)], 0.05), pa.string()),
            "day": pa.array(some([dt.date(2024, 1, 1), dt.date(1969, 12, 31)]), pa.date32()),
            "moment": pa.array(some([second + dt.timedelta(seconds=i) for i in range(700)]), pa.timestamp("us")),
            "exactly": pa.array(some([5, 6, 1_700_000_000_000_000_001]), pa.timestamp("ns")),
            "tags": pa.array(some([["a", "b"], ["a", "a", None], [], ["c"]]), pa.list_(pa.string())),
            "sizes": pa.array(some([[1, 2], [2, 2], [], [None]]), pa.list_(pa.int64())),
            "parts": pa.array(some([[0.5, math.nan], [-0.0, 0.0, 0.1]]), pa.list_(pa.float32())),
            "one": pa.array(["same"] * rows),
        }
    )


class Twin:
    """An index, and the table of its rows."""

    def __init__(self, url, text):
        self.name = (lambda i: f"id {i:04}ü") if text else (lambda i: int(i) * 3 - 500)
        self.rows, self.text, self.tables = {}, text, []
        table, ids = attributes(420, 1), self.names(range(420))
        self.index = vsearch.build(clustered(420, D), url, table, ids, shards=2, partitions=6, seed=3)
        self.keep(ids, table)
        more, ids = attributes(70, 2), self.names(range(420, 490))
        self.index.append(clustered(70, D, seed=2), more, ids)
        self.keep(ids, more)
        some, ids = attributes(30, 3).drop_columns(["word", "tags", "ratio"]), self.names(range(0, 60, 2))
        self.index.upsert(clustered(30, D, seed=3), some, ids)
        self.keep(ids, some)
        gone = self.names(range(100, 480, 7))
        self.index.delete(gone)
        for each in gone:
            del self.rows[each]
        self.index.update({"one": "other"}, ids=self.names([1, 3]))
        changed = table.take([1, 3])
        self.keep(self.names([1, 3]), changed.set_column(changed.num_columns - 1, "one", pa.array(["other"] * 2)))

    def names(self, numbers):
        return [self.name(i) for i in numbers]

    def keep(self, ids, table):
        first = sum(each.num_rows for each in self.tables)
        self.tables.append(table)
        self.rows |= dict(zip(ids, range(first, first + len(ids)), strict=True))

    @property
    def table(self):
        """All rows."""
        made = pa.concat_tables(self.tables, promote_options="default").take(list(self.rows.values()))
        return made.add_column(0, "id", pa.array(list(self.rows), pa.string() if self.text else pa.int64()))


@pytest.fixture(scope="module", params=["integers", "texts"])
def twin(request):
    made = Twin(f"memory://reading-{request.param}/i", request.param == "texts")
    made.duck = duckdb.connect()
    table = made.table
    made.duck.register(
        "t", table.set_column(table.column_names.index("half"), "half", table["half"].cast(pa.float32()))
    )
    return made


def plain(values):
    """Values that compare equal where they are: NaN as text, one zero, halves and singles as doubles."""

    def one(value):
        if isinstance(value, float):
            return "NaN" if math.isnan(value) else value + 0.0
        return value

    return [tuple(one(value) for value in row) if isinstance(row, tuple) else one(row) for row in values]


def same(one, two):
    """Whether tables are equal, NaN in them too."""
    return one.schema == two.schema and repr(one.to_pylist()) == repr(two.to_pylist())


def where_sql(where):
    return "" if where is None else f"WHERE {where}"


@pytest.mark.parametrize("where", FILTERS)
def test_counts(twin, where):
    expected = twin.duck.sql(f"SELECT count(*) FROM t {where_sql(where)}").fetchall()[0][0]
    assert twin.index.count(where) == expected
    assert twin.index.rows(where, []).num_rows == expected
    assert sum(len(batch) for batch in twin.index.to_batches(where, [], batch_rows=7)) == expected


@pytest.mark.parametrize("where", FILTERS)
def test_rows_are_in_the_order_of_their_ids(twin, where):
    expected = twin.duck.sql(f"SELECT id FROM t {where_sql(where)} ORDER BY id").fetchall()
    rows = twin.index.rows(where)
    assert rows["id"].to_pylist() == [id_ for (id_,) in expected]
    if rows.num_rows:
        assert same(rows, twin.index.get(rows["id"]))
    assert rows.column_names == ["id", *attributes(0, 0).column_names]


@pytest.mark.parametrize("column", SCALARS)
@pytest.mark.parametrize("direction", ["", "DESC"])
def test_any_column_orders_rows(twin, column, direction):
    order = f"ORDER BY {column} {direction} NULLS LAST, id"
    expected = twin.duck.sql(f"SELECT id FROM t WHERE whole > 0 {order}").fetchall()
    rows = twin.index.rows("whole > 0", [column], order=f"{column} {direction}")
    assert rows["id"].to_pylist() == [id_ for (id_,) in expected]
    streamed = pa.Table.from_batches(twin.index.to_batches("whole > 0", [column], order=f"{column} {direction}"))
    assert same(streamed, rows)


def test_several_columns_and_the_id_order_rows(twin):
    order = ["flag", "word DESC", "id desc"]
    expected = twin.duck.sql("SELECT id FROM t ORDER BY flag NULLS LAST, word DESC NULLS LAST, id DESC").fetchall()
    assert twin.index.rows(columns=[], order=order)["id"].to_pylist() == [id_ for (id_,) in expected]
    backwards = twin.index.rows(columns=[], order="id DESC")["id"].to_pylist()
    assert backwards == twin.index.rows(columns=[])["id"].to_pylist()[::-1]


@pytest.mark.parametrize("order", [None, "id DESC", "word", ["ratio DESC", "flag"], "one"])
@pytest.mark.parametrize("limit", [1, 90])
def test_pages_make_up_the_whole(twin, order, limit):
    where = "whole = 2" if limit == 1 else None
    whole = twin.index.rows(where, ["word"], order=order)
    pages, after = [], None
    while True:
        page = twin.index.rows(where, ["word"], order=order, limit=limit, after=after)
        if not page.num_rows:
            break
        assert page.num_rows <= limit
        pages.append(page)
        after = page["id"][-1].as_py()
    assert same(pa.concat_tables(pages), whole)


def test_a_page_follows_an_id_that_is_gone_unless_there_is_an_order(twin):
    gone = twin.name(107)
    following = [id_ for id_ in sorted(twin.rows) if id_ > gone]
    assert twin.index.rows(columns=[], after=gone)["id"].to_pylist() == following
    for options in ({"order": "word"}, {"order": "word", "where": "whole > 0"}):
        with pytest.raises(vsearch.InputError, match="the last row of a page must still be there"):
            twin.index.rows(columns=[], after=gone, **options)
    outside = twin.index.rows("whole < 0", [], limit=1)["id"][0]
    with pytest.raises(vsearch.InputError, match="the last row of a page must still be there"):
        twin.index.rows("whole > 0", [], after=outside, order="word")


def test_batches_have_every_row_once_and_are_of_one_snapshot(twin):
    index = vsearch.open(twin.index.snapshot.store.url)
    reader = index.to_batches("flag", ["word", "parts"], batch_rows=10)
    assert reader.schema == index.rows("flag", ["word", "parts"]).schema
    first = reader.read_next_batch()
    assert len(first) == 10
    rest = reader.read_all()
    table = pa.concat_tables([pa.table(first), rest]).sort_by("id")
    assert same(table, index.rows("flag", ["word", "parts"]))


@pytest.mark.parametrize("where", FILTERS)
def test_facets_of_every_type(twin, where):
    for column in SCALARS:
        counted = twin.duck.sql(f"SELECT {column}, count(*) FROM t {where_sql(where)} GROUP BY 1").arrow().read_all()
        facet = twin.index.facet(column, where)
        assert facet.column_names == ["value", "count"]
        kind = {"half": np.float16, "ratio": np.float64}.get(column, np.float32)
        expected = dict(zip(keys_of(counted.column(0), kind), counted.column(1).to_pylist(), strict=True))
        assert dict(zip(keys_of(facet["value"], kind), facet["count"].to_pylist(), strict=True)) == expected, column
        assert facet["count"].to_pylist() == sorted(facet["count"].to_pylist(), reverse=True)
        assert same(twin.index.facet(column, where, limit=2), facet.slice(0, 2))


def keys_of(column, kind=np.float32):
    """The values as text, with one zero: floats rounded to a type."""
    if pa.types.is_floating(column.type):
        return [None if v is None else str(kind(v) + kind(0)) for v in column.to_pylist()]
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist()
    return column.to_pylist()


@pytest.mark.parametrize("where", FILTERS)
def test_facets_of_lists_count_rows_with_each_element(twin, where):
    for column in ("tags", "sizes", "parts"):
        listed = f"SELECT id, unnest({column}) AS v FROM t {where_sql(where)}"
        counted = (
            twin.duck.sql(f"SELECT v, count(DISTINCT id) FROM ({listed}) WHERE v IS NOT NULL GROUP BY 1")
            .arrow()
            .read_all()
        )
        facet = twin.index.facet(column, where)
        expected = dict(zip(keys_of(counted.column(0)), counted.column(1).to_pylist(), strict=True))
        assert dict(zip(keys_of(facet["value"]), facet["count"].to_pylist(), strict=True)) == expected, column


def test_equally_frequent_values_ascend_and_null_is_last(twin):
    facet = twin.index.facet("many")
    pairs = list(zip(facet["count"].to_pylist(), facet["value"].to_pylist(), strict=True))
    assert pairs == sorted(pairs, key=lambda pair: (-pair[0], pair[1] is None, pair[1] or ""))


@pytest.mark.parametrize("where", FILTERS)
def test_least_and_greatest(twin, where):
    for column in SCALARS:
        least, greatest = (
            twin.duck.sql(f"SELECT min({column}), max({column}) FROM t {where_sql(where)}")
            .arrow()
            .read_all()
            .to_pydict()
            .values()
        )
        found = twin.index.min_max(column, where)
        if column == "exactly":
            (ns,) = twin.duck.sql(
                f"SELECT [epoch_ns(min(exactly)), epoch_ns(max(exactly))] FROM t {where_sql(where)}"
            ).fetchall()[0]
            assert [None if v is None else int(v.astype(np.int64)) for v in found] == ns
        elif column in {"half", "single"}:
            kind = np.float16 if column == "half" else np.float32
            assert plain([None if v is None else float(kind(v)) for v in found]) == plain([*least, *greatest])
        elif column == "moment":
            assert [v and v.replace(tzinfo=None) for v in found] == [*least, *greatest]
        else:
            assert plain(found) == plain([*least, *greatest]), column


def test_lists_have_no_order(twin):
    for refused in (lambda: twin.index.min_max("tags"), lambda: twin.index.rows(order="sizes")):
        with pytest.raises(vsearch.InputError, match="lists have no order"):
            refused()


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"limit": True},
        {"limit": 1.5},
        {"columns": "word"},
        {"columns": ["nothing"]},
        {"order": "nothing"},
        {"order": 3},
        {"order": [None]},
        {"order": ["word", "WORD DESC"]},
        {"after": 1.5},
        {"after": [1, 2]},
        {"after": ["a", "b"]},
        {"where": "nothing = 1"},
    ],
)
def test_unusable_options_are_refused(twin, options):
    with pytest.raises(vsearch.InputError):
        twin.index.rows(**options)


def test_unusable_arguments_are_refused(twin):
    index = twin.index
    for refused in (
        lambda: index.facet("nothing"),
        lambda: index.facet("word", limit=0),
        lambda: index.min_max("id"),
        lambda: index.to_batches(batch_rows=0),
        lambda: index.to_batches(columns=["nothing"]),
        lambda: index.count("whole ="),
        lambda: index.get([], missing="ignore"),
    ):
        with pytest.raises(vsearch.InputError):
            refused()


def test_missing_ids_are_skipped_if_asked(twin):
    there, gone = twin.names([1, 5, 1]), twin.name(107)
    absent = [gone, "\udc80", "no"] if twin.text else [gone, 2**70, -(2**63)]
    asked = [there[0], absent[0], there[1], *absent[1:], there[2]]
    assert same(twin.index.get(asked, missing="skip"), twin.index.get(there))
    assert twin.index.get(absent, ["word"], missing="skip").num_rows == 0
    with pytest.raises(vsearch.InputError, match="no row has the id"):
        twin.index.get(asked)
    with pytest.raises(vsearch.InputError, match="ids of this index must be"):
        twin.index.get([1 if twin.text else "a"], missing="skip")


def test_expired_rows_do_not_count():
    ends = pa.array([1] * 30 + [2**40] * 30 + [None] * 40, pa.int64())
    table = pa.table({"ends": ends, "part": [i % 4 for i in range(100)]})
    index = vsearch.build(clustered(100, D), "memory://reading-ttl/i", table, ttl="ends", shards=2, partitions=2)
    assert index.count() == len(index) == 70
    assert index.count("part = 1") == index.rows("part = 1").num_rows == 17
    assert index.rows(columns=[], limit=1)["id"].to_pylist() == [30]
    assert sum(index.facet("part")["count"].to_pylist()) == 70
    assert index.min_max("ends") == (2**40, 2**40)
    assert index.get([3, 40], missing="skip")["id"].to_pylist() == [40]


def test_an_empty_index_and_one_without_attributes():
    index = vsearch.create("memory://reading-empty/i", dimensions=4, attributes=pa.schema([("x", pa.int64())]))
    assert index.count() == index.count("x > 1") == index.rows().num_rows == index.facet("x").num_rows == 0
    assert index.min_max("x") == (None, None)
    assert index.to_batches().read_all().num_rows == 0
    plainly = vsearch.build(clustered(20, 4), "memory://reading-none/i")
    assert plainly.rows(limit=2).to_pydict() == {"id": [0, 1]}
    with pytest.raises(vsearch.InputError, match="it has none"):
        plainly.facet("x")


def test_an_attribute_that_is_called_id():
    table = pa.table({"id": [5, 4, 3], "x": [1, 1, 2]})
    index = vsearch.build(clustered(3, 4), "memory://reading-id/i", table)
    assert index.rows(order="id").to_pydict() == {"id": [2, 1, 0], "attribute.id": [3, 4, 5], "x": [2, 1, 1]}
    assert index.rows(order="_id DESC", columns=[], limit=2, after=2).to_pydict() == {"id": [1, 0]}
    assert index.min_max("id") == (3, 5)


@pytest.mark.parametrize("nulls", [False, True])
def test_counts_of_an_index_that_was_changed_are_whole_numbers(tmp_path, nulls):
    words = [None if nulls and row % 10 == 0 else f"w{row % 700}" for row in range(3000)]
    index = vsearch.build(clustered(3000, 8), tmp_path / "i", {"word": words})
    assert index.facet("word")["count"].type == pa.int64()
    index.append(clustered(20, 8), {"word": ["w1"] * 20})
    index.delete(where="word = 'w2'")
    counts = dict(zip(*index.facet("word").to_pydict().values(), strict=True))
    expected = {word: words.count(word) + 20 * (word == "w1") for word in {*words} - {"w2"}}
    assert counts == expected
    assert index.facet("word")["count"].type == pa.int64()
