"""Golden indexes: what an earlier version wrote is read and answered as it was then."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vsearch

GOLDEN = Path(__file__).parents[1] / "index" / "golden"
INDEXES = sorted(path.parent for path in GOLDEN.glob("format-*/*/expected.json"))


def test_there_are_some() -> None:
    assert len(INDEXES) >= 4


@pytest.mark.parametrize("folder", INDEXES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_golden_index_answers_as_when_it_was_written(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    assert vsearch.verify(folder).ok
    index = vsearch.open(folder)
    queries = np.array(expected["queries"], np.float32)
    for answer in expected["answers"]:
        hits = index.search(queries, expected["k"], answer["where"], exact=True)
        assert hits.stats.rows_masked == answer["matching"]
        np.testing.assert_array_equal(hits.ids, np.array(answer["ids"], hits.ids.dtype))
        scores = np.array([[np.nan if s is None else s for s in row] for row in answer["scores"]], np.float32)
        np.testing.assert_allclose(hits.scores, scores, rtol=1e-4, atol=1e-4)
        narrow = index.search(queries, expected["k"], answer["where"])
        found = min(expected["k"], answer["matching"])
        assert (~np.isnan(narrow.scores)).sum(axis=1).tolist() == [found] * len(queries)
    rows = index.get([row["id"] for row in expected["rows"]]).to_pylist()
    assert json.loads(json.dumps(rows, default=str)) == expected["rows"]
