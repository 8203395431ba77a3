from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch

pytest.importorskip("ir_measures")
ROWS, QUERIES = 400, 30


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def index(vectors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> vsearch.Index:
    return vsearch.build(vectors, tmp_path_factory.mktemp("evaluation") / "i", rerank="float32")


@pytest.fixture(scope="module")
def queries(vectors: np.ndarray) -> np.ndarray:
    return vectors[:QUERIES] + 0.8 * np.random.default_rng(1).standard_normal((QUERIES, 16)).astype(np.float32)


QRELS = {str(q): {str(q): 2, str(q + 100): 1, str(q + 200): 0} for q in range(QUERIES)}


def by_hand(index: vsearch.Index, queries: np.ndarray) -> dict[str, float]:
    ids = index.search(queries, 100).ids
    ndcg, mrr, recall = [], [], []
    for q, found in enumerate(ids.tolist()):
        grades = [QRELS[str(q)].get(str(row), 0) for row in found]
        discounts = 1 / np.log2(np.arange(2, 12))
        ndcg.append(float(np.dot(grades[:10], discounts) / np.dot([2, 1], discounts[:2])))
        first = next((rank for rank, grade in enumerate(grades[:10], 1) if grade), None)
        mrr.append(1 / first if first else 0.0)
        recall.append(sum(grade > 0 for grade in grades) / 2)
    return {"ndcg@10": float(np.mean(ndcg)), "mrr@10": float(np.mean(mrr)), "recall@100": float(np.mean(recall))}


@pytest.mark.slow
def test_metrics_are_those_worked_out_by_hand(index: vsearch.Index, queries: np.ndarray) -> None:
    report = vsearch.evaluate(index, queries, QRELS)
    assert report.metrics == pytest.approx(by_hand(index, queries))
    assert report.queries == QUERIES
    assert np.mean([*report.per_query["mrr@10"].values()]) == pytest.approx(report.metrics["mrr@10"])


@pytest.mark.parametrize("layout", ["trec", "beir", "beir without names"])
def test_files_of_judgements(index: vsearch.Index, queries: np.ndarray, tmp_path: Path, layout: str) -> None:
    lines = ["query-id\tcorpus-id\tscore"] if layout == "beir" else []
    for query, of in QRELS.items():
        lines += [
            f"q{query} 0 {row} {grade}" if layout == "trec" else f"q{query}\t{row}\t{grade}"
            for row, grade in of.items()
        ]
    file = tmp_path / "qrels"
    file.write_text("\n".join(lines) + "\n")
    names = [f"q{number}" for number in range(QUERIES)]
    report = vsearch.evaluate(index, queries, file, query_ids=names)
    assert report.metrics == pytest.approx(by_hand(index, queries))


def test_only_queries_that_are_judged_count(index: vsearch.Index, queries: np.ndarray) -> None:
    some = {query: of for query, of in QRELS.items() if int(query) < 7} | {"elsewhere": {"1": 1}}
    report = vsearch.evaluate(index, queries, some, metrics=["mrr@10", "P@5", "map"])
    assert report.queries == 7
    assert set(report.metrics) == {"mrr@10", "P@5", "map"}
    assert set(report.per_query["map"]) == {str(q) for q in range(7)}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"metrics": ["quality@10"]}, "quality@10"),
        ({"metrics": "ndcg@10"}, "sequence of names.*, got 'ndcg@10'"),
        ({"metrics": []}, "sequence of names"),
        ({"query_ids": ["a"]}, "for each of the 30 queries"),
        ({"query_ids": ["a"] * QUERIES}, "for each of the 30 queries"),
        ({"query_ids": [f"z{i}" for i in range(QUERIES)]}, "none of the queries has judgments"),
        ({"qrels": "nowhere.tsv"}, "nowhere.tsv"),
    ],
)
def test_bad_input_is_refused(index: vsearch.Index, queries: np.ndarray, given: dict[str, Any], match: str) -> None:
    with pytest.raises(vsearch.InputError, match=match):
        vsearch.evaluate(index, queries, **{"qrels": QRELS, **given})


@pytest.mark.parametrize(
    ("text", "match"), [("", "contains no judgments"), ("1 0 2 x\n", "line 1"), ("1 2 1\n3\n", "line 2")]
)
def test_files_that_are_no_judgements(
    index: vsearch.Index, queries: np.ndarray, tmp_path: Path, text: str, match: str
) -> None:
    file = tmp_path / "qrels"
    file.write_text(text)
    with pytest.raises(vsearch.InputError, match=match):
        vsearch.evaluate(index, queries, file)


def test_ids_that_c_would_cut_or_lines_would_break(tmp_path: Path) -> None:
    names = ["a\0", "a", "b c", "d\u2028e", "f\u00a0g"]
    index = vsearch.build(np.eye(5), tmp_path / "index", ids=names, rerank="float32")
    qrels = {str(number): {name: 1} for number, name in enumerate(names)}
    found = vsearch.evaluate(index, np.eye(5), qrels, ["mrr@10"])
    assert found.metrics == {"mrr@10": 1.0}
    lines = "\ufeffquery-id\tcorpus-id\tscore\n" + "".join(f"{n}\t{name}\t1\r\n" for n, name in enumerate(names))
    (tmp_path / "qrels.tsv").write_text(lines, encoding="utf-8", newline="")
    assert vsearch.evaluate(index, np.eye(5), tmp_path / "qrels.tsv", ["mrr@10"]).metrics == {"mrr@10": 1.0}


def test_names_of_one_measure_get_the_same_values(index: vsearch.Index, queries: np.ndarray) -> None:
    report = vsearch.evaluate(index, queries, QRELS, ["mrr@10", "rr@10", "RR@10"])
    assert report.metrics["mrr@10"] > 0
    assert len({*report.metrics.values()}) == 1
    assert report.per_query["mrr@10"] == report.per_query["RR@10"]


@pytest.mark.parametrize(
    ("metrics", "match"),
    [
        (5, "metrics must be a sequence"),
        (b"map", "metrics must be a sequence"),
        (iter(()), "metrics must be a sequence"),
        (["ndcg@1.5"], "unknown metric 'ndcg@1.5'"),
        (["mrr@0"], "unknown metric 'mrr@0'"),
        (["p@True"], "unknown metric 'p@True'"),
        (["ndcg@'a'"], "unknown metric"),
        (["alpha_nDCG@10"], "alpha_nDCG@10"),
    ],
)
def test_metrics_that_cannot_be_computed_are_refused(
    index: vsearch.Index, queries: np.ndarray, metrics: Any, match: str
) -> None:
    with pytest.raises(vsearch.InputError, match=match):
        vsearch.evaluate(index, queries, QRELS, metrics)
