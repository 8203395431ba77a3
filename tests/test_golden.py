"""Golden indexes: files written by earlier versions are read and give the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch
from vsearch.storage import open_store, read_manifest
from vsearch.storage.snapshots.kinds import PARTITIONS, SPLITS

GOLDEN = Path(__file__).parents[1] / "index" / "golden"
EVERY = sorted(path.parent for path in GOLDEN.glob("format-*/*/expected.json"))
DOCUMENTS = [path for path in EVERY if path.name.startswith("documents-")]
WORDS = [path for path in EVERY if path.name.startswith("words-")]
INDEXES = [path for path in EVERY if path not in (*DOCUMENTS, *WORDS)]
CHANGED = [path for path in INDEXES if path.parent.name == "format-2"]


def name_of(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name}"


def scores_of(answer: dict[str, Any]) -> np.ndarray:
    return np.array([[np.nan if s is None else s for s in row] for row in answer["scores"]], np.float32)


def test_there_are_some() -> None:
    assert len(INDEXES) >= 6
    assert len(DOCUMENTS) >= 3
    assert len(CHANGED) >= 5
    assert len(WORDS) >= 1


def test_some_hold_arrays_that_are_written_no_more() -> None:
    files = [read_manifest(open_store(folder)).shards[0].files for folder in INDEXES]
    arrays = {array.name for of_shard in files if PARTITIONS in of_shard for array in of_shard[PARTITIONS].arrays}
    assert "presence-0" in arrays


@pytest.mark.slow
@pytest.mark.parametrize("folder", INDEXES, ids=name_of)
def test_a_golden_index_answers_as_when_it_was_written(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    assert vsearch.verify(folder).ok
    index = vsearch.open(folder)
    queries = np.array(expected["queries"], np.float32)
    for answer in expected["answers"]:
        hits = index.search(queries, expected["k"], answer["where"], exact=True)
        assert hits.stats.rows_masked == answer["matching"]
        np.testing.assert_array_equal(hits.ids, np.array(answer["ids"], hits.ids.dtype))
        np.testing.assert_allclose(hits.scores, scores_of(answer), rtol=1e-4, atol=1e-4)
        narrow = index.search(queries, expected["k"], answer["where"])
        found = min(expected["k"], answer["matching"])
        assert (~np.isnan(narrow.scores)).sum(axis=1).tolist() == [found] * len(queries)
    rows = index.get([row["id"] for row in expected["rows"]]).to_pylist()
    assert json.loads(json.dumps(rows, default=str)) == expected["rows"]


@pytest.mark.parametrize("folder", CHANGED, ids=name_of)
def test_a_golden_index_that_was_changed_has_the_rows_that_were_left(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    for index in (vsearch.open(folder), vsearch.open(folder, tag="golden")):
        found = index.search(np.array(expected["queries"][0], np.float32), 500, exact=True).ids[0][: len(index)]
        assert sorted(found.tolist()) == expected["live"]
        assert index.tags() == expected["tags"]


def test_changed_indexes_have_every_kind_of_segment() -> None:
    manifests = [read_manifest(open_store(folder)) for folder in CHANGED]
    shards = [shard for manifest in manifests for shard in manifest.shards]
    deltas = [delta for manifest in manifests if manifest.live for delta in manifest.live.deltas]
    assert {bool(shard.base) for shard in shards} == {True, False}
    assert any(shard.young for shard in shards)
    assert any(delta.removed and not delta.rows for delta in deltas)
    assert any(delta.removed and delta.rows for delta in deltas)
    assert any(attribute.field for manifest in manifests for attribute in manifest.attributes)
    assert any(manifest.live and manifest.live.pending is not None for manifest in manifests)
    runs = [run for folder in CHANGED for run in vsearch.open(folder).snapshot.shards]
    assert sum(run.copies is not None for run in runs) >= 3
    assert any(run.copies is not None and len(run.gone) for run in runs)
    assert any(SPLITS in manifest.model and manifest.live.deltas for manifest in manifests)


@pytest.mark.slow
@pytest.mark.parametrize("folder", DOCUMENTS, ids=name_of)
def test_a_golden_index_of_documents_answers_as_when_it_was_written(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    assert vsearch.verify(folder).ok
    index = vsearch.open(folder)
    queries = [np.array(query, np.float32) for query in expected["queries"]]
    for answer in expected["answers"]:
        where, exact = answer["where"], answer["exact"]
        hits = index.search_documents(queries, expected["k"], where, candidates="all", exact=exact)
        assert hits.stats.rows_masked == answer["matching"]
        np.testing.assert_array_equal(hits.ids, np.array(answer["ids"], hits.ids.dtype))
        np.testing.assert_allclose(hits.scores, scores_of(answer), rtol=1e-4, atol=1e-4)
        narrow = index.search_documents(queries, expected["k"], where, candidates=8)
        found = min(expected["k"], answer["matching"])
        assert (~np.isnan(narrow.scores)).sum(axis=1).tolist() == [found] * len(queries)
    rows = index.get([row["id"] for row in expected["rows"]]).to_pylist()
    assert json.loads(json.dumps(rows, default=str)) == expected["rows"]


@pytest.mark.parametrize("folder", WORDS, ids=name_of)
def test_a_golden_index_of_words_and_weights_answers_as_when_it_was_written(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    assert vsearch.verify(folder).ok
    index = vsearch.open(folder)
    runs = index.snapshot.shards
    assert len(runs) >= 3
    assert any(run.live is not None for run in runs)
    assert sum(any(kind.startswith("text-") and kind.endswith("-positions") for kind in run.files) for run in runs) >= 2
    assert sum("leg-sparse-packed" in run.files for run in runs) >= 2
    for search, answers in ((index.search_text, expected["words"]), (index.search_sparse, expected["weights"])):
        for answer in answers:
            hits = search(answer["query"], expected["k"])
            assert hits.stats.rows_masked == answer["matching"]
            assert hits.ids.tolist() == answer["ids"]
            assert hits.ids[0, 0] >= 0
            np.testing.assert_allclose(hits.scores, scores_of(answer), rtol=1e-6)
