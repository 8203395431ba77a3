"""Search by weights of terms, against a dense product of the weights in steps."""

from __future__ import annotations

import hashlib
import json
import random
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse as scipy_sparse

import vsearch
from vsearch import CorruptIndexError, InputError
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms import http_api as web
from vsearch.sparse.columns import as_column
from vsearch.sparse.entries import read_entry
from vsearch.sparse.levels import MOST_STEPS, choose_step, steps_of
from vsearch.sparse.single import place_weights
from vsearch.testing.legs import Indexed

TERMS = 60
MAPS = pa.map_(pa.string(), pa.float64())


def vectors(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)


def make_rows(n, seed, largest=3.0):
    """Weights of skewed terms by row; some rows have none, some terms are in most rows, few weights are very large."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        terms = {min(int(rng.paretovariate(0.6)), TERMS) - 1 for _ in range(rng.randint(0, 14))}
        weights = [rng.uniform(0.001, largest) * (40 if rng.random() < 0.001 else 1) for _ in terms]
        rows.append({str(term): float(f"{weight:.4g}") for term, weight in zip(terms, weights, strict=True)})
    return rows


def dense(rows, step):
    """The weights in steps, as they are stored."""
    matrix = np.zeros((len(rows), TERMS))
    for place, row in enumerate(rows):
        for term, weight in (row or {}).items():
            if weight > 0:
                matrix[place, int(term)] = max(round(weight / step), 1) * step
    return matrix


def step_of(index):
    return read_entry(index.snapshot.manifest.legs["sparse"]).step


def check(index, rows, queries, k=10, where=None, keep=lambda row: True):
    """Compare hits with all products; `rows` are the weights by id."""
    ids = [row for row in rows if keep(row)]
    products = dense([rows[row] for row in ids], step_of(index))
    found = index.search_sparse(queries, k, where)
    for number, query in enumerate(queries):
        alone = index.search_sparse(
            {str(term): weight for term, weight in query.items()}, k, where
        )  # by a way of its own
        assert alone.ids[0].tolist() == found.ids[number].tolist()
        np.testing.assert_array_equal(alone.scores[0], found.scores[number])
        asked = np.zeros(TERMS)
        for term, weight in query.items():
            asked[int(term)] = weight
        scores = products @ asked
        count = min(k, np.count_nonzero(scores))
        hits = found.ids[number]
        assert np.count_nonzero(hits >= 0) == count
        near = {"rtol": 1e-5, "atol": 4e-12 * asked.sum()}
        np.testing.assert_allclose(found.scores[number, :count], np.sort(scores)[::-1][:count], **near)
        by_id = dict(zip(ids, scores, strict=True))
        np.testing.assert_allclose(found.scores[number, :count], [by_id[row] for row in hits[:count].tolist()], **near)


def make_queries(seed, count=8):
    rng = random.Random(seed)
    return [
        {rng.randrange(TERMS): rng.choice([1e-6, 0.2, 1, 2.5, 1e6]) for _ in range(rng.randint(1, 20))}
        for _ in range(count)
    ]


ROWS = make_rows(700, 1)
QUERIES = make_queries(2)


@pytest.fixture(scope="module")
def index():
    numbers = pa.table({"number": np.arange(len(ROWS))})
    return vsearch.build(vectors(700), "memory://sparse/shared", numbers, sparse=ROWS, shards=2, partitions=6)


def csr(rows):
    matrix = scipy_sparse.dok_matrix((len(rows), TERMS))
    for place, row in enumerate(rows):
        for term, weight in row.items():
            matrix[place, int(term)] = weight
    return matrix.tocsr()


def test_scores_are_inner_products(index):
    for k in (1, 10, 1000):
        check(index, dict(enumerate(ROWS)), QUERIES, k)
    check(index, dict(enumerate(ROWS)), QUERIES, 10, "number >= 100 AND number < 300", lambda row: 100 <= row < 300)
    check(index, dict(enumerate(ROWS)), QUERIES, 10, "number = 5", lambda row: row == 5)
    stored = index.search_sparse({0: 1}, 1, columns=["sparse"])
    assert json.loads(stored.columns.column("sparse")[0].as_py()) == ROWS[stored.ids[0, 0]]
    assert index.search_sparse([], 5).ids.shape == (0, 5)
    page = index.search_sparse(QUERIES, 5, offset=5).ids
    assert page.tolist() == index.search_sparse(QUERIES, 10).ids[:, 5:].tolist()


def test_most_single_queries_take_the_short_way(index):
    queries = [{str(term): weight for term, weight in query.items()} for query in make_queries(21)]
    assert (
        sum(place_weights(index.snapshot, query) is not None for query in queries) >= 6
    )  # the others have no known term
    for unusual in (
        {1: 0.5},
        {"1": 0},
        {"1": 0.0},
        {"1": True},
        {"": 1.0},
        {"1": 1e10},
        {"1": float("nan")},
        {"no such term": 1.0},
        {},
        [],
        None,
    ):
        assert place_weights(index.snapshot, unusual) is None
    for wrong in ({"": 1.0}, {"\ud800": 1.0}, {"1": 1e10}, {"1": float("nan")}, {}):
        with pytest.raises(InputError):
            index.search_sparse(wrong)


def test_scores_are_near_those_of_the_weights(index):
    matrix, step = csr(ROWS).toarray(), step_of(index)
    hits = index.search_sparse(dict.fromkeys(range(TERMS), 1), 700)
    for row, score in zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True):
        assert row < 0 or abs(score - matrix[row].sum()) <= step * np.count_nonzero(matrix[row]) + 1e-4


@pytest.mark.parametrize("form", ["csr", "csr_array", "maps", "int maps", "chunks", "attribute", "json", "like scipy"])
def test_every_form_of_weights_is_the_same(index, form):
    rows, matrix = ROWS, csr(ROWS)
    maps = pa.array([list(row.items()) for row in rows], MAPS)
    whole = pa.array([[(int(t), w) for t, w in row.items()] for row in rows], pa.map_(pa.int32(), pa.float32()))
    url, options = f"memory://sparse/form-{form.replace(' ', '-')}", {"shards": 2, "partitions": 6}
    table = {
        "csr": (None, matrix),
        "csr_array": (None, scipy_sparse.csr_array(matrix)),
        "maps": (None, maps),
        "int maps": (None, whole),
        "chunks": (None, pa.chunked_array([maps[:100], maps[100:]])),
        "attribute": (pa.table({"weights": maps}), "weights"),
        "json": ([{"weights": json.dumps(row)} for row in rows], "weights"),
        "like scipy": (
            None,
            SimpleNamespace(shape=matrix.shape, indptr=matrix.indptr, indices=matrix.indices, data=matrix.data),
        ),
    }
    attributes, weights = table[form]
    made = vsearch.build(vectors(700), url, attributes, sparse=weights, **options)
    assert step_of(made) == step_of(index)
    check(made, dict(enumerate(rows)), QUERIES, 10)
    assert made.info()["legs"] == ["sparse"]


def test_random_changes():
    """After any history, scores are those of the live rows."""
    rng = random.Random(3)
    rows = dict(enumerate(make_rows(300, 4)))
    index = vsearch.build(
        vectors(300), "memory://sparse/live", ids=list(rows), sparse=pa.array([list(r.items()) for r in rows.values()], MAPS),
        shards=2, partitions=4, rerank="float32",
    )  # fmt: skip
    step = step_of(index)
    for turn in range(14):
        action = rng.choice(["append", "upsert", "delete", "update", "optimize", "retrain", "open"])
        if action in ("append", "upsert"):
            first = max(rows) + 1 if action == "append" else min(rows) + rng.randint(0, 50)
            added = dict(zip(range(first, first + 30), make_rows(30, 100 + turn, 9.0), strict=True))
            table = pa.table({"sparse": pa.array([list(row.items()) for row in added.values()], MAPS)})
            getattr(index, action)(vectors(30, turn), table, ids=list(added))
            rows |= added
        elif action == "delete":
            gone = rng.sample(sorted(rows), 40)
            index.delete(gone)
            rows = {row: weights for row, weights in rows.items() if row not in gone}
        elif action == "update":
            changed = rng.sample(sorted(rows), 9)
            new = dict(zip(changed, make_rows(9, 200 + turn), strict=True))
            index.update({"sparse": pa.array([list(row.items()) for row in new.values()], MAPS)}, ids=changed)
            rows |= new
        elif action == "open":
            index = vsearch.open("memory://sparse/live")
        else:
            index.optimize(force=True) if action == "optimize" else index.retrain()
        check(index, rows, make_queries(turn, 3), 12)
        assert step_of(index) == step
    index.optimize(force=True)
    check(index, rows, QUERIES, 1000)
    assert vsearch.verify("memory://sparse/live").ok
    with pytest.raises(InputError, match="cannot drop"):
        index.drop_column("sparse")


def test_vectors_are_fused(index):
    point = vectors(2, 9)
    hits = index.search(point, 6, sparse=QUERIES[:2], depth=50)
    again = index.search_leg("sparse", QUERIES[:2], 6, query_vectors=point, depth=50)
    assert hits.ids.tolist() == again.ids.tolist()
    assert hits.leg == "sparse"
    assert {"sparse_score", "sparse_rank"} <= set(hits.to_arrow().column_names)
    only = index.search(point[0], 6, sparse=QUERIES[0], fusion="weighted", weights=(0, 1))
    assert only.ids.tolist() == index.search_sparse(QUERIES[0], 6).ids.tolist()
    with pytest.raises(InputError, match="cannot be combined"):
        index.search(point[0], 6, sparse=QUERIES[0], text="a")
    with pytest.raises(InputError, match="one dict of weights for each"):
        index.search(point, 6, sparse=QUERIES[0])


def test_weights_are_filtered_although_they_are_not_encoded(index):
    """No filter of weights is prepared, since hardly any query has one; it is made from the JSON text when it is used."""
    rows = make_rows(120, 8) + [None] * 30
    changed = vsearch.build(
        vectors(150),
        "memory://sparse/filters",
        {"number": range(150)},
        sparse=rows,
        shards=2,
        partitions=4,
        overwrite=True,
    )
    assert all("sparse" not in run.encodings and "number" in run.encodings for run in changed.snapshot.shards)
    remote = Indexed(changed, np.arange(150), pa.table({})).remote()
    for opened in (changed, vsearch.open("memory://sparse/filters"), remote):
        assert opened.count("sparse IS NULL") == 30
        assert opened.count("sparse LIKE '%\"0\"%' AND number < 60") == sum("0" in row for row in rows[:60])
    changed.append(vectors(10, 3), {"number": range(150, 160), "sparse": pa.array([[("5", 0.5)]] * 10, MAPS)})
    changed.optimize(force=True)
    assert all("sparse" not in run.encodings and "number" in run.encodings for run in changed.snapshot.shards)
    assert changed.count("sparse = '{\"5\":0.5}'") == 10 + sum(row == {"5": 0.5} for row in rows)


def test_functions_search_weights(index):
    remote, point = Indexed(index, np.arange(700), pa.table({})).remote(), vectors(2, 9)
    expected = index.search_sparse(QUERIES, 7, "number < 600", ["number"])
    hits = remote.search_sparse(QUERIES, 7, "number < 600", ["number"])
    assert hits.to_arrow() == expected.to_arrow()
    fused = remote.search(point, 6, sparse=QUERIES[:2], depth=50, exact=True)
    assert fused.ids.tolist() == index.search(point, 6, sparse=QUERIES[:2], depth=50, exact=True).ids.tolist()
    worker, keys = remote._client.invoker.worker("legs-coordinator"), web.KeyHashes(hashlib.sha256(b"k").hexdigest())
    asked = {str(term): weight for term, weight in QUERIES[0].items()}
    body = json.dumps({"leg": {"sparse": asked}, "k": 7, "where": "number < 600"}).encode()
    status, answer = web.answer(worker, "POST", "/search", {"x-api-key": "k"}, body, keys, Deadline())
    assert status == 200, answer
    assert [hit["id"] for hit in answer["hits"][0]] == [row for row in expected.ids[0].tolist() if row >= 0]
    body = json.dumps({"leg": {"sparse": {"a": -1}}}).encode()
    status, answer = web.answer(worker, "POST", "/search", {"x-api-key": "k"}, body, keys, Deadline())
    assert status == 400
    assert "numbers from 0" in answer["message"]


def test_rows_of_a_matrix_are_queries(index):
    matrix = csr([{str(term): min(weight, 5.0) for term, weight in query.items()} for query in QUERIES])
    asked = [{term: min(weight, 5.0) for term, weight in query.items()} for query in QUERIES]
    assert index.search_sparse(matrix, 9).ids.tolist() == index.search_sparse(asked, 9).ids.tolist()


def test_skipped_rows_take_their_weights_with_them():
    points = vectors(50)
    points[::7] = np.nan
    with pytest.warns(vsearch.VsearchWarning, match="skipped"):
        made = vsearch.build(points, "memory://sparse/skipped", sparse=ROWS[:50], missing="skip", partitions=2)
    kept = [row for place, row in enumerate(ROWS[:50]) if place % 7]
    check(made, dict(enumerate(kept)), QUERIES, 50)


BAD = csr(ROWS[:20])


def changed(**arrays):
    fields = {"shape": BAD.shape, "indptr": BAD.indptr, "indices": BAD.indices, "data": BAD.data} | arrays
    return SimpleNamespace(**fields)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (ROWS[:19], "one row for each of the 20 embeddings"),
        (csr(ROWS[:19]), "one row for each of the 20 embeddings"),
        ([*ROWS[:19], {"a": -1.0}], "from 0 to 1e\\+09, got -1.0 for 'a'"),
        ([*ROWS[:19], {"a": float("nan")}], "got nan for 'a'"),
        ([*ROWS[:19], {"a": float("inf")}], "got inf for 'a'"),
        ([*ROWS[:19], {"a": "1"}], "got '1' for 'a'"),
        ([*ROWS[:19], {"a": True}], "got True for 'a'"),
        ([*ROWS[:19], {"": 1.0}], "strings of 1 to 256 characters"),
        ([*ROWS[:19], {"x" * 257: 1.0}], "strings of 1 to 256 characters"),
        ([*ROWS[:19], {"\ud800": 1.0}], "Unicode"),
        ([*ROWS[:19], {5: 1.0, "5": 2.0}], "once"),
        ([*ROWS[:19], {str(i): 1.0 for i in range(100_001)}], "at most 100,000 terms, got 100,001"),
        ([*ROWS[:19], ["a"]], "list of dicts"),
        ("nothing", "must be the name of an attribute"),
        ("number", "must be maps"),
        ("text", "row 0 of 'text' must be a map of weights"),
        (5, "must be a CSR matrix of weights"),
        (BAD.tocsc(), "tocsr"),
        (BAD.astype(np.complex64), "real numbers"),
        (changed(indptr=BAD.indptr[:-1]), "fit its shape"),
        (changed(indptr=BAD.indptr[::-1].copy()), "ascends"),
        (changed(indptr=BAD.indptr.astype(float)), "fit its shape"),
        (changed(indices=BAD.indices + TERMS), "column numbers from 0 to 59"),
        (changed(indices=BAD.indices - 1), "column numbers from 0 to 59, got -1"),
        (changed(indices=BAD.indices * 0), "once in a row"),
        (changed(data=-BAD.data), "weights from 0"),
        (changed(data=BAD.data * np.nan), "got nan in row"),
        (changed(shape=(20,)), "CSR matrix"),
        (pa.array([1] * 20), "column of maps"),
        (pa.array([[("a", None)]] * 20, MAPS), "row 0 of 'sparse' must be a map of weights"),
        (pa.array([[("a", float("nan"))]] * 20, MAPS), "row 0 of 'sparse' must be a map of weights"),
    ],
)  # fmt: skip
def test_wrong_weights_are_refused(weights, reason):
    table = pa.table({"number": range(20), "text": ["some words"] * 20})
    with pytest.raises(InputError, match=reason):
        vsearch.build(vectors(20), "memory://sparse/refused", table, sparse=weights, partitions=2)
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open("memory://sparse/refused")


def test_a_name_is_not_taken_twice():
    table = pa.table({"sparse": ["a"] * 20})
    with pytest.raises(InputError, match="as well as an argument"):
        vsearch.build(vectors(20), "memory://sparse/refused", table, sparse=ROWS[:20], partitions=2)
    with pytest.raises(InputError, match="only one of them"):
        vsearch.build(vectors(20), "memory://sparse/refused", sparse=ROWS[:20], legs={"sparse": "sparse"}, partitions=2)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({}, "a term with a positive weight"),
        ({"a": 0.0}, "a term with a positive weight"),
        ([{"a": 1.0}, {}], "a term with a positive weight"),
        ({"a": -1}, "numbers from 0"),
        ({"a": float("nan")}, "numbers from 0"),
        ({"a": float("inf")}, "numbers from 0"),
        ({"a": 1e10}, "numbers from 0"),
        ({"a": None}, "numbers from 0"),
        ({None: 1.0}, "strings of 1 to 256 characters or integers"),
        ({True: 1.0}, "strings of 1 to 256 characters or integers"),
        ({"x" * 257: 1.0}, "strings of 1 to 256 characters or integers"),
        (dict.fromkeys(range(1_000_000), 1.0), "at most 10,000 terms, got 1,000,000"),
        ("words", "a dict from terms to weights"),
        (scipy_sparse.csr_matrix((2, TERMS)), "a term with a positive weight"),
        (scipy_sparse.csr_matrix(np.ones((1, 10_001))), "at most 10,000 terms, got 10,001"),
    ],
)
def test_wrong_queries_are_refused(index, query, reason):
    with pytest.raises(InputError, match=reason):
        index.search_sparse(query)


def test_new_rows_that_cannot_be_searched_are_refused():
    index = vsearch.build(vectors(40), "memory://sparse/guarded", sparse=ROWS[:40], partitions=2)
    most, before = MOST_STEPS * step_of(index), index.snapshot.manifest.snapshot

    def append(text):
        return index.append(vectors(1, 5), pa.table({"sparse": pa.array([text], pa.string())}))

    for text, reason in [
        ("no object", "row 0 of 'sparse'"),
        ('{"a": -1}', "from 0 to"),
        ('{"a": null}', "row 0 of 'sparse'"),
        ('{"": 1}', "1 to 256 characters"),
        (json.dumps({"a": most * 1.1}), "weights of 'sparse' must be at most"),
    ]:
        with pytest.raises(InputError, match=reason):
            append(text)
    with pytest.raises(InputError, match="row"):
        index.update({"sparse": "oops"}, ids=[3])
    assert index.snapshot.manifest.snapshot == before
    for text in (json.dumps({"1": most, "new": 1e-9}), "{}", None, '{"1": 0}'):
        append(text)
    rows = dict(enumerate(ROWS[:40])) | {40: {"1": most}}
    check(index, rows, [{1: 1.0}, {1: 0.5, 0: 2}], 50)
    assert index.search_sparse({"new": 1.0}, 3).ids[0].tolist() == [40, -1, -1]
    index.optimize(force=True)
    check(index, rows, [{1: 1.0}, {1: 0.5, 0: 2}], 50)
    index.rename_column("sparse", "weights")
    check(index, rows, [{1: 1.0}], 50)
    with pytest.raises(InputError, match="row 0 of 'weights'"):
        index.append(vectors(1, 5), pa.table({"weights": ["no"]}))


def test_steps():
    assert choose_step(np.empty(0)) == 1
    assert choose_step(np.array([255.0])) == 1
    assert choose_step(np.array([256.0])) == 2
    assert choose_step(np.array([1.0])) == 2**-7
    assert choose_step(np.concatenate([np.full(9999, 1.0), [200.0]])) == 2**-7
    outlier = choose_step(np.concatenate([np.full(9999, 1.0), [1e9]]))
    assert steps_of(np.array([1e9]), outlier, "w")[0] <= MOST_STEPS
    assert choose_step(np.array([1e-300])) == 2**-40
    assert steps_of(np.array([1e-9, 0.4, 1.4, 1.6]), 1.0, "w").tolist() == [1, 1, 1, 2]
    with pytest.raises(InputError, match="at most 65534"):
        steps_of(np.array([65535.0]), 1.0, "w")


def test_weights_of_many_magnitudes():
    """Pruning may not lose rows when few blocks have large weights, or lists differ by orders of magnitude."""
    rng = np.random.default_rng(5)
    rows = [
        {
            str(term): float(f"{10 ** rng.uniform(-3, 2 if term else 0):.4g}")
            for term in range(TERMS)
            if rng.random() < 2 / (term + 1)
        }
        for _ in range(3000)
    ]
    made = vsearch.build(vectors(3000), "memory://sparse/magnitudes", sparse=rows, partitions=2)
    queries = [
        {term: float(10 ** rng.uniform(-4, 4)) for term in rng.integers(0, TERMS, 5).tolist()} for _ in range(10)
    ]
    for k in (1, 10):
        check(made, dict(enumerate(rows)), queries, k)


def test_weights_are_kept_to_four_digits():
    weights = {"a": 1 / 3, "b": 12345.678, "c": 2e-7, "d": 1e-320, "e": 0.9999999, "f": 2.0, "g": 0.0, "h": 1e9}
    expected = {"a": 0.3333, "b": 12350.0, "c": 2e-7, "d": 1e-12, "e": 1.0, "f": 2.0, "h": 1e9}
    matrix = scipy_sparse.csr_matrix(np.array([list(weights.values())]))
    assert json.loads(as_column([weights])[0].as_py()) == expected
    assert list(json.loads(as_column(matrix)[0].as_py()).values()) == list(expected.values())
    assert as_column(matrix.astype(np.float32))[0].as_py().startswith('{"0":0.3333,')


def test_no_weights_at_all():
    made = vsearch.build(vectors(20), "memory://sparse/none", sparse=[None, {}] * 10, partitions=2)
    assert (made.search_sparse({"a": 1.0}).ids == -1).all()
    made.append(vectors(1, 3), pa.table({"sparse": ['{"a": 2}']}))
    assert made.search_sparse({"a": 1.0}, 1).scores.tolist() == [[2.0]]


@pytest.mark.parametrize(
    "entry", [{}, {"field": "sparse"}, {"field": "number", "step": 1.0}, {"field": "x", "step": 1.0}, {"field": "sparse", "step": 0.0}]
)  # fmt: skip
def test_damaged_entries_are_refused(entry, monkeypatch):
    table = pa.table({"number": range(20)})
    made = vsearch.build(vectors(20), "memory://sparse/damaged", table, sparse=ROWS[:20], partitions=2, overwrite=True)
    monkeypatch.setitem(made.snapshot.manifest.legs, "sparse", entry)
    with pytest.raises(CorruptIndexError):
        made.search_sparse({"0": 1.0})


def test_the_plan_knows_the_size_of_weights():
    plan = vsearch.plan(vectors(700), sparse=ROWS)
    made = vsearch.build(vectors(700), "memory://sparse/planned", sparse=ROWS)
    actual = made.info()["bytes_per_vector_by_part"]["leg_sparse"]
    assert 0.5 * actual <= plan.bytes_per_vector["sparse"] <= 2 * actual
    stored = made.info()["bytes_per_vector_by_part"]["attributes"]  # once, not for predicates
    assert 0.8 * stored <= plan.bytes_per_vector["attributes"] <= 1.2 * stored
    with pytest.raises(InputError, match=r"accepts .*sparse, spill, text"):
        vsearch.plan(vectors(700), spares=ROWS)
    with pytest.raises(InputError, match="must be the name of an attribute"):
        vsearch.plan(vectors(700), sparse="weights")
