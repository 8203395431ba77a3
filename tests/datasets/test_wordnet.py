from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import vsearch
from vsearch import datasets

FOLDER = Path(datasets.__file__).parent / "wordnet-10k"


@pytest.fixture(scope="module")
def sample() -> datasets.Dataset:
    return datasets.load("wordnet-10k")


def test_names() -> None:
    assert datasets.names() == ("wordnet-10k",)
    assert vsearch.datasets is datasets


def test_unknown_name_says_which_there_are() -> None:
    with pytest.raises(vsearch.InputError, match="wordnet-10k"):
        datasets.load("wordnet")


def test_size_on_disk() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) <= 12_000_000


def test_the_encoder_makes_the_vectors_of_the_sample(sample: datasets.Dataset) -> None:
    assert sample.encoder is not None
    assert sum(path.stat().st_size for path in sample.encoder.iterdir()) <= 14_000_000
    assert "Apache License" in (sample.encoder / "LICENSE").read_text()
    vectors = vsearch.encoders.load(sample.encoder).encode(sample.query_texts)
    assert (vectors * sample.queries).sum(axis=1).mean() > 0.99
    nearest = np.argsort(-(vectors @ sample.vectors.astype(np.float32).T), axis=1, kind="stable")[:, :10]
    kept = [len({*one} & {*other}) / 10 for one, other in zip(nearest, sample.neighbors[:, :10], strict=True)]
    assert np.mean(kept) > 0.91


def test_shapes_and_types(sample: datasets.Dataset) -> None:
    assert sample.vectors.shape == (10_000, 384)
    assert sample.vectors.dtype == np.float16
    assert sample.queries.shape == (200, 384)
    assert sample.queries.dtype == np.float32
    assert sample.neighbors.shape == sample.neighbor_scores.shape == (200, 100)
    assert len(sample.query_texts) == 200
    assert sample.attributes.num_rows == 10_000
    assert sample.attributes["text"].null_count == 0
    assert "10000 x 384" in repr(sample)


def test_attributes_are_of_many_kinds(sample: datasets.Dataset) -> None:
    schema = sample.attributes.schema
    assert schema.field("is_instance").type == pa.bool_()
    assert schema.field("tagcount").type == pa.int64()
    assert schema.field("lexname").type == pa.string()
    assert schema.field("lemmas").type == pa.list_(pa.string())
    assert pc.count_distinct(sample.attributes["lexname"]).as_py() == 45
    assert pc.count_distinct(sample.attributes["id"]).as_py() == 10_000
    assert 0.06 < pc.mean(sample.attributes["is_instance"]).as_py() < 0.072


def test_text_starts_with_its_lemmas(sample: datasets.Dataset) -> None:
    for row in sample.attributes.select(["lemmas", "text", "n_lemmas"]).slice(0, 200).to_pylist():
        assert row["text"].startswith(", ".join(row["lemmas"]) + ": ")
        assert len(row["lemmas"]) == row["n_lemmas"]


def test_neighbors_are_exact(sample: datasets.Dataset) -> None:
    base = sample.vectors.astype(np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    queries = sample.queries / np.linalg.norm(sample.queries, axis=1, keepdims=True)
    scores = queries @ base.T
    best = -np.sort(-scores, axis=1)[:, :100]
    np.testing.assert_allclose(sample.neighbor_scores, best, atol=2e-6)
    np.testing.assert_allclose(np.take_along_axis(scores, sample.neighbors, axis=1), best, atol=2e-6)


def test_license_is_beside_the_data(sample: datasets.Dataset) -> None:
    assert "Princeton University" in sample.license
    assert (FOLDER / "LICENSE").is_file()
