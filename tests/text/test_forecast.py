"""Text columns of indexes that start empty, and forecasts of postings."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import WEIGHTS, make_rows, table, vectors
from vsearch import InputError
from vsearch.text.analyzer import Analyzer, Settings
from vsearch.text.encoding import make_postings
from vsearch.text.forecast import TextForecast


def texts(rows, seed=3):
    """Of ever new words: the dictionary grows with the rows, but more slowly."""
    rng = random.Random(seed)
    return [" ".join(f"w{int(rng.paretovariate(0.6))}" for _ in range(rng.randint(0, 20))) for _ in range(rows)]


@pytest.mark.parametrize("shards", [1, 3])
def test_postings_are_predicted_from_the_first_rows(shards):
    rows = 24_000
    column = texts(rows)
    forecast = TextForecast.of("body")(pa.table({"body": column[:4096]}), rows, shards)
    size = rows // shards
    sizes = [make_postings(column[s * size : (s + 1) * size], size, Analyzer(Settings())).size for s in range(shards)]
    assert forecast.bytes_total == pytest.approx(sum(sizes), rel=0.15)
    assert forecast.memory_bytes > sum(sizes) / shards


def test_a_plan_has_the_text_columns():
    data, attributes = vectors(300), table(make_rows(300, 1))
    plain, plan = vsearch.plan(data, attributes), vsearch.plan(data, attributes, text=WEIGHTS)
    assert plan.bytes_total > plain.bytes_total
    assert plan.bytes_per_vector["text"] > 1
    assert plan.peak_memory_bytes > plain.peak_memory_bytes
    for given, reason in [
        ("nothing", "must be an attribute"),
        ("number", "must hold strings"),
        (3, "text must be a column name"),
    ]:
        with pytest.raises(InputError, match=reason):
            vsearch.plan(data, attributes, text=given)
    with pytest.raises(InputError, match="the input has no attributes"):
        vsearch.plan(data, text="body")


def test_an_index_starts_empty_with_text_columns(tmp_path):
    kinds = {"title": "string", "body": "string", "number": "int64"}
    index = vsearch.create(tmp_path / "i", 8, attributes=kinds, text=WEIGHTS)
    assert index.has_text
    assert (index.search_text("ak").ids == -1).all()
    rows = make_rows(200, 4)
    index.append(vectors(200), table(rows))
    built = vsearch.build(vectors(200), tmp_path / "built", table(rows), text=WEIGHTS)
    for query in ("ak bl", "title:am ak", "+ak -bl"):
        here, there = index.search_text(query, 20), built.search_text(query, 20)
        np.testing.assert_allclose(here.scores, there.scores, rtol=1e-6)
    opened = vsearch.open(tmp_path / "j", create={"dimensions": 8, "attributes": kinds, "text": "body"})
    assert opened.info()["text"].keys() == {"body"}
    for text, reason in [("number", "must hold strings"), ("nothing", "must be an attribute")]:
        with pytest.raises(InputError, match=reason):
            vsearch.create(tmp_path / "k", 8, attributes=kinds, text=text)
