"""The id of a row is a column that predicates can ask for."""

from __future__ import annotations

import random

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import vsearch
from vsearch.errors import PredicateError
from vsearch.search.state.row_ids import sort_texts

ROWS = 300


def found(index, where) -> list:
    ids = index.search(np.ones(8, np.float32), k=ROWS, where=where, exact=True).ids[0].tolist()
    return sorted(one for one in ids if one not in (-1, None))


def built(folder, ids, attributes=None, **options):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(ROWS, 8)).astype(np.float32)
    return vsearch.build(vectors, str(folder), ids=ids, attributes=attributes, **options)


NUMBERS = [n * 7919 * 10**9 - 2**60 for n in random.Random(5).sample(range(ROWS), ROWS - 3)] + [-(2**63), 2**63 - 1, 0]
TEXTS = ["", "a", "a\0", "a\0b", "ab", "é", "日本語"] + [f"doc-{n}" * (1 + n % 5) for n in range(ROWS - 7)]


@pytest.fixture(scope="module", params=["numbers", "texts", "rows"])
def case(request, tmp_path_factory):
    given = {"numbers": NUMBERS, "texts": TEXTS, "rows": None}[request.param]
    ids = list(range(ROWS)) if given is None else given
    n = pa.array([None if i % 7 == 0 else i for i in range(ROWS)])
    index = built(tmp_path_factory.mktemp("ids") / "index", given, {"n": n}, shards=2)
    connection = duckdb.connect()
    connection.register("t", pa.table({"id": pa.array(ids), "n": n}))
    return index, connection, ids


def quoted(value) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


@pytest.mark.slow
def test_ids_are_found_as_duckdb_finds_them(case) -> None:
    index, connection, ids = case
    some = [quoted(each) for each in ids[:4] + ids[-4:] if "\0" not in str(each)]
    other = quoted("none" if isinstance(ids[0], str) else 12345678901)
    wheres = [f"id {operator} {one}" for operator in ("=", "<>", "<", "<=", ">", ">=") for one in (some[1], other)]
    wheres += [f"id IN ({', '.join(some)}, {other})", f"NOT id IN ({', '.join(some)})", f"id NOT IN ({some[0]}, NULL)"]
    wheres += ["id IS NULL", "id IS NOT NULL", "id = NULL", f"n > 100 OR id = {some[0]}", f"n < 50 AND id <> {some[1]}"]
    wheres += [f"id BETWEEN {some[0]} AND {some[2]}", f"ID = {some[2]}", f"NOT (id > {some[2]} OR n IS NULL)"]
    if isinstance(ids[0], str):
        wheres += ["id LIKE 'doc-1%'", "id LIKE '%9'", "id NOT LIKE 'doc%'"]
    for where in wheres:
        expected = [row[0] for row in connection.execute(f"SELECT id FROM t WHERE {where}").fetchall()]
        assert found(index, where) == sorted(expected), where


def test_ids_in_dicts_and_expressions(case) -> None:
    index, _, ids = case
    assert found(index, {"id": ids[3]}) == [ids[3]]
    assert found(index, vsearch.col("id").not_in(ids[2:])) == sorted(ids[:2])
    assert found(index, {"_id": {"$in": ids[:3]}}) == sorted(ids[:3])


def test_many_ids(case) -> None:
    index, _, ids = case
    foreign = [f"x{n}" for n in range(10_000)] if isinstance(ids[0], str) else list(range(2**61, 2**61 + 10_000))
    assert found(index, {"id": {"$nin": foreign + ids[5:]}}) == sorted(ids[:5])


def test_ids_of_another_type_are_refused(case) -> None:
    index, _, ids = case
    with pytest.raises(PredicateError, match="'id' is"):
        found(index, {"id": 5 if isinstance(ids[0], str) else "5"})


def test_an_attribute_keeps_its_name(tmp_path) -> None:
    index = built(tmp_path / "index", NUMBERS, {"id": pa.array([f"own {n}" for n in range(ROWS)])})
    assert found(index, "id = 'own 3'") == [NUMBERS[3]]
    assert found(index, f"_id = {NUMBERS[4]}") == [NUMBERS[4]]
    assert found(index, f"ID = 'own 5' AND _id > {min(NUMBERS)}") == [NUMBERS[5]]


def test_an_index_without_attributes_knows_its_ids(tmp_path) -> None:
    index = built(tmp_path / "index", None)
    assert found(index, "id IN (3, 5)") == [3, 5]
    with pytest.raises(PredicateError, match="only `id`"):
        found(index, "price < 3")


@pytest.mark.parametrize("seed", range(5))
def test_texts_are_sorted_by_their_bytes(seed: int) -> None:
    rng = random.Random(seed)
    pool = [b"", b"\0", b"\0\0", b"a" * 8, b"a" * 9, b"a" * 8 + b"\0", b"a" * 16, b"\xff" * 9]
    texts = pool + [bytes(rng.choice(b"\0ab\xff") for _ in range(rng.randrange(30))) for _ in range(500)]
    rng.shuffle(texts)
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    order = sort_texts(offsets, np.frombuffer(b"".join(texts), np.uint8))
    assert sorted(order.tolist()) == list(range(len(texts)))
    assert [texts[i] for i in order] == sorted(texts)
