from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.jpq.conftest import Task
from vsearch.jpq.pairs import read_pairs
from vsearch.search.state.fetching import take_ids


@pytest.mark.slow
def test_every_spelling_means_the_same(index: vsearch.Index, task: Task, tmp_path: Path) -> None:
    queries, positives = task.queries[:60], task.positives[:60]
    table = pa.table({"query": np.arange(60), "id": positives})
    pq.write_table(table, tmp_path / "pairs.parquet")
    spellings: list[Any] = [
        positives,
        positives[:, None],
        positives.tolist(),
        [[p] for p in positives.tolist()],
        table,
        pd.DataFrame({"query_id": np.arange(60), "doc_id": positives}),
        tmp_path / "pairs.parquet",
        str(tmp_path / "pairs.parquet"),
    ]
    expected = read_pairs(index.snapshot, queries, spellings[0])
    for spelling in spellings[1:]:
        found = read_pairs(index.snapshot, queries, spelling)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.starts, expected.starts)


def test_queries_without_positives_are_left_out(index: vsearch.Index, task: Task) -> None:
    nested = [[p] if i % 2 else [] for i, p in enumerate(task.positives[:80].tolist())]
    pairs = read_pairs(index.snapshot, task.queries[:80], nested)
    assert pairs.numbers.tolist() == list(range(1, 80, 2))
    part = pairs.take(np.array([3, 0]))
    assert part.numbers.tolist() == [7, 1]
    assert part.rows.tolist() == [int(pairs.rows[3]), int(pairs.rows[0])]


def test_string_ids(task: Task, tmp_path: Path) -> None:
    names = [f"doc-{i}" for i in range(len(task.documents))]
    index = vsearch.build(task.documents, tmp_path / "i", ids=names, quantizer=vsearch.PQ(4, 16))
    pairs = read_pairs(index.snapshot, task.queries[:50], [names[p] for p in task.positives[:50]])
    assert len(pairs) == 50
    with pytest.raises(vsearch.InputError, match="strings"):
        read_pairs(index.snapshot, task.queries[:50], task.positives[:50])
    with pytest.raises(vsearch.InputError, match="strings"):
        read_pairs(index.snapshot, task.queries[:2], pa.table({"query": [0, 1], "id": [None, "doc-1"]}))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda q, p: (q, np.where(np.arange(len(p)) == 3, 99_999, p)), "99999"),
        (lambda q, p: (q[:, :5], p), r"\(queries, 32\)"),
        (lambda q, p: (q[:10], p[:10]), "at least 32 distinct training pairs"),
        (lambda q, p: (q, p[:-1]), "one entry per query"),
        (lambda q, p: (q, p.astype(float)), "one or several ids per query"),
        (lambda q, p: (q, p.astype(str)), "integers"),
        (lambda q, p: (q, pa.table({"a": p, "b": p})), "the columns query"),
        (lambda q, p: (q, pa.table({"query": p + 5000, "id": p})), "there are 200 queries"),
        (lambda q, p: (q, "nowhere.parquet"), "nowhere.parquet"),
        (lambda q, p: (np.where(np.arange(len(q))[:, None] == 7, np.nan, q), p), "query 7"),
        (lambda q, p: (q, pa.table({"query": np.arange(200), "id": p + 0.5})), "integers"),
        (lambda q, p: (q, pa.table({"query": range(200), "id": [None, *p[1:].tolist()]})), "integers"),
        (lambda q, p: (q, [[one + 0.5] for one in p.tolist()]), "integers"),
        (lambda q, p: (q, [[] for _ in p]), "at least 32 distinct training pairs"),
    ],
    ids=count(),
)
def test_bad_pairs_are_refused_and_the_index_is_untouched(
    index: vsearch.Index, task: Task, change: Any, match: str
) -> None:
    queries, positives = change(task.queries[:200], task.positives[:200])
    with pytest.raises(vsearch.InputError, match=match):
        vsearch.jpq.train(index, queries, positives)
    assert [one.snapshot for one in index.snapshots()] == [1]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"loss": "hinge"}, "loss must be"),
        ({"negatives": "none"}, "negatives must be"),
        ({"adapter": "mlp"}, "adapter must be"),
        ({"adapter": "none", "centroids": False}, "nothing to train"),
        ({"epochs": 0}, "epochs must be"),
        ({"batch": True}, "batch must be"),
        ({"learning_rate": 0}, "learning_rate must be"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"seed": -1}, "seed must be"),
        ({"reassign": "yes"}, "reassign must be"),
        ({"validation": 3}, "validation"),
        ({"documents": np.zeros((5, 32), np.float32)}, "got 5 x 32"),
    ],
)
def test_bad_options_are_refused(index: vsearch.Index, task: Task, options: dict[str, Any], match: str) -> None:
    with pytest.raises(vsearch.InputError, match=match):
        vsearch.jpq.train(index, task.queries, task.positives, **options)
    assert [one.snapshot for one in index.snapshots()] == [1]


@pytest.mark.parametrize(
    ("build", "match"),
    [({"quantizer": "osq"}, "quantizer='pq'"), ({"quantizer": "pq", "rerank": "int8"}, "rerank=None")],
)
def test_an_index_that_cannot_be_trained_is_refused(
    task: Task, tmp_path: Path, build: dict[str, Any], match: str
) -> None:
    index = vsearch.build(task.documents, tmp_path / "i", **build)
    with pytest.raises(vsearch.InputError, match=match):
        vsearch.jpq.train(index, task.queries, task.positives)


def test_strings_that_end_in_nuls_are_told_apart(tmp_path: Path) -> None:
    names = ["a", "a\0", *(f"k{number}" for number in range(48))]
    vectors = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    snapshot = vsearch.build(vectors, tmp_path / "index", ids=names).snapshot
    table = {"query": list(range(50)), "id": names}
    for positives in (names, [[name] for name in names], pa.table(table), pd.DataFrame(table), pl.DataFrame(table)):
        pairs = read_pairs(snapshot, vectors, positives)
        assert take_ids(snapshot, pairs.rows).tolist() == names
