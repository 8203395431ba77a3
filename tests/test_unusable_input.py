"""Input that no index can be built from is refused in one line that says why, and leaves no files."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from tests.indexes import rows, table

UNUSABLE = {
    "a vector": (np.zeros(5, np.float32), {}, "2-d|shape"),
    "three axes": (np.zeros((5, 4, 3), np.float32), {}, "2-d|shape"),
    "no rows": (np.zeros((0, 5), np.float32), {}, "no rows"),
    "no dimensions": (np.zeros((5, 0), np.float32), {}, "dimension"),
    "text": (np.array([["a", "b"]]), {}, "not supported|numbers"),
    "complex": (np.zeros((5, 3), complex), {}, "real numbers"),
    "unlike batches": ([np.zeros((5, 3), np.float32), np.zeros((5, 4), np.float32)], {}, "width"),
    "NaN": (np.where(np.arange(30) == 17, np.nan, 1).reshape(10, 3).astype(np.float32), {}, "row 5 holds NaN"),
    "infinity": (
        np.where(np.arange(30) == 29, np.inf, 1).reshape(10, 3).astype(np.float32),
        {},
        "row 9 holds infinity",
    ),
    "too large": (
        np.where(np.arange(30) == 4, 1e20, 1).reshape(10, 3).astype(np.float32),
        {"metric": "l2"},
        "row 1 holds 1e\\+20",
    ),
    "no file": ("nowhere.npy", {}, "nowhere.npy"),
    "unknown kind of file": ("README.md", {}, "README.md"),
    "a number": (7, {}, ""),
    "nothing": (None, {}, ""),
    "fewer attributes": (rows(), {"attributes": table(299)}, "299"),
    "more attributes": (rows(), {"attributes": table(301)}, "301"),
    "attributes of no table": (rows(), {"attributes": 5}, ""),
    "fewer ids": (rows(), {"ids": range(299)}, "299 ids for 300"),
    "ids twice": (rows(), {"ids": [*range(299), 5]}, "5"),
    "string ids twice": (rows(), {"ids": [*map(str, range(299)), "5"]}, "5"),
    "NULL among ids": (rows(), {"ids": [*map(str, range(299)), None]}, ""),
    "ids of floats": (rows(), {"ids": np.arange(300) + 0.5}, "ids"),
    "ids of no attribute": (rows(), {"attributes": table(), "ids": "weight"}, "weight"),
    "metric": (rows(), {"metric": "manhattan"}, "metric must be one of cosine, ip, l2, hamming, got 'manhattan'"),
    "quantizer": (rows(), {"quantizer": "zip"}, "quantizer must be .*'zip'"),
    "rerank": (rows(), {"rerank": "int4"}, "rerank must be .*int8, float16, float32.*'int4'"),
    "bits": (rows(), {"bits": 0.1}, "bits must be .*0.25 to 8.*0.1"),
    "more bits": (rows(), {"bits": 9}, "bits must be .*0.25 to 8.*9"),
    "no number of bits": (rows(), {"bits": "one"}, "bits must be .*'one'"),
    "bits that are no number": (rows(), {"bits": float("nan")}, "bits must be .*nan"),
    "no partitions": (rows(), {"partitions": 0}, "partitions must be"),
    "more partitions than rows": (rows(), {"partitions": 301}, "partitions must be .*300.*301"),
    "more shards than partitions": (rows(), {"partitions": 2, "shards": 3}, "shards=3 is more than partitions=2"),
    "half a shard": (rows(), {"shards": 0.5}, "shards must be"),
    "seed": (rows(), {"seed": -1}, "seed must be .*-1"),
    "seed of no number": (rows(), {"seed": None}, "seed must be .*None"),
    "options of S3": (rows(), {"endpoint": "http://127.0.0.1:1"}, "endpoint"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_input(tmp_path, kind):
    embeddings, options, message = UNUSABLE[kind]
    with pytest.raises(vsearch.InputError, match=message or None) as raised:
        vsearch.build(embeddings, tmp_path / "index", **options)
    assert str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "index" / "manifest").exists()
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open(tmp_path / "index")
