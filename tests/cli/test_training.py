from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.cli.conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    documents = rng.standard_normal((600, 16)).astype(np.float32)
    positives = rng.permutation(600)[:300]
    queries = documents[positives] * np.linspace(0.2, 2, 16) + 0.2 * rng.standard_normal((300, 16))
    np.save(tmp_path / "documents.npy", documents)
    np.save(tmp_path / "queries.npy", queries.astype(np.float32))
    np.save(tmp_path / "positives.npy", positives)
    pq.write_table(pa.table({"query": np.arange(300), "id": positives}), tmp_path / "pairs.parquet")
    (tmp_path / "qrels").write_text("".join(f"{q} 0 {p} 1\n" for q, p in enumerate(positives.tolist())))
    vsearch.build(documents, tmp_path / "index", quantizer=vsearch.PQ(2, 16))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("pairs", ["pairs.parquet", "positives.npy"])
def test_train_then_evaluate(run: Run, folder: Path, pairs: str) -> None:
    pytest.importorskip("ir_measures")
    index, queries = folder / "index", folder / "queries.npy"
    evaluate = ("evaluate", index, queries, "--qrels", folder / "qrels", "--metrics", "mrr@10, recall@20", "--json")
    before = run(*evaluate)
    assert before.status == 0, before.errors
    done = run(
        *("train", index, "--queries", queries, "--positives", folder / pairs, "--epochs", 2, "--seed", 3, "--json"),
        *("--documents", folder / "documents.npy", "--checkpoint", folder / "state.npz"),
    )
    assert done.status == 0, done.errors
    assert done.json["snapshot"] == 2
    assert done.json["options"]["epochs"] == 2
    assert (folder / "state.npz").exists()
    after = run(*evaluate)
    assert set(after.json) == {"mrr@10", "recall@20", "queries"}
    assert after.json["mrr@10"] > before.json["mrr@10"]
    assert run("info", index, "--json").json["training"]["from_snapshot"] == 1
    assert "history" in run("info", index).text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--queries", "queries.npy", "--positives", "nowhere.parquet"), "nowhere.parquet"),
        (("--queries", "documents.npy", "--positives", "positives.npy"), "one entry per query"),
        (("--queries", "queries.npy", "--positives", "positives.npy", "--loss", "hinge"), "loss must be"),
        (
            ("--queries", "queries.npy", "--positives", "positives.npy", "--validation-queries", "queries.npy"),
            "together",
        ),
    ],
)
def test_mistakes_are_one_line(run: Run, folder: Path, arguments: tuple[str, ...], told: str) -> None:
    paths = [folder / one if one.endswith((".npy", ".parquet")) else one for one in arguments]
    done = run("train", folder / "index", *paths)
    assert done.status == 2
    assert told in done.errors
    assert done.errors.count("\n") == 1
    assert len(vsearch.open(folder / "index").snapshots()) == 1
